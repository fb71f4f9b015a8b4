// The loss that trains, in float64 on given log-probabilities and entropies: its derivative against finite differences, and the
// places where the derivative must be exactly zero.

import { describe, expect, it } from "vitest";
import { evenSlices } from "../../lib/model/training-inputs.js";
import type { NativeCore } from "../../lib/native/native.js";
import { loadCore } from "../../lib/native/native-loader.js";
import { LOSS_TYPES, type LossOptions, rowsPerSliceOf, toNativeLoss } from "../../lib/options/loss.js";

const LOSS: LossOptions = { epsilon: 0.2, epsilonHigh: 0.3, maxCompletionLength: 10 };

// Ratios on both sides of both clip bounds (0.8 and 1.3) and between them, none close to a bound, where the loss has a kink.
const RATIOS = [0.5, 0.7, 0.9, 1, 1.1, 1.25, 1.5, 2];
/** The first three meet every ratio. Rows are ragged, and a sixth has no tokens. */
const ADVANTAGES = [1.5, -0.7, 0, 0.3, -2];
const OFFSETS = Int32Array.from([0, 8, 16, 24, 25, 32, 32]);

const tokens = Array.from({ length: 32 }, (_, i) => i);
const old = Float64Array.from(tokens, (i) => -0.1 - 0.37 * ((i * 7) % 11));
const logprobs = Float64Array.from(tokens, (i) => (old[i] ?? 0) + Math.log(RATIOS[i % RATIOS.length] ?? 1));
const reference = Float64Array.from(tokens, (i) => (logprobs[i] ?? 0) + 0.6 * Math.sin(3 * i));
const advantages = Float64Array.from([...ADVANTAGES, 1]);
const rowOf = (token: number) => OFFSETS.findIndex((_, row) => token < (OFFSETS[row + 1] ?? 0));
const lengthOf = (row: number) => (OFFSETS[row + 1] ?? 0) - (OFFSETS[row] ?? 0);
const logRatio = (token: number) => (logprobs[token] ?? 0) - (old[token] ?? 0);
const logRatiosBeside = (token: number) => tokens.filter((other) => rowOf(other) === rowOf(token)).map(logRatio);

const entropy = Float64Array.from(tokens, (i) => 1.5 + Math.sin(5 * i));

type Scored = Parameters<NativeCore["lossAndGradient"]>[0];
const batch: Scored = { logprobs, entropy, old, reference, advantages, offsets: OFFSETS };

function evaluate(loss: LossOptions, changes: Partial<Scored> = {}) {
  const sliceOffsets = evenSlices((changes.advantages ?? advantages).length, rowsPerSliceOf(loss));
  return loadCore().lossAndGradient({ ...batch, sliceOffsets, ...changes }, toNativeLoss({ ...LOSS, ...loss }));
}

function numericalGradient(loss: LossOptions, name: "logprobs" | "entropy", changes: Partial<Scored>): number[] {
  // Central differences: the error is of the order of h², and rounding of 1e-16 / h.
  const h = 1e-5;
  return tokens.map((token) => {
    const [up, down] = [h, -h].map((delta) => {
      const moved = Float64Array.from(batch[name]);
      moved[token] = (moved[token] ?? 0) + delta;
      return evaluate(loss, { ...changes, [name]: moved }).loss;
    });
    return ((up ?? Number.NaN) - (down ?? Number.NaN)) / (2 * h);
  });
}

function expectDerivative(loss: LossOptions, name: "logprobs" | "entropy", changes: Partial<Scored> = {}): void {
  const gradient = evaluate(loss, changes)[name];
  numericalGradient(loss, name, changes).forEach((expected, token) => {
    expect(Math.abs((gradient[token] ?? Number.NaN) - expected), `token ${token}`).toBeLessThan(1e-9);
  });
}

const sequence = { importanceSamplingLevel: "sequence" } as const;
const clipping = ["grpo", "bnpo", "dr_grpo", "dapo", "luspo"] as const;
const variants: LossOptions[] = [...clipping, "sapo" as const].flatMap((lossType) => [
  { lossType },
  { lossType, beta: 0.04, rowsPerSlice: 2 },
  { lossType, beta: 0.04, useBiasCorrectionKl: false, delta: 1.6 },
  { lossType, beta: 1, lossTokens: 100, gradientAccumulationSteps: 3 },
  { lossType, beta: 0.04, epsilon: 0.1, epsilonHigh: 0.02, ...sequence },
  { lossType, topEntropyQuantile: 0.4, offPolicyMaskThreshold: -0.05, ...sequence },
  { lossType, topEntropyQuantile: 0.3, entropyCoef: 0.1, rowsPerSlice: 3 },
]);

