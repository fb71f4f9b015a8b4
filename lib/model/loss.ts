// The loss part of the training options, with TRL's names and defaults, and its translation for the engine. The formulas
// themselves are in native/grpo/loss.h.

import { GrpoError } from "../errors.js";
import type { NativeLoss } from "../native/native.js";
import { checkBoolean, checkNumber, checkOneOf, checkOptionNames, type NumberRange } from "../options.js";

export const LOSS_TYPES = ["dapo", "grpo", "dr_grpo", "bnpo", "cispo", "sapo", "luspo", "vespo"] as const;
/** TRL's names of the losses; the formula of each is in native/grpo/loss.h. */
export type LossType = (typeof LOSS_TYPES)[number];

export const IMPORTANCE_SAMPLING_LEVELS = ["token", "sequence"] as const;
export type ImportanceSamplingLevel = (typeof IMPORTANCE_SAMPLING_LEVELS)[number];

/** The loss part of GRPOConfig, for `forwardBackward`. */
export interface LossOptions {
  /** Default "dapo". */
  readonly lossType?: LossType;
  /** "sequence": one ratio per completion, the geometric mean of its tokens' (GSPO). Default "token". */
  readonly importanceSamplingLevel?: ImportanceSamplingLevel;
  /** Weight of the KL term; above 0 the batch needs referenceLogprobs. Default 0. */
  readonly beta?: number;
  /** The ratio is clipped to [1 - epsilon, 1 + epsilonHigh]. Default 0.2. */
  readonly epsilon?: number;
  /** For cispo the upper bound of the ratio itself. Default: epsilon. */
  readonly epsilonHigh?: number | null;
  /** Upper bound of the ratio where clipping leaves it free; null: none. Default null. */
  readonly delta?: number | null;
  /** Multiply the KL term by the ratio. Default true. */
  readonly useBiasCorrectionKl?: boolean;
  /** sapo: temperature of the gate for positive advantages. Default 1. */
  readonly sapoTemperaturePos?: number;
  /** For the others. Default 1.05. */
  readonly sapoTemperatureNeg?: number;
  /** vespo: shape of the weight for advantages of at least 0. Default 2. */
  readonly vespoKPos?: number;
  /** Default 3. */
  readonly vespoLambdaPos?: number;
  /** For negative advantages. Default 3. */
  readonly vespoKNeg?: number;
  /** Default 2. */
  readonly vespoLambdaNeg?: number;
  /** Completions of negative advantage that moved further than this (mean of old - current) drop out; null: none. */
  readonly offPolicyMaskThreshold?: number | null;
  /** Share of tokens, those of highest entropy, that the policy term acts on. Default 1: all. */
  readonly topEntropyQuantile?: number;
  /** Weight of the entropy bonus. Default 0. */
  readonly entropyCoef?: number;
  /** dr_grpo divides by it. */
  readonly maxCompletionLength?: number;
  /** Divides the logits, as it did in sampling. Default 1. */
  readonly temperature?: number;
  /**
   * TRL's per-device batch size: rows that form one micro-batch in its normalizers and metrics. Default 0: all rows. Where
   * slices differ in size, the batch says so by its `sliceOffsets`.
   */
  readonly rowsPerSlice?: number;
  /** dapo, cispo, vespo: the token count to divide by. Default 0: the tokens of this batch that count in the loss. */
  readonly lossTokens?: number;
  /** The other losses: slices of one optimizer step, over all forwardBackward calls. Default 0: those of this batch. */
  readonly gradientAccumulationSteps?: number;
  /**
   * Leave out completions whose gradient is exactly zero: advantage 0, and no KL or entropy term. Only the entropy of the
   * result shows it, which is that of the others. Default true.
   */
  readonly skipIdleRows?: boolean;
  /** Memory only; never changes the gradient. Default 2048. */
  readonly maxTokensPerMicroBatch?: number;
  /** Keep only the layers' inputs and compute the layers again in the backward: less memory, same gradient. Default false. */
  readonly gradientCheckpointing?: boolean;
  /** Dropout masks are a function of it. Default 0. */
  readonly dropoutSeed?: number;
}

