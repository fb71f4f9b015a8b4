// The trainer's constructor arguments: their types, and the checks that need more than one of them.

import { badOption, show } from "../checks.js";
import { GrpoError } from "../errors.js";
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
import { PromptTable, type RowSource } from "../rollout/prompts.js";
import type { Sampler } from "../rollout/sampler.js";
import { evaluationRows, type RowsOrStream, trainingRows } from "../rollout/streamed-rows.js";
import type * as run from "../run/callbacks.js";
import type { RunOptions } from "../run/options.js";
import type { ProcessingClass } from "../tokenizer/processing-class.js";
import type { AnyRewardFn, Prompt, RewardBatch, RewardFn } from "../types.js";
import type { GRPOConfig } from "./config.js";

/** Functions that a run calls at its moments, and waits for; by default one of GRPOTrainer. */
export type TrainerCallback<Args extends RunOptions = GRPOConfig> = run.TrainerCallback<Args>;
/** What a callback is told. */
export type TrainerEvent<Args extends RunOptions = GRPOConfig> = run.TrainerEvent<Args>;

/** A model that can be trained and sampled from. CausalLM is one. */
export interface PolicyModel extends Learner, Sampler {}

/** What a trainer is made of. */
export interface GRPOTrainerOptions<Row extends { readonly prompt: Prompt }> {
  /**
   * A model, or the id or folder of one, which is then loaded before the first step or evaluation: in float32, or as modelInitKwargs of
   * the config says.
   */
  readonly model: PolicyModel | string;
  /**
   * Who samples; default: the model. Another one, such as an agent that calls tools between its turns, must draw from the weights that the
   * model has at the time of the call.
   */
  readonly sampler?: Sampler;
  /** The tokenizer. Default: that of the model's id or folder, loaded before the first step or evaluation. */
  readonly processingClass?: ProcessingClass;
  /** Trains a fresh adapter of these options, whose random numbers depend on the config's seed alone. */
  readonly peftConfig?: LoraConfig;
  /** Default: TRL's, with an outputDir named after the model. */
  readonly args?: GRPOConfig<RewardBatch<Row>>;
  /** One function or several; may also be given in args. */
  readonly rewardFuncs?: RewardFn<Row> | readonly RewardFn<Row>[];
  /** Rows with a prompt; every other column is an argument of the reward functions. */
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

/** The rows, and who learns and samples. */
export interface TrainerSetup<Row extends { readonly prompt: Prompt }> extends TrainerRows<Row> {
  readonly learner: Learner;
  readonly sampler: Sampler;
  readonly processingClass: ProcessingClass;
}

/** Whether a run evaluates. */
export function evaluatesInRun({ evalStrategy, evalOnStart }: GRPOConfig): boolean {
  return evalStrategy !== "no" || evalOnStart;
}

export function trainerRows<Row extends { readonly prompt: Prompt }>(
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
  const slices = args.maxSteps * args.gradientAccumulationSteps;
  const generations = Math.ceil(slices / (args.slicesPerGeneration * args.numIterations));
  return generations * (args.completionsPerGeneration / args.numGenerations);
}

/** The reward functions from the trainer's argument or from args. */
export function resolveRewardFunctions(given: unknown, args: GRPOConfig): readonly AnyRewardFn[] {
  const own = given === undefined ? undefined : Array.isArray(given) ? (given as unknown[]) : [given];
  const functions = own ?? args.rewardFuncs ?? [];
  if (own && args.rewardFuncs && !sameItems(own, args.rewardFuncs)) {
    throw new GrpoError("BAD_OPTION", "rewardFuncs of GRPOTrainer and of GRPOConfig differ", {
      hint: "keep one of them",
    });
  }
  if (functions.length === 0) {
    throw new GrpoError("BAD_OPTION", "GRPOTrainer has no reward function", { hint: "give rewardFuncs: [fn, …]" });
  }
  functions.forEach((fn, k) => {
    if (typeof fn === "function") return;
    throw badOption("GRPOTrainer", `rewardFuncs[${k}]`, "a function", fn, rewardHint(fn));
  });
  return functions as readonly AnyRewardFn[];
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

export function resolveRewardWeights(args: GRPOConfig, functions: number): number[] {
  const weights = args.rewardWeights ?? args.rewardFuncsWeights;
  if (weights === null) return new Array<number>(functions).fill(1);
  if (weights.length === functions) return weights;
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

export function promptTable<Row extends { readonly prompt: Prompt }>(
  rows: RowSource<Row>,
  { learner, sampler, processingClass: tokenizer }: TrainerSetup<Row>,
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
export function rolloutSource<Row extends { readonly prompt: Prompt }>(
  setup: TrainerSetup<Row>,
  args: GRPOConfig,
  rewards: RewardRuntime,
  prompts: PromptTable<Row>,
  rows: RowSource<Row>,
): RolloutSource<Row> {
  const { sampler, processingClass: tokenizer } = setup;
  const columns = rewardColumns(rows, args.removeUnusedColumns);
  return { sampler, tokenizer, prompts, columns, rewards, batching: args.rewardBatching };
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
    ...(args.graphCapture ? { graphCapture: true } : {}),
  };
}
