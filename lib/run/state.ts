// Where a run stands: the counters that callbacks see, and trainer_state.json, which has them and what a run carries besides from
// step to step. Keys of the trainer's own lie beside these in the file.

import type * as Zod from "zod";
import { GrpoError, reasonOf } from "../errors.js";
import type { TrainerState } from "../types.js";
import { lazySchema, zod } from "../zod.js";
import type { TrainerControl } from "./callbacks.js";
import type { Progress } from "./progress.js";
import { storedNumber } from "./stored-number.js";

const stateSchema = lazySchema((z) =>
  z.looseObject({
    schema_version: z.literal(1),
    global_step: z.int().min(0),
    max_steps: z.int().min(1),
    epoch: z.number(),
    num_input_tokens_seen: z.number().min(0),
    best_metric: storedNumber(z).nullable(),
    /** From the folder that the checkpoint lies in. */
    best_model_checkpoint: z.string().nullable(),
    evaluations_without_gain: z.int().min(0),
    /** What is still to be done after the step: a run that was cut short while it evaluated has not. */
    control: z.object({ should_log: z.boolean(), should_evaluate: z.boolean() }),
    /** Values since the last log line. */
    log_window: z.record(z.string(), z.array(storedNumber(z))),
    /** Non-finite steps in a row up to here. */
    bad_steps: z.int().min(0),
    /** What the numbers depend on, by option (settings.ts). Absent before there were names. */
    settings: z.record(z.string(), z.json()).optional(),
    /** Milliseconds since 1970; absent in earlier versions. */
    saved_at: z.int().optional(),
    log_history: z.array(z.record(z.string(), storedNumber(z))),
  }),
);

/** The content of trainer_state.json. */
export type StateFile = Zod.output<ReturnType<typeof stateSchema>>;

/** By the name of the option: what the numbers of a run depend on, as JSON. */
export type Settings = Readonly<Record<string, unknown>>;

export function restoreState(file: StateFile, maxSteps: number): TrainerState {
  return {
    globalStep: file.global_step,
    maxSteps,
    epoch: file.epoch,
    numInputTokensSeen: file.num_input_tokens_seen,
    bestMetric: file.best_metric,
    bestModelCheckpoint: file.best_model_checkpoint,
    evaluationsWithoutGain: file.evaluations_without_gain,
    logHistory: file.log_history,
  };
}

/** What is stored beside the state that callbacks see. */
export interface StateParts {
  /** What is still to be done after the last step. */
  readonly control: Pick<TrainerControl, "shouldLog" | "shouldEvaluate">;
  readonly progress: Pick<Progress, "window" | "badSteps">;
  readonly settings: Settings;
  /** The trainer's own keys. */
  readonly own: Readonly<Record<string, unknown>>;
}

export function storeState(state: TrainerState, { control, progress, settings, own }: StateParts): StateFile {
  return {
    ...own,
    schema_version: 1,
    global_step: state.globalStep,
    max_steps: state.maxSteps,
    epoch: state.epoch,
    num_input_tokens_seen: state.numInputTokensSeen,
    best_metric: state.bestMetric,
    best_model_checkpoint: state.bestModelCheckpoint,
    evaluations_without_gain: state.evaluationsWithoutGain,
    control: { should_log: control.shouldLog, should_evaluate: control.shouldEvaluate },
    log_window: mapValues(progress.window.values, (values) => [...values]),
    bad_steps: progress.badSteps,
    settings: settings as NonNullable<StateFile["settings"]>,
    saved_at: Date.now(),
    log_history: state.logHistory.map((entry) => ({ ...entry })),
  };
}

export function stateText(file: StateFile): string {
  return `${JSON.stringify(zod().encode(stateSchema(), file), null, 2)}\n`;
}

/** Throws BAD_CHECKPOINT; `name` is that of the file. */
export function readStateText(name: string, text: string): StateFile {
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (cause) {
    throw new GrpoError("BAD_CHECKPOINT", `${name} is not JSON: ${reasonOf(cause)}`, { cause });
  }
  const parsed = stateSchema().safeParse(content);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new GrpoError("BAD_CHECKPOINT", `${name}: ${issue?.path.join(".")}: ${issue?.message}`);
}

function mapValues<T, U>(record: Readonly<Record<string, T>>, change: (value: T) => U): Record<string, U> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, change(value)]));
}
