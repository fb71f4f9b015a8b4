// TRL's importance-sampling correction: completions that another engine has drawn come from slightly other numbers than those of the
// policy that is trained. For a token with log-probability l_old under the policy as it was when the completion was drawn, and l by
// the engine that drew it,
//   κ = exp(l_old − l), by token; or exp Σ (l_old − l), by sequence, for each of its tokens
// multiplies the policy term of the loss (native/train/losses/loss.h); bounds truncate it, or mask what is beyond them with 0. Tokens
// that do not count have no part in it, and where l is not known (NaN) the difference is 0.

import { at } from "../at.js";
import { show } from "../checks.js";
import { GrpoError } from "../errors.js";
import type { Metrics } from "../log/metrics.js";
import type { GRPOConfigFields } from "./config-fields.js";

type CorrectionOptions = Pick<
  GRPOConfigFields,
  | "vllmImportanceSamplingCorrection"
  | "vllmImportanceSamplingMode"
  | "vllmImportanceSamplingClipMax"
  | "vllmImportanceSamplingClipMin"
>;

/** A sample with both log-probabilities of each of its tokens. */
export interface TwiceScored {
  /** [T] by the engine that drew it; NaN: not known. */
  readonly samplingLogprobs: Float32Array;
  /** [T] by the policy at that moment. */
  readonly oldLogprobs: Float32Array;
  /** [T] absent: every token counts. */
  readonly lossMask?: Uint8Array | undefined;
}

export interface Correction {
  /** [samples][T] κ, in float32; of tokens that do not count, any number. */
  readonly ratios: readonly Float32Array[];
  /** TRL's sampling/… of these samples. */
  readonly metrics: Metrics;
}

export function correctSampling(samples: readonly TwiceScored[], options: CorrectionOptions): Correction {
  const differences = samples.map(countedDifferences);
  const bySequence = options.vllmImportanceSamplingMode.startsWith("sequence");
  const bound = (logRatio: number) => boundRatio(Math.exp(logRatio), options);
  const ofSequences = differences.map((values) => bound(values.reduce((sum, value) => sum + orZero(value), 0)));
  const ratios = samples.map(({ oldLogprobs, samplingLogprobs }, i) => {
    if (bySequence) return new Float32Array(oldLogprobs.length).fill(at(ofSequences, i));
    return oldLogprobs.map((old, token) => bound(orZero(old - (samplingLogprobs[token] ?? Number.NaN))));
  });
  const gaps = differences.flat().filter((value) => !Number.isNaN(value));
  const used = bySequence ? ofSequences : ratios.flatMap((values, i) => counted(values, at(samples, i).lossMask));
  const gap = summary(gaps.map(Math.abs));
  const ratio = summary(used);
  return {
    ratios,
    metrics: {
      "sampling/sampling_logp_difference/mean": gap.mean,
      "sampling/sampling_logp_difference/max": gap.max,
      "sampling/importance_sampling_ratio/min": ratio.min,
      "sampling/importance_sampling_ratio/mean": ratio.mean,
      "sampling/importance_sampling_ratio/max": ratio.max,
    },
  };
}

/** l_old − l of the tokens that count. */
function countedDifferences({ oldLogprobs, samplingLogprobs, lossMask }: TwiceScored): number[] {
  const old = counted(oldLogprobs, lossMask);
  const sampling = counted(samplingLogprobs, lossMask);
  return old.map((value, i) => value - at(sampling, i));
}

function counted(values: Float32Array, lossMask: Uint8Array | undefined): number[] {
  return Array.from(values).filter((_, token) => lossMask === undefined || lossMask[token] === 1);
}

function orZero(value: number): number {
  return Number.isNaN(value) ? 0 : value;
}

function boundRatio(ratio: number, options: CorrectionOptions): number {
  const min = options.vllmImportanceSamplingClipMin ?? Number.NEGATIVE_INFINITY;
  const max = options.vllmImportanceSamplingClipMax ?? Number.POSITIVE_INFINITY;
  if (options.vllmImportanceSamplingMode.endsWith("truncate")) return Math.min(Math.max(ratio, min), max);
  return ratio < min || ratio > max ? 0 : ratio;
}

/** As TRL has it, 0 where there is nothing. */
function summary(values: readonly number[]): { readonly min: number; readonly mean: number; readonly max: number } {
  if (values.length === 0) return { min: 0, mean: 0, max: 0 };
  return {
    min: values.reduce((a, b) => Math.min(a, b)),
    mean: values.reduce((a, b) => a + b, 0) / values.length,
    max: values.reduce((a, b) => Math.max(a, b)),
  };
}

/** Throws BAD_OPTION for bounds that no correction can have; TRL refuses the same. */
export function checkBounds(config: CorrectionOptions): void {
  const { vllmImportanceSamplingClipMin: min, vllmImportanceSamplingClipMax: max } = config;
  const { vllmImportanceSamplingCorrection: corrects, vllmImportanceSamplingMode: mode } = config;
  if (min !== null && max !== null && min >= max) {
    throw new GrpoError(
      "BAD_OPTION",
      `GRPOConfig: vllmImportanceSamplingClipMin ${min} is not below vllmImportanceSamplingClipMax ${max}`,
      { hint: "swap them, or set one of them to null" },
    );
  }
  if (corrects && mode.endsWith("truncate") && min === null && max === null) {
    throw new GrpoError(
      "BAD_OPTION",
      `GRPOConfig: vllmImportanceSamplingMode ${show(mode)} has no bound to truncate at`,
      {
        hint: "set vllmImportanceSamplingClipMax, vllmImportanceSamplingClipMin or both",
      },
    );
  }
}

/** Throws BAD_OPTION for a loss that a sampler elsewhere cannot have; TRL refuses the same. */
export function checkCorrectedLoss(config: CorrectionOptions & Pick<GRPOConfigFields, "lossType">): void {
  const { vllmImportanceSamplingCorrection: corrects, vllmImportanceSamplingMode: mode, lossType } = config;
  if (!corrects || lossType !== "vespo" || mode.startsWith("token")) return;
  throw new GrpoError(
    "BAD_OPTION",
    `GRPOConfig: lossType "vespo" weighs sequences by itself, which vllmImportanceSamplingMode ${show(mode)} would do again`,
    { hint: 'set it to "token_truncate" or "token_mask"' },
  );
}
