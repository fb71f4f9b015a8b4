// What a training loop is made of: the options of the run, who is trained, and how the trainer's metrics are shown.

import type { Ranks } from "../distributed/ranks.js";
import type { TrainingFacts } from "../hub/model-card.js";
import type { Logger } from "../log/logger.js";
import type { Metrics } from "../log/metrics.js";
import type { CompletionRecord } from "../log/run-log.js";
import type { Savable, Trainable } from "../model/learner.js";
import type { Output } from "../output.js";
import type { TrainerState } from "../types.js";
import type { TrainerCallback } from "./callbacks.js";
import type { RunOptions } from "./options.js";

export interface LoopOptions<Args extends RunOptions> {
  readonly args: Args;
  /** Who trains with this process; default: nobody. */
  readonly ranks?: LoopRanks;
  readonly trained: Trained;
  /** Loads who is trained, where they are not there from the beginning. */
  readonly open?: () => Promise<unknown>;
  readonly view: RunView;
  readonly callbacks?: readonly TrainerCallback<Args>[] | undefined;
  /** More places for metrics. */
  readonly loggers?: readonly Logger[] | undefined;
  /** Where console lines go; process.stdout by default. */
  readonly output?: Output | undefined;
  /** What a run that was cut short says about going on; by default the call of train(). */
  readonly resumeHint?: ((checkpoint: string) => string) | undefined;
  /** Data set on the Hub that gets completions.jsonl at each save; null (default): none. */
  readonly completionsRepo?: string | null;
  /** Lets go of what the trainer holds between runs and evaluations; never rejects. An aborted signal ends the waiting. */
  readonly close?: (signal?: AbortSignal) => Promise<void>;
}

/** The ranks of a run, as its loop needs them. */
export interface LoopRanks extends Ranks {
  /** Throws BAD_CONFIG where another rank has other settings. */
  agree(settings: Readonly<Record<string, unknown>>): Promise<void>;
  /** Tells the others, and the launcher, of a failure. Never rejects. */
  fail(error: unknown): Promise<void>;
}

/** Who is trained. Asked for in a run and not before it, so that a trainer may load them as its run begins. */
export interface Trained {
  readonly model: Trainable;
  readonly tokenizer: Savable;
}

/** How the metrics of a trainer are shown and judged. */
export interface RunView {
  /** The metric of an evaluation that tells which model is the best, where metricForBestModel does not. */
  readonly bestMetric: string;
  /** Names of metrics that count something: a logging window has their sum. */
  readonly counts?: RegExp;
  /** What the console shows of a logging window. */
  windowLines(window: WindowFacts): readonly string[];
  /** And of an evaluation. */
  evaluationLines(evaluation: EvaluationFacts): readonly string[];
  /** What a model card says of the run so far. */
  card(state: TrainerState): Omit<TrainingFacts, "dataset">;
}

export interface EvaluationFacts {
  readonly step: number;
  readonly metrics: Readonly<Metrics>;
  readonly records: readonly CompletionRecord[];
  /** Columns. */
  readonly width: number;
}

export interface WindowFacts {
  readonly step: number;
  readonly totalSteps: number;
  /** Means of the window. */
  readonly metrics: Readonly<Metrics>;
  /** Completions of the latest generation; none before the first one of this call of train(). */
  readonly records: readonly CompletionRecord[];
  /** To the end of the run, if known. */
  readonly secondsLeft: number | undefined;
  /** Columns. */
  readonly width: number;
}
