// The trainer's constructor arguments: their types, and the checks that need more than one of them.

import type { RolloutFunction } from "../agents/rollout.js";
import { badOption, show } from "../checks.js";
import type { Ranks } from "../distributed/ranks.js";
import { GrpoError } from "../errors.js";
import { completionConstraint } from "../grammar/completion-form.js";
import type { Logger } from "../log/logger.js";
import type { Metrics } from "../log/metrics.js";
import type { CompletionRecord } from "../log/run-log.js";
import type { Learner } from "../model/learner.js";
import type { LoraConfig } from "../model/lora/lora.js";
import { toCamel } from "../options/names.js";
import type { Output } from "../output.js";
import { checkNeededColumns } from "../rewards/columns.js";
import { rewards } from "../rewards/index.js";
import { rewardArguments } from "../rewards/per-sample.js";
import type { RewardRuntime } from "../rewards/runtime.js";
import type { RolloutRequest, RolloutSource } from "../rollout/collect.js";
import type { PolicyVersions } from "../rollout/policy-versions.js";
import { PromptTable, type RowSource } from "../rollout/prompts.js";
import type { Sampler } from "../rollout/sampler.js";
import { evaluationRows, type RowsOrStream, trainingRows } from "../rollout/streamed-rows.js";
import type * as run from "../run/callbacks.js";
import type { RunOptions } from "../run/options.js";
import { ServerSampler } from "../servers/server-sampler.js";
import type { ProcessingClass } from "../tokenizer/processing-class.js";
import type { AnyRewardFn, Prompt, RewardBatch, RewardFn } from "../types.js";
import type { GRPOConfig } from "./config.js";
import { samplesOnServers } from "./config-fields.js";
import { checkCorrectedLoss } from "./importance-sampling.js";
import type { ToolOptions, ToolUse } from "./tool-use.js";

/** Functions that a run calls at its moments, and waits for; by default one of GRPOTrainer. */
export type TrainerCallback<Args extends RunOptions = GRPOConfig> = run.TrainerCallback<Args>;
/** What a callback is told. */
export type TrainerEvent<Args extends RunOptions = GRPOConfig> = run.TrainerEvent<Args>;

/** A model that can be trained and sampled from. CausalLM is one. */
export interface PolicyModel extends Learner, Sampler {}

/** What a trainer is made of. */
export interface GRPOTrainerOptions<Row extends object> extends ToolOptions<Row> {
  /**
   * A model, or the id or folder of one, which is then loaded before the first step or evaluation: in float32, or as modelInitKwargs of
   * the config says.
   */
  readonly model: PolicyModel | string;
  /**
   * Who samples; default: the model, or servers where useVllm of the config says so. Another one, such as an agent that calls tools between
   * its turns, must draw from the weights that the model has at the time of the call; one with a copy is shown them by its `follow`. Beside
   * tools and environments it must have the method `generate`, which draws single turns.
   */
  readonly sampler?: Sampler;
  /**
   * Does the task of a row with the model behind an endpoint, as an agent does, and returns its reward; everything that the model says
   * there is trained on. With it rewardFuncs may be left out. Default: the model completes the prompt.
   */
  readonly rollout?: RolloutFunction<Row>;
  /** The tokenizer. Default: that of the model's id or folder, loaded before the first step or evaluation. */
  readonly processingClass?: ProcessingClass;
  /** Trains a fresh adapter of these options, whose random numbers depend on the config's seed alone. */
  readonly peftConfig?: LoraConfig;
  /** Default: TRL's, with an outputDir named after the model. */
  readonly args?: GRPOConfig<RewardBatch<Row>>;
  /** One function or several; may also be given in args. */
  readonly rewardFuncs?: RewardFn<Row> | readonly RewardFn<Row>[];
  /** Rows with a prompt, which rows of a rollout may go without; every other column is an argument of the reward functions. */
  readonly trainDataset: RowsOrStream<Row>;
  /** Rows that evaluations sample, of the form of trainDataset. Default: none. */
  readonly evalDataset?: RowsOrStream<Row>;
  /** Objects whose hooks a run calls at its moments, and waits for. Default: none. */
  readonly callbacks?: readonly TrainerCallback[];
  /** More places for metrics. */
  readonly loggers?: readonly Logger[];
  /** Where console lines go; process.stdout by default. */
  readonly output?: Output;
  /** What a run that was cut short says about going on; by default the call of train(). */
  readonly resumeHint?: (checkpoint: string) => string;
}

