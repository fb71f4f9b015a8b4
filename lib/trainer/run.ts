// What one call of train() works with, and what is said of it as a whole: the run record, the time that is left, the result.

import type { PolicyModel } from "../policy.js";
import type { TrainerState } from "../types.js";
import type { GRPOConfig } from "./config.js";
import type { TrainingPlan } from "./plan.js";
import type { MetricWindow } from "./step-metrics.js";
import type { Timeline } from "./timeline.js";
import type { TrainSteps } from "./train-step.js";
import type { TrainResult } from "./trainer-setup.js";

export interface Run {
  readonly plan: TrainingPlan;
  readonly steps: TrainSteps<unknown>;
  readonly signal: AbortSignal;
  /** Metrics since the last log line, which may be those of a run that this one goes on with. */
  readonly window: MetricWindow;
  readonly timeline: Timeline;
  readonly started: number;
  readonly resumed: boolean;
  /** Steps done before this call. */
  readonly firstStep: number;
  /** Of all steps, also those before this call. */
  lossSum: number;
  badSteps: number;
}

export function resultOf({ plan, started, firstStep, lossSum }: Run, { globalStep }: TrainerState): TrainResult {
  const seconds = (performance.now() - started) / 1000;
  const steps = globalStep - firstStep;
  return {
    globalStep,
    metrics: {
      train_runtime: seconds,
      train_loss: globalStep > 0 ? lossSum / globalStep : 0,
      train_samples_per_second: (steps * plan.completionsPerStep) / seconds,
      train_steps_per_second: steps / seconds,
    },
  };
}

/** To the end of the run at the speed so far; undefined where nothing was done yet. */
export function secondsLeft({ plan, started, firstStep }: Run, { globalStep }: TrainerState): number | undefined {
  const done = globalStep - firstStep;
  if (done === 0) return undefined;
  return ((performance.now() - started) / 1000 / done) * (plan.totalSteps - globalStep);
}

export interface RunFacts {
  readonly args: GRPOConfig;
  readonly plan: TrainingPlan;
  readonly model: PolicyModel;
  readonly rewardNames: readonly string[];
  readonly rewardWeights: readonly number[];
  readonly firstStep: number;
}

/** The line of metrics.jsonl that those of the steps follow. */
export function runRecord({ args, plan, model, rewardNames, rewardWeights, firstStep }: RunFacts) {
  const { device, dtype } = model;
  return {
    run_name: args.runName,
    resumed_after_step: firstStep,
    config: args,
    reward_functions: rewardNames,
    reward_weights: rewardWeights,
    plan,
    model: { device, dtype, ...model.trainableParameters() },
  };
}
