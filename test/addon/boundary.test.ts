// Whether every option arrives. The core reads an object into the engine's struct and writes that back (core.echo): the two must be
// equal, key by key, so that a name which either side has alone fails here. And on the way from GRPOConfig, or from the options of
// a call, each option of the tables keeps a value that is not its default.

import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type * as Zod from "zod";
import { namesOf } from "../../lib/checks.js";
import { GRPOConfig, type GRPOConfigOptions } from "../../lib/grpo/config.js";
import { GRPOTrainer } from "../../lib/grpo/trainer.js";
import { ENGINE_LIMITS } from "../../lib/model/memory.js";
import { sampleRequest } from "../../lib/model/sampling.js";
import { toNativeBatch } from "../../lib/model/training-inputs.js";
import type {
  NativeAdapterSpec,
  NativeSampleRequest,
  NativeTensorTable,
  NativeTrainBatch,
} from "../../lib/native/native.js";
import { loadCore } from "../../lib/native/native-loader.js";
import { optionsSchema } from "../../lib/options/fields.js";
import { lossFields, lossSchema, microBatchFields, rowsPerSliceOf, toNativeLoss } from "../../lib/options/loss.js";
import { renameKeys, toSnake } from "../../lib/options/names.js";
import {
  type NativeOptimizer,
  type OptimizerName,
  type OptimizerStepOptions,
  optimizers,
  stepFields,
  toNativeOptimizer,
} from "../../lib/options/optimizer.js";
import { FakePolicy, FakeTokenizer, fakeRows } from "../grpo/fake-policy.js";
import { tinyConfig } from "./raw-engine.js";

