// GRPOConfig: every training option, TRL's names in camelCase and TRL's defaults. Shapes and ranges are checked by the
// schema below, combinations by `checkCombinations`. What TRL has and this version has not is in config-unsupported.ts.

import type * as Zod from "zod";
import { GrpoError, nearestName } from "../errors.js";
import { IMPORTANCE_SAMPLING_LEVELS, LOSS_TYPES } from "../model/loss.js";
import type { AnyRewardFn } from "../types.js";
import { lazySchema, type ZodModule } from "../zod.js";
import { adviceOn, checkCombinations } from "./config-check.js";
import { renamedOptions, unsupportedDefaults, unsupportedValues, withoutEffect } from "./config-unsupported.js";
import { OPTIM_NAMES } from "./optimizer.js";
import { SCHEDULES } from "./schedule.js";

const defaultLogTo: ("console" | "jsonl" | "tensorboard")[] = ["console", "jsonl"];

const types = (z: ZodModule) => ({
  z,
  count: z.int().min(1),
  ratio: z.number().min(0).max(1),
  /** In steps, or below 1 a share of all steps. */
  interval: z.number().positive(),
  optional: <T extends Zod.ZodType>(type: T) => type.nullish().transform((value) => value ?? null),
});

const fields = ({ z, count, ratio, interval, optional }: ReturnType<typeof types>) => ({
  /** Where checkpoints and logs go. */
  outputDir: z.string().min(1).default("trainer_output"),
  runName: optional(z.string()),
  seed: z.int().min(0).max(0x7fffffff).default(42),

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
  /** Passes over the data set, when maxSteps does not say otherwise. */
  numTrainEpochs: z.number().positive().default(3),
  /** Optimizer steps; -1: from numTrainEpochs. */
  maxSteps: z.int().min(-1).default(-1),
  shuffleDataset: z.boolean().default(true),
  /** true: reward functions receive no column but the prompt. */
  removeUnusedColumns: z.boolean().default(false),
  /** Memory only, never the gradient: tokens computed together in training. */
  maxTokensPerMicroBatch: count.default(2048),
  /** Memory only: keep each layer's input and compute the layer again in the backward. */
  gradientCheckpointing: z.boolean().default(false),
  /** Of the estimate before the first step. "refuse": what cannot fit is an error, what may not fit a warning. "warn": warnings only. */
  memoryCheck: z.enum(["refuse", "warn", "off"]).default("refuse"),

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
  onRewardError: z.union([z.enum(["fail", "null"]), z.number()]).default("fail"),

  // Optimizer.
  /** Of the first step; lrSchedulerType says how it goes on. */
  learningRate: z.number().min(0).default(1e-6),
  lrSchedulerType: z.enum(SCHEDULES).default("linear"),
  /** What the schedule needs beside it, such as { min_lr_rate: 0.1 }. */
  lrSchedulerKwargs: optional(z.record(z.string(), z.unknown())),
  /** Steps of linear warm-up; below 1: a share of all steps. */
  warmupSteps: z.number().min(0).default(0),
  /** The two AdamWs are one. "adamw_8bit" (or adamw_bnb_8bit) keeps AdamW's moments in 8 bits; "muon" is for matrices, with AdamW for the rest. */
  optim: z.enum(Object.keys(OPTIM_NAMES) as (keyof typeof OPTIM_NAMES)[]).default("adamw_torch_fused"),
  /** What the optimizer has of its own, "name=value,…" or an object. sgd: momentum, dampening, nesterov; muon: momentum, nesterov, ns_steps, adjust_lr_fn. */
  optimArgs: optional(z.union([z.string().min(1), z.record(z.string(), z.unknown())])),
  adamBeta1: z.number().min(0).lt(1).default(0.9),
  adamBeta2: z.number().min(0).lt(1).default(0.999),
  adamEpsilon: z.number().positive().default(1e-8),
  /** Not of biases and norms. */
  weightDecay: z.number().min(0).default(0),
  /** LoRA+: the rate of every B (and of biases, norms and DoRA's magnitudes) is learningRate times this; null: off. */
  loraplusLrRatio: optional(z.number().positive()),
  /** LoRA+: the rate of LoRA pairs on the embedding, instead of learningRate. It follows the same schedule. */
  loraplusLrEmbedding: z.number().positive().default(1e-6),
  /** Global gradient norm limit; 0: none. */
  maxGradNorm: z.number().min(0).default(1),
  /** Non-finite steps in a row that end the run. */
  maxBadSteps: count.default(3),
  /** Kept for notebooks: the type is the model's, chosen in fromPretrained. */
  bf16: optional(z.boolean()),

  // Logs, evaluation, checkpoints. Intervals are steps, or below 1 a share of all steps.
  loggingSteps: interval.default(10),
  loggingFirstStep: z.boolean().default(false),
  /** Print sample completions at each logging step; every completion goes to completions.jsonl anyway. */
  logCompletions: z.boolean().default(false),
  /** How many of them; null: all. */
  numCompletionsToPrint: optional(count),
  logTo: z.array(z.enum(["console", "jsonl", "tensorboard"])).default(defaultLogTo),
  /** Also after the last step. */
  evalStrategy: z.enum(["no", "steps", "epoch"]).default("no"),
  /** null: loggingSteps. */
  evalSteps: optional(interval),
  /** Before the first step; no candidate for the best model. */
  evalOnStart: z.boolean().default(false),
  /** false: greedy, with one completion a prompt. */
  evalDoSample: z.boolean().default(true),
  /** Sampling in evaluation, where it differs from training's; null: the same. */
  evalTemperature: optional(z.number().positive()),
  evalTopP: optional(z.number().gt(0).max(1)),
  evalTopK: optional(z.int().min(0)),
  /** Values of k: report pass@k of every reward function, for rewards of at least evalPassThreshold. */
  evalPassAt: z.array(count).default([]),
  evalPassThreshold: z.number().default(1),
  /** Take back the checkpoint of the best evaluation when the run ends. Each new best is saved at once and kept. */
  loadBestModelAtEnd: z.boolean().default(false),
  /** Name of an evaluation's metric, with or without eval_; null: reward. */
  metricForBestModel: optional(z.string().min(1)),
  /** null: true, but for a metric whose name ends in loss. */
  greaterIsBetter: optional(z.boolean()),
  /** Evaluations in a row without a gain above earlyStoppingThreshold that end the run; null: none. */
  earlyStoppingPatience: optional(count),
  earlyStoppingThreshold: z.number().min(0).default(0),
  /** "best": after an evaluation that is the best so far. But for "no", a run that is cut short saves its last step besides. */
  saveStrategy: z.enum(["no", "steps", "epoch", "best"]).default("steps"),
  saveSteps: interval.default(500),
  saveTotalLimit: optional(count),

  // The Hub. Uploads go on beside the training; one that fails is tried again with the next save.
  /** Upload model, tokenizer, metrics and a model card at each save; saveModel() then uploads too. */
  pushToHub: z.boolean().default(false),
  /** Repository; null: named like outputDir, in the account of the token. */
  hubModelId: optional(z.string().min(1)),
  /** "every_save": the model. "checkpoint": also the checkpoint, as last-checkpoint. "all_checkpoints": also each under its own name. "end": nothing before saveModel() or pushToHub(). */
  hubStrategy: z.enum(["end", "every_save", "checkpoint", "all_checkpoints"]).default("every_save"),
  /** null: HF_TOKEN, or the token saved by a login. Printed and saved nowhere. */
  hubToken: optional(z.string().min(1)),
  /** Visibility of a repository that is made; null: the account's default. */
  hubPrivateRepo: optional(z.boolean()),
  /** Upload every save, also those that come while another is under way. */
  hubAlwaysPush: z.boolean().default(false),
  /** Branch; null: main. */
  hubRevision: optional(z.string().min(1)),
  /** Data set on the Hub that gets completions.jsonl at each save. */
  logCompletionsHubRepo: optional(z.string().min(1)),
});

