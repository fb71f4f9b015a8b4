// The fields of GRPOConfig, TRL's names in camelCase and TRL's defaults: those of any run (lib/run/options.ts), those of the loss
// (lib/options/loss.ts) and GRPO's own. Shapes and ranges are checked by the schema, combinations in config-check.ts.

import { worldSize } from "../distributed/environment.js";
import type { ReportTo } from "../log/trackers.js";
import { type GivenOptions, type OptionsSchema, optionsSchema, type ResolvedOptions } from "../options/fields.js";
import { type LossFields, lossFields, type MicroBatchFields, microBatchFields } from "../options/loss.js";
import {
  checkpointFields,
  evaluationFields,
  hubFields,
  identityFields,
  lengthFields,
  loggingFields,
  memoryFields,
  newerNameFields,
  optimizerFields,
  rankFields,
  trackerFields,
} from "../run/options.js";
import { modelFields } from "../run/trained-model.js";
import type { AnyRewardFn, RewardBatch, RewardFn } from "../types.js";
import type { FieldTypes } from "../zod.js";
import type { OptionsWithoutEffect } from "./options-without-effect.js";

/** How completions form steps and generations. */
export const batchFields = ({ count, optional }: FieldTypes) => ({
  /** Completions (not prompts) in one slice of a step, of which each rank has its own. Default 8. */
  perDeviceTrainBatchSize: count.default(8),
  /** Slices of each rank in one optimizer step; a step has perDeviceTrainBatchSize times this many completions, times the ranks. Default 1. */
  gradientAccumulationSteps: count.default(1),
  /** Completions sampled for each prompt (G). Default 8. */
  numGenerations: count.default(8),
  /** Completions sampled for each prompt of an evaluation; null: numGenerations. Default null. */
  numGenerationsEval: optional(count),
  /** Completions of one generation; null: from stepsPerGeneration. Default null. */
  generationBatchSize: optional(count),
  /** Slices of each rank in one generation; null: gradientAccumulationSteps, so that each step has its own generation. Default null. */
  stepsPerGeneration: optional(count),
  /** Optimization passes over each generation. Default 1. */
  numIterations: count.default(1),
});

/** In which order prompts come, and with what. */
export const rowFields = ({ z }: FieldTypes) => ({
  /** Shuffle the rows, in an order that depends on the seed; false: keep their order. Default true. */
  shuffleDataset: z.boolean().default(true),
  /** true: reward functions receive only the prompt column. Default false. */
  removeUnusedColumns: z.boolean().default(false),
});

/** Prompts, and how they are sampled. */
export const samplingFields = ({ z, count, positive, ratio, optional }: FieldTypes) => ({
  /** Longest prompt in tokens; null: as long as the model's context allows. Default null. */
  maxPromptLength: optional(count),
  /** What happens to a prompt that is longer than maxPromptLength; "truncate" keeps its end. Default "error". */
  promptOverflow: z.enum(["error", "drop", "truncate"]).default("error"),
  /** Maximum number of new tokens in a completion. Default 512. */
  maxCompletionLength: count.default(512),
  /** Divides the logits, in sampling and in training alike. Default 1. */
  temperature: positive.default(1),
  /** Nucleus sampling: draws from the most likely tokens whose probabilities add up to this; 1: off. Default 1. */
  topP: z.number().gt(0).max(1).default(1),
  /** Draws from this many of the most likely tokens; 0: off. Default 0. */
  topK: z.int().min(0).default(0),
  /** Draws only tokens with at least this share of the most likely token's probability; null: off. Default null. */
  minP: optional(ratio),
  /** Divides the positive logits of tokens that have occurred, and multiplies the negative ones; 1: off. Default 1. */
  repetitionPenalty: positive.default(1),
  /** Completions are texts that this regular expression fits as a whole; null: any texts. Default null. */
  vllmStructuredOutputsRegex: optional(z.string()),
  /** Replaces groups whose rewards are all the same by groups of further prompts (DAPO). Default false. */
  dynamicSampling: z.boolean().default(false),
  /** Maximum rounds of sampling for one generation; after them, groups without spread fill the gaps. Default 10. */
  dynamicSamplingMaxRounds: count.default(10),
  /** Decode steps with a few fixed shapes, recorded as graphs if libtorch has graphs for the device (2.14: not for CUDA); otherwise only slower. Untested with graphs. Default false. */
  graphCapture: z.boolean().default(false),
  /** Variables of the chat template, such as { enable_thinking: false }; null: none. Default null. */
  chatTemplateKwargs: optional(z.record(z.string(), z.unknown())),
});

