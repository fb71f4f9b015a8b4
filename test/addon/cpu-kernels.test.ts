// The kernels that decode and draw on a CPU, against the plain path of the same engine: same tokens, same log-probabilities, for
// everything that an adapter can change, for weights in both dtypes, and for batches that fill and do not fill their tiles.

import path from "node:path";
import { describe, expect, it } from "vitest";
import { buildHeader, readWeights } from "../../lib/model/files/safetensors.js";
import type { AdapterSpec } from "../../lib/model/lora/adapter-tensors.js";
import { flattenIds } from "../../lib/model/ragged.js";
import type {
  NativeBatch,
  NativeDtype,
  NativeEngine,
  NativeGroup,
  NativeSampleRequest,
} from "../../lib/native/native.js";
import { temporaryFolder } from "../model/folders.js";
import { largestDifference } from "./golden.js";
import { ADAMW, BATCH, LOSS, PROMPTS, REQUEST, rawEngine, rawModel } from "./raw-engine.js";

/** Prompts of 70 and 1 tokens: more and less than any vector or tile. */
const LONG = {
  promptIds: Int32Array.from({ length: 71 }, (_, i) => (i * 37) % 400),
  promptOffsets: Int32Array.from([0, 70, 71]),
  promptKeys: Int32Array.from([0, 1]),
};

async function groupsOf(engine: NativeEngine, request: NativeSampleRequest): Promise<NativeGroup[]> {
  const groups: NativeGroup[] = [];
  await engine.sample(request, (group) => groups.push(group));
  return groups.sort((a, b) => a.prompt - b.prompt);
}

/** The same tokens; log-probabilities but for sums in another order. */
async function expectAsPlain(engine: NativeEngine, options: Partial<NativeSampleRequest>): Promise<void> {
  const request = { ...REQUEST, ...options };
  const [plain, fast] = [await groupsOf(engine, { ...request, plain: true }), await groupsOf(engine, request)];
  expect(fast.map(({ ids }) => ids)).toEqual(plain.map(({ ids }) => ids));
  expect(fast.map(({ finish }) => finish)).toEqual(plain.map(({ finish }) => finish));
  fast.forEach(({ logprobs }, i) => {
    expect(largestDifference(logprobs, plain[i]?.logprobs ?? [])).toBeLessThan(2e-5);
  });
}

/** The plain path rounds no keys, values and scores to bfloat16: both are held against the same weights in float64. */
async function expectNearFloat64(engine: NativeEngine, options: Partial<NativeSampleRequest>): Promise<void> {
  const request = { ...REQUEST, ...options };
  const groups = await groupsOf(engine, request);
  const batch = batchOf(request, groups);
  const exactly = await inFloat64(engine);
  const exact = await exactly.logprobs(batch, request.temperature);
  exactly.dispose();
  const fast = groups.flatMap(({ logprobs }) => Array.from(logprobs));
  expect(fast).toHaveLength(batch.completionIds.length);
  expect(Math.sqrt(meanSquare(fast, exact))).toBeLessThan(0.0015);
}

const expectRight = (dtype: NativeDtype) => (dtype === "bfloat16" ? expectNearFloat64 : expectAsPlain);

function batchOf(
  { promptIds, promptOffsets, groupSize }: NativeSampleRequest,
  groups: readonly NativeGroup[],
): NativeBatch {
  const completions = groups.flatMap(({ ids, offsets }) =>
    Array.from(offsets.subarray(1), (end, i) => Array.from(ids.subarray(offsets[i], end))),
  );
  const { ids, offsets } = flattenIds("completion", completions, 512);
  const promptOf = Int32Array.from(completions, (_, i) => Math.floor(i / groupSize));
  return { promptIds, promptOffsets, completionIds: ids, completionOffsets: offsets, promptOf };
}

