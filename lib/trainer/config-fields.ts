// The fields of GRPOConfig, TRL's names in camelCase and TRL's defaults: those of any run (lib/run/options.ts) and GRPO's own. Shapes
// and ranges are checked by the schema, combinations in config-check.ts.

import type * as Zod from "zod";
import { IMPORTANCE_SAMPLING_LEVELS, LOSS_TYPES } from "../model/loss.js";
import {
  checkpointFields,
  evaluationFields,
  hubFields,
  identityFields,
  lengthFields,
  loggingFields,
  memoryFields,
  optimizerFields,
  trackerFields,
} from "../run/options.js";
import type { AnyRewardFn } from "../types.js";
import { type FieldTypes, fieldTypes, lazySchema } from "../zod.js";

const fields = (types: FieldTypes, { z, count, ratio, optional } = types) => ({
  ...identityFields(types),

  // Batch. One optimizer step takes perDeviceTrainBatchSize × gradientAccumulationSteps completions; one generation samples
  // perDeviceTrainBatchSize × stepsPerGeneration of them.
  /** Completions (not prompts) in one slice of a step. */
  perDeviceTrainBatchSize: count.default(8),
  /** Slices in one optimizer step; a step has perDeviceTrainBatchSize times this many completions. */
  gradientAccumulationSteps: count.default(1),
  /** Completions sampled for each prompt (G). */
  numGenerations: count.default(8),
  /** The same during evaluation; null: numGenerations. */
  numGenerationsEval: optional(count),
  /** Completions of one generation; null: from stepsPerGeneration. */
  generationBatchSize: optional(count),
  /** Slices that one generation is cut into; null: gradientAccumulationSteps, so that each step has its own. */
  stepsPerGeneration: optional(count),
  /** Optimization passes over each generation. */
  numIterations: count.default(1),
  ...lengthFields(types),
  shuffleDataset: z.boolean().default(true),
  /** true: reward functions receive no column but the prompt. */
  removeUnusedColumns: z.boolean().default(false),
  ...memoryFields(types),

  // Prompts and sampling.
  /** Longest prompt in tokens; null: what the model's context leaves. */
  maxPromptLength: optional(count),
  /** What becomes of a longer one; "truncate" keeps its end. */
  promptOverflow: z.enum(["error", "drop", "truncate"]).default("error"),
  /** New tokens of a completion at most. */
  maxCompletionLength: count.default(512),
  /** Divides the logits, in sampling and in training alike. */
  temperature: z.number().positive().default(1),
  topP: z.number().gt(0).max(1).default(1),
  /** 0: off. */
  topK: z.int().min(0).default(0),
  minP: optional(ratio),
  repetitionPenalty: z.number().positive().default(1),
  /** Groups whose rewards have no spread are replaced by groups of further prompts (DAPO). */
  dynamicSampling: z.boolean().default(false),
  /** Rounds of sampling for one generation at most; what is missing then is filled with groups without spread. */
  dynamicSamplingMaxRounds: count.default(10),
  /** Decode steps of few fixed shapes, recorded as graphs where libtorch has graphs for the device (2.14: not for CUDA); elsewhere only slower. Not run with graphs. */
  graphCapture: z.boolean().default(false),
  chatTemplateKwargs: optional(z.record(z.string(), z.unknown())),

  // Loss.
  lossType: z.enum(LOSS_TYPES).default("dapo"),
  /** "sequence": one ratio per completion, the geometric mean of its tokens' (GSPO). */
  importanceSamplingLevel: z.enum(IMPORTANCE_SAMPLING_LEVELS).default("token"),
  /** Weight of the KL term; 0: no reference model is run. */
  beta: z.number().min(0).default(0),
  /** Lower clip range of the ratio, and the upper one unless epsilonHigh is set. */
  epsilon: z.number().min(0).default(0.2),
  /** Upper clip range; for cispo the bound of the ratio itself (5 is usual). */
  epsilonHigh: optional(z.number().min(0)),
  /** Upper bound of the ratio where clipping leaves it free, above 1 + epsilonHigh; null: none. */
  delta: optional(z.number().positive()),
  /** Multiplies the KL term by the policy ratio. */
  useBiasCorrectionKl: z.boolean().default(true),
  /** sapo: gate temperature for positive advantages. */
  sapoTemperaturePos: z.number().positive().default(1),
  /** sapo: for the others. */
  sapoTemperatureNeg: z.number().positive().default(1.05),
  /** vespo: exponent of the weight for advantages of at least 0. */
  vespoKPos: z.number().min(0).default(2),
  /** vespo: its decay. */
  vespoLambdaPos: z.number().min(0).default(3),
  /** vespo: exponent for negative advantages. */
  vespoKNeg: z.number().min(0).default(3),
  vespoLambdaNeg: z.number().min(0).default(2),
  /** Completions cut by maxCompletionLength count as rewards but not in the loss. */
  maskTruncatedCompletions: z.boolean().default(false),
  /** Completions of negative advantage whose mean of old minus current log-probability is above it drop out; null: none. */
  offPolicyMaskThreshold: optional(z.number()),
  /** Share of tokens, those of highest entropy, that the policy term acts on. */
  topEntropyQuantile: ratio.default(1),
  /** Weight of the entropy bonus. */
  entropyCoef: z.number().default(0),
  /** Moves entropyCoef after each step, up while the entropy is at most entropyTarget; above it there is no bonus. */
  useAdaptiveEntropy: z.boolean().default(false),
  entropyCoefMin: z.number().default(0),
  entropyCoefMax: z.number().default(1),
  /** How far one step moves it. */
  entropyCoefDelta: z.number().min(0).default(0.005),
  entropyTarget: z.number().min(0).default(0.2),
  /** Moves the reference towards the policy from time to time; for models trained in full, with beta above 0. */
  syncRefModel: z.boolean().default(false),
  /** Share of the policy in the new reference. */
  refModelMixupAlpha: ratio.default(0.6),
  /** Steps between two of these. */
  refModelSyncSteps: count.default(512),

  // Rewards.
  rewardFuncs: optional(z.array(z.custom<AnyRewardFn>((value) => typeof value === "function", "expected a function"))),
  /** One weight per reward function; null: 1 each. */
  rewardWeights: optional(z.array(z.number())),
  /** The guide's spelling of rewardWeights. */
  rewardFuncsWeights: optional(z.array(z.number())),
  /** What advantages are divided by: the deviation of the group's rewards, of the whole generation's, or nothing. */
  scaleRewards: z.enum(["group", "batch", "none"]).default("group"),
  /** "normalize_then_sum": each function's rewards are normalized within the group before they are weighted (GDPO). */
  multiObjectiveAggregation: z.enum(["sum_then_normalize", "normalize_then_sum"]).default("sum_then_normalize"),
  /** "group": called as each group finishes, while others are still sampled. "batch": once with the whole step. */
  rewardBatching: z.enum(["group", "batch"]).default("group"),
  /** Reward calls in flight at once. */
  rewardConcurrency: count.default(16),
  /** Seconds that one call may take; null: any time. */
  rewardTimeout: optional(z.number().positive()),
  /** What a failed call counts as: it ends the run, abstains, or gives every completion this number. */
  onRewardError: z.union([z.enum(["fail", "null"]), z.number()], '"fail", "null" or a finite number').default("fail"),

  // Optimizer.
  ...optimizerFields(types),

  // Logs, evaluation, checkpoints. Intervals are steps, or below 1 a share of all steps.
  ...loggingFields(types),
  /** Print sample completions at each logging step; every completion goes to completions.jsonl anyway. */
  logCompletions: z.boolean().default(false),
  /** How many of them; null: all. */
  numCompletionsToPrint: optional(count),
  ...trackerFields(types),
  ...evaluationFields(types),
  /** false: greedy, with one completion a prompt. */
  evalDoSample: z.boolean().default(true),
  /** Sampling in evaluation, where it differs from training's; null: the same. */
  evalTemperature: optional(z.number().positive()),
  evalTopP: optional(z.number().gt(0).max(1)),
  evalTopK: optional(z.int().min(0)),
  /** Values of k: report pass@k of every reward function, for rewards of at least evalPassThreshold. */
  evalPassAt: z.array(count).default([]),
  evalPassThreshold: z.number().default(1),
  ...checkpointFields(types),

  // The Hub. Uploads go on beside the training; one that fails is tried again with the next save.
  ...hubFields(types),
  /** Data set on the Hub that gets completions.jsonl at each save. */
  logCompletionsHubRepo: optional(z.string().min(1)),
});