/** Conversations with tools and environments. */
export const toolFields = ({ z, positive, optional }: FieldTypes) => ({
  /** Rounds of calls in a completion at most; what the model calls after them stays unanswered; null: as many as fit. Default null. */
  maxToolCallingIterations: optional(z.int().min(0)),
  /** Seconds that one call of a tool may take, after which the model reads that it failed; null: no limit. Default 60. */
  toolTimeout: positive.nullable().default(60),
});

const CORRECTION_MODES = ["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"] as const;

/** Sampling on servers of vLLM or SGLang beside the trainer, by TRL's names: which, and how they get the weights. */
export const serverFields = ({ z, positive, optional }: FieldTypes) => ({
  /** With vllmMode "server": sample on servers of vLLM or SGLang; which of the two, they are asked. Default false. */
  useVllm: z.boolean().default(false),
  /** "server": on servers that were started before. "colocate", in TRL a vLLM in the trainer's process, is the built-in engine here. Default "colocate". */
  vllmMode: z.enum(["colocate", "server"]).default("colocate"),
  /** Address of the server, or a list of several that share the prompts: "http://host:8000". Default null: from vllmServerHost and vllmServerPort. */
  vllmServerBaseUrl: optional(
    z.union([z.string().min(1), z.array(z.string().min(1)).min(1)], "an address or a list of addresses"),
  ),
  /** Host of the server; not read where vllmServerBaseUrl is set. Default "0.0.0.0": this machine. */
  vllmServerHost: z.string().min(1).default("0.0.0.0"),
  /** Port of the server; not read where vllmServerBaseUrl is set. Default 8000. */
  vllmServerPort: z.int().min(1).max(65535).default(8000),
  /** Seconds to wait for servers that are not up, or that all fail. Default 240. */
  vllmServerTimeout: positive.default(240),
  /** Seconds that one request may take before it is asked again elsewhere. Default 600. */
  vllmRequestTimeout: positive.default(600),
  /** Folder for the weights of each version, which the servers read. Default null: a temporary one, for servers on this machine. */
  vllmSharedFolder: optional(z.string().min(1)),
  /** vllmSharedFolder by the name that the servers have for it. Default null: the same. */
  vllmSharedFolderOnServer: optional(z.string().min(1)),
});

/** Sampling on servers while earlier steps are trained, by the name of TRL's AsyncGRPOConfig. */
export const asynchronousFields = ({ z }: FieldTypes) => ({
  /** Optimizer steps that samples may be behind the weights that are trained: servers sample ahead while the trainer works; 0: they take turns. Default 0. */
  maxStaleness: z.int().min(0).default(0),
});

/** TRL's importance-sampling correction, where another engine than the one that trains draws the completions. */
export const correctionFields = ({ z, positive, optional }: FieldTypes) => ({
  /** Multiply the loss by the importance ratios of completions that servers drew; false: the gap is only logged. Default true. */
  vllmImportanceSamplingCorrection: z.boolean().default(true),
  /** Ratios by token or by sequence, and whether bounds truncate them or mask those beyond with 0. Default "sequence_mask". */
  vllmImportanceSamplingMode: z.enum(CORRECTION_MODES).default("sequence_mask"),
  /** Upper bound of the ratios; null: none. Default 3. */
  vllmImportanceSamplingClipMax: positive.nullable().default(3),
  /** Lower bound of the ratios; null: none. Default null. */
  vllmImportanceSamplingClipMin: optional(z.number().min(0)),
  /** An older name of vllmImportanceSamplingClipMax, which it overrides; null: use that one. Default null. */
  vllmImportanceSamplingCap: optional(positive),
});

/** What moves the loss during a run, beside its own options. */
export const lossControlFields = ({ z, count, ratio }: FieldTypes) => ({
  /** Completions cut off by maxCompletionLength count in the rewards but not in the loss. Default false. */
  maskTruncatedCompletions: z.boolean().default(false),
  /** Moves entropyCoef after each step, up while the entropy is at most entropyTarget; above it there is no bonus. Default false. */
  useAdaptiveEntropy: z.boolean().default(false),
  /** Lower bound of entropyCoef while it moves. Default 0. */
  entropyCoefMin: z.number().default(0),
  /** Upper bound of entropyCoef while it moves. Default 1. */
  entropyCoefMax: z.number().default(1),
  /** How far one step moves entropyCoef. Default 0.005. */
  entropyCoefDelta: z.number().min(0).default(0.005),
  /** Entropy, in nats a token, that useAdaptiveEntropy aims at. Default 0.2. */
  entropyTarget: z.number().min(0).default(0.2),
  /** Moves the reference towards the policy from time to time; for models trained in full, with beta above 0. Default false. */
  syncRefModel: z.boolean().default(false),
  /** Share of the policy in the new reference, with syncRefModel. Default 0.6. */
  refModelMixupAlpha: ratio.default(0.6),
  /** Steps between two moves of the reference, with syncRefModel. Default 512. */
  refModelSyncSteps: count.default(512),
});