describe("the gradient of the loss", () => {
  it.each(variants)("equals finite differences for %o", (variant) => {
    expectDerivative(variant, "logprobs");
    if (variant.entropyCoef !== undefined) expectDerivative(variant, "entropy");
  });

  // The weights of these two are constants of the gradient, so differences of the loss cannot be taken across them.
  it.each(["token", "sequence"] as const)("of cispo is the bounded ratio by %s times the advantage", (level) => {
    const { logprobs: gradient } = evaluate({ lossType: "cispo", epsilonHigh: 1.2, importanceSamplingLevel: level });
    tokens.forEach((token) => {
      const ratios = level === "token" ? [logRatio(token)] : logRatiosBeside(token);
      const ratio = Math.exp(ratios.reduce((a, b) => a + b, 0) / ratios.length);
      expect(gradient[token]).toBeCloseTo((-Math.min(ratio, 1.2) * (advantages[rowOf(token)] ?? 0)) / 32, 12);
    });
  });

  it("of vespo is the gamma weight of the completion times the advantage", () => {
    const { logprobs: gradient } = evaluate({ lossType: "vespo" });
    tokens.forEach((token) => {
      const advantage = advantages[rowOf(token)] ?? 0;
      const [k, lambda] = advantage >= 0 ? [2, 3] : [3, 2];
      const logWeight = logRatiosBeside(token).reduce((a, b) => a + b, 0);
      const phi = Math.exp(lambda + k * logWeight - lambda * Math.exp(logWeight));
      expect(gradient[token]).toBeCloseTo((-phi * advantage) / 32, 12);
    });
  });

  it.each(["cispo", "vespo"] as const)("of %s and its KL term equals finite differences on-policy", (lossType) => {
    const loss: LossOptions = { lossType, beta: 0.04, useBiasCorrectionKl: false };
    const fresh = { old: new Float64Array() };
    const { logprobs: gradient } = evaluate(loss, fresh);
    const h = 1e-5;
    tokens.forEach((token) => {
      const [up, down] = [h, -h].map((delta) => {
        const moved = logprobs.map((value, i) => (i === token ? value + delta : value));
        return evaluate(loss, { ...fresh, logprobs: moved }).loss;
      });
      expect(gradient[token]).toBeCloseTo(((up ?? Number.NaN) - (down ?? Number.NaN)) / (2 * h), 9);
    });
  });

  it("is zero exactly where the clip holds: above for positive advantages, below for negative", () => {
    const { logprobs: gradient } = evaluate({});
    const clipped = tokens.map((token) => {
      const ratio = RATIOS[token % RATIOS.length] ?? 1;
      const advantage = advantages[rowOf(token)] ?? 0;
      return advantage === 0 || (advantage > 0 ? ratio > 1.3 : ratio < 0.8);
    });
    expect(Array.from(gradient, (value) => value === 0)).toEqual(clipped);
    expect(clipped.filter((is) => is).length).toBeGreaterThan(8);
  });

  it("pushes up tokens of positive advantages and down those of negative ones", () => {
    const { logprobs: gradient } = evaluate({});
    gradient.forEach((value, token) => {
      if (value !== 0) expect(Math.sign(value)).toBe(-Math.sign(advantages[rowOf(token)] ?? 0));
    });
  });

  it("of the KL term alone reaches tokens without advantage", () => {
    const { logprobs: gradient } = evaluate({ beta: 0.04 });
    const idle = tokens.filter((token) => advantages[rowOf(token)] === 0);
    expect(idle).toHaveLength(8);
    expect(idle.every((token) => gradient[token] !== 0)).toBe(true);
  });

  it.each(LOSS_TYPES)("of %s by token with fresh log-probabilities is minus weight times advantage", (lossType) => {
    // sapo's gate has slope 1 at ratio 1, vespo's weight is 1 there, and cispo's bound is above 1.
    const loss: LossOptions = { lossType, epsilonHigh: 2, rowsPerSlice: 3 };
    const { logprobs: gradient } = evaluate(loss, { old: new Float64Array() });
    tokens.forEach((token) => {
      const row = rowOf(token);
      const weight = {
        dapo: 1 / 32,
        cispo: 1 / 32,
        vespo: 1 / 32,
        bnpo: 1 / (row < 3 ? 24 : 8) / 2,
        dr_grpo: 1 / 60,
        grpo: 1 / lengthOf(row) / 6,
        sapo: 1 / lengthOf(row) / 6,
        luspo: 1 / 6,
      }[lossType];
      expect(gradient[token]).toBeCloseTo(-weight * (advantages[row] ?? 0), 14);
    });
  });

  it("of a completion that moved too far is zero for a negative advantage only", () => {
    const { logprobs: gradient } = evaluate({ offPolicyMaskThreshold: -0.05, epsilon: 0.9, epsilonHigh: 9 });
    const rows = [0, 1, 2, 3, 4].map((row) => tokens.filter((token) => rowOf(token) === row));
    // Row 1 has A < 0 and mean log ratio 0.03, row 4 has A < 0 and 0.14, row 2 has A = 0.
    expect(rows.map((row) => row.every((token) => gradient[token] === 0))).toEqual([false, true, true, false, false]);
  });

  it("of the policy term is zero outside the top entropies, while the KL term is not", () => {
    const top = [...entropy].sort((a, b) => b - a).slice(0, 8);
    const inside = tokens.map((token) => (entropy[token] ?? 0) >= (top.at(-1) ?? 0));
    const masked = evaluate({ topEntropyQuantile: 0.25, epsilon: 0.9, epsilonHigh: 9 }).logprobs;
    const idle = tokens.map((token) => advantages[rowOf(token)] === 0);
    expect(tokens.map((token) => masked[token] !== 0)).toEqual(inside.map((is, i) => is && !idle[i]));
    const pulled = evaluate({ topEntropyQuantile: 0.25, beta: 0.04 }).logprobs;
    // Of the first token the reference thinks as the policy does.
    expect(pulled.slice(1).every((value) => value !== 0)).toBe(true);
  });
});

