// The fields of GRPOConfig, TRL's names in camelCase and TRL's defaults: those of any run (lib/run/options.ts), those of the loss
// (lib/options/loss.ts) and GRPO's own. Shapes and ranges are checked by the schema, combinations in config-check.ts.

import type { ReportTo } from "../log/trackers.js";
import type { FromPretrainedOptions } from "../model/model-options.js";
import { type GivenOptions, type OptionsSchema, optionsSchema, type ResolvedOptions } from "../options/fields.js";
import { type LossFields, lossFields } from "../options/loss.js";
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
import type { FieldTypes } from "../zod.js";

/** How the trainer opens a model that it is given by its id or folder. */
export const modelFields = ({ z, optional }: FieldTypes) => ({
  /** Options of CausalLM.fromPretrained for a model that the trainer loads itself; its dtype is float32 unless they say otherwise. */
  modelInitKwargs: optional(
    z.custom<Omit<FromPretrainedOptions, "token">>((value) => typeof value === "object", "an object of options"),
  ),
});

/** How completions form steps and generations. */
export const batchFields = ({ count, optional }: FieldTypes) => ({
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
});

/** In which order prompts come, and with what. */
export const rowFields = ({ z }: FieldTypes) => ({
  shuffleDataset: z.boolean().default(true),
  /** true: reward functions receive no column but the prompt. */
  removeUnusedColumns: z.boolean().default(false),
});

/** A second name, which newer versions of transformers write. */
export const newerNameFields = ({ z, optional }: FieldTypes) => ({
  /** transformers' newer name of gradientCheckpointing, which it overrides; null: as gradientCheckpointing says. */
  activationCheckpointing: optional(z.boolean()),
});

/** Prompts, and how they are sampled. */
export const samplingFields = ({ z, count, positive, ratio, optional }: FieldTypes) => ({
  /** Longest prompt in tokens; null: what the model's context leaves. */
  maxPromptLength: optional(count),
  /** What becomes of a longer one; "truncate" keeps its end. */
  promptOverflow: z.enum(["error", "drop", "truncate"]).default("error"),
  /** New tokens of a completion at most. */
  maxCompletionLength: count.default(512),
  /** Divides the logits, in sampling and in training alike. */
  temperature: positive.default(1),
  topP: z.number().gt(0).max(1).default(1),
  /** 0: off. */
  topK: z.int().min(0).default(0),
  minP: optional(ratio),
  repetitionPenalty: positive.default(1),
  /** Groups whose rewards have no spread are replaced by groups of further prompts (DAPO). */
  dynamicSampling: z.boolean().default(false),
  /** Rounds of sampling for one generation at most; what is missing then is filled with groups without spread. */
  dynamicSamplingMaxRounds: count.default(10),
  /** Decode steps of few fixed shapes, recorded as graphs where libtorch has graphs for the device (2.14: not for CUDA); elsewhere only slower. Not run with graphs. */
  graphCapture: z.boolean().default(false),
  chatTemplateKwargs: optional(z.record(z.string(), z.unknown())),
});

/** What moves the loss during a run, beside its own options. */
export const lossControlFields = ({ z, count, ratio }: FieldTypes) => ({
  /** Completions cut by maxCompletionLength count as rewards but not in the loss. */
  maskTruncatedCompletions: z.boolean().default(false),
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
});

/** Reward functions, how they are called and what becomes of rewards. */
export const rewardFields = ({ z, count, positive, optional }: FieldTypes) => ({
  rewardFuncs: optional(z.array(z.custom<AnyRewardFn>((value) => typeof value === "function", "a function"))),
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
  rewardTimeout: optional(positive),
  /** What a failed call counts as: it ends the run, abstains, or gives every completion this number. */
  onRewardError: z.union([z.enum(["fail", "null"]), z.number()], '"fail", "null" or a finite number').default("fail"),
});

