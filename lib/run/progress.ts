// What one call of train() keeps beside the counters that callbacks see, and what follows from it: the time that is left, the result.

import type { Metrics, MetricWindow } from "../log/metrics.js";
import type { TrainerState } from "../types.js";
import type { RunPlan } from "./plan.js";
import type { Timeline } from "./timeline.js";

/** Where a run ended, and how long it took. */
export interface TrainResult {
  readonly globalStep: number;
  /** train_runtime (seconds), train_loss, train_samples_per_second, train_steps_per_second: of the steps of this call of train(). */
  readonly metrics: Readonly<Metrics>;
}

export interface Progress {
  /** Metrics since the last log line, which may be those of a run that this one goes on with. */
  readonly window: MetricWindow;
  readonly timeline: Timeline;
  readonly started: number;
  /** Steps done before this call. */
  readonly firstStep: number;
  /** Sum over the steps of this call. */
  lossSum: number;
  badSteps: number;
}

export function resultOf(
  { started, firstStep, lossSum }: Progress,
  { globalStep }: TrainerState,
  samplesPerStep: number,
): TrainResult {
  const seconds = (performance.now() - started) / 1000;
  const steps = globalStep - firstStep;
  return {
    globalStep,
    metrics: {
      train_runtime: seconds,
      train_loss: steps > 0 ? lossSum / steps : 0,
      train_samples_per_second: (steps * samplesPerStep) / seconds,
      train_steps_per_second: steps / seconds,
    },
  };
}

/** To the end of the run at the speed so far; undefined where nothing was done yet. */
export function secondsLeft(
  { started, firstStep }: Progress,
  { globalStep }: TrainerState,
  { totalSteps }: RunPlan,
): number | undefined {
  const done = globalStep - firstStep;
  if (done === 0) return undefined;
  return ((performance.now() - started) / 1000 / done) * (totalSteps - globalStep);
}