describe("where tokens have advantages of their own, the gradient of the loss", () => {
  // Of every sign within a completion and, beside the completions' own, of another size.
  const tokenAdvantages = Float64Array.from(tokens, (i) => ((i * 5) % 7) / 2 - 1.5);
  const own: Partial<Scored> = { tokenAdvantages };

  it.each(variants)("equals finite differences for %o", (variant) => {
    expectDerivative(variant, "logprobs", own);
    if (variant.entropyCoef !== undefined) expectDerivative(variant, "entropy", own);
  });

  it.each(LOSS_TYPES)("is the token's advantage by its weight on-policy for %s", (lossType) => {
    const loss: LossOptions = { lossType, epsilonHigh: 2 };
    const ones = { advantages: advantages.map(() => 1), old: new Float64Array() };
    const weights = evaluate(loss, ones).logprobs;
    const { logprobs: gradient } = evaluate(loss, { ...ones, ...own });
    tokens.forEach((token) => {
      expect(gradient[token]).toBeCloseTo((tokenAdvantages[token] ?? Number.NaN) * (weights[token] ?? Number.NaN), 14);
    });
  });

  it("of vespo has the gamma weight by the sign of the token's advantage", () => {
    const { logprobs: gradient } = evaluate({ lossType: "vespo" }, own);
    tokens.forEach((token) => {
      const advantage = tokenAdvantages[token] ?? Number.NaN;
      const [k, lambda] = advantage >= 0 ? [2, 3] : [3, 2];
      const logWeight = logRatiosBeside(token).reduce((a, b) => a + b, 0);
      const phi = Math.exp(lambda + k * logWeight - lambda * Math.exp(logWeight));
      expect(gradient[token]).toBeCloseTo((-phi * advantage) / 32, 12);
    });
  });

  it.each(LOSS_TYPES)("is the same bit for bit where they are their completion's for %s", (lossType) => {
    const loss: LossOptions = { lossType, beta: 0.04, offPolicyMaskThreshold: -0.05, rowsPerSlice: 2 };
    const same = { tokenAdvantages: Float64Array.from(tokens, (token) => advantages[rowOf(token)] ?? Number.NaN) };
    expect(evaluate(loss, same)).toEqual(evaluate(loss));
  });

  it("is refused where they are not as many as the tokens", () => {
    expect(() => evaluate({}, { tokenAdvantages: Float64Array.of(1) })).toThrow(/disagree/);
  });
});

