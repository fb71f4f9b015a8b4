// Completions of which only some tokens count in the loss: what the gradient must not depend on, what masks are equal to, and
// what they cost.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LoraConfig } from "../../lib/model/lora/lora.js";
import { CausalLM } from "../../lib/model/model.js";
import type { GradientBatch } from "../../lib/model/training-inputs.js";
import type { NativeDtype } from "../../lib/native/native.js";
import { LOSS_TYPES, type LossOptions } from "../../lib/options/loss.js";
import { DEVICE } from "../support/device.js";
import { goldenPath } from "./golden.js";
import { adapterOf, BATCH, LOSS, rawModel, tinyConfig } from "./raw-engine.js";

/** A completion token with all that the loss is told of it. */
interface Token {
  readonly id: number;
  readonly counts: boolean;
  readonly old: number;
  readonly reference: number;
}
interface Row {
  readonly prompt: readonly number[];
  readonly tokens: readonly Token[];
  readonly advantage: number;
}
/** Rows by slice. */
type Slices = readonly (readonly Row[])[];

const VOCABULARY = 64;

function batchOf(slices: Slices): GradientBatch {
  const rows = slices.flat();
  const perToken = <T>(value: (token: Token) => T) => rows.map(({ tokens }) => tokens.map(value));
  return {
    promptIds: rows.map(({ prompt }) => prompt),
    completionIds: perToken(({ id }) => id),
    advantages: rows.map(({ advantage }) => advantage),
    lossMask: perToken(({ counts }) => (counts ? 1 : 0)),
    oldLogprobs: perToken(({ old }) => old),
    referenceLogprobs: perToken(({ reference }) => reference),
    samplingLogprobs: perToken(({ old }) => old + 0.01),
    sliceOffsets: [0, ...slices.map((_, i) => slices.slice(0, i + 1).flat().length)],
  };
}

/** Park and Miller's generator: [0, 1). */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 48271) % 2147483647;
    return state / 2147483647;
  };
}

/** Rollouts of one to five segments by turns sampled and given, some of one kind alone, in slices of one to four rows. */
function randomSlices(seed: number): Slices {
  const random = randomNumbers(seed);
  const below = (n: number) => Math.floor(random() * n);
  const list = <T>(length: number, make: () => T) => Array.from({ length }, make);
  const prompts = list(3, () => list(1 + below(6), () => below(VOCABULARY)));
  const row = (): Row => {
    const first = random() < 0.7;
    const tokens = list(1 + below(5), () => 1 + below(4)).flatMap((length, segment) =>
      list(length, () => ({
        id: below(VOCABULARY),
        counts: first === (segment % 2 === 0),
        old: -4 - random(),
        reference: -4 - random(),
      })),
    );
    return { prompt: prompts[below(3)] ?? [], tokens, advantage: random() < 0.1 ? 0 : 2 * random() - 1 };
  };
  return list(1 + below(4), () => list(1 + below(4), row));
}

function shuffled<T>(items: readonly T[], random: () => number): T[] {
  return items
    .map((item) => ({ item, key: random() }))
    .sort((a, b) => a.key - b.key)
    .map(({ item }) => item);
}

const VARIANTS: readonly LossOptions[] = [
  ...LOSS_TYPES.map((lossType) => ({ lossType })),
  { lossType: "grpo", importanceSamplingLevel: "sequence", offPolicyMaskThreshold: 0.01 },
  { lossType: "dapo", topEntropyQuantile: 0.4, entropyCoef: 0.1 },
  { lossType: "luspo", importanceSamplingLevel: "sequence", delta: 1.3, entropyCoef: 0.05 },
];

const open = async (dtype: NativeDtype, threads: number) => {
  const model = await CausalLM.fromPretrained(goldenPath("models/llama-random-bias"), {
    dtype,
    device: DEVICE,
    threads,
  });
  model.applyLora(new LoraConfig({ r: 4, loraAlpha: 8, targetModules: "all-linear", initLoraWeights: false }));
  return model;
};
let model: CausalLM;
let exact: CausalLM;
let twoThreads: CausalLM;
beforeAll(async () => {
  model = await open("float32", 1);
  exact = await open("float64", 1);
  twoThreads = await open("float64", 2);
});
afterAll(() => {
  for (const each of [model, exact, twoThreads]) each.dispose();
});

