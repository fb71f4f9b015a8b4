// The options of the loss, each in one place: GRPOConfig, the LossOptions of `forwardBackward` and what the engine is given are
// this table. The engine's own list is LossOptions in native/train/losses/loss.h, under the same names; the formulas stand there too.

import { GrpoError } from "../errors.js";
import type { FieldTypes } from "../zod.js";
import {
  type GivenOptions,
  type OptionsSchema,
  optionsSchema,
  parseOptions,
  pickOptions,
  type ResolvedOptions,
} from "./fields.js";

export const LOSS_TYPES = ["dapo", "grpo", "dr_grpo", "bnpo", "cispo", "sapo", "luspo", "vespo"] as const;
/** TRL's names of the losses; the formula of each is in native/train/losses/loss.h. */
export type LossType = (typeof LOSS_TYPES)[number];

export const IMPORTANCE_SAMPLING_LEVELS = ["token", "sequence"] as const;
export type ImportanceSamplingLevel = (typeof IMPORTANCE_SAMPLING_LEVELS)[number];

/** Of GRPOConfig and of every call alike, under TRL's names. */
export const lossFields = ({ z, positive, ratio, optional }: FieldTypes) => ({
  /** How ratios and advantages become a loss. Default "dapo". */
  lossType: z.enum(LOSS_TYPES).default("dapo"),
  /** "sequence": one ratio per completion, the geometric mean of its tokens' (GSPO). Default "token". */
  importanceSamplingLevel: z.enum(IMPORTANCE_SAMPLING_LEVELS).default("token"),
  /** Weight of the KL term; 0: no reference model is run. Default 0. */
  beta: z.number().min(0).default(0),
  /** Lower clip range of the ratio, and the upper one unless epsilonHigh is set. Default 0.2. */
  epsilon: z.number().min(0).default(0.2),
  /** Upper clip range; for cispo the bound of the ratio itself (5 is usual). Default null: epsilon. */
  epsilonHigh: optional(z.number().min(0)),
  /** Upper bound of the ratio where clipping leaves it free, above 1 + epsilonHigh; null: none. Default null. */
  delta: optional(positive),
  /** Multiplies the KL term by the policy ratio. Default true. */
  useBiasCorrectionKl: z.boolean().default(true),
  /** sapo: gate temperature for positive advantages. Default 1. */
  sapoTemperaturePos: positive.default(1),
  /** sapo: gate temperature for the others. Default 1.05. */
  sapoTemperatureNeg: positive.default(1.05),
  /** vespo: exponent of the weight for advantages of at least 0. Default 2. */
  vespoKPos: z.number().min(0).default(2),
  /** vespo: decay of the weight for advantages of at least 0. Default 3. */
  vespoLambdaPos: z.number().min(0).default(3),
  /** vespo: exponent of the weight for negative advantages. Default 3. */
  vespoKNeg: z.number().min(0).default(3),
  /** vespo: decay of the weight for negative advantages. Default 2. */
  vespoLambdaNeg: z.number().min(0).default(2),
  /**
   * Leaves out completions with negative advantage whose mean of old minus current log-probability exceeds this; null: none.
   * Default null.
   */
  offPolicyMaskThreshold: optional(z.number()),
  /** Share of the tokens, those with the highest entropy, that the policy term uses. Default 1. */
  topEntropyQuantile: ratio.default(1),
  /** Weight of the entropy bonus. Default 0. */
  entropyCoef: z.number().default(0),
});

/** Memory only, never the gradient: of GRPOConfig and of every call alike. */
export const microBatchFields = ({ z, count }: FieldTypes) => ({
  /** Memory only, never the gradient: tokens computed together in training. Default 2048. */
  maxTokensPerMicroBatch: count.default(2048),
  /** Memory only: keep only each layer's input, and compute the layer again in the backward pass. Default false. */
  gradientCheckpointing: z.boolean().default(false),
});

/** What one call of forwardBackward takes. The trainer knows them from its plan, whoever writes a loop from theirs. */
export const callFields = ({ z, positive }: FieldTypes) => ({
  /** dr_grpo divides by it: the maxNewTokens that the completions were sampled with. Default 0: not given. */
  maxCompletionLength: z.int().min(0).default(0),
  /** Divides the logits, as it did in sampling. Default 1. */
  temperature: positive.default(1),
  /**
   * TRL's per-device batch size: rows that form one micro-batch in its normalizers and metrics. Where slices differ in size, the
   * batch says so by its sliceOffsets. Default 0: all rows.
   */
  rowsPerSlice: z.int().min(0).default(0),
  /** dapo, cispo, vespo: the token count to divide by. Default 0: those of this batch that count in the loss. */
  lossTokens: z.number().min(0).default(0),
  /** The other losses: slices of one optimizer step, over all forwardBackward calls. Default 0: those of this batch. */
  gradientAccumulationSteps: z.int().min(0).default(0),
  /**
   * Leave out completions whose gradient is exactly zero: advantage 0, and no KL or entropy term. Only the entropy of the
   * result shows it, which is that of the others. Default true.
   */
  skipIdleRows: z.boolean().default(true),
  /**
   * The completions were drawn by another engine than the one that trains: offPolicyMaskThreshold then compares with the batch's
   * samplingLogprobs, as TRL does with vLLM. Default false.
   */
  sampledElsewhere: z.boolean().default(false),
  /** Dropout masks are a function of it. Default 0. */
  dropoutSeed: z.int().min(0).default(0),
});

export type LossFields = ReturnType<typeof lossFields>;
export type MicroBatchFields = ReturnType<typeof microBatchFields>;
type CallFields = LossFields & MicroBatchFields & ReturnType<typeof callFields>;

const ownSchema = optionsSchema(lossFields);
const microBatchSchema = optionsSchema(microBatchFields);
export const lossSchema: () => OptionsSchema<CallFields> = optionsSchema((types) => ({
  ...lossFields(types),
  ...microBatchFields(types),
  ...callFields(types),
}));

/** The loss part of GRPOConfig, and what one call of `forwardBackward` has besides. */
export type LossOptions = GivenOptions<CallFields>;

/** As the engine takes them, but for the slices, which go with the batch; null: none. */
export type NativeLoss = Omit<ResolvedOptions<CallFields>, "epsilonHigh" | "rowsPerSlice"> & { epsilonHigh: number };

/** What a configuration says of the loss and of how it is computed, for a call of forwardBackward. */
export function lossOptionsOf(config: Readonly<ResolvedOptions<LossFields & MicroBatchFields>>) {
  return { ...pickOptions(ownSchema(), config), ...pickOptions(microBatchSchema(), config) };
}

const where = "forwardBackward";

/** Throws UNKNOWN_OPTION or BAD_OPTION, naming the option. */
export function toNativeLoss(options: LossOptions): NativeLoss {
  const { rowsPerSlice: _, ...loss } = parseOptions(where, lossSchema(), options);
  if (loss.lossType === "dr_grpo" && loss.maxCompletionLength === 0) {
    throw new GrpoError(
      "BAD_OPTION",
      `${where}: lossType "dr_grpo" divides by maxCompletionLength, which is not given`,
      { hint: "give the maxNewTokens that the completions were sampled with" },
    );
  }
  return { ...loss, epsilonHigh: loss.epsilonHigh ?? loss.epsilon };
}

/** Rows of one slice; 0: all rows of the batch. Throws as toNativeLoss does. */
export function rowsPerSliceOf(options: LossOptions): number {
  return parseOptions(where, lossSchema(), options).rowsPerSlice;
}
