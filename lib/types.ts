// The nouns that the rest of the library shares: messages, prompts, completions, and the shape of a reward function.

/** One turn of a conversation; other fields are for the chat template. */
export interface Message {
  readonly role: string;
  readonly content: string;
  readonly [key: string]: unknown;
}

/** A plain text prompt, or a conversation rendered through the model's chat template. */
export type Prompt = string | readonly Message[];

/** Text for a plain prompt; one assistant message for a conversation. */
export type Completion = string | readonly Message[];

/** Token ids, whole numbers from 0. */
export type TokenIds = readonly number[];

/** Why a completion ended: a stop id of the model, the token limit, or a stop string. */
export type FinishReason = "eos" | "length" | "stop";

/** Where a run stands. */
export interface TrainerState {
  /** Optimizer steps done so far. */
  globalStep: number;
  maxSteps: number;
  /** Passes over the data set, fractional. */
  epoch: number;
  numInputTokensSeen: number;
  /**
   * The metric of the evaluation that metricForBestModel calls the best; null before the first. While every one so far was NaN it is
   * what anything is better than: -Infinity, or Infinity where less is better.
   */
  bestMetric: number | null;
  /** The checkpoint of that evaluation, with loadBestModelAtEnd. */
  bestModelCheckpoint: string | null;
  /** Evaluations in a row without a gain above earlyStoppingThreshold. */
  evaluationsWithoutGain: number;
  readonly logHistory: Readonly<Record<string, number>>[];
}

/** That of a run before its first step. */
export function freshState(maxSteps: number): TrainerState {
  return {
    globalStep: 0,
    maxSteps,
    epoch: 0,
    numInputTokensSeen: 0,
    bestMetric: null,
    bestModelCheckpoint: null,
    evaluationsWithoutGain: 0,
    logHistory: [],
  };
}

/** The prompts that rows of a type have. */
export type PromptOf<Row> = [Row] extends [{ readonly prompt: infer P extends Prompt }] ? P : Prompt;

/** The completions of rows of a type: text where prompts are text, messages where they are conversations. */
export type CompletionOf<Row> = [PromptOf<Row>] extends [string]
  ? string
  : [PromptOf<Row>] extends [readonly Message[]]
    ? [Message, ...Message[]]
    : Completion;

/**
 * What every reward function receives: one entry per completion in each list, plus every column of the data set. All of it is its
 * own: what it changes reaches nobody else.
 */
export type RewardBatch<Row = unknown> = {
  /** The prompt of each completion. */
  prompts: PromptOf<Row>[];
  /** Text where the prompt is text, messages where it is a conversation. */
  completions: CompletionOf<Row>[];
  /** Token ids of each completion. */
  completionIds: number[][];
  /** Why each completion ended. */
  finishReasons: FinishReason[];
  /** What each rollout acted upon, not copied, where the trainer has an environmentFactory. */
  environments?: unknown[];
  /** What the trainer's `rollout` returned for each completion; absent without one. */
  rolloutResults?: unknown[];
  /** Where the run stands. */
  trainerState: TrainerState;
  /** Adds to a metric of this name; the step logs the mean. Throws for a name of the run's own, such as "loss". */
  logMetric(name: string, value: number): void;
  /** A column of completions.jsonl: one value for each completion. */
  logExtra(column: string, values: unknown[]): void;
  /** Aborted when the call takes too long or the run is stopped. */
  signal: AbortSignal;
} & { [K in keyof Row as K extends "prompt" ? never : K]: Row[K][] };

/** What a reward function gives a completion: a number, true for 1 or false for 0, or null to abstain. */
export type RewardValue = number | boolean | null;

/** One reward per completion. */
export interface RewardFn<Row = unknown> {
  (batch: RewardBatch<Row>): readonly RewardValue[] | Promise<readonly RewardValue[]>;
  /** Columns that it cannot do without: a run on a data set that lacks one is refused before its first step. */
  readonly columns?: readonly string[];
}

/** A reward function whose row type is not known here; the trainer's own argument is the typed one. */
export type AnyRewardFn = (batch: never) => ReturnType<RewardFn>;
