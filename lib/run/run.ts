// What a trainer and the training loop are to each other. The loop (training-loop.ts) knows steps, logs, evaluations, checkpoints and
// interrupts; what a step, an evaluation and the order of the data are, it asks of a Run, which the trainer makes.

import { badOption, checkOptionNames, checkSignal, namesOf } from "../checks.js";
import type { Metrics } from "../log/metrics.js";
import type { CompletionRecord } from "../log/run-log.js";
import type { Checkpoint } from "./checkpoint.js";
import type { RunPlan } from "./plan.js";
import type { Settings } from "./state.js";

/** Where a run goes on, and what can stop it. */
export interface TrainOptions {
  /** A checkpoint folder, or true for the one in outputDir that was written last. */
  readonly resumeFromCheckpoint?: string | boolean;
  /** Stops the run: the last finished step is saved, and train() rejects with CANCELLED. */
  readonly signal?: AbortSignal;
}

const TRAIN_OPTIONS = namesOf<TrainOptions>({ resumeFromCheckpoint: true, signal: true });

/** Throws UNKNOWN_OPTION or BAD_OPTION, naming the option. */
export function checkTrainOptions(options: TrainOptions): void {
  const where = "train";
  checkOptionNames(where, options, TRAIN_OPTIONS, { positional: "write { resumeFromCheckpoint: … }" });
  const resume: unknown = options.resumeFromCheckpoint ?? false;
  if (typeof resume !== "boolean" && (typeof resume !== "string" || resume === "")) {
    throw badOption(where, "resumeFromCheckpoint", "the folder of a checkpoint, true or false", resume);
  }
  checkSignal(where, options.signal);
}

/** One run as its trainer defines it. The calls come in the order in which they stand here. */
export interface Run {
  readonly plan: RunPlan;
  /** Training samples in one step, for train_samples_per_second. */
  readonly samplesPerStep: number;
  /** Of the trainer's own options, those that a run which goes on from a checkpoint must have as they were. */
  readonly settings: Settings;
  /** Takes back from a checkpoint what `own` gave. Throws BAD_CHECKPOINT. The model is taken back after it. */
  restore(checkpoint: Checkpoint): Promise<void>;
  /** Everything else that can be known, or can fail, before the first step. */
  prepare(signal: AbortSignal): Promise<Prepared>;
  /** One optimizer step; 0 is the first. */
  step(step: number, signal: AbortSignal): Promise<StepOutcome>;
  /** An evaluation of this run. */
  evaluate(signal: AbortSignal): Promise<EvaluationOutcome>;
  /** What the next step needs of those before it. */
  own(): OwnState;
}

export interface Prepared {
  /** What is said of the plan before the first step. */
  readonly lines: readonly string[];
  /** What the trainer adds of its own to the run record of metrics.jsonl. */
  readonly record: Readonly<Record<string, unknown>>;
  /** Whether there is memory to copy a checkpoint, so that the run need not wait for the disk. */
  readonly copyCheckpoints: boolean;
  /** What would take less memory, each with how much. */
  readonly memoryChanges: readonly string[];
}

export interface StepOutcome {
  readonly loss: number;
  readonly metrics: Readonly<Metrics>;
  /** [generations][completions] of the generations that were sampled in this step. */
  readonly records: readonly (readonly CompletionRecord[])[];
  /** Tokens of what the step saw, for num_tokens. */
  readonly tokens: number;
  /** Epochs gone by after this step. */
  readonly epoch: number;
  /** Seconds of the step that `metrics` say the use of; the rest is time/other. */
  readonly accountedSeconds: number;
  /** False: loss or gradient was not finite, and the weights are as they were. */
  readonly applied: boolean;
}

export interface EvaluationOutcome {
  /** Names begin with eval_. */
  readonly metrics: Readonly<Metrics>;
  /** What the trainer adds of its own to the line of metrics.jsonl: how it sampled. */
  readonly record?: Readonly<Record<string, unknown>>;
  readonly completions: readonly CompletionRecord[];
}

/** What a trainer adds to a checkpoint. */
export interface OwnState {
  /** In trainer_state.json, beside those of the run: JSON values. */
  readonly keys: Readonly<Record<string, unknown>>;
  /** Files, by name: the text, made when it is written. */
  readonly files: Readonly<Record<string, () => string>>;
}
