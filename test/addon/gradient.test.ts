// What the gradient of a training step must not depend on, what must reach every trainable tensor, and what must add nothing.

import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { LoraConfig } from "../../lib/model/lora/lora.js";
import { CausalLM, type LossResult } from "../../lib/model/model.js";
import type { GradientBatch } from "../../lib/model/training-inputs.js";
import { LOSS_TYPES, type LossOptions } from "../../lib/options/loss.js";
import { DEVICE } from "../support/device.js";
import { goldenPath } from "./golden.js";
import { relativeDifference } from "./training-fixtures.js";

// Float32 sums in another order: TRL's own gradients move by up to 4e-6 when only padding is added (loss.test.ts).
const TOLERANCE = 1e-5;

type Gradients = Record<string, Float32Array>;

// One thread takes a batch that fits in one piece.
const f32 = { dtype: "float32", device: DEVICE, threads: 1 } as const;
const allLinear = { r: 4, loraAlpha: 8, targetModules: "all-linear", initLoraWeights: false } as const;

/** One completion in its batch, so that rows can be reordered, dropped and duplicated as a whole. */
interface Row {
  readonly prompt: readonly number[];
  readonly completion: readonly number[];
  readonly advantage: number;
  readonly old: readonly number[];
  readonly reference: readonly number[];
}

const vocabulary = 64;
const ids = (length: number, seed: number) =>
  Array.from({ length }, (_, i) => (seed * 31 + i * 17 + i * i) % vocabulary);
const PROMPTS = [ids(3, 1), ids(11, 2), ids(1, 3), ids(6, 4)];
/** Four prompts × four completions; one completion is empty and one has a single token. */
const LENGTHS = [9, 4, 0, 17, 1, 6, 6, 12, 5, 20, 3, 8, 7, 2, 10, 4];
const SHAPE: readonly Omit<Row, "old" | "reference">[] = LENGTHS.map((length, i) => ({
  prompt: PROMPTS[Math.floor(i / 4)] ?? [],
  completion: ids(length, 10 + i),
  advantage: Math.sin(1 + 2 * i),
}));

function batchOf(rows: readonly Row[]): GradientBatch {
  return {
    promptIds: rows.map(({ prompt }) => prompt),
    completionIds: rows.map(({ completion }) => completion),
    advantages: rows.map(({ advantage }) => advantage),
    oldLogprobs: rows.map(({ old }) => old),
    referenceLogprobs: rows.map(({ reference }) => reference),
  };
}

let model: CausalLM;
let twoThreads: CausalLM;
let rows: Row[];
beforeAll(async () => {
  const folder = goldenPath("models/llama-random-bias");
  model = await CausalLM.fromPretrained(folder, f32);
  twoThreads = await CausalLM.fromPretrained(folder, { ...f32, threads: 2 });
  for (const each of [model, twoThreads]) each.applyLora(new LoraConfig(allLinear));
  const current = await model.logprobs({
    promptIds: SHAPE.map(({ prompt }) => prompt),
    completionIds: SHAPE.map(({ completion }) => completion),
  });
  // Old and reference near the current ones: some ratios clip on either side, and the KL term is not zero.
  const near = (i: number, scale: number) =>
    Array.from(current[i] ?? [], (l, t) => l + scale * Math.sin(5 * i + 3 * t));
  rows = SHAPE.map((row, i) => ({ ...row, old: near(i, 0.4), reference: near(i, -0.3) }));
});
afterAll(() => {
  model.dispose();
  twoThreads.dispose();
});
beforeEach(() => model.zeroGrad());

async function gradientOf(
  batch: GradientBatch,
  loss: LossOptions = {},
  of = model,
): Promise<{ result: LossResult; gradients: Gradients }> {
  await of.zeroGrad();
  const result = await of.forwardBackward(batch, { beta: 0.04, ...loss });
  return { result, gradients: await of.gradients() };
}

