// GRPOConfig: every training option, TRL's names in camelCase and TRL's defaults. Shapes and ranges are checked by the
// schema below, combinations by `checkCombinations`. What TRL has and this version has not is in config-unsupported.ts.

import { z } from "zod";
import { GrpoError, nearestName } from "../errors.js";
import { LOSS_TYPES } from "../model/loss.js";
import type { RewardFn } from "../types.js";
import { renamedOptions, unsupportedDefaults, unsupportedValues, withoutEffect } from "./config-unsupported.js";

/** A reward function whose row type is not known here; the trainer's own argument is the typed one. */
export type AnyRewardFn = (batch: never) => ReturnType<RewardFn>;

const count = z.int().min(1);
const ratio = z.number().min(0).max(1);
/** An interval in steps, or below 1 a share of all steps. */
const interval = z.number().positive();
const optional = <T extends z.ZodType>(type: T) => type.nullish().transform((value) => value ?? null);

const fields = {
  /** Where checkpoints and logs go. */
  outputDir: z.string().min(1).default("trainer_output"),
  runName: optional(z.string()),
  seed: z.int().min(0).max(0x7fffffff).default(42),

  // Batch. One optimizer step takes perDeviceTrainBatchSize × gradientAccumulationSteps completions.
  /** Completions (not prompts) in one slice of a step. */
  perDeviceTrainBatchSize: count.default(8),
  /** Slices in one optimizer step; a step has perDeviceTrainBatchSize times this many completions. */
  gradientAccumulationSteps: count.default(1),
  /** Completions sampled for each prompt (G). */
  numGenerations: count.default(8),
  /** The same during evaluation; null: numGenerations. */
  numGenerationsEval: optional(count),
  generationBatchSize: optional(count),
  stepsPerGeneration: optional(count),
  /** Optimization passes over each batch of completions. */
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
  chatTemplateKwargs: optional(z.record(z.string(), z.unknown())),

  // Loss.
  lossType: z.enum(LOSS_TYPES).default("dapo"),
  /** Weight of the KL term; 0: no reference model is run. */
  beta: z.number().min(0).default(0),
  /** Lower clip range of the ratio, and the upper one unless epsilonHigh is set. */
  epsilon: z.number().min(0).default(0.2),
  epsilonHigh: optional(z.number().min(0)),
  /** Multiplies the KL term by the policy ratio. */
  useBiasCorrectionKl: z.boolean().default(true),

  // Rewards.
  rewardFuncs: optional(z.array(z.custom<AnyRewardFn>((value) => typeof value === "function", "expected a function"))),
  /** One weight per reward function; null: 1 each. */
  rewardWeights: optional(z.array(z.number())),
  /** The guide's spelling of rewardWeights. */
  rewardFuncsWeights: optional(z.array(z.number())),
  scaleRewards: z.enum(["group", "batch", "none"]).default("group"),
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
  lrSchedulerType: z.enum(["linear", "constant"]).default("linear"),
  /** Steps of linear warm-up; below 1: a share of all steps. */
  warmupSteps: z.number().min(0).default(0),
  optim: z.enum(["adamw_torch", "adamw_torch_fused"]).default("adamw_torch_fused"),
  adamBeta1: z.number().min(0).lt(1).default(0.9),
  adamBeta2: z.number().min(0).lt(1).default(0.999),
  adamEpsilon: z.number().positive().default(1e-8),
  weightDecay: z.number().min(0).default(0),
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
  logTo: z.array(z.enum(["console", "jsonl", "tensorboard"])).default(["console", "jsonl"]),
  evalStrategy: z.enum(["no", "steps", "epoch"]).default("no"),
  /** null: loggingSteps. */
  evalSteps: optional(interval),
  evalOnStart: z.boolean().default(false),
  saveStrategy: z.enum(["no", "steps", "epoch"]).default("steps"),
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
} as const;

const schema = z.strictObject(fields);

