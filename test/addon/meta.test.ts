// Every verb on the meta device, whose tensors have shapes but no data: whatever read a tensor on the side would throw. And the
// number of read-backs, each of which stops an accelerator's queue, there and on the CPU.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { AdapterSpec } from "../../lib/model/lora/adapter-tensors.js";
import type { NativeEngine, NativeSampleRequest } from "../../lib/native/native.js";
import { LOSS_TYPES, type LossOptions, toNativeLoss } from "../../lib/options/loss.js";
import { ADAMW, BATCH, LOSS, PROMPTS, REQUEST, rawEngine, rawModel } from "./raw-engine.js";

/** Of sampling: the kernels of the CPU leave nothing to read back; `plain` is what accelerators run. */
const readBacks = (device: string, plain: boolean, count: number) => (device === "cpu" && !plain ? 0 : count);

describe.each([
  ["meta", false],
  ["cpu", true],
  ["cpu", false],
] as const)("on device %s, plain %s", (device, plain) => {
  let engine: NativeEngine;
  beforeAll(async () => {
    // Two threads would take a micro-batch each.
    engine = await rawEngine(device, {}, 1);
  });
  afterAll(() => engine.dispose());

  async function syncsOf(job: () => Promise<unknown>): Promise<number> {
    const before = engine.syncs();
    await job();
    return engine.syncs() - before;
  }

  async function sample(options: Partial<NativeSampleRequest>) {
    let groups = 0;
    let decodeSteps = 0;
    const syncs = await syncsOf(async () => {
      const stats = await engine.sample({ ...REQUEST, plain, ...options }, () => groups++);
      decodeSteps = stats.decodeSteps;
    });
    return { syncs, groups, decodeSteps };
  }

  const variants: Partial<NativeSampleRequest>[] = [
    {},
    { doSample: false },
    { topP: 0.9 },
    { topK: 5 },
    { minP: 0.1 },
    { repetitionPenalty: 1.2 },
    { temperature: 1, topP: 0.9, topK: 5, minP: 0.1, repetitionPenalty: 1.2 },
    { doSample: false, repetitionPenalty: 1.2 },
  ];
  it.each(variants)("sampling reads back once a token, with %o", async (options) => {
    // All three prompts are one pass, which gives the first token; eight steps give the others.
    expect(await sample(options)).toEqual({ syncs: readBacks(device, plain, 1 + 8), groups: 3, decodeSteps: 8 });
  });

  it("sampling group after group reads back once a pass over prompts more", async () => {
    const syncs = readBacks(device, plain, 3 * (1 + 8));
    expect(await sample({ maxRows: 2 })).toEqual({ syncs, groups: 3, decodeSteps: 3 * 8 });
  });

  it("logprobs reads back once", async () => {
    expect(await syncsOf(() => engine.logprobs(BATCH, 0.9))).toBe(1);
  });

  it("forward reads back once", async () => {
    expect(await syncsOf(() => engine.forward(PROMPTS.promptIds, PROMPTS.promptOffsets))).toBe(1);
  });

  const losses: LossOptions[] = [
    ...LOSS_TYPES.map((lossType) => ({ lossType, maxCompletionLength: 4 })),
    { importanceSamplingLevel: "sequence", offPolicyMaskThreshold: 0.1, delta: 2 },
    { topEntropyQuantile: 0.5, entropyCoef: 0.1 },
  ];
  it.each(losses)("forwardBackward of %o reads back once, however many micro-batches", async (variant) => {
    const batch = { ...BATCH, advantages: Float32Array.from([1, -1, 0.5, 2, -2]) };
    const [oldLogprobs, referenceLogprobs] = [new Float32Array(8).fill(-6), new Float32Array(8).fill(-5)];
    const microBatches: number[] = [];
    const run = async (loss: Partial<typeof LOSS>, more = {}) => {
      const { temperature, maxTokensPerMicroBatch, dropoutSeed } = LOSS;
      const options = { beta: 0.04, temperature, maxTokensPerMicroBatch, dropoutSeed, ...variant };
      const result = await engine.forwardBackward({ ...batch, ...more }, { ...toNativeLoss(options), ...loss });
      microBatches.push(result.microBatches);
    };
    expect(await syncsOf(() => run({}, { oldLogprobs, referenceLogprobs }))).toBe(1);
    expect(await syncsOf(() => run({ beta: 0, maxTokensPerMicroBatch: 8192 }))).toBe(1);
    expect(microBatches).toEqual([3, 1]);
  });

  it("an optimizer step reads back once", async () => {
    expect(await syncsOf(() => engine.optimizerStep(ADAMW))).toBe(1);
    expect(await syncsOf(() => engine.optimizerStep({ ...ADAMW, maxGradNorm: 0, weightDecay: 0 }))).toBe(1);
  });

  it("clearing the gradient and switching the adapter read nothing back", async () => {
    const job = async () => {
      await engine.zeroGrad();
      await engine.setAdapterEnabled(false);
      await engine.setAdapterEnabled(true);
    };
    expect(await syncsOf(job)).toBe(0);
  });
});

const attention = "model.layers.0.self_attn";
const embedding = "model.embed_tokens";
const kinds: readonly [string, Partial<AdapterSpec>][] = [
  ["magnitudes, pairs on embedding and output", { dora: true, targets: pairs([`${attention}.q_proj`, "lm_head"]) }],
  ["a pair on the embedding", { targets: pairs([embedding]) }],
  [
    "biases and rows of tokens",
    { biases: [`${attention}.k_proj`], tokenRows: [{ module: embedding, ids: ids(5, 9) }] },
  ],
  ["modules in full", { targets: [], fullModules: [embedding, "lm_head", "model.norm", `${attention}.o_proj`] }],
  ["PiSSA", { init: "pissa", targets: pairs([`${attention}.v_proj`]) }],
];

describe.each(["meta", "cpu"])("on device %s, an adapter of", (device) => {
  it.each(kinds)("%s reads back as often as any", async (_, spec) => {
    const engine = await rawEngine(device, spec);
    await expectUsualReadBacks(engine);
    await engine.mergeAdapters(["default"], { safe: false });
    await engine.unmergeAdapters();
    engine.dispose();
  });
});

describe.each(["meta", "cpu"])("on device %s, a model in full", (device) => {
  it.each(["float32", "bfloat16"] as const)("of %s reads back as often as an adapter", async (dtype) => {
    const engine = await rawModel(device, dtype);
    await engine.trainAll();
    await engine.makeReference();
    await expectUsualReadBacks(engine);
    await engine.mixReference(0.5);
    engine.dispose();
  });
});

async function expectUsualReadBacks(engine: NativeEngine): Promise<void> {
  const batch = { ...BATCH, advantages: Float32Array.from([1, -1, 0.5, 2, -2]) };
  const jobs: [() => Promise<unknown>, number][] = [
    [() => engine.sample({ ...REQUEST, plain: true }, () => {}), 9],
    [() => engine.logprobs(BATCH, 0.9, true), 1],
    [() => engine.forwardBackward(batch, { ...LOSS, beta: 0 }), 1],
    [() => engine.optimizerStep(ADAMW), 1],
  ];
  for (const [job, expected] of jobs) {
    const before = engine.syncs();
    await job();
    expect(engine.syncs() - before).toBe(expected);
  }
}

function pairs(modules: readonly string[]) {
  return modules.map((module) => ({ module, rank: 8, scaling: 4 }));
}

function ids(...values: number[]): Int32Array {
  return Int32Array.from(values);
}