describe("with a ragged loss mask and slices of unequal size, the gradient of the loss", () => {
  // Of the rows of 8, 8, 8, 1, 7 and 0 tokens: segments by turns, all but the ends, the first half, all, none, none.
  const marks = "10110111 01111110 11110000 1 0000000".replaceAll(" ", "");
  const masked: Partial<Scored> = {
    lossMask: Uint8Array.from(marks, Number),
    sliceOffsets: Int32Array.from([0, 1, 1, 4, 6]),
  };
  const counts = tokens.map((token) => marks[token] === "1");

  it.each(variants)("equals finite differences for %o", (variant) => {
    expectDerivative(variant, "logprobs", masked);
    if (variant.entropyCoef !== undefined) expectDerivative(variant, "entropy", masked);
  });

  it.each(LOSS_TYPES.map((lossType) => ({ lossType, beta: 0.04, entropyCoef: 0.1 })))(
    "is exactly zero where a token does not count for %o",
    (loss) => {
      const { logprobs: gradient, entropy: bonus } = evaluate(loss, masked);
      expect(tokens.filter((token) => counts[token] && gradient[token] === 0)).toEqual([]);
      for (const values of [gradient, bonus]) {
        expect(tokens.filter((token) => !counts[token] && values[token] !== 0)).toEqual([]);
      }
    },
  );

  it.each(variants)("is that of the counted tokens alone for %o", (variant) => {
    const only = (values: Float64Array) => values.filter((_, token) => counts[token]);
    const before = (end: number) => counts.slice(0, end).filter((is) => is).length;
    const alone: Partial<Scored> = {
      logprobs: only(logprobs),
      entropy: only(entropy),
      old: only(old),
      reference: only(reference),
      offsets: OFFSETS.map(before),
      sliceOffsets: masked.sliceOffsets,
    };
    const actual = evaluate(variant, masked);
    const expected = evaluate(variant, alone);
    expect(actual.loss).toBe(expected.loss);
    expect(only(actual.logprobs)).toEqual(expected.logprobs);
  });

  it.each(LOSS_TYPES)("weighs a token on-policy by what its slice counts for %s", (lossType) => {
    const { logprobs: gradient } = evaluate({ lossType, epsilonHigh: 2 }, { ...masked, old: new Float64Array() });
    // By row: its own tokens that count, the slice's, and the slice's rows.
    const own = [6, 6, 4, 1, 0, 0];
    const slices = [6, 11, 11, 11, 0, 0];
    const rows = [1, 3, 3, 3, 2, 2];
    tokens.forEach((token) => {
      const row = rowOf(token);
      const [n, t, b] = [own[row] ?? Number.NaN, slices[row] ?? Number.NaN, rows[row] ?? Number.NaN];
      const weight = {
        dapo: 1 / 17,
        cispo: 1 / 17,
        vespo: 1 / 17,
        bnpo: 1 / t / 4,
        dr_grpo: 1 / (10 * b) / 4,
        grpo: 1 / n / b / 4,
        sapo: 1 / n / b / 4,
        luspo: 1 / b / 4,
      }[lossType];
      const expected = counts[token] ? -weight * (advantages[row] ?? Number.NaN) : 0;
      expect(gradient[token]).toBeCloseTo(expected, 14);
    });
  });

  it("ignores old and reference log-probabilities where a token does not count, even NaN", () => {
    const forget = (values: Float64Array) => values.map((value, token) => (counts[token] ? value : Number.NaN));
    const loss: LossOptions = { beta: 0.04, ...sequence };
    const unknown = { ...masked, old: forget(old), reference: forget(reference) };
    expect(evaluate(loss, unknown)).toEqual(evaluate(loss, masked));
  });

  it.each([
    ["a mask of another length", { lossMask: Uint8Array.of(1, 0) }],
    ["slices that do not begin at 0", { sliceOffsets: Int32Array.of(1, 6) }],
    ["slices that end before the rows", { sliceOffsets: Int32Array.of(0, 5) }],
    ["slices that descend", { sliceOffsets: Int32Array.of(0, 4, 2, 6) }],
  ])("refuses %s", (_, changes) => {
    expect(() => evaluate({}, changes)).toThrow(expect.objectContaining({ code: "BAD_INPUT" }));
  });
});