/** Rows as they are where they have a prompt, as all must but those of a rollout. */
export type Prompted<Row extends object> = [Row] extends [{ readonly prompt: Prompt }]
  ? Row
  : { readonly prompt: Prompt };

/** How an evaluation samples. */
export interface EvaluateOptions {
  /** false: greedy. Default evalDoSample. */
  readonly doSample?: boolean;
  /** Completions per prompt; default numGenerationsEval, else numGenerations, and 1 where doSample is false. */
  readonly numGenerations?: number;
  /** Aborting it ends the call with the error CANCELLED. */
  readonly signal?: AbortSignal;
}

/** What an evaluation found. */
export interface Evaluation {
  /** TRL's names with the prefix eval_. */
  readonly metrics: Readonly<Metrics>;
  /** How it sampled, as its line of metrics.jsonl says it; do_sample false: greedily. */
  readonly record: { readonly do_sample: boolean };
  readonly completions: readonly CompletionRecord[];
}

/** Rows that can be asked for by index. */
export interface TrainerRows<Row> {
  readonly trainDataset: RowSource<Row>;
  readonly evalDataset: RowSource<Row> | undefined;
}

/** The servers that the config asks for, once they are up. Throws SERVER_ERROR. */
export function connectServers(args: GRPOConfig, signal?: AbortSignal): Promise<ServerSampler> {
  // 0.0.0.0, TRL's default, is a place to listen and not one to go to.
  const host = args.vllmServerHost === "0.0.0.0" ? "127.0.0.1" : args.vllmServerHost;
  return ServerSampler.connect(
    {
      urls: args.vllmServerBaseUrl ?? `http://${host}:${args.vllmServerPort}`,
      sharedFolder: args.vllmSharedFolder,
      sharedFolderOnServer: args.vllmSharedFolderOnServer,
      timeout: args.vllmServerTimeout,
      requestTimeout: args.vllmRequestTimeout,
      structuredOutputsRegex: args.vllmStructuredOutputsRegex,
    },
    signal,
  );
}

/** Throws BAD_OPTION for a sampler that the options do not go with. */
export function checkSampler(sampler: Sampler | undefined, args: GRPOConfig): void {
  if (args.maxStaleness > 0 && !samplesOnServers(args) && !sampler?.elsewhere) {
    const text = `maxStaleness ${args.maxStaleness}: the engine that trains also samples, one after the other, and cannot be ahead of itself`;
    throw new GrpoError("BAD_OPTION", text, {
      hint: 'sample on servers (useVllm true, vllmMode "server"), or set maxStaleness to 0',
    });
  }
  if (sampler === undefined) return;
  if (samplesOnServers(args)) {
    throw new GrpoError("BAD_OPTION", "GRPOTrainer has a sampler, and useVllm asks for another", {
      hint: "keep one of them",
    });
  }
  if (sampler.elsewhere) checkCorrectedLoss(args);
}

/** The rows, and who learns and samples. */
export interface TrainerSetup<Row extends object> extends TrainerRows<Row> {
  readonly learner: Learner;
  readonly sampler: Sampler;
  /** Of the learner's weights. */
  readonly versions: PolicyVersions;
  readonly processingClass: ProcessingClass;
  readonly toolUse: ToolUse | undefined;
  /** Whether rollouts make prompts of their own, so that rows need none. */
  readonly makesPrompts: boolean;
  /** Who trains with this process. */
  readonly ranks: Ranks;
}

/** Whether a run evaluates. */
export function evaluatesInRun({ evalStrategy, evalOnStart }: GRPOConfig): boolean {
  return evalStrategy !== "no" || evalOnStart;
}