async function gradientOf(batch: GradientBatch, loss: LossOptions, of = exact) {
  await of.zeroGrad();
  const result = await of.forwardBackward(batch, { beta: 0.04, maxCompletionLength: 20, ...loss });
  return { result, gradients: await of.gradients() };
}
type Gradient = Awaited<ReturnType<typeof gradientOf>>;

/** Largest difference over the largest entry. */
function distance(actual: Gradient, expected: Gradient): number {
  const flat = ({ gradients }: Gradient) => Object.values(gradients).flatMap((values) => Array.from(values));
  const [a, b] = [flat(actual), flat(expected)];
  expect(a).toHaveLength(b.length);
  const largest = b.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return b.reduce((most, value, i) => Math.max(most, Math.abs((a[i] ?? Number.NaN) - value)), 0) / (largest || 1);
}

const METRICS = ["loss", "policyLoss", "entropy", "kl", "clipLow", "clipHigh", "phi", "logpDifferenceMean"] as const;

function expectSameResult(actual: Gradient, expected: Gradient): void {
  expect(actual.result.tokens).toBe(expected.result.tokens);
  for (const name of METRICS) expect(actual.result[name], name).toBeCloseTo(expected.result[name], 5);
}

describe.each(VARIANTS)("with random masks, the gradient of %o", (loss) => {
  const seeds = Array.from({ length: 6 }, (_, i) => 100 * (1 + VARIANTS.indexOf(loss)) + i);

  it.each(seeds)("does not depend on micro-batches, threads, order or shared prompts (seed %i)", async (seed) => {
    const random = randomNumbers(seed);
    const slices = randomSlices(seed);
    const whole = await gradientOf(batchOf(slices), loss);
    expect(whole.result.microBatches).toBeLessThanOrEqual(1);
    const inAnyOrder = () => slices.map((slice) => shuffled(slice, random));
    const apart = [1, 1 + Math.floor(random() * 40), 1 + Math.floor(random() * 40)];
    for (const maxTokensPerMicroBatch of apart) {
      const others = await gradientOf(batchOf(inAnyOrder()), { ...loss, maxTokensPerMicroBatch });
      expect(distance(others, whole)).toBeLessThan(1e-6);
      expectSameResult(others, whole);
    }
    const sideBySide = await gradientOf(batchOf(inAnyOrder()), { ...loss, gradientCheckpointing: true }, twoThreads);
    expect(distance(sideBySide, whole)).toBeLessThan(1e-6);
    expectSameResult(sideBySide, whole);
    // The fused path, where float32 sums in another order: by up to 2.1e-6 here.
    const fast = await gradientOf(batchOf(slices), loss, model);
    const parts = await gradientOf(batchOf(inAnyOrder()), { ...loss, maxTokensPerMicroBatch: 30 }, model);
    expect(distance(parts, fast)).toBeLessThan(3e-6);
  });
});

const slices = randomSlices(7);
const rows = slices.flat();
const mapTokens = (change: (tokens: readonly Token[]) => readonly Token[]): Slices =>
  slices.map((slice) => slice.map((row) => ({ ...row, tokens: change(row.tokens) })));
const counted = rows.reduce((sum, { tokens }) => sum + tokens.filter(({ counts }) => counts).length, 0);
const total = rows.reduce((sum, { tokens }) => sum + tokens.length, 0);