/** Reward functions, how they are called, and how their rewards are combined. */
export const rewardFields = ({ z, count, positive, optional }: FieldTypes) => ({
  /** Reward functions, where GRPOTrainer is not given them. Default null. */
  rewardFuncs: optional(z.array(z.custom<AnyRewardFn>((value) => typeof value === "function", "a function"))),
  /** One weight per reward function; null: 1 each. Default null. */
  rewardWeights: optional(z.array(z.number())),
  /** The guide's spelling of rewardWeights. Default null. */
  rewardFuncsWeights: optional(z.array(z.number())),
  /** What advantages are divided by: the deviation of the group's rewards, of the whole generation's, or nothing. Default "group". */
  scaleRewards: z.enum(["group", "batch", "none"]).default("group"),
  /** Weight of a turn's own reward, where a rollout or an environment gives one, beside the reward of its rollout (MT-GRPO); 0: such rewards are only logged. Default 1. */
  turnAdvantageCoef: z.number().min(0).default(1),
  /** How rewards of several functions become one. "normalize_then_sum": each function's rewards are normalized within the group before they are weighted (GDPO). Default "sum_then_normalize". */
  multiObjectiveAggregation: z.enum(["sum_then_normalize", "normalize_then_sum"]).default("sum_then_normalize"),
  /** When reward functions are called. "group": as each group finishes, while others are still sampled. "batch": once with the whole step. Default "group". */
  rewardBatching: z.enum(["group", "batch"]).default("group"),
  /** Reward calls in flight at once. Default 16. */
  rewardConcurrency: count.default(16),
  /** Seconds that one reward call may take; null: no limit. Default null. */
  rewardTimeout: optional(positive),
  /** What a failed reward call counts as: it ends the run, abstains, or gives every completion this number. Default "fail". */
  onRewardError: z.union([z.enum(["fail", "null"]), z.number()], '"fail", "null" or a finite number').default("fail"),
});

/** Rollouts of one's own. */
export const rolloutFields = ({ count, positive, optional }: FieldTypes) => ({
  /** Rollouts that run at a time, with rollout of GRPOTrainer. Default 256. */
  rolloutConcurrency: count.default(256),
  /** Seconds that one rollout may take; null: no limit. Default null. */
  rolloutTimeout: optional(positive),
});

/** What is shown of completions. */
export const completionFields = ({ z, count, optional }: FieldTypes) => ({
  /** Print completions of the latest generation, and of an evaluation, at each logging step; completions.jsonl has all of them anyway. Default false. */
  logCompletions: z.boolean().default(false),
  /** How many completions logCompletions prints; null: all. Default null. */
  numCompletionsToPrint: optional(count),
});

/** How an evaluation samples, and what it reports. */
export const evaluationSamplingFields = ({ z, count, positive, optional }: FieldTypes) => ({
  /** Whether an evaluation samples; false: greedy, with one completion per prompt. Default true. */
  evalDoSample: z.boolean().default(true),
  /** temperature in evaluation; null: training's. Default null. */
  evalTemperature: optional(positive),
  /** topP in evaluation; null: training's. Default null. */
  evalTopP: optional(z.number().gt(0).max(1)),
  /** topK in evaluation; null: training's. Default null. */
  evalTopK: optional(z.int().min(0)),
  /** Values of k: report pass@k of every reward function, for rewards of at least evalPassThreshold. Default []. */
  evalPassAt: z.array(count).default([]),
  /** Reward at which a completion passes, for evalPassAt. Default 1. */
  evalPassThreshold: z.number().default(1),
});

/** What of the completions goes to the Hub. */
export const completionHubFields = ({ z, optional }: FieldTypes) => ({
  /** Data set on the Hub that gets completions.jsonl at each save. Default null. */
  logCompletionsHubRepo: optional(z.string().min(1)),
});