async function inFloat64(engine: NativeEngine): Promise<NativeEngine> {
  const exact = await rawModel("cpu", "float64");
  const folder = await temporaryFolder();
  const tensors = await engine.tensors("model");
  const names = tensors.map(({ name }) => name);
  await engine.saveSet("model", path.join(folder, "model.safetensors"), buildHeader(tensors), names);
  await exact.loadModel(await readWeights(folder));
  return exact;
}

function meanSquare(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return Array.from(a, (value, i) => (value - (b[i] ?? Number.NaN)) ** 2).reduce((x, y) => x + y, 0) / a.length;
}

/** Steps that move what the adapter has, so that none of it is zero. */
async function train(engine: NativeEngine): Promise<void> {
  const batch = { ...BATCH, advantages: Float32Array.from([1, -1, 0.5, 2, -2]) };
  for (let step = 0; step < 2; step++) {
    await engine.forwardBackward(batch, { ...LOSS, beta: 0 });
    await engine.optimizerStep({ ...ADAMW, learningRate: 0.02 });
  }
}

describe.each(["float32", "bfloat16"] satisfies NativeDtype[])("with weights in %s", (dtype) => {
  it.each([1, 2, 3, 4, 5, 8, 13, 60])(
    "decodes %i completions of a prompt as the plain path does",
    async (groupSize) => {
      const engine = await rawModel("cpu", dtype);
      await expectRight(dtype)(engine, { ...LONG, groupSize, maxNewTokens: 12, maxRows: 128 });
      engine.dispose();
    },
  );

  it("decodes rows that enter and leave", async () => {
    const engine = await rawModel("cpu", dtype);
    // A third of the vocabulary ends a completion, and the cache grows on the way.
    const stopIds = Int32Array.from({ length: 8 }, (_, i) => i * 60);
    await expectRight(dtype)(engine, { groupSize: 2, maxNewTokens: 90, maxRows: 4, stopIds });
    engine.dispose();
  });

  it("decodes a model that is trained in full", async () => {
    const engine = await rawModel("cpu", dtype);
    await engine.trainAll();
    await train(engine);
    await expectRight(dtype)(engine, {});
    engine.dispose();
  });
});

describe("an adapter with", () => {
  const attention = "model.layers.0.self_attn";
  const embedding = "model.embed_tokens";
  const targets = (...modules: string[]) => modules.map((module) => ({ module, rank: 5, scaling: 4 }));
  const ids = Int32Array.from([5, 9, 300]);
  const kinds: [string, Partial<AdapterSpec>][] = [
    ["pairs on all linear layers", {}],
    ["magnitudes, and pairs on embedding and output", { dora: true, targets: targets(embedding, "lm_head") }],
    ["magnitudes", { dora: true }],
    ["PiSSA", { init: "pissa" }],
    ["magnitudes and OLoRA", { init: "olora", dora: true, targets: targets(`${attention}.v_proj`) }],
    ["biases", { biases: [`${attention}.k_proj`, "model.layers.1.self_attn.q_proj"] }],
    ["rows of tokens", { targets: [], tokenRows: [{ module: embedding, ids }] }],
    ["modules in full", { targets: [], fullModules: [embedding, "lm_head", "model.norm", `${attention}.k_proj`] }],
  ];
  it.each(kinds)("%s decodes as the plain path does", async (_, spec) => {
    const engine = await rawEngine("cpu", spec);
    await train(engine);
    await expectAsPlain(engine, { groupSize: 3 });
    engine.dispose();
  });
});

describe("drawing", () => {
  const variants: Partial<NativeSampleRequest>[] = [
    { doSample: false },
    { temperature: 0.3 },
    { topP: 0.6 },
    { topK: 7 },
    { minP: 0.6 },
    { doSample: false, repetitionPenalty: 1.5 },
    { temperature: 1.3, topP: 0.9, topK: 50, minP: 0.02, repetitionPenalty: 1.2 },
  ];
  it.each(variants)("gives the plain path's tokens with %o", async (options) => {
    const engine = await rawModel("cpu");
    await expectAsPlain(engine, { ...PROMPTS, groupSize: 4, maxNewTokens: 20, ...options });
    engine.dispose();
  });
});