describe.each(VARIANTS)("the gradient of %o", (loss) => {
  it("with a mask of ones is that without a mask, bit for bit", async () => {
    const { lossMask: _, ...without } = batchOf(slices);
    const ones = batchOf(mapTokens((tokens) => tokens.map((token) => ({ ...token, counts: true }))));
    expect(await gradientOf(ones, loss, model)).toEqual(await gradientOf(without, loss, model));
  });

  it("with a masked end is that of completions cut there, bit for bit", async () => {
    const half = (tokens: readonly Token[]) => Math.ceil(tokens.length / 2);
    const masked = mapTokens((tokens) => tokens.map((token, t) => ({ ...token, counts: t < half(tokens) })));
    const cut = mapTokens((tokens) => tokens.slice(0, half(tokens)).map((token) => ({ ...token, counts: true })));
    expect(await gradientOf(batchOf(masked), loss, model)).toEqual(await gradientOf(batchOf(cut), loss, model));
  });

  it("with a masked beginning is that of longer prompts", async () => {
    const half = (tokens: readonly Token[]) => Math.floor(tokens.length / 2);
    const masked = mapTokens((tokens) => tokens.map((token, t) => ({ ...token, counts: t >= half(tokens) })));
    const moved = masked.map((slice) =>
      slice.map(({ prompt, tokens, ...row }) => ({
        ...row,
        prompt: [...prompt, ...tokens.slice(0, half(tokens)).map(({ id }) => id)],
        tokens: tokens.slice(half(tokens)),
      })),
    );
    const expected = await gradientOf(batchOf(moved), loss);
    const actual = await gradientOf(batchOf(masked), loss);
    expect(distance(actual, expected)).toBeLessThan(1e-6);
    expectSameResult(actual, expected);
  });

  it("ignores log-probabilities of tokens that do not count, even NaN", async () => {
    const nothing = { old: Number.NaN, reference: Number.NaN };
    const unknown = mapTokens((tokens) => tokens.map((token) => (token.counts ? token : { ...token, ...nothing })));
    expect(await gradientOf(batchOf(unknown), loss, model)).toEqual(await gradientOf(batchOf(slices), loss, model));
  });

  it("takes a completion of which nothing counts for an empty one, bit for bit", async () => {
    const some = (change: (row: Row) => Row) =>
      slices.map((slice) => slice.map((row, i) => (i === 0 ? change(row) : row)));
    const masked = some((row) => ({ ...row, tokens: row.tokens.map((token) => ({ ...token, counts: false })) }));
    const empty = some((row) => ({ ...row, tokens: [] }));
    expect(await gradientOf(batchOf(masked), loss, model)).toEqual(await gradientOf(batchOf(empty), loss, model));
  });
});

it.each(["dapo", "cispo", "bnpo"] as const)(
  "a masked batch of %s is the sum of its tokens that count",
  async (lossType) => {
    const alone = rows.flatMap(({ prompt, tokens, advantage }) =>
      tokens.flatMap((token, t) =>
        token.counts
          ? [{ prompt: [...prompt, ...tokens.slice(0, t).map(({ id }) => id)], tokens: [token], advantage }]
          : [],
      ),
    );
    expect(alone).toHaveLength(counted);
    const expected = await gradientOf(batchOf([alone]), { lossType });
    const actual = await gradientOf(batchOf([rows]), { lossType });
    expect(distance(actual, expected)).toBeLessThan(1e-6);
    expectSameResult(actual, expected);
  },
);

it("the result counts the tokens that count, and rows without any are no idle ones", async () => {
  const { result } = await gradientOf(batchOf(slices), {});
  expect(counted).toBeLessThan(total);
  expect(result).toMatchObject({ tokens: counted, idleRows: 0 });
  const none = mapTokens((tokens) => tokens.map((token) => ({ ...token, counts: false })));
  const { result: nothing, gradients } = await gradientOf(batchOf(none), { beta: 0 });
  expect(nothing).toMatchObject({ tokens: 0, idleRows: 0, microBatches: 0, loss: 0, entropy: 0 });
  expect(Object.values(gradients).every((values) => values.every((value) => value === 0))).toBe(true);
});