describe("importance ratios of tokens that another engine drew", () => {
  const importanceRatios = Float64Array.from(tokens, (i) => [1.5, 0, 0.25, 1][i % 4] ?? 1);

  it.each(LOSS_TYPES.filter((type) => type !== "vespo"))(
    "multiply the policy term of %s, and not the KL term",
    (lossType) => {
      const plain = evaluate({ lossType }).logprobs;
      const weighted = evaluate({ lossType }, { importanceRatios }).logprobs;
      const pulled = evaluate({ lossType, beta: 0.04 }, { importanceRatios }).logprobs;
      const onlyPulled = evaluate({ lossType, beta: 0.04 }).logprobs;
      tokens.forEach((token) => {
        const ratio = importanceRatios[token] ?? 0;
        expect(weighted[token]).toBeCloseTo((plain[token] ?? 0) * ratio, 14);
        const kl = (onlyPulled[token] ?? 0) - (plain[token] ?? 0);
        expect(pulled[token]).toBeCloseTo((plain[token] ?? 0) * ratio + kl, 14);
      });
    },
  );

  it("of vespo are part of the completion's weight, so that all of its tokens feel one of them", () => {
    const plain = evaluate({ lossType: "vespo" }).logprobs;
    const one = Float64Array.from(tokens, (i) => (i === 3 ? 1.5 : 1));
    const weighted = evaluate({ lossType: "vespo" }, { importanceRatios: one }).logprobs;
    expect(tokens.filter((token) => weighted[token] !== plain[token])).toEqual(
      tokens.filter((token) => rowOf(token) === 0),
    );
  });

  it("that are sampled elsewhere are left out by how far the sampler is, where the old policy is not given", () => {
    const none = new Float64Array();
    const options = { lossType: "dapo", offPolicyMaskThreshold: 0.1 } as const;
    // Rows 1 and 4 have A < 0; a log-probability that is not known is no difference.
    const far = Float64Array.from(tokens, (i) => (logprobs[i] ?? 0) + (rowOf(i) === 1 ? 0.2 : 0.05));
    far[25] = Number.NaN;
    const gradient = (sampledElsewhere: boolean) =>
      evaluate({ ...options, sampledElsewhere }, { old: none, sampling: far }).logprobs;
    const leftOut = (values: Float64Array) =>
      [1, 4].map((row) => tokens.every((i) => rowOf(i) !== row || values[i] === 0));
    expect([leftOut(gradient(false)), leftOut(gradient(true))]).toEqual([
      [false, false],
      [true, false],
    ]);
  });
});

describe("the weights of the loss", () => {
  it.each(["dapo", "cispo", "vespo"] as const)("share %s equally among tokens, or among lossTokens", (lossType) => {
    const whole = evaluate({ lossType });
    const given = evaluate({ lossType, lossTokens: 64, gradientAccumulationSteps: 5 });
    expect(given.loss).toBeCloseTo(whole.loss / 2, 14);
  });

  it("count a completion without tokens among grpo's completions, where it adds nothing", () => {
    const lossOf = (rows: number) =>
      evaluate({ lossType: "grpo" }, { advantages: advantages.slice(0, rows), offsets: OFFSETS.slice(0, rows + 1) })
        .loss;
    expect(lossOf(6)).toBeCloseTo((lossOf(5) * 5) / 6, 14);
  });

  it.each(LOSS_TYPES)("of a batch without any tokens give a loss of zero for %s", (lossType) => {
    const none = new Float64Array();
    const { loss, logprobs: gradient } = evaluate(
      { lossType, entropyCoef: 0.1, topEntropyQuantile: 0.5 },
      {
        logprobs: none,
        entropy: none,
        old: none,
        reference: none,
        advantages: Float64Array.from([1, -1]),
        offsets: Int32Array.from([0, 0, 0]),
      },
    );
    expect(loss).toBeCloseTo(0, 14);
    expect(gradient).toHaveLength(0);
  });
});
