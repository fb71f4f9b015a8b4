// TRL's importance-sampling correction at its edges; what whole trainings make of it is in test/addon/sampler-runs.test.ts.

import { expect, it } from "vitest";
import { correctSampling, type TwiceScored } from "../../lib/grpo/importance-sampling.js";

const OPTIONS = {
  vllmImportanceSamplingCorrection: true,
  vllmImportanceSamplingMode: "sequence_mask",
  vllmImportanceSamplingClipMax: 3,
  vllmImportanceSamplingClipMin: null,
} as const;
const RATIO = "sampling/importance_sampling_ratio";
const GAP = "sampling/sampling_logp_difference";

function sample(old: readonly number[], sampling: readonly number[], lossMask?: readonly number[]): TwiceScored {
  return {
    oldLogprobs: Float32Array.from(old),
    samplingLogprobs: Float32Array.from(sampling),
    lossMask: lossMask && Uint8Array.from(lossMask),
  };
}

it("a completion without tokens has ratio 1, and none at all has zeros", () => {
  const { ratios, metrics } = correctSampling([sample([], [])], OPTIONS);
  expect(ratios).toEqual([new Float32Array()]);
  expect(metrics).toMatchObject({ [`${RATIO}/min`]: 1, [`${RATIO}/mean`]: 1, [`${GAP}/mean`]: 0 });
  expect(correctSampling([], OPTIONS).metrics).toMatchObject({ [`${RATIO}/max`]: 0, [`${GAP}/max`]: 0 });
});

it("tokens that do not count have no part in ratios and gaps, whatever they hold", () => {
  const masked = sample([-1, -50, -1], [-1.5, 0, Number.NaN], [1, 0, 0]);
  const { ratios, metrics } = correctSampling([masked], OPTIONS);
  const ratio = Math.fround(Math.exp(0.5));
  expect(ratios[0]).toEqual(Float32Array.of(ratio, ratio, ratio));
  expect(metrics).toMatchObject({ [`${GAP}/mean`]: 0.5, [`${GAP}/max`]: 0.5 });
});

it("a log-probability that is not known corrects nothing", () => {
  const options = { ...OPTIONS, vllmImportanceSamplingMode: "token_truncate" } as const;
  const { ratios, metrics } = correctSampling([sample([-1, -2], [Number.NaN, -2.25])], options);
  expect(ratios[0]).toEqual(Float32Array.of(1, Math.fround(Math.exp(0.25))));
  expect(metrics[`${GAP}/max`]).toBe(0.25);
});

it("a ratio beyond its bounds is left out by masks, and moved by truncation", () => {
  const samples = [sample([0], [-2]), sample([-3], [0])];
  const both = { ...OPTIONS, vllmImportanceSamplingClipMin: 0.5 };
  const first = (mode: "sequence_mask" | "sequence_truncate") =>
    correctSampling(samples, { ...both, vllmImportanceSamplingMode: mode }).ratios.map((values) => values[0]);
  expect(first("sequence_mask")).toEqual([0, 0]);
  expect(first("sequence_truncate")).toEqual([3, 0.5]);
});
