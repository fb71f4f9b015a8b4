// What a model is given, before the engine sees it: batches, sampling and loss options, devices.

import { describe, expect, it } from "vitest";
import type { JsonObject } from "../../lib/json.js";
import { resolveDevice } from "../../lib/model/device.js";
import { flattenBatch, flattenFloats, flattenIds, flattenMasks, splitFloats } from "../../lib/model/ragged.js";
import { generateToSample, type ModelSampleOptions, sampledGroup, sampleRequest } from "../../lib/model/sampling.js";
import { toNativeLoss } from "../../lib/options/loss.js";

const own = (values: JsonObject) => ({ file: "generation_config.json", values });
const model = { vocabSize: 10, maxPositions: 16, eosTokenIds: [9, 8], ownGeneration: own({}) };

const pairs = (promptIds: number[][], completionIds: number[][]) => ({ promptIds, completionIds });

describe("ragged lists", () => {
  it("become one flat array with offsets, and come back", () => {
    expect(flattenIds("prompt", [[1, 2], [], [3]], 10)).toEqual({
      ids: Int32Array.of(1, 2, 3),
      offsets: Int32Array.of(0, 2, 2, 3),
    });
    expect(splitFloats(Float32Array.of(1, 2, 3), [0, 2, 2, 3])).toEqual([
      Float32Array.of(1, 2),
      new Float32Array(),
      Float32Array.of(3),
    ]);
    expect(flattenFloats("x", [[1], [2, 3]], Int32Array.of(0, 1, 3))).toEqual(Float32Array.of(1, 2, 3));
    expect(flattenMasks("x", [[1], Uint8Array.of(0, 1)], Int32Array.of(0, 1, 3))).toEqual(Uint8Array.of(1, 0, 1));
  });

  it("share a prompt that several completions in a row continue", () => {
    const batch = flattenBatch(pairs([[1, 2], [1, 2], [3], [1, 2]], [[4], [5, 6], [7], []]), 10);
    expect(batch.promptIds).toEqual(Int32Array.of(1, 2, 3, 1, 2));
    expect(batch.promptOffsets).toEqual(Int32Array.of(0, 2, 3, 5));
    expect(batch.promptOf).toEqual(Int32Array.of(0, 0, 1, 2));
    expect(batch.completionOffsets).toEqual(Int32Array.of(0, 1, 3, 4, 4));
  });

  it.each([
    ["text", ["hello"], /prompt 0: expected a list of token ids, found "hello"/],
    ["one flat list", [1, 2], /prompt 0: expected a list.*found 1/],
    [
      "an id outside the vocabulary",
      [[1], [2, 10]],
      /prompt 1: expected a token id from 0 to 9 at position 1, found 10/,
    ],
    ["a negative id", [[-1]], /found -1/],
    ["a fraction", [[0.5]], /found 0\.5/],
    ["a hole", [[1, undefined]], /found undefined/],
    ["no list", undefined, /expected a list of prompts/],
  ])("refuse %s", (_, lists, message) => {
    expect(() => flattenIds("prompt", lists as number[][], 10)).toThrow(
      expect.objectContaining({ code: "BAD_INPUT", message: expect.stringMatching(message) }),
    );
  });

  it("refuse prompts and completions that do not pair up, and a prompt of nothing", () => {
    expect(() => flattenBatch(pairs([[1]], [[2], [3]]), 10)).toThrow(/one prompt for each/);
    expect(() => flattenBatch(pairs([[]], [[2]]), 10)).toThrow(/prompt 0 is empty/);
    expect(() => flattenFloats("oldLogprobs", [[1, 2]], Int32Array.of(0, 1))).toThrow(/oldLogprobs\[0\]: expected 1/);
    expect(() => flattenFloats("oldLogprobs", [], Int32Array.of(0, 1))).toThrow(/expected 1 oldLogprobs, found 0/);
  });
});

