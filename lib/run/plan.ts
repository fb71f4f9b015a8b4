// How many steps a run has, and which of them are logged, evaluated and saved: pure arithmetic on the options and the length of an
// epoch.

import type { RunOptions } from "./options.js";

export interface RunPlan {
  readonly totalSteps: number;
  readonly warmupSteps: number;
  /** Steps between two of each; 0: none for that reason alone. */
  readonly logEvery: number;
  readonly saveEvery: number;
  readonly evalEvery: number;
}

export function planSteps(options: RunOptions, stepsPerEpoch: number): RunPlan {
  const totalSteps = options.maxSteps > 0 ? options.maxSteps : Math.ceil(options.numTrainEpochs * stepsPerEpoch);
  const every = (value: number) => (value < 1 ? Math.ceil(totalSteps * value) : value);
  const interval = (strategy: RunOptions["saveStrategy"], steps: number) =>
    strategy === "no" || strategy === "best" ? 0 : strategy === "epoch" ? stepsPerEpoch : every(steps);
  return {
    totalSteps,
    warmupSteps: every(options.warmupSteps),
    logEvery: every(options.loggingSteps),
    saveEvery: interval(options.saveStrategy, options.saveSteps),
    evalEvery: interval(options.evalStrategy, options.evalSteps ?? options.loggingSteps),
  };
}

/** Whether something that comes every so many steps comes after this one; the last step has all of it. */
export function isDue({ totalSteps }: RunPlan, every: number, step: number): boolean {
  return every > 0 && (step % every === 0 || step === totalSteps);
}