/** What is shown of completions. */
export const completionFields = ({ z, count, optional }: FieldTypes) => ({
  /** Print completions of the latest generation at each logging step, and of an evaluation with it; all go to completions.jsonl anyway. */
  logCompletions: z.boolean().default(false),
  /** How many of them; null: all. */
  numCompletionsToPrint: optional(count),
});

/** How an evaluation samples, and what it reports. */
export const evaluationSamplingFields = ({ z, count, positive, optional }: FieldTypes) => ({
  /** false: greedy, with one completion a prompt. */
  evalDoSample: z.boolean().default(true),
  /** Sampling in evaluation, where it differs from training's; null: the same. */
  evalTemperature: optional(positive),
  evalTopP: optional(z.number().gt(0).max(1)),
  evalTopK: optional(z.int().min(0)),
  /** Values of k: report pass@k of every reward function, for rewards of at least evalPassThreshold. */
  evalPassAt: z.array(count).default([]),
  evalPassThreshold: z.number().default(1),
});

/** What of the completions goes to the Hub. */
export const completionHubFields = ({ z, optional }: FieldTypes) => ({
  /** Data set on the Hub that gets completions.jsonl at each save. */
  logCompletionsHubRepo: optional(z.string().min(1)),
});

type Fields = ReturnType<typeof identityFields> &
  ReturnType<typeof modelFields> &
  ReturnType<typeof batchFields> &
  ReturnType<typeof lengthFields> &
  ReturnType<typeof rowFields> &
  ReturnType<typeof memoryFields> &
  ReturnType<typeof newerNameFields> &
  ReturnType<typeof samplingFields> &
  LossFields &
  ReturnType<typeof lossControlFields> &
  ReturnType<typeof rewardFields> &
  ReturnType<typeof optimizerFields> &
  ReturnType<typeof loggingFields> &
  ReturnType<typeof completionFields> &
  ReturnType<typeof trackerFields> &
  ReturnType<typeof evaluationFields> &
  ReturnType<typeof evaluationSamplingFields> &
  ReturnType<typeof checkpointFields> &
  ReturnType<typeof hubFields> &
  ReturnType<typeof completionHubFields>;

// The line comments are the sections of docs/configuration.md.
const fields = (types: FieldTypes): Fields => ({
  ...identityFields(types),
  ...modelFields(types),
  // Batch. One optimizer step takes perDeviceTrainBatchSize × gradientAccumulationSteps completions; one generation samples
  // perDeviceTrainBatchSize × stepsPerGeneration of them.
  ...batchFields(types),
  ...lengthFields(types),
  ...rowFields(types),
  ...memoryFields(types),
  ...newerNameFields(types),
  // Prompts and sampling.
  ...samplingFields(types),
  // Loss.
  ...lossFields(types),
  ...lossControlFields(types),
  // Rewards.
  ...rewardFields(types),
  // Optimizer.
  ...optimizerFields(types),
  // Logs, evaluation, checkpoints. Intervals are steps, or below 1 a share of all steps.
  ...loggingFields(types),
  ...completionFields(types),
  ...trackerFields(types),
  ...evaluationFields(types),
  ...evaluationSamplingFields(types),
  ...checkpointFields(types),
  // The Hub. Uploads go on beside the training; one that fails is tried again with the next save.
  ...hubFields(types),
  ...completionHubFields(types),
});

export const schema: () => OptionsSchema<Fields> = optionsSchema(fields);

/** Every field with its value. */
export type GRPOConfigFields = ResolvedOptions<Fields>;
/** What may be given: TRL also takes true ("group") and false ("none") for scaleRewards, and reportTo beside logTo. */
export type GRPOConfigOptions = Readonly<
  Omit<GivenOptions<Fields>, "scaleRewards"> & {
    scaleRewards?: "group" | "batch" | "none" | boolean | undefined;
    /** Trackers that join logTo; "all": those that the environment sets up. */
    reportTo?: ReportTo | readonly ReportTo[] | null | undefined;
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