/** Every field with its value. */
export type GRPOConfigFields = z.output<typeof schema>;
/** What may be given: TRL also takes true ("group") and false ("none") for scaleRewards. */
export type GRPOConfigOptions = Readonly<
  Omit<z.input<typeof schema>, "scaleRewards"> & { scaleRewards?: "group" | "batch" | "none" | boolean | undefined }
>;

const FieldHolder = class {
  constructor(values: GRPOConfigFields) {
    Object.assign(this, values);
  }
} as new (
  values: GRPOConfigFields,
) => Readonly<GRPOConfigFields>;

export class GRPOConfig extends FieldHolder {
  /** Accepted options that change nothing here, each with the reason; the plan prints them. */
  readonly notes: readonly string[];

  constructor(options: GRPOConfigOptions = {}) {
    const { known, notes } = setAsideForeign(options);
    super(parse(known));
    this.notes = notes;
    // Out of everything that prints or saves a config.
    Object.defineProperty(this, "hubToken", { enumerable: false });
    checkCombinations(this);
  }

  get completionsPerStep(): number {
    return this.perDeviceTrainBatchSize * this.gradientAccumulationSteps;
  }
}

const allNames = [...Object.keys(fields), ...Object.keys(unsupportedDefaults), ...Object.keys(withoutEffect)];

/** Takes out TRL's options that are not in the schema; refuses those that would have changed the result. */
function setAsideForeign(options: GRPOConfigOptions): { known: Record<string, unknown>; notes: string[] } {
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    throw new GrpoError("BAD_OPTION", `GRPOConfig takes an object of options, found ${show(options)}`);
  }
  const known: Record<string, unknown> = {};
  const notes: string[] = [];
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue;
    if (Object.hasOwn(fields, name)) known[name] = value;
    else if (Object.hasOwn(withoutEffect, name)) notes.push(`${name} has no effect: ${withoutEffect[name]}`);
    else if (name.startsWith("vllm")) notes.push(`${name} has no effect: the engine samples by itself`);
    else if (Object.hasOwn(unsupportedDefaults, name)) checkUnsupported(name, value);
    else throw unknownOption(name);
  }
  if (typeof known.scaleRewards === "boolean") known.scaleRewards = known.scaleRewards ? "group" : "none";
  return { known, notes };
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
  const near = nearestName(name, allNames);
  const hint =
    renamed ?? (near ? `did you mean ${near}?` : "the options are listed in docs and in the type GRPOConfigOptions");
  return new GrpoError("UNKNOWN_OPTION", `GRPOConfig has no option ${JSON.stringify(name)}`, { hint });
}

function parse(known: Record<string, unknown>): GRPOConfigFields {
  const result = schema.safeParse(known);
  if (result.success) return result.data;
  throw optionError(result.error.issues[0], known);
}