function expectSame(actual: Gradients, expected: Gradients, scale = 1): void {
  expect(Object.keys(actual)).toHaveLength(Object.keys(expected).length);
  for (const [name, values] of Object.entries(expected)) {
    const scaled = Array.from(values, (value) => value * scale);
    expect(relativeDifference(actual[name], scaled), name).toBeLessThan(TOLERANCE);
  }
}

/** Losses whose gradient does not depend on slices, then those whose normalizer or mask is the slice's own, as TRL has it. */
const WHOLE: readonly LossOptions[] = [
  ...LOSS_TYPES.filter((lossType) => lossType !== "bnpo").map((lossType) => ({ lossType })),
  { lossType: "grpo", importanceSamplingLevel: "sequence", offPolicyMaskThreshold: 0.01 },
  { lossType: "luspo", importanceSamplingLevel: "sequence", delta: 1.3 },
];
const SLICED: readonly LossOptions[] = [
  { lossType: "bnpo" },
  { lossType: "dapo", topEntropyQuantile: 0.3 },
  { lossType: "grpo", importanceSamplingLevel: "sequence", topEntropyQuantile: 0.5, entropyCoef: 0.1 },
  { lossType: "vespo", entropyCoef: 0.1 },
];

describe.each([...WHOLE, ...SLICED])("the gradient of %o", (variant) => {
  const loss = { ...variant, maxCompletionLength: 20, rowsPerSlice: 4 };
  let whole: Awaited<ReturnType<typeof gradientOf>>;
  beforeAll(async () => {
    whole = await gradientOf(batchOf(rows), loss);
  });

  it("is of a batch that fits in one pass", () => {
    expect(whole.result).toMatchObject({ microBatches: 1, tokens: 114 });
  });

  // With a budget of one token every completion is alone, next to nothing that it could be padded to.
  it.each([
    { maxTokensPerMicroBatch: 30, gradientCheckpointing: false },
    { maxTokensPerMicroBatch: 30, gradientCheckpointing: true },
    { maxTokensPerMicroBatch: 1, gradientCheckpointing: false },
  ])("does not depend on micro-batches or checkpointing: %o", async (memory) => {
    const { result, gradients } = await gradientOf(batchOf(rows), { ...loss, ...memory });
    expect(result.microBatches).toBeGreaterThan(2);
    expectSame(gradients, whole.gradients);
    expect(result.loss).toBeCloseTo(whole.result.loss, 5);
    expect(result).toMatchObject({ clipLow: whole.result.clipLow, clipHigh: whole.result.clipHigh });
  });

  it.each([
    [{}, 2],
    [{ gradientCheckpointing: true, maxTokensPerMicroBatch: 90 }, 4],
  ])("does not depend on threads that compute micro-batches side by side: %o", async (memory, microBatches) => {
    const { result, gradients } = await gradientOf(batchOf(rows), { ...loss, ...memory }, twoThreads);
    expect(result).toMatchObject({ microBatches, clipLow: whole.result.clipLow, clipHigh: whole.result.clipHigh });
    expectSame(gradients, whole.gradients);
    expect(result.loss).toBeCloseTo(whole.result.loss, 5);
    // Whichever thread is first: the same bits.
    expect((await gradientOf(batchOf(rows), { ...loss, ...memory }, twoThreads)).gradients).toEqual(gradients);
  });

  it("does not depend on the order of completions and prompts", async () => {
    expectSame((await gradientOf(batchOf([...rows].reverse()), loss)).gradients, whole.gradients);
  });

  it("does not depend on whether completions of a prompt share it", async () => {
    // Neighbours have different prompts now, so that every completion brings its own.
    const apart = rows.map((_, i) => rows[(i % 4) * 4 + Math.floor(i / 4)]).filter((row) => row !== undefined);
    const all = { ...loss, rowsPerSlice: 0 };
    const together = await gradientOf(batchOf(rows), all);
    const { result, gradients } = await gradientOf(batchOf(apart), all);
    expectSame(gradients, together.gradients);
    expect(result.loss).toBeCloseTo(together.result.loss, 5);
  });

  it("is the sum over calls that share a step", async () => {
    await model.zeroGrad();
    for (const part of [rows.slice(0, 4), rows.slice(4)]) {
      const step = { lossTokens: 114, gradientAccumulationSteps: 4 };
      await model.forwardBackward(batchOf(part), { beta: 0.04, ...loss, ...step });
    }
    expectSame(await model.gradients(), whole.gradients);
  });
});