export function trainerRows<Row extends object>(
  { trainDataset, evalDataset }: GRPOTrainerOptions<Row>,
  args: GRPOConfig,
): TrainerRows<Row> {
  if (!evalDataset && evaluatesInRun(args)) {
    const asked = args.evalStrategy === "no" ? "evalOnStart true" : `evalStrategy "${args.evalStrategy}"`;
    throw new GrpoError("BAD_INPUT", `${asked} needs rows to evaluate, and GRPOTrainer has no evalDataset`, {
      hint: 'give evalDataset, or set evalStrategy to "no" and evalOnStart to false',
    });
  }
  return {
    trainDataset: trainingRows(trainDataset, args, () => promptsOfRun(args)),
    evalDataset: evalDataset && evaluationRows(evalDataset),
  };
}

/** A generation is sampled whole, also where the steps train on a part of it. */
function promptsOfRun(args: GRPOConfig): number {
  const slices = args.maxSteps * args.slicesPerStep;
  const generations = Math.ceil(slices / (args.slicesPerGeneration * args.numIterations));
  return generations * (args.completionsPerGeneration / args.numGenerations);
}

/** The reward functions from the trainer's argument or from args, and those that come with the way of sampling. */
export function resolveRewardFunctions(
  given: unknown,
  args: GRPOConfig,
  further: readonly AnyRewardFn[] = [],
): readonly AnyRewardFn[] {
  const own = given === undefined ? undefined : Array.isArray(given) ? (given as unknown[]) : [given];
  const functions = own ?? args.rewardFuncs ?? [];
  if (own && args.rewardFuncs && !sameItems(own, args.rewardFuncs)) {
    throw new GrpoError("BAD_OPTION", "rewardFuncs of GRPOTrainer and of GRPOConfig differ", {
      hint: "keep one of them",
    });
  }
  if (functions.length + further.length === 0) {
    throw new GrpoError("BAD_OPTION", "GRPOTrainer has no reward function", { hint: "give rewardFuncs: [fn, …]" });
  }
  functions.forEach((fn, k) => {
    if (typeof fn === "function") return;
    throw badOption("GRPOTrainer", `rewardFuncs[${k}]`, "a function", fn, rewardHint(fn));
  });
  return [...(functions as readonly AnyRewardFn[]), ...further];
}

/** What to write for a name: of a function that is here ("accuracy", TRL's "accuracy_reward"), or of a reward model. */
function rewardHint(given: unknown): string {
  if (typeof given !== "string") return "write for example ({ completions }) => completions.map(…)";
  const name = toCamel(given.replace(/_reward$/, ""));
  return Object.hasOwn(rewards, name)
    ? `write rewards.${name}`
    : `for a reward model write await rewards.model(${show(given)})`;
}

function sameItems(a: readonly unknown[], b: readonly unknown[]): boolean {
  return a.length === b.length && a.every((item, i) => item === b[i]);
}

/** A reward that comes with the way of sampling has the weight 1, and no place in rewardWeights. */
export function resolveRewardWeights(args: GRPOConfig, functions: number, further = 0): number[] {
  const weights = args.rewardWeights ?? args.rewardFuncsWeights;
  const ones = (count: number) => new Array<number>(count).fill(1);
  if (weights === null) return ones(functions + further);
  if (weights.length === functions) return [...weights, ...ones(further)];
  throw new GrpoError("BAD_OPTION", `rewardWeights has ${weights.length} numbers for ${functions} reward functions`, {
    hint: "give one weight per function, in the same order",
  });
}

const neverPassed = new Set(["prompt", "completion", "completion_ids"]);

export function rewardColumns<Row>(rows: RowSource<Row>, removeUnused: boolean): string[] {
  if (removeUnused) return [];
  const names = rows.columnNames ?? Object.keys(rows.at(0) ?? {});
  // A column of that name would hide the argument.
  const clash = names.find((name) => rewardArguments.has(name));
  if (clash) {
    throw new GrpoError("BAD_DATASET", `the column "${clash}" has the name of an argument of every reward function`, {
      hint: `rename it: dataset.renameColumn("${clash}", "…")`,
    });
  }
  return names.filter((name) => !neverPassed.has(name));
}

/**
 * Throws BAD_DATASET where a reward function needs a column that it would not be passed. A stream that nobody has read yet says nothing
 * of its columns.
 */