it("a completion of which nothing counts has a ratio of 1, which sequence-level metrics count", async () => {
  const rows: Row[] = [1, 1, -1, -1].map((advantage) => ({ prompt: [1], tokens: [], advantage }));
  const clipOf = async (loss: LossOptions) => {
    const { result } = await gradientOf(batchOf([rows]), { importanceSamplingLevel: "sequence", ...loss });
    return [result.clipLow, result.clipHigh, result.clipHighMax];
  };
  // cispo's bound is of the ratio itself; the others clip around 1.
  expect(await clipOf({ lossType: "cispo", epsilonHigh: 0.5 })).toEqual([0, 0.5, 1]);
  expect(await clipOf({ lossType: "cispo", epsilonHigh: 1.5 })).toEqual([0, 0, 0]);
  expect(await clipOf({ lossType: "grpo" })).toEqual([0, 0, 0]);
  expect(await clipOf({ lossType: "grpo", delta: 0.5 })).toEqual([0.5, 0, 0]);
});

describe("slices", () => {
  const { sliceOffsets: _, ...batch } = batchOf([rows]);
  const even = (size: number) => [...rows.keys()].filter((row) => row % size === 0).concat(rows.length);

  it.each(VARIANTS)("of equal size are rowsPerSlice for %o, bit for bit", async (loss) => {
    const offsets = await gradientOf({ ...batch, sliceOffsets: even(3) }, loss, model);
    expect(offsets).toEqual(await gradientOf(batch, { ...loss, rowsPerSlice: 3 }, model));
    const whole = await gradientOf({ ...batch, sliceOffsets: [0, rows.length] }, loss, model);
    expect(whole).toEqual(await gradientOf(batch, loss, model));
  });

  it("of unequal size weigh alike, whatever their number of rows", async () => {
    const loss: LossOptions = { lossType: "grpo" };
    const [first, ...others] = rows;
    if (first === undefined) throw new Error("the batch has rows");
    const whole = await gradientOf(batchOf([[first], others]), loss);
    const sum = await gradientOf(batchOf([[first]]), { ...loss, gradientAccumulationSteps: 2 });
    await exact.forwardBackward(batchOf([others]), { ...loss, beta: 0.04, gradientAccumulationSteps: 2 });
    expect(distance({ ...sum, gradients: await exact.gradients() }, whole)).toBeLessThan(1e-6);
  });

  it("without rows count as slices", async () => {
    const loss: LossOptions = { lossType: "grpo" };
    const one = await gradientOf(batchOf([rows]), { ...loss, gradientAccumulationSteps: 2 }, model);
    const { gradients } = await gradientOf(batchOf([rows, []]), loss, model);
    expect(gradients).toEqual(one.gradients);
  });
});

it("tokens that do not count never meet the output layer", async () => {
  const config = await tinyConfig();
  const { hiddenSize, vocabSize } = config;
  const engine = await rawModel(DEVICE, "float64", 1);
  const targets = [{ module: "model.layers.0.self_attn.q_proj", rank: 2, scaling: 1 }];
  await engine.addAdapter("default", adapterOf(config, { targets, init: "random" }));
  const flops = async (lossMask: number[]) => {
    await engine.countOperators(true);
    const advantages = Float32Array.from([1, -1, 0.5, 2, -2]);
    await engine.forwardBackward({ ...BATCH, advantages, lossMask: Uint8Array.from(lossMask) }, { ...LOSS, beta: 0 });
    return (await engine.countOperators(false)).flops;
  };
  // Two tokens that others follow, so that they are fed either way: forward and backward, two operations for each weight.
  const saved = (await flops([1, 1, 1, 1, 1, 1, 1, 1])) - (await flops([1, 0, 1, 1, 1, 1, 0, 1]));
  expect(saved).toBe(2 * 2 * 2 * hiddenSize * vocabSize);
  // One that ends its completion takes the token before it along: it is scored, but no longer fed.
  expect(await flops([1, 1, 1, 0, 1, 1, 1, 1])).toBeLessThan(await flops([1, 0, 1, 1, 1, 1, 1, 1]));
  engine.dispose();
});