const { echo } = loadCore();
const folder = mkdtempSync(path.join(os.tmpdir(), "grpo-boundary-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

type Values = Record<string, unknown>;

/** For each option of a table a value that is right and not the default. */
function otherValues({ shape }: { readonly shape: object }): Values {
  const entries = Object.entries(shape).map(([name, type]: [string, Zod.ZodType]) => {
    const usual = type.safeParse(undefined).data;
    const wrong = type.safeParse("no such choice").error?.issues[0];
    const choices = wrong?.code === "invalid_value" ? wrong.values : [];
    const other = [false, true, ...choices, 0.25, 0.5, 3, 7].find(
      (value) => type.safeParse(value).success && value !== usual,
    );
    if (other === undefined) throw new Error(`no other value is known for ${name}`);
    return [name, other];
  });
  return Object.fromEntries(entries);
}

/** What a trainer with these options gives the model in its first step. */
async function firstStep(args: Values): Promise<FakePolicy> {
  const policy = new FakePolicy();
  const sizes = {
    perDeviceTrainBatchSize: 4,
    numGenerations: 4,
    maxSteps: 1,
    maxCompletionLength: 8,
    saveStrategy: "no",
  };
  const trainer = new GRPOTrainer({
    model: policy,
    processingClass: new FakeTokenizer(),
    args: new GRPOConfig({ ...sizes, outputDir: folder, ...args } as GRPOConfigOptions),
    rewardFuncs: [({ completionIds }) => completionIds.map((ids) => ids.length)],
    trainDataset: fakeRows(4),
    output: { write: () => true },
  });
  await trainer.train();
  return policy;
}

const first = <T>(list: readonly T[]): T => {
  const [value] = list;
  if (value === undefined) throw new Error("the list is empty");
  return value;
};

describe("an option of the loss", () => {
  // The slices go with the batch; see there.
  const { rowsPerSlice: _, ...others } = otherValues(lossSchema());

  it.each(Object.entries(others))("that is given to forwardBackward arrives: %s %j", (name, value) => {
    // dr_grpo, which any of them may go with, needs this one.
    const native = toNativeLoss({ maxCompletionLength: 8, [name]: value });
    const arrived = echo.lossOptions(native);
    expect(arrived).toEqual(native);
    expect(Reflect.get(arrived, name)).toBe(value);
  });

  it("that is given to GRPOConfig arrives, with all the others", async () => {
    const given = { ...otherValues(optionsSchema(lossFields)()), ...otherValues(optionsSchema(microBatchFields)()) };
    const policy = await firstStep({ ...given, temperature: 0.5 });
    const options = first(policy.losses);
    expect(rowsPerSliceOf(options)).toBe(4);
    expect(echo.lossOptions(toNativeLoss(options))).toMatchObject({
      ...given,
      temperature: 0.5,
      maxCompletionLength: 8,
      gradientAccumulationSteps: 1,
    });
  });

  it("that is null arrives as none", () => {
    const native = toNativeLoss({ delta: null, offPolicyMaskThreshold: null, epsilonHigh: null, epsilon: 0.3 });
    expect(echo.lossOptions(native)).toMatchObject({ delta: null, offPolicyMaskThreshold: null, epsilonHigh: 0.3 });
  });
});

describe("an option of an optimizer", () => {
  const names = Object.keys(optimizers) as OptimizerName[];
  const others = (name: OptimizerName): Values => otherValues(optionsSchema(optimizers[name].own)());
  // Nesterov and dampening exclude each other.
  const apart = ({ dampening, ...rest }: Values): Values[] =>
    dampening === undefined ? [rest] : [rest, { ...rest, nesterov: false, dampening }];

  const arrives = (given: OptimizerStepOptions) => {
    const native = toNativeOptimizer(given);
    const arrived = echo.optimizerOptions(native);
    expect(arrived).toMatchObject(native);
    return arrived;
  };

  it.each(names.flatMap((name) => apart(others(name)).map((own) => ({ name, own }))))(
    "arrives from optimizerStep and from GRPOConfig: %j",
    async ({ name, own }) => {
      const { optimizer: _, ...shared } = otherValues(optionsSchema(stepFields)());
      expect(arrives({ learningRate: 1, ...shared, ...own, optimizer: name })).toMatchObject({ ...shared, ...own });

      const policy = await firstStep({
        optim: first(optimizers[name].optim),
        optimArgs: renameKeys(own, toSnake),
        lrSchedulerType: "constant",
        learningRate: 0.5,
        adamBeta1: 0.25,
        adamBeta2: 0.5,
        adamEpsilon: 3,
        weightDecay: 7,
        maxGradNorm: 0.25,
        loraplusLrRatio: 3,
        loraplusLrEmbedding: 0.25,
      });
      expect(arrives(first(policy.optimizerSteps))).toMatchObject({
        ...own,
        learningRate: 0.5,
        beta1: 0.25,
        beta2: 0.5,
        epsilon: 3,
        weightDecay: 7,
        maxGradNorm: 0.25,
        loraPlusRatio: 3,
        loraPlusEmbeddingRate: 0.25,
      });
    },
  );

  it("has the same name on both sides, and neither side has more", () => {
    const sent = names.flatMap((name) => Object.keys(toNativeOptimizer({ learningRate: 1, optimizer: name })));
    const arrived = Object.keys(echo.optimizerOptions(toNativeOptimizer({ learningRate: 1 })));
    expect(new Set(sent)).toEqual(new Set(arrived));
  });

  it("of another optimizer is refused", () => {
    expect(() => toNativeOptimizer({ learningRate: 1, momentum: 0.9 })).toThrow(
      expect.objectContaining({ code: "UNKNOWN_OPTION", message: expect.stringContaining("momentum") }),
    );
  });
});

/** One that is forgotten does not compile. */
const sortedNames = <T>(names: { readonly [Name in keyof T]-?: true }) => [...namesOf<T>(names)].sort();

describe("what is sampled and trained on", () => {
  const requestNames = sortedNames<NativeSampleRequest>({
    promptIds: true,
    promptOffsets: true,
    promptKeys: true,
    groupSize: true,
    maxNewTokens: true,
    doSample: true,
    temperature: true,
    topP: true,
    topK: true,
    minP: true,
    repetitionPenalty: true,
    stopIds: true,
    minNewTokens: true,
    noRepeatNgramSize: true,
    badWordIds: true,
    badWordOffsets: true,
    suppressTokens: true,
    beginSuppressTokens: true,
    forcedEosTokens: true,
    stopStrings: true,
    tokenBytes: true,
    tokenOffsets: true,
    constrained: true,
    seed: true,
    step: true,
    maxRows: true,
    contextLength: true,
    graphCapture: true,
    plain: true,
  });
  const batchNames = sortedNames<NativeTrainBatch>({
    promptIds: true,
    promptOffsets: true,
    completionIds: true,
    completionOffsets: true,
    promptOf: true,
    contextLength: true,
    advantages: true,
    tokenAdvantages: true,
    oldLogprobs: true,
    referenceLogprobs: true,
    samplingLogprobs: true,
    importanceRatios: true,
    lossMask: true,
    sliceOffsets: true,
  });

  it("arrives as a request, all of it", () => {
    const request: Required<NativeSampleRequest> = {
      ...sampleRequest(
        [[1, 2], [3]],
        {
          groupSize: 2,
          maxNewTokens: 3,
          doSample: false,
          temperature: 0.5,
          topP: 0.25,
          topK: 7,
          minP: 0.125,
          repetitionPenalty: 1.5,
          stopIds: [4],
          minNewTokens: 1,
          noRepeatNgramSize: 11,
          badWordsIds: [[1, 2], [3], [4]],
          suppressTokens: [5, 6],
          beginSuppressTokens: [7],
          forcedEosTokenId: 8,
          stopStrings: ["ab"],
          tokenizer: { tokenBytes: () => ({ bytes: Uint8Array.of(97, 98), offsets: Int32Array.of(0, 1, 2) }) },
          seed: 5,
          step: 6,
          promptKeys: [8, 9],
          maxRows: 10,
          graphCapture: true,
        },
        { vocabSize: 10, maxPositions: 16, eosTokenIds: [9], ownGeneration: { file: "config.json", values: {} } },
      ),
      contextLength: 12,
      constrained: true,
      plain: true,
    } as Required<NativeSampleRequest>;
    expect(echo.sampleRequest(request)).toEqual(request);
    expect(Object.keys(echo.sampleRequest(request)).sort()).toEqual(requestNames);
    expect(request).toMatchObject({
      groupSize: 2,
      maxNewTokens: 3,
      doSample: false,
      temperature: 0.5,
      topP: 0.25,
      topK: 7,
    });
    expect(request).toMatchObject({
      minP: 0.125,
      repetitionPenalty: 1.5,
      seed: 5,
      step: 6,
      maxRows: 10,
      graphCapture: true,
    });
    expect(request.promptKeys).toEqual(Int32Array.of(8, 9));
    expect(request).toMatchObject({
      stopIds: Int32Array.of(9, 4),
      minNewTokens: 1,
      noRepeatNgramSize: 11,
      badWordIds: Int32Array.of(1, 2, 3),
      badWordOffsets: Int32Array.of(0, 2, 3),
      suppressTokens: Int32Array.of(5, 6),
      beginSuppressTokens: Int32Array.of(7),
      forcedEosTokens: Int32Array.of(8),
    });
  });

  it("arrives as a batch, all of it", () => {
    const batch = toNativeBatch(
      {
        promptIds: [[1, 2], [1, 2], [3]],
        completionIds: [[4], [5, 6], []],
        advantages: [1, -1, 0.5],
        tokenAdvantages: [[2], [0, -2], []],
        oldLogprobs: [[-1], [-2, -3], []],
        referenceLogprobs: [[-4], [-5, -6], []],
        samplingLogprobs: [[-7], [-8, -9], []],
        importanceRatios: [[0.5], [1, 3], []],
        lossMask: [[1], [0, 1], []],
        contextLength: 12,
      },
      { reference: true, rowsPerSlice: 2 },
      10,
    ) as Required<NativeTrainBatch>;
    expect(echo.trainBatch(batch)).toEqual(batch);
    expect(Object.keys(echo.trainBatch(batch)).sort()).toEqual(batchNames);
    expect(batch.sliceOffsets).toEqual(Int32Array.of(0, 2, 3));
  });

  it("may leave out what is optional", () => {
    const { contextLength, oldLogprobs } = echo.trainBatch(
      toNativeBatch(
        { promptIds: [[1]], completionIds: [[2]], advantages: [1] },
        { reference: false, rowsPerSlice: 0 },
        10,
      ),
    );
    expect({ contextLength, oldLogprobs }).toEqual({ contextLength: 0, oldLogprobs: new Float32Array() });
  });
});

describe("what a model is made of", () => {
  it("arrives as a configuration, all of it", async () => {
    const config = await tinyConfig();
    expect(echo.modelConfig(config)).toEqual(config);
  });

  it("arrives as an adapter and as a table of tensors, all of it", () => {
    const spec: NativeAdapterSpec = {
      tensors: [
        { name: "lm_head.lora_A.weight", shape: [4, 8] },
        { name: "model.norm.weight", shape: [8] },
      ],
      pairs: [{ module: "lm_head", scaling: 0.5 }],
      dropout: 0.25,
      init: "pissa",
      initIterations: 3,
      tokenRows: [{ module: "lm_head", ids: Int32Array.of(1, 2) }],
      tieOutput: true,
      seed: 7,
    };
    expect(echo.adapterSpec(spec)).toEqual(spec);
    const tensors = [{ name: "a", file: 1, offset: 2 ** 40, bytes: 8, dtype: "F32", shape: [2, 1] }];
    const table: NativeTensorTable = { files: ["x", "y"], tensors };
    expect(echo.tensorTable(table)).toEqual(table);
  });
});

it("the estimate of memory goes by the engine's own limits", () => {
  expect(loadCore().limits).toEqual(ENGINE_LIMITS);
});

describe("a foreign caller's object is refused", () => {
  const loss = toNativeLoss({});
  const optimizer: NativeOptimizer = toNativeOptimizer({ learningRate: 1 });
  const { beta: _, ...withoutBeta } = loss;

  it.each<[string, () => unknown, string]>([
    ["that is none", () => echo.lossOptions("grpo" as never), "argument 0 must be an object"],
    ["without a field", () => echo.lossOptions(withoutBeta as never), "beta must be a number"],
    ["with a text for a number", () => echo.lossOptions({ ...loss, beta: "1" as never }), "beta must be a number"],
    [
      "with a number for a flag",
      () => echo.lossOptions({ ...loss, skipIdleRows: 1 as never }),
      "skipIdleRows must be a boolean",
    ],
    [
      "with half a token",
      () => echo.lossOptions({ ...loss, maxCompletionLength: 0.5 }),
      "maxCompletionLength must be a whole number",
    ],
    [
      "with no number",
      () => echo.lossOptions({ ...loss, maxCompletionLength: Number.NaN }),
      "maxCompletionLength must be a whole number",
    ],
    ["with a seed below 0", () => echo.lossOptions({ ...loss, dropoutSeed: -1 }), "dropoutSeed must not be negative"],
    ["with an unknown choice", () => echo.lossOptions({ ...loss, lossType: "ppo" as never }), "lossType cannot be ppo"],
    [
      "with a share above 1",
      () => echo.lossOptions({ ...loss, topEntropyQuantile: 2 }),
      "topEntropyQuantile must be between 0 and 1",
    ],
    [
      "with a number for a text",
      () => echo.optimizerOptions({ ...optimizer, optimizer: 1 as never }),
      "optimizer must be a string",
    ],
    [
      "with an array of another type",
      () => echo.trainBatch({ promptIds: new Float32Array() } as never),
      "promptIds must be a typed array",
    ],
    [
      "with one value for a list",
      () => echo.tensorTable({ files: "x" as never, tensors: [] }),
      "files must be an array",
    ],
    [
      "with a wrong element",
      () => echo.tensorTable({ files: [1 as never], tensors: [] }),
      "an element of files must be a string",
    ],
  ])("%s", (_name, call, message) => {
    expect(call).toThrow(expect.objectContaining({ code: "BAD_INPUT", message: expect.stringContaining(message) }));
  });
});