describe("sampleRequest", () => {
  const read = (options: object, prompts: number[][] = [[1, 2]]) =>
    sampleRequest(prompts, { groupSize: 2, maxNewTokens: 4, ...options } as ModelSampleOptions, model);

  it("turns everything off that is not asked for", () => {
    expect(read({})).toMatchObject({ doSample: true, temperature: 1, topP: 1, topK: 0, minP: 0, repetitionPenalty: 1 });
    expect(read({}, [[1], [2]]).promptKeys).toEqual(Int32Array.of(0, 1));
  });

  it("stops on the model's own ids and the given ones", () => {
    expect(read({ stopIds: [3, 9] }).stopIds).toEqual(Int32Array.of(9, 8, 3));
  });

  it("passes over stop ids that only the tokenizer has", () => {
    expect(read({ stopIds: [3, 10, 151_645] }).stopIds).toEqual(Int32Array.of(9, 8, 3));
  });

  it("takes greedy decoding at temperature 0 for greedy decoding", () => {
    expect(read({ doSample: false, temperature: 0 })).toMatchObject({ doSample: false, temperature: 1 });
  });

  it.each([
    ["an unknown option", { topp: 0.5 }, "UNKNOWN_OPTION", /topp.*\n.*topP/],
    ["no token limit", { maxNewTokens: undefined }, "BAD_OPTION", /maxNewTokens.*undefined/],
    ["a temperature of zero", { temperature: 0 }, "BAD_OPTION", /temperature must be a number above 0/],
    ["topP above one", { topP: 1.1 }, "BAD_OPTION", /topP/],
    ["topP of zero", { topP: 0 }, "BAD_OPTION", /topP/],
    ["a negative topK", { topK: -1 }, "BAD_OPTION", /topK/],
    ["a group of none", { groupSize: 0 }, "BAD_OPTION", /groupSize/],
    ["a seed as text", { seed: "1" }, "BAD_OPTION", /seed/],
    ["keys that do not fit", { promptKeys: [1, 2] }, "BAD_OPTION", /promptKeys/],
    ["a stop id that is none", { stopIds: [-1] }, "BAD_INPUT", /stopIds/],
    ["a negative temperature of greedy decoding", { doSample: false, temperature: -1 }, "BAD_OPTION", /temperature/],
    ["tokens to suppress that are none", { suppressTokens: ["a"] }, "BAD_OPTION", /suppressTokens/],
    ["a word of no token", { badWordsIds: [[10]] }, "BAD_OPTION", /badWordsIds/],
    ["an end that the model does not have", { forcedEosTokenId: 10 }, "BAD_OPTION", /forcedEosTokenId/],
    ["half an n-gram", { noRepeatNgramSize: 1.5 }, "BAD_OPTION", /noRepeatNgramSize/],
    ["a length beyond the model's positions", { maxNewTokens: 15 }, "BAD_INPUT", /prompt 0 has 2 tokens.*16 positions/],
  ])("refuses %s", (_, options, code, message) => {
    expect(() => read(options)).toThrow(expect.objectContaining({ code, message: expect.stringMatching(message) }));
  });

  it("refuses a prompt of nothing and takes one that just fits", () => {
    expect(() => read({}, [[1], []])).toThrow(expect.objectContaining({ code: "BAD_INPUT" }));
    expect(read({ maxNewTokens: 14 }).maxNewTokens).toBe(14);
  });
});

describe("generate's options", () => {
  const read = (options: object, generationConfig = {}) =>
    generateToSample([[1, 2, 3]], options, { ...model, ownGeneration: own(generationConfig) });

  it("are greedy by default, sampled if a sampling option is given", () => {
    expect(read({})).toMatchObject({ doSample: false, maxNewTokens: 13, groupSize: 1 });
    expect(read({ temperature: 0.5 }).doSample).toBe(true);
    expect(read({ temperature: 0.5, doSample: false }).doSample).toBe(false);
  });

  it("come from generation_config.json where they are not given", () => {
    const own = {
      do_sample: true,
      temperature: 0.7,
      top_p: 0.8,
      top_k: 20,
      repetition_penalty: 1.1,
      max_new_tokens: 5,
    };
    const expected = { doSample: true, temperature: 0.7, topP: 0.8, topK: 20, repetitionPenalty: 1.1, maxNewTokens: 5 };
    expect(read({}, own)).toMatchObject(expected);
    expect(read({ topK: 0, repetitionPenalty: 1 }, own)).toMatchObject({ topK: 0, repetitionPenalty: 1, topP: 0.8 });
    expect(read({ temperature: undefined, topP: 0.5 }, { ...own, top_p: "a" })).toMatchObject({
      temperature: 0.7,
      topP: 0.5,
    });
  });

  it("refuse what they do not know", () => {
    expect(() => read({ maxTokens: 3 })).toThrow(expect.objectContaining({ code: "UNKNOWN_OPTION" }));
    expect(() => read({ stop: ["</answer>"] })).toThrow(expect.objectContaining({ code: "BAD_OPTION" }));
    expect(() => read({ numReturnSequences: 0 })).toThrow(expect.objectContaining({ code: "BAD_OPTION" }));
  });
});