export const schema = lazySchema((z) => z.strictObject(fields(types(z))));
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

const FieldHolder = class {
  constructor(values: GRPOConfigFields) {
    Object.assign(this, values);
  }
} as new (
  values: GRPOConfigFields,
) => Readonly<GRPOConfigFields>;

/**
 * Every training option: TRL's names in camelCase with TRL's defaults, checked. docs/configuration.md lists them. Throws
 * UNKNOWN_OPTION or BAD_OPTION, naming the option.
 */
export class GRPOConfig extends FieldHolder {
  /** What the plan prints about the options: those that change nothing here, and combinations that are unusual. */
  readonly notes: readonly string[];

  constructor(options: GRPOConfigOptions = {}) {
    const { known, notes } = setAsideForeign(options);
    super(parse(known));
    this.notes = [...notes, ...adviceOn(this)];
    // Out of everything that prints or saves a config.
    Object.defineProperty(this, "hubToken", { enumerable: false });
    checkCombinations(this);
  }

  /** Completions of one optimizer step. */
  get completionsPerStep(): number {
    return this.perDeviceTrainBatchSize * this.gradientAccumulationSteps;
  }

  /** stepsPerGeneration, from whichever option says it. */
  get slicesPerGeneration(): number {
    if (this.generationBatchSize !== null) return this.generationBatchSize / this.perDeviceTrainBatchSize;
    return this.stepsPerGeneration ?? this.gradientAccumulationSteps;
  }

  /** Completions sampled at a time. */
  get completionsPerGeneration(): number {
    return this.perDeviceTrainBatchSize * this.slicesPerGeneration;
  }
}