it.each(WHOLE)("the gradient of %o does not depend on how the step is cut into slices", async (variant) => {
  const loss = { ...variant, maxCompletionLength: 20 };
  const { gradients } = await gradientOf(batchOf(rows), loss);
  for (const rowsPerSlice of [2, 4, 8]) {
    expectSame((await gradientOf(batchOf(rows), { ...loss, rowsPerSlice })).gradients, gradients);
  }
});

it("the batch clips on both sides", async () => {
  const { result } = await gradientOf(batchOf(rows));
  expect(result.clipLow).toBeGreaterThan(0);
  expect(result.clipHigh).toBeGreaterThan(0);
});

it("the log-probabilities of sampling are those of training, and the result measures their distance", async () => {
  const prompts = PROMPTS.map((prompt) => [...prompt]);
  const { groups } = await model.sample(prompts, { groupSize: 2, maxNewTokens: 12, topP: 0.9, topK: 20, seed: 3 });
  const completions = groups.flatMap(({ completions }) => completions);
  const batch = {
    promptIds: prompts.flatMap((prompt) => [prompt, prompt]),
    completionIds: completions.map(({ ids }) => ids),
    advantages: completions.map((_, i) => (i % 2 === 0 ? 1 : -1)),
  };
  const gap = async (shift: number) => {
    const samplingLogprobs = completions.map(({ logprobs }) => logprobs.map((l) => l + shift));
    return (await gradientOf({ ...batch, samplingLogprobs }, { beta: 0 })).result;
  };
  expect(await gap(0)).toMatchObject({ logpDifferenceMean: 0, logpDifferenceMax: 0 });
  expect((await gap(0.5)).logpDifferenceMean).toBeCloseTo(0.5, 5);
});

describe("rows whose gradient is exactly zero", () => {
  const idle = (row: Row, i: number) => (i % 4 < 2 ? { ...row, advantage: 0 } : row);

  it.each(WHOLE)("are left out with %o, and nothing but the entropy shows it", async (variant) => {
    const loss = { ...variant, maxCompletionLength: 20, beta: 0, rowsPerSlice: 8 };
    const batch = batchOf(rows.map(idle));
    const all = await gradientOf(batch, { ...loss, skipIdleRows: false });
    const some = await gradientOf(batch, loss);
    expectSame(some.gradients, all.gradients);
    // One of the eight is empty.
    expect([all.result.idleRows, some.result.idleRows]).toEqual([0, 8]);
    for (const name of ["loss", "clipLow", "clipHigh", "clipLowMin", "clipHighMax", "tokens"] as const) {
      expect(some.result[name], name).toBeCloseTo(all.result[name], 5);
    }
    expect(Math.abs(some.result.entropy - all.result.entropy)).toBeGreaterThan(1e-5);
  });

  it.each([{ beta: 0.04 }, { entropyCoef: 0.01 }, { topEntropyQuantile: 0.5 }])("are needed for %o", async (loss) => {
    const { result } = await gradientOf(batchOf(rows.map(idle)), { beta: 0, ...loss });
    expect(result.idleRows).toBe(0);
  });

  it("cost nothing: a batch of them alone is not computed, and has no entropy", async () => {
    const batch = batchOf(rows.map((row) => ({ ...row, advantage: 0 })));
    const { result } = await gradientOf(batch, { beta: 0 });
    expect(result).toMatchObject({ idleRows: 15, microBatches: 0, loss: 0, clipHigh: 0, entropy: Number.NaN });
  });
});