function optionError(issue: z.core.$ZodIssue | undefined, known: Record<string, unknown>): GrpoError {
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

/** What no single field can tell: each message names the fields, their values and the nearest that work. */
function checkCombinations(config: GRPOConfig): void {
  checkWeights(config);
  if (config.logCompletionsHubRepo !== null && !config.logTo.includes("jsonl")) {
    throw new GrpoError(
      "BAD_OPTION",
      `GRPOConfig: logCompletionsHubRepo needs the completions that logTo ${show(config.logTo)} does not write`,
      {
        hint: 'add "jsonl" to logTo',
      },
    );
  }
  checkGenerationBatch(config);
  const { numGenerations: groupSize, completionsPerStep } = config;
  if (groupSize < 2) {
    throw new GrpoError("BAD_OPTION", `GRPOConfig: numGenerations ${groupSize} gives no group to compare within`, {
      hint: "use 2 or more completions per prompt",
    });
  }
  if (completionsPerStep % groupSize !== 0) {
    const { perDeviceTrainBatchSize: batch, gradientAccumulationSteps: accumulation } = config;
    throw new GrpoError(
      "BAD_OPTION",
      `GRPOConfig: perDeviceTrainBatchSize ${batch} × gradientAccumulationSteps ${accumulation} = ${completionsPerStep} ` +
        `completions a step, which numGenerations ${groupSize} does not divide`,
      { hint: `nearest that work: ${nearestDivisors(completionsPerStep, groupSize, batch)}` },
    );
  }
  for (const [name, value] of [
    ["loggingSteps", config.loggingSteps],
    ["saveSteps", config.saveSteps],
    ["evalSteps", config.evalSteps ?? 1],
    ["warmupSteps", config.warmupSteps],
  ] as const) {
    if (value > 1 && !Number.isInteger(value)) {
      throw new GrpoError("BAD_OPTION", `GRPOConfig: ${name} ${value} is neither a whole number nor a share below 1`, {
        hint: `use ${Math.round(value)}`,
      });
    }
  }
}

function nearestDivisors(completions: number, groupSize: number, batch: number): string {
  const divisors = Array.from({ length: completions }, (_, i) => i + 1).filter((d) => d >= 2 && completions % d === 0);
  const nearest = divisors.sort((a, b) => Math.abs(a - groupSize) - Math.abs(b - groupSize)).slice(0, 2);
  const choices = nearest.length > 0 ? [`numGenerations ${nearest.sort((a, b) => a - b).join(" or ")}`] : [];
  let accumulation = Math.max(1, Math.round(completions / batch));
  while ((accumulation * batch) % groupSize !== 0) accumulation++;
  return [...choices, `gradientAccumulationSteps ${accumulation}`].join(", or ");
}

function checkWeights(config: GRPOConfig): void {
  const { rewardWeights, rewardFuncsWeights } = config;
  if (rewardWeights && rewardFuncsWeights && JSON.stringify(rewardWeights) !== JSON.stringify(rewardFuncsWeights)) {
    throw new GrpoError(
      "BAD_OPTION",
      `GRPOConfig: rewardWeights ${show(rewardWeights)} and rewardFuncsWeights ${show(rewardFuncsWeights)} differ`,
      { hint: "they are two names of one option; keep rewardWeights" },
    );
  }
}

/** One generation serves one optimizer step in this version, so both batch fields must say what the others already do. */
function checkGenerationBatch(config: GRPOConfig): void {
  const { generationBatchSize: size, stepsPerGeneration: steps, perDeviceTrainBatchSize: batch } = config;
  const accumulation = config.gradientAccumulationSteps;
  if (size !== null && steps !== null) {
    throw new GrpoError(
      "BAD_OPTION",
      `GRPOConfig: generationBatchSize ${size} and stepsPerGeneration ${steps} are both set; each follows from the other`,
      { hint: "keep one of them" },
    );
  }
  if (size !== null && size % batch !== 0) {
    const below = Math.max(batch, Math.floor(size / batch) * batch);
    throw new GrpoError(
      "BAD_OPTION",
      `GRPOConfig: generationBatchSize ${size} is not a multiple of perDeviceTrainBatchSize ${batch}`,
      { hint: `nearest that work: ${[...new Set([below, Math.ceil(size / batch) * batch])].join(" or ")}` },
    );
  }
  const resolved = steps ?? (size === null ? accumulation : size / batch);
  if (resolved !== accumulation) {
    const given = steps === null ? `generationBatchSize ${size}` : `stepsPerGeneration ${steps}`;
    throw new GrpoError(
      "BAD_OPTION",
      `GRPOConfig: ${given} with gradientAccumulationSteps ${accumulation} spreads one generation over ` +
        "other than one optimizer step, which is not supported yet",
      { hint: `use stepsPerGeneration ${accumulation} (the default)` },
    );
  }
  if (config.numIterations !== 1) {
    throw new GrpoError("BAD_OPTION", `GRPOConfig: numIterations ${config.numIterations} is not supported yet`, {
      hint: "leave it at 1",
    });
  }
}