/** Takes out TRL's options that are not in the schema; refuses those that would have changed the result. */
function setAsideForeign(options: GRPOConfigOptions): { known: Record<string, unknown>; notes: string[] } {
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    throw new GrpoError("BAD_OPTION", `GRPOConfig takes an object of options, found ${show(options)}`);
  }
  const known: Record<string, unknown> = {};
  const notes: string[] = [];
  let reportTo: unknown = null;
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue;
    if (Object.hasOwn(schema().shape, name)) known[name] = value;
    else if (Object.hasOwn(withoutEffect, name)) notes.push(`${name} has no effect: ${withoutEffect[name]}`);
    else if (name === "reportTo") reportTo = value;
    else if (name.startsWith("vllm")) notes.push(`${name} has no effect: the engine samples by itself`);
    else if (Object.hasOwn(unsupportedDefaults, name)) checkUnsupported(name, value);
    else throw unknownOption(name);
  }
  if (typeof known.scaleRewards === "boolean") known.scaleRewards = known.scaleRewards ? "group" : "none";
  const trackers = readReportTo(reportTo);
  if (trackers.tensorboard) known.logTo = [...new Set([...((known.logTo as string[]) ?? defaultLogTo), "tensorboard"])];
  for (const name of trackers.others)
    notes.push(`reportTo ${show(name)} has no effect: give the trainer loggers for it`);
  return { known, notes };
}

/** transformers' names of trackers: TensorBoard is here, the others are for loggers of one's own. */
export function readReportTo(value: unknown): { readonly tensorboard: boolean; readonly others: readonly string[] } {
  const names: unknown[] = value === null ? [] : Array.isArray(value) ? value : [value];
  const texts = names.filter((name) => typeof name === "string");
  if (texts.length < names.length) {
    throw new GrpoError(
      "BAD_OPTION",
      `GRPOConfig: reportTo must be a tracker's name or a list of them, found ${show(value)}`,
    );
  }
  return {
    tensorboard: texts.includes("tensorboard") || texts.includes("all"),
    others: texts.filter((name) => !["tensorboard", "all", "none"].includes(name)),
  };
}

function checkUnsupported(name: string, value: unknown): void {
  const expected = unsupportedDefaults[name];
  if (value === expected || (value === null && expected === null)) return;
  throw new GrpoError("BAD_OPTION", `GRPOConfig: ${name} ${show(value)} is not supported yet`, {
    hint: `leave it out; the value in effect is TRL's default, ${show(expected)}`,
  });
}

function unknownOption(name: string): GrpoError {
  const renamed = renamedOptions[name];
  const names = [...[schema().shape, unsupportedDefaults, withoutEffect].flatMap(Object.keys), "reportTo"];
  const near = nearestName(name, names);
  const hint =
    renamed ?? (near ? `did you mean ${near}?` : "the options are listed in docs and in the type GRPOConfigOptions");
  return new GrpoError("UNKNOWN_OPTION", `GRPOConfig has no option ${JSON.stringify(name)}`, { hint });
}

function parse(known: Record<string, unknown>): GRPOConfigFields {
  const result = schema().safeParse(known);
  if (result.success) return result.data;
  throw optionError(result.error.issues[0], known);
}

function optionError(issue: Zod.core.$ZodIssue | undefined, known: Record<string, unknown>): GrpoError {
  const name = String(issue?.path[0] ?? "");
  const value = (issue?.path ?? []).reduce<unknown>(
    (at, key) => (typeof at === "object" && at !== null ? Reflect.get(at, key) : undefined),
    known,
  );
  const where = `GRPOConfig: ${issue?.path.join(".") ?? ""}`;
  if (typeof value === "string" && unsupportedValues[name]?.includes(value)) {
    const choices = issue?.code === "invalid_value" ? issue.values.join(", ") : "";
    return new GrpoError("BAD_OPTION", `${where} ${show(value)} is not supported yet`, {
      hint: `choose from: ${choices}`,
    });
  }
  if (issue?.code === "invalid_value") {
    const choices = issue.values.map(String);
    const near = typeof value === "string" ? nearestName(value, choices) : undefined;
    const message = `${where} must be one of ${choices.join(", ")}; found ${show(value)}`;
    return new GrpoError("BAD_OPTION", message, near ? { hint: `did you mean ${JSON.stringify(near)}?` } : {});
  }
  if (issue?.code === "invalid_union") {
    const message = `${where} must be "fail", "null" or a finite number; found ${show(value)}`;
    return new GrpoError("BAD_OPTION", message);
  }
  return new GrpoError("BAD_OPTION", `${where}: found ${show(value)}; ${issue?.message ?? "not valid"}`);
}

function show(value: unknown): string {
  if (typeof value === "function") return "a function";
  return typeof value === "number" ? String(value) : (JSON.stringify(value) ?? String(value));
}
