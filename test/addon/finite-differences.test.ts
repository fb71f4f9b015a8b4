// The loss that trains, in float64 on given log-probabilities: its derivative against finite differences, and the places where
// the derivative must be exactly zero.

import { describe, expect, it } from "vitest";
import type { NativeLoss } from "../../lib/native/native.js";
import { loadCore } from "../../lib/native/native-loader.js";

const LOSS: NativeLoss = {
  ...{ lossType: "dapo", beta: 0, epsilonLow: 0.2, epsilonHigh: 0.3, biasCorrectionKl: true, temperature: 1 },
  ...{
    rowsPerSlice: 0,
    lossTokens: 0,
    gradientAccumulationSteps: 1,
    maxTokensPerMicroBatch: 1,
    gradientCheckpointing: false,
    dropoutSeed: 0,
  },
};

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

function evaluate(loss: Partial<NativeLoss>, at = logprobs, oldLogprobs = old) {
  return loadCore().lossAndGradient(at, oldLogprobs, reference, advantages, OFFSETS, { ...LOSS, ...loss });
}

function numericalGradient(loss: Partial<NativeLoss>): number[] {
  // Central differences: the error is of the order of h², and rounding of 1e-16 / h.
  const h = 1e-5;
  return tokens.map((token) => {
    const [up, down] = [h, -h].map((delta) => {
      const moved = Float64Array.from(logprobs);
      moved[token] = (moved[token] ?? 0) + delta;
      return evaluate(loss, moved).loss;
    });
    return ((up ?? Number.NaN) - (down ?? Number.NaN)) / (2 * h);
  });
}

const variants: Partial<NativeLoss>[] = ["dapo", "grpo"].flatMap((lossType) => [
  { lossType, beta: 0 },
  { lossType, beta: 0.04, biasCorrectionKl: true },
  { lossType, beta: 0.04, biasCorrectionKl: false },
  { lossType, beta: 1, lossTokens: 100, gradientAccumulationSteps: 3 },
]);

describe("the gradient of the loss", () => {
  it.each(variants)("equals finite differences for %o", (variant) => {
    const { gradient } = evaluate(variant);
    numericalGradient(variant).forEach((expected, token) => {
      expect(Math.abs((gradient[token] ?? Number.NaN) - expected), `token ${token}`).toBeLessThan(1e-9);
    });
  });

  it("is zero exactly where the clip holds: above for positive advantages, below for negative", () => {
    const { gradient } = evaluate({});
    const clipped = tokens.map((token) => {
      const ratio = RATIOS[token % RATIOS.length] ?? 1;
      const advantage = advantages[rowOf(token)] ?? 0;
      return advantage === 0 || (advantage > 0 ? ratio > 1.3 : ratio < 0.8);
    });
    expect(Array.from(gradient, (value) => value === 0)).toEqual(clipped);
    expect(clipped.filter((is) => is).length).toBeGreaterThan(8);
  });

  it("pushes up tokens of positive advantages and down those of negative ones", () => {
    const { gradient } = evaluate({});
    gradient.forEach((value, token) => {
      if (value !== 0) expect(Math.sign(value)).toBe(-Math.sign(advantages[rowOf(token)] ?? 0));
    });
  });

  it("of the KL term alone reaches tokens without advantage", () => {
    const { gradient } = evaluate({ beta: 0.04 });
    const idle = tokens.filter((token) => advantages[rowOf(token)] === 0);
    expect(idle).toHaveLength(8);
    expect(idle.every((token) => gradient[token] !== 0)).toBe(true);
  });

  it("with the current log-probabilities as the old ones is -weight · advantage", () => {
    const { gradient } = evaluate({}, logprobs, new Float64Array());
    gradient.forEach((value, token) => {
      expect(value).toBeCloseTo(-(advantages[rowOf(token)] ?? 0) / 32, 14);
    });
  });
});

describe("the weights of the loss", () => {
  it("share dapo equally among tokens, or among lossTokens", () => {
    const whole = evaluate({ lossType: "dapo" });
    const given = evaluate({ lossType: "dapo", lossTokens: 64 });
    expect(given.loss).toBeCloseTo(whole.loss / 2, 14);
  });

  it("count a completion without tokens among grpo's completions, where it adds nothing", () => {
    const lossOf = (rows: number) =>
      loadCore().lossAndGradient(logprobs, old, reference, advantages.slice(0, rows), OFFSETS.slice(0, rows + 1), {
        ...LOSS,
        lossType: "grpo",
      }).loss;
    expect(lossOf(6)).toBeCloseTo((lossOf(5) * 5) / 6, 14);
  });

  it("of a batch without any tokens give a loss of zero", () => {
    const none = new Float64Array();
    const { loss, gradient } = loadCore().lossAndGradient(
      ...([none, none, none, Float64Array.from([1, -1]), Int32Array.from([0, 0, 0]), LOSS] as const),
    );
    expect(loss).toBe(0);
    expect(gradient).toHaveLength(0);
  });
});