describe("completions that have nothing to teach", () => {
  const zero = (gradients: Gradients) =>
    Object.values(gradients).every((values) => values.every((value) => value === 0));

  it("an empty one changes nothing for dapo, and counts as a completion for grpo", async () => {
    const full = rows.filter(({ completion }) => completion.length > 0);
    expect(full).toHaveLength(15);
    const dapo = await gradientOf(batchOf(full), { lossType: "dapo" });
    expect((await gradientOf(batchOf(rows), { lossType: "dapo" })).gradients).toEqual(dapo.gradients);
    const grpo = await gradientOf(batchOf(full), { lossType: "grpo" });
    expectSame((await gradientOf(batchOf(rows), { lossType: "grpo" })).gradients, grpo.gradients, 15 / 16);
  });

  it("a batch of empty ones has loss, gradient and metrics of zero", async () => {
    const { result, gradients } = await gradientOf({
      promptIds: [[1], [1]],
      completionIds: [[], []],
      advantages: [1, -1],
      referenceLogprobs: [[], []],
    });
    expect(result).toMatchObject({ loss: 0, tokens: 0, entropy: 0, kl: 0, clipRegion: 0, microBatches: 0 });
    expect(zero(gradients)).toBe(true);
  });

  it.each(["dapo", "grpo"] as const)("advantages of zero give a gradient of exactly zero for %s", async (lossType) => {
    const idle = rows.map((row) => ({ ...row, advantage: 0 }));
    expect(zero((await gradientOf(batchOf(idle), { lossType, beta: 0 })).gradients)).toBe(true);
    // With the KL term they still pull towards the reference.
    expect(zero((await gradientOf(batchOf(idle), { lossType, beta: 0.04 })).gradients)).toBe(false);
  });

  it("one whose ratios are all clipped adds only its count", async () => {
    const [first, second] = [rows[3], rows[7]].filter((row) => row !== undefined);
    if (first === undefined || second === undefined) throw new Error("the batch has these rows");
    const current = await model.logprobs({ promptIds: [second.prompt], completionIds: [second.completion] });
    const clipped = { ...second, advantage: 1, old: Array.from(current[0] ?? [], (l) => l - 1) };
    const both = await gradientOf(batchOf([first, clipped]), { lossType: "grpo", beta: 0 });
    expect(both.result.clipHighMax).toBe(1);
    expectSame(both.gradients, (await gradientOf(batchOf([first]), { lossType: "grpo", beta: 0 })).gradients, 0.5);
  });

  it("a group of one and a completion of one token are ordinary", async () => {
    const single = { promptIds: [[5, 6]], completionIds: [[7]], advantages: [1] };
    const { result, gradients } = await gradientOf(single, { lossType: "grpo", beta: 0 });
    expect(result.loss).toBeCloseTo(-1, 6);
    expect(result.tokens).toBe(1);
    expect(zero(gradients)).toBe(false);
  });
});

describe("a fresh adapter", () => {
  it("receives a gradient in every B at first, and in every tensor after one step", async () => {
    await using fresh = await CausalLM.fromPretrained(goldenPath("models/llama-random-bias"), f32);
    fresh.applyLora(new LoraConfig({ ...allLinear, initLoraWeights: true }));
    const { oldLogprobs: _, ...batch } = batchOf(rows);
    const namesOfZeros = async () => {
      await fresh.forwardBackward(batch, { beta: 0 });
      const gradients = Object.entries(await fresh.gradients());
      expect(gradients).toHaveLength(2 * 7 * 2);
      return gradients.filter(([, values]) => values.every((value) => value === 0)).map(([name]) => name);
    };
    const atFirst = await namesOfZeros();
    expect(atFirst).toHaveLength(14);
    expect(atFirst.every((name) => name.endsWith("lora_A.weight"))).toBe(true);
    expect(await fresh.optimizerStep({ learningRate: 1e-3 })).toMatchObject({ applied: true });
    expect(await namesOfZeros()).toEqual([]);
  });
});