describe("sampledGroup", () => {
  it("splits a group into completions", () => {
    const group = sampledGroup({
      prompt: 3,
      ids: Int32Array.of(1, 9, 2),
      offsets: Int32Array.of(0, 2, 3),
      logprobs: Float32Array.of(-1, -2, -3),
      finish: Uint8Array.of(0, 1),
    });
    expect(group).toEqual({
      prompt: 3,
      completions: [
        { ids: [1, 9], logprobs: Float32Array.of(-1, -2), finishReason: "eos" },
        { ids: [2], logprobs: Float32Array.of(-3), finishReason: "length" },
      ],
    });
  });
});

describe("toNativeLoss", () => {
  it("has TRL's defaults", () => {
    const expected = { lossType: "dapo", beta: 0, epsilon: 0.2, epsilonHigh: 0.2, useBiasCorrectionKl: true };
    expect(toNativeLoss({})).toMatchObject(expected);
    expect(toNativeLoss({ epsilon: 0.1 })).toMatchObject({ epsilon: 0.1, epsilonHigh: 0.1 });
    expect(toNativeLoss({ epsilon: 0.1, epsilonHigh: 0.3 }).epsilonHigh).toBe(0.3);
    const off = { delta: null, offPolicyMaskThreshold: null };
    expect(toNativeLoss({ delta: null })).toMatchObject({
      ...off,
      importanceSamplingLevel: "token",
      topEntropyQuantile: 1,
    });
  });

  it.each([
    ["an unknown loss", { lossType: "ppo" }, "BAD_OPTION", /lossType must be one of dapo, grpo, .*, found "ppo"/],
    ["dr_grpo without its divisor", { lossType: "dr_grpo" }, "BAD_OPTION", /maxCompletionLength/],
    ["a share above 1", { topEntropyQuantile: 1.2 }, "BAD_OPTION", /topEntropyQuantile/],
    ["a gate without temperature", { sapoTemperatureNeg: 0 }, "BAD_OPTION", /sapoTemperatureNeg/],
    ["an unknown option", { epsilonLow: 0.2 }, "UNKNOWN_OPTION", /epsilonLow/],
    ["a negative beta", { beta: -1 }, "BAD_OPTION", /beta/],
    ["an infinite epsilon", { epsilon: Number.POSITIVE_INFINITY }, "BAD_OPTION", /epsilon/],
    ["half a slice", { gradientAccumulationSteps: 0.5 }, "BAD_OPTION", /gradientAccumulationSteps/],
  ])("refuses %s", (_, options, code, message) => {
    expect(() => toNativeLoss(options as object)).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(message) }),
    );
  });
});

describe("resolveDevice", () => {
  const coreOf = (
    devices: { type: string; count: number }[],
    tryDevice: (device: string) => void = () => undefined,
  ) => {
    return { devices: () => [...devices, { type: "cpu", count: 1 }], tryDevice };
  };
  const cpu = coreOf([]);
  const gpus = coreOf([{ type: "cuda", count: 2 }]);

  it("takes the first accelerator, or the CPU", () => {
    expect(resolveDevice("auto", cpu)).toBe("cpu");
    expect(resolveDevice("auto", gpus)).toBe("cuda:0");
    expect(resolveDevice("auto", coreOf([{ type: "mps", count: 1 }]))).toBe("mps");
    expect(resolveDevice("cpu", gpus)).toBe("cpu");
    expect(resolveDevice("cuda", gpus)).toBe("cuda:0");
    expect(resolveDevice("cuda:1", gpus)).toBe("cuda:1");
  });

  it("leaves an accelerator that does not compute, and says why", async () => {
    const warned = new Promise<Error>((resolve) => process.once("warning", resolve));
    const broken = coreOf([{ type: "cuda", count: 1 }], (device) => {
      throw new Error(`${device} has no kernels`);
    });
    expect(resolveDevice("auto", broken)).toBe("cpu");
    expect((await warned).message).toBe("cuda:0 has no kernels");
    expect(resolveDevice("cuda", broken)).toBe("cuda:0");
  });

  it("says what is there when the device that was asked for is not", () => {
    const code = "DEVICE_UNAVAILABLE";
    const error = (pattern: RegExp) => expect.objectContaining({ code, message: expect.stringMatching(pattern) });
    expect(() => resolveDevice("cuda", cpu)).toThrow(error(/no cuda device/));
    expect(() => resolveDevice("cuda:2", gpus)).toThrow(error(/2 cuda device/));
    expect(() => resolveDevice("mps", gpus)).toThrow(error(/no mps device/));
  });

  it.each(["gpu", "cuda:x", "cpu:1", ""])("refuses %j as a device", (device) => {
    expect(() => resolveDevice(device, gpus)).toThrow(expect.objectContaining({ code: "BAD_OPTION" }));
  });
});
