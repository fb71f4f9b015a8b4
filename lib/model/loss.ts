// The loss part of the training options, with TRL's names and defaults, and its translation for the engine. The formulas
// themselves are in native/grpo/loss.cc.

import type { NativeLoss } from "../native/native.js";
import { checkBoolean, checkNumber, checkOneOf, checkOptionNames } from "../options.js";

export const LOSS_TYPES = ["dapo", "grpo"] as const;
export type LossType = (typeof LOSS_TYPES)[number];

export interface LossOptions {
  /** Default "dapo". */
  readonly lossType?: LossType;
  /** Weight of the KL term; above 0 the batch needs referenceLogprobs. Default 0. */
  readonly beta?: number;
  /** The ratio is clipped to [1 - epsilon, 1 + epsilonHigh]. Default 0.2. */
  readonly epsilon?: number;
  /** Default: epsilon. */
  readonly epsilonHigh?: number | null;
  /** Multiply the KL term by the ratio. Default true. */
  readonly useBiasCorrectionKl?: boolean;
  /** Divides the logits, as it did in sampling. Default 1. */
  readonly temperature?: number;
  /** TRL's per-device batch size: rows that form one micro-batch in its normalizers and metrics. Default 0: all rows. */
  readonly rowsPerSlice?: number;
  /** dapo: the token count to divide by. Default 0: the tokens of this batch. */
  readonly lossTokens?: number;
  /** For callers that add up several forwardBackward calls before a step. Default 1. */
  readonly gradientAccumulationSteps?: number;
  /** Memory only; never changes the gradient. Default 2048. */
  readonly maxTokensPerMicroBatch?: number;
  /** Keep only the layers' inputs and compute the layers again in the backward: less memory, same gradient. Default false. */
  readonly gradientCheckpointing?: boolean;
  /** Dropout masks are a function of it. Default 0. */
  readonly dropoutSeed?: number;
}

const KNOWN: readonly (keyof LossOptions)[] = [
  ...(["lossType", "beta", "epsilon", "epsilonHigh", "useBiasCorrectionKl", "temperature", "rowsPerSlice"] as const),
  ...([
    "lossTokens",
    "gradientAccumulationSteps",
    "maxTokensPerMicroBatch",
    "gradientCheckpointing",
    "dropoutSeed",
  ] as const),
];

/** Throws UNKNOWN_OPTION or BAD_OPTION, naming the option. */
export function toNativeLoss(options: LossOptions): NativeLoss {
  const where = "forwardBackward";
  checkOptionNames(where, options, KNOWN);
  const count = (key: keyof LossOptions, fallback: number, min: number) =>
    checkNumber(where, key, options[key] ?? fallback, { min, integer: true });
  const epsilon = checkNumber(where, "epsilon", options.epsilon ?? 0.2, { min: 0 });
  return {
    lossType: checkOneOf(where, "lossType", options.lossType ?? "dapo", LOSS_TYPES),
    beta: checkNumber(where, "beta", options.beta ?? 0, { min: 0 }),
    epsilonLow: epsilon,
    epsilonHigh: checkNumber(where, "epsilonHigh", options.epsilonHigh ?? epsilon, { min: 0 }),
    biasCorrectionKl: checkBoolean(where, "useBiasCorrectionKl", options.useBiasCorrectionKl ?? true),
    temperature: checkNumber(where, "temperature", options.temperature ?? 1, { min: 0, open: true }),
    rowsPerSlice: count("rowsPerSlice", 0, 0),
    lossTokens: checkNumber(where, "lossTokens", options.lossTokens ?? 0, { min: 0 }),
    gradientAccumulationSteps: count("gradientAccumulationSteps", 1, 1),
    maxTokensPerMicroBatch: count("maxTokensPerMicroBatch", 2048, 1),
    gradientCheckpointing: checkBoolean(where, "gradientCheckpointing", options.gradientCheckpointing ?? false),
    dropoutSeed: count("dropoutSeed", 0, 0),
  };
}