const KNOWN: readonly (keyof LossOptions)[] = [
  "lossType",
  "importanceSamplingLevel",
  "beta",
  "epsilon",
  "epsilonHigh",
  "delta",
  "useBiasCorrectionKl",
  "sapoTemperaturePos",
  "sapoTemperatureNeg",
  "vespoKPos",
  "vespoLambdaPos",
  "vespoKNeg",
  "vespoLambdaNeg",
  "offPolicyMaskThreshold",
  "topEntropyQuantile",
  "entropyCoef",
  "maxCompletionLength",
  "temperature",
  "rowsPerSlice",
  "lossTokens",
  "gradientAccumulationSteps",
  "skipIdleRows",
  "maxTokensPerMicroBatch",
  "gradientCheckpointing",
  "dropoutSeed",
];

const where = "forwardBackward";

/** All but the slices, which go with the batch. Throws UNKNOWN_OPTION or BAD_OPTION, naming the option. */
export function toNativeLoss(options: LossOptions): NativeLoss {
  checkOptionNames(where, options, KNOWN);
  const count = (key: keyof LossOptions, fallback: number, min: number) =>
    checkNumber(where, key, options[key] ?? fallback, { min, integer: true });
  const flag = (key: keyof LossOptions, fallback: boolean) => checkBoolean(where, key, options[key] ?? fallback);
  const lossType = checkOneOf(where, "lossType", options.lossType ?? "dapo", LOSS_TYPES);
  if (lossType === "dr_grpo" && options.maxCompletionLength === undefined) {
    throw new GrpoError(
      "BAD_OPTION",
      `${where}: lossType "dr_grpo" divides by maxCompletionLength, which is not given`,
      {
        hint: "give the maxNewTokens that the completions were sampled with",
      },
    );
  }
  const level = options.importanceSamplingLevel ?? "token";
  return {
    lossType,
    sequenceLevel: checkOneOf(where, "importanceSamplingLevel", level, IMPORTANCE_SAMPLING_LEVELS) === "sequence",
    biasCorrectionKl: flag("useBiasCorrectionKl", true),
    ...policyNumbers(options),
    maxCompletionLength: count("maxCompletionLength", 0, 0),
    lossTokens: checkNumber(where, "lossTokens", options.lossTokens ?? 0, { min: 0 }),
    gradientAccumulationSteps: count("gradientAccumulationSteps", 0, 0),
    skipIdleRows: flag("skipIdleRows", true),
    maxTokensPerMicroBatch: count("maxTokensPerMicroBatch", 2048, 1),
    gradientCheckpointing: flag("gradientCheckpointing", false),
    dropoutSeed: count("dropoutSeed", 0, 0),
  };
}

/** Rows of one slice; 0: all rows of the batch. Throws BAD_OPTION. */
export function rowsPerSliceOf(options: LossOptions): number {
  return checkNumber(where, "rowsPerSlice", options.rowsPerSlice ?? 0, { min: 0, integer: true });
}

function policyNumbers(options: LossOptions) {
  const number = (key: keyof LossOptions, fallback: number, limits: NumberRange = { min: 0 }) =>
    checkNumber(where, key, options[key] ?? fallback, limits);
  const positive = { min: 0, open: true };
  const orOff = (key: "delta" | "offPolicyMaskThreshold", limits: NumberRange) =>
    options[key] === undefined || options[key] === null ? Number.POSITIVE_INFINITY : number(key, 0, limits);
  const epsilon = number("epsilon", 0.2);
  return {
    beta: number("beta", 0),
    epsilonLow: epsilon,
    epsilonHigh: number("epsilonHigh", epsilon),
    delta: orOff("delta", positive),
    sapoTemperaturePos: number("sapoTemperaturePos", 1, positive),
    sapoTemperatureNeg: number("sapoTemperatureNeg", 1.05, positive),
    vespoKPos: number("vespoKPos", 2),
    vespoLambdaPos: number("vespoLambdaPos", 3),
    vespoKNeg: number("vespoKNeg", 3),
    vespoLambdaNeg: number("vespoLambdaNeg", 2),
    offPolicyThreshold: orOff("offPolicyMaskThreshold", {}),
    topEntropyQuantile: number("topEntropyQuantile", 1, { min: 0, max: 1 }),
    entropyCoef: number("entropyCoef", 0, {}),
    temperature: number("temperature", 1, positive),
  };
}
