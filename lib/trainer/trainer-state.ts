// The trainer's counters, and their form in trainer_state.json.

import type { TrainerState } from "../types.js";
import type { SavedState } from "./checkpoint.js";
import type { EntropyState } from "./entropy-control.js";
import type { Metrics } from "./step-metrics.js";

export type MutableState = { -readonly [K in keyof TrainerState]: TrainerState[K] } & { logHistory: Metrics[] };

export function freshState(maxSteps: number): MutableState {
  const best = { bestMetric: null, bestModelCheckpoint: null, evaluationsWithoutGain: 0 };
  return { globalStep: 0, maxSteps, epoch: 0, numInputTokensSeen: 0, ...best, logHistory: [] };
}

/** JSON has no NaN: null in a stored log stands for it. */
export function restoreState(saved: SavedState, maxSteps: number): MutableState {
  const logHistory = saved.log_history.map(
    (entry): Metrics => Object.fromEntries(Object.entries(entry).map(([name, value]) => [name, value ?? Number.NaN])),
  );
  const { global_step: globalStep, epoch, num_input_tokens_seen: numInputTokensSeen } = saved;
  const best = {
    bestMetric: saved.best_metric,
    bestModelCheckpoint: saved.best_model_checkpoint,
    evaluationsWithoutGain: saved.evaluations_without_gain,
  };
  return { globalStep, maxSteps, epoch, numInputTokensSeen, ...best, logHistory };
}

/** What a run has beside the state that callbacks see. */
export interface RunState {
  readonly badSteps: number;
  readonly order: SavedState["order"];
  readonly entropy: EntropyState;
  readonly promptsTaken: number;
}

export function storeState(state: TrainerState, { badSteps, order, entropy, promptsTaken }: RunState): SavedState {
  return {
    schema_version: 1,
    global_step: state.globalStep,
    max_steps: state.maxSteps,
    epoch: state.epoch,
    num_input_tokens_seen: state.numInputTokensSeen,
    best_metric: state.bestMetric,
    best_model_checkpoint: state.bestModelCheckpoint,
    evaluations_without_gain: state.evaluationsWithoutGain,
    bad_steps: badSteps,
    order,
    prompts_taken: promptsTaken,
    entropy,
    log_history: [...state.logHistory],
  };
}
