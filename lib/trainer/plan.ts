// What a run will do, worked out before it starts: batch sizes, steps, dropped rows, intervals, and the learning rate of
// every step. Pure arithmetic on the config and the number of rows.

import { GrpoError } from "../errors.js";
import type { GRPOConfig } from "./config.js";

export interface TrainingPlan {
  readonly rows: number;
  readonly completionsPerStep: number;
  readonly promptsPerStep: number;
  readonly stepsPerEpoch: number;
  readonly totalSteps: number;
  /** Rows left out of each epoch because they do not fill a step. */
  readonly droppedRows: number;
  readonly warmupSteps: number;
  /** Steps between two of each; 0: never. */
  readonly logEvery: number;
  readonly saveEvery: number;
  readonly evalEvery: number;
}

export function planTraining(config: GRPOConfig, rows: number): TrainingPlan {
  const completionsPerStep = config.completionsPerStep;
  const promptsPerStep = completionsPerStep / config.numGenerations;
  const stepsPerEpoch = Math.floor(rows / promptsPerStep);
  if (stepsPerEpoch === 0) {
    throw new GrpoError(
      "BAD_DATASET",
      `one step takes ${promptsPerStep} prompts (${completionsPerStep} completions / numGenerations ` +
        `${config.numGenerations}), but trainDataset has ${rows} usable rows`,
      { hint: "add rows, lower gradientAccumulationSteps, or raise numGenerations" },
    );
  }
  const totalSteps = config.maxSteps > 0 ? config.maxSteps : Math.ceil(config.numTrainEpochs * stepsPerEpoch);
  const every = (value: number) => (value < 1 ? Math.ceil(totalSteps * value) : value);
  const interval = (strategy: "no" | "steps" | "epoch", steps: number) =>
    strategy === "no" ? 0 : strategy === "epoch" ? stepsPerEpoch : every(steps);
  return {
    rows,
    completionsPerStep,
    promptsPerStep,
    stepsPerEpoch,
    totalSteps,
    droppedRows: rows - stepsPerEpoch * promptsPerStep,
    warmupSteps: every(config.warmupSteps),
    logEvery: every(config.loggingSteps),
    saveEvery: interval(config.saveStrategy, config.saveSteps),
    evalEvery: interval(config.evalStrategy, config.evalSteps ?? config.loggingSteps),
  };
}

/**
 * Learning rate of optimizer step `step` (0 is the first): linear warm-up, then constant or linear to 0 at totalSteps.
 *   warm-up: lr · step / warmup;  linear: lr · (total − step) / (total − warmup)
 */
export function learningRateAt(config: GRPOConfig, plan: TrainingPlan, step: number): number {
  const { warmupSteps, totalSteps } = plan;
  if (step < warmupSteps) return (config.learningRate * step) / warmupSteps;
  if (config.lrSchedulerType === "constant") return config.learningRate;
  return config.learningRate * Math.max(0, (totalSteps - step) / Math.max(1, totalSteps - warmupSteps));
}