export const schema = lazySchema((z) => z.strictObject(fields(fieldTypes(z))));
type Schema = ReturnType<typeof schema>;

/** Every field with its value. */
export type GRPOConfigFields = Zod.output<Schema>;
/** What may be given: TRL also takes true ("group") and false ("none") for scaleRewards, and reportTo beside logTo. */
export type GRPOConfigOptions = Readonly<
  Omit<Zod.input<Schema>, "scaleRewards"> & {
    scaleRewards?: "group" | "batch" | "none" | boolean | undefined;
    reportTo?: string | readonly string[] | null | undefined;
  }
>;

type Batching = Pick<
  GRPOConfigFields,
  "perDeviceTrainBatchSize" | "gradientAccumulationSteps" | "generationBatchSize" | "stepsPerGeneration"
>;

export interface BatchSizes {
  /** Completions of one optimizer step. */
  readonly completionsPerStep: number;
  /** stepsPerGeneration, from whichever option says it. */
  readonly slicesPerGeneration: number;
  /** Completions sampled at a time. */
  readonly completionsPerGeneration: number;
}

export function batchSizes(fields: Batching): BatchSizes {
  const { perDeviceTrainBatchSize: slice, gradientAccumulationSteps, generationBatchSize, stepsPerGeneration } = fields;
  const slicesPerGeneration =
    generationBatchSize === null ? (stepsPerGeneration ?? gradientAccumulationSteps) : generationBatchSize / slice;
  return {
    completionsPerStep: slice * gradientAccumulationSteps,
    slicesPerGeneration,
    completionsPerGeneration: slice * slicesPerGeneration,
  };
}