export function checkRewardColumns<Row>(
  functions: readonly AnyRewardFn[],
  { trainDataset, evalDataset }: TrainerRows<Row>,
  removeUnused: boolean,
): void {
  for (const rows of [trainDataset, evalDataset]) {
    if (rows === undefined) continue;
    const passed = rewardColumns(rows, removeUnused);
    if (rows.columnNames !== undefined || rows.length > 0) checkNeededColumns(functions, passed);
  }
}

export function promptTable<Row extends object>(
  rows: RowSource<Row>,
  { learner, sampler, processingClass: tokenizer, toolUse, makesPrompts }: TrainerSetup<Row>,
  args: GRPOConfig,
): PromptTable<Row> {
  const positions = Math.min(learner.maxPositions, sampler.maxPositions);
  const room = positions - args.maxCompletionLength;
  if (room < 1) {
    throw new GrpoError(
      "BAD_OPTION",
      `maxCompletionLength ${args.maxCompletionLength} leaves no room for a prompt in the model's ${positions} positions`,
      { hint: `use a maxCompletionLength below ${positions}` },
    );
  }
  const own = args.maxPromptLength !== null && args.maxPromptLength <= room;
  return new PromptTable(rows, tokenizer, {
    maxLength: own ? (args.maxPromptLength ?? room) : room,
    limitName: own ? "maxPromptLength" : `${positions} positions − maxCompletionLength ${args.maxCompletionLength}`,
    overflow: args.promptOverflow,
    chatTemplateKwargs: args.chatTemplateKwargs ?? {},
    toolsOf: toolUse && ((row) => toolUse.toolsOf(row)),
    optional: makesPrompts,
  });
}

/** Rows that may be trained on: all, or with promptOverflow "drop" those whose prompt fits. */
export async function usableRows<Row>(
  table: PromptTable<Row>,
  length: number,
  args: GRPOConfig,
  signal?: AbortSignal,
): Promise<readonly number[]> {
  const all = Array.from({ length }, (_, i) => i);
  if (args.promptOverflow !== "drop") return all;
  await table.survey(all, signal);
  return all.filter((row) => table.fits(row));
}

/** What a rollout is collected from. */
export function rolloutSource<Row extends object>(
  setup: TrainerSetup<Row>,
  args: GRPOConfig,
  rewards: RewardRuntime,
  prompts: PromptTable<Row>,
  rows: RowSource<Row>,
): RolloutSource<Row> {
  const { sampler, versions, processingClass: tokenizer, ranks } = setup;
  const columns = rewardColumns(rows, args.removeUnusedColumns);
  return { sampler, versions, tokenizer, prompts, columns, rewards, batching: args.rewardBatching, ranks };
}

/** What keeps completions to their form, where they have one and servers do not see to it. */
function completionForm(args: GRPOConfig, tokenizer: ProcessingClass) {
  const { vllmStructuredOutputsRegex: regex } = args;
  if (regex === null || samplesOnServers(args)) return {};
  const { tokenBytes, eosTokenIds } = tokenizer;
  if (tokenBytes === undefined) {
    throw new GrpoError(
      "BAD_OPTION",
      "vllmStructuredOutputsRegex needs a processingClass with tokenBytes, as Tokenizer has",
    );
  }
  const spelled = { tokenBytes: () => tokenBytes.call(tokenizer), eosTokenIds };
  return { constraint: completionConstraint(spelled, { regex }) };
}

/** Training's sampling. */
export function samplingOptions(
  args: GRPOConfig,
  tokenizer: ProcessingClass,
): Omit<RolloutRequest["sampling"], "groupSize" | "seed" | "step"> {
  return {
    maxNewTokens: args.maxCompletionLength,
    doSample: true,
    temperature: args.temperature,
    topP: args.topP,
    topK: args.topK,
    ...(args.minP === null ? {} : { minP: args.minP }),
    repetitionPenalty: args.repetitionPenalty,
    stopIds: tokenizer.eosTokenIds,
    ...completionForm(args, tokenizer),
    ...(args.graphCapture ? { graphCapture: true } : {}),
  };
}