type Fields = ReturnType<typeof identityFields> &
  ReturnType<typeof modelFields> &
  ReturnType<typeof batchFields> &
  ReturnType<typeof lengthFields> &
  ReturnType<typeof rowFields> &
  MicroBatchFields &
  ReturnType<typeof memoryFields> &
  ReturnType<typeof newerNameFields> &
  ReturnType<typeof samplingFields> &
  ReturnType<typeof toolFields> &
  ReturnType<typeof serverFields> &
  ReturnType<typeof asynchronousFields> &
  ReturnType<typeof correctionFields> &
  LossFields &
  ReturnType<typeof lossControlFields> &
  ReturnType<typeof rewardFields> &
  ReturnType<typeof rolloutFields> &
  ReturnType<typeof optimizerFields> &
  ReturnType<typeof loggingFields> &
  ReturnType<typeof completionFields> &
  ReturnType<typeof trackerFields> &
  ReturnType<typeof evaluationFields> &
  ReturnType<typeof evaluationSamplingFields> &
  ReturnType<typeof checkpointFields> &
  ReturnType<typeof rankFields> &
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
  ...microBatchFields(types),
  ...memoryFields(types),
  ...newerNameFields(types),
  // Prompts and sampling.
  ...samplingFields(types),
  // Tools and environments, which are arguments of GRPOTrainer.
  ...toolFields(types),
  // Servers. vLLM or SGLang samples beside the trainer (docs/servers.md).
  ...serverFields(types),
  ...asynchronousFields(types),
  ...correctionFields(types),
  // Loss.
  ...lossFields(types),
  ...lossControlFields(types),
  // Rewards.
  ...rewardFields(types),
  ...rolloutFields(types),
  // Optimizer.
  ...optimizerFields(types),
  // Logs, evaluation, checkpoints. Intervals are numbers of steps; a number below 1 is a share of all steps.
  ...loggingFields(types),
  ...completionFields(types),
  ...trackerFields(types),
  ...evaluationFields(types),
  ...evaluationSamplingFields(types),
  ...checkpointFields(types),
  // Ranks. Processes that train one model together.
  ...rankFields(types),
  // The Hub. Uploads run during training; one that fails is tried again with the next save.
  ...hubFields(types),
  ...completionHubFields(types),
});

export const schema: () => OptionsSchema<Fields> = optionsSchema(fields);

/** Every field with its value. */
export type GRPOConfigFields = ResolvedOptions<Fields>;
/** What may be given, all of it optional: the options that act, and those that are accepted so that a script can be ported unchanged. */
export interface GRPOConfigOptions<Batch = RewardBatch>
  extends Omit<GivenOptions<Fields>, "rewardFuncs" | "scaleRewards">,
    OptionsWithoutEffect {
  /** Reward functions, where GRPOTrainer is not given them. Default null. */
  readonly rewardFuncs?: readonly ((batch: Batch) => ReturnType<RewardFn>)[] | null | undefined;
  /**
   * What advantages are divided by: the deviation of the group's rewards (also true), of the whole generation's, or nothing (also
   * false). Default "group".
   */
  readonly scaleRewards?: "group" | "batch" | "none" | boolean | undefined;
  /**
   * Trackers that join logTo: "tensorboard", "mlflow", "trackio", "wandb" or a list of them; "all": TensorBoard and those that the
   * environment sets up; "none", null: none. Default null.
   */
  readonly reportTo?: ReportTo | readonly ReportTo[] | null | undefined;
}

/** Whether the config asks for servers; vLLM in the trainer's process, TRL's other mode, is the built-in engine here. */
export function samplesOnServers({ useVllm, vllmMode }: Pick<GRPOConfigFields, "useVllm" | "vllmMode">): boolean {
  return useVllm && vllmMode === "server";
}

type Batching = Pick<
  GRPOConfigFields,
  "perDeviceTrainBatchSize" | "gradientAccumulationSteps" | "generationBatchSize" | "stepsPerGeneration"
>;

export interface BatchSizes {
  /** Of all ranks. */
  readonly slicesPerStep: number;
  /** Completions of one optimizer step. */
  readonly completionsPerStep: number;
  /** stepsPerGeneration, from whichever option says it. */
  readonly slicesPerGeneration: number;
  /** Completions sampled at a time. */
  readonly completionsPerGeneration: number;
}

/** `ranks`: how many train together. */
export function batchSizes(fields: Batching, ranks: number = worldSize()): BatchSizes {
  const { perDeviceTrainBatchSize: slice, gradientAccumulationSteps, generationBatchSize, stepsPerGeneration } = fields;
  const slicesPerGeneration =
    generationBatchSize === null
      ? (stepsPerGeneration ?? gradientAccumulationSteps) * ranks
      : generationBatchSize / slice;
  const slicesPerStep = gradientAccumulationSteps * ranks;
  return {
    slicesPerStep,
    completionsPerStep: slice * slicesPerStep,
    slicesPerGeneration,
    completionsPerGeneration: slice * slicesPerGeneration,
  };
}
