// The trainer's counters, and their form in trainer_state.json.

import type { TrainerState } from "../types.js";
import type { TrainerControl } from "./callbacks.js";
import type { SavedState, StoredState } from "./checkpoint.js";
import type { EntropyState } from "./entropy-control.js";
import type { Metrics, MetricWindow } from "./step-metrics.js";
import { storeNumber } from "./stored-number.js";

export type MutableState = { -readonly [K in keyof TrainerState]: TrainerState[K] } & { logHistory: Metrics[] };

export function freshState(maxSteps: number): MutableState {
  const best = { bestMetric: null, bestModelCheckpoint: null, evaluationsWithoutGain: 0 };
  return { globalStep: 0, maxSteps, epoch: 0, numInputTokensSeen: 0, ...best, logHistory: [] };
}

export function restoreState(saved: SavedState, maxSteps: number): MutableState {
  const { global_step: globalStep, epoch, num_input_tokens_seen: numInputTokensSeen, log_history: logHistory } = saved;
  const best = {
    bestMetric: saved.best_metric,
    bestModelCheckpoint: saved.best_model_checkpoint,
    evaluationsWithoutGain: saved.evaluations_without_gain,
  };
  return { globalStep, maxSteps, epoch, numInputTokensSeen, ...best, logHistory };
}

/** What a run has beside the state that callbacks see. */
export interface RunState {
  /** What is still to be done after the last step. */
  readonly control: Pick<TrainerControl, "shouldLog" | "shouldEvaluate">;
  readonly window: MetricWindow;
  readonly lossSum: number;
  readonly badSteps: number;
  readonly order: SavedState["order"];
  readonly entropy: EntropyState;
  readonly promptsTaken: number;
}

export function storeState(state: TrainerState, run: RunState): StoredState {
  const { control, badSteps, order, entropy, promptsTaken } = run;
  return {
    schema_version: 1,
    global_step: state.globalStep,
    max_steps: state.maxSteps,
    epoch: state.epoch,
    num_input_tokens_seen: state.numInputTokensSeen,
    best_metric: state.bestMetric,
    best_model_checkpoint: state.bestModelCheckpoint,
    evaluations_without_gain: state.evaluationsWithoutGain,
    control: { should_log: control.shouldLog, should_evaluate: control.shouldEvaluate },
    log_window: mapValues(run.window.values, (values) => values.map(storeNumber)),
    loss_sum: storeNumber(run.lossSum),
    bad_steps: badSteps,
    order,
    prompts_taken: promptsTaken,
    entropy,
    log_history: state.logHistory.map((entry) => mapValues(entry, storeNumber)),
  };
}

function mapValues<T, U>(record: Readonly<Record<string, T>>, change: (value: T) => U): Record<string, U> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, change(value)]));
}
