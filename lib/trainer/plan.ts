// What a run will do, worked out before it starts: batch sizes, steps, dropped rows and intervals. Pure arithmetic on the
// config and the number of rows.

import { GrpoError } from "../errors.js";
import type { GRPOConfig } from "./config.js";

export interface TrainingPlan {
  readonly rows: number;
  readonly completionsPerStep: number;
  readonly completionsPerGeneration: number;
  readonly promptsPerGeneration: number;
  /** Slices of perDeviceTrainBatchSize completions: in one generation, in one full step, and in an epoch with repeats. */
  readonly slicesPerGeneration: number;
  readonly slicesPerStep: number;
  readonly slicesPerEpoch: number;
  /** Passes over each generation. */
  readonly iterations: number;
  readonly stepsPerEpoch: number;
  readonly totalSteps: number;
  /** Rows left out of each epoch because they do not fill a generation. */
  readonly droppedRows: number;
  readonly warmupSteps: number;
  /** Steps between two of each; 0: none for that reason alone. */
  readonly logEvery: number;
  readonly saveEvery: number;
  readonly evalEvery: number;
}

export function planTraining(config: GRPOConfig, rows: number): TrainingPlan {
  const { completionsPerStep, completionsPerGeneration, slicesPerGeneration, numIterations: iterations } = config;
  const promptsPerGeneration = completionsPerGeneration / config.numGenerations;
  const generationsPerEpoch = Math.floor(rows / promptsPerGeneration);
  if (generationsPerEpoch === 0) {
    const what = completionsPerGeneration === completionsPerStep ? "one step" : "one generation";
    throw new GrpoError(
      "BAD_DATASET",
      `${what} takes ${promptsPerGeneration} prompts (${completionsPerGeneration} completions / numGenerations ` +
        `${config.numGenerations}), but trainDataset has ${rows} usable rows`,
      { hint: "add rows, lower gradientAccumulationSteps, or raise numGenerations" },
    );
  }
  const slicesPerStep = config.gradientAccumulationSteps;
  const slicesPerEpoch = generationsPerEpoch * iterations * slicesPerGeneration;
  const stepsPerEpoch = Math.ceil(slicesPerEpoch / slicesPerStep);
  const totalSteps = config.maxSteps > 0 ? config.maxSteps : Math.ceil(config.numTrainEpochs * stepsPerEpoch);
  const every = (value: number) => (value < 1 ? Math.ceil(totalSteps * value) : value);
  const interval = (strategy: GRPOConfig["saveStrategy"], steps: number) =>
    strategy === "no" || strategy === "best" ? 0 : strategy === "epoch" ? stepsPerEpoch : every(steps);
  return {
    rows,
    completionsPerStep,
    completionsPerGeneration,
    promptsPerGeneration,
    slicesPerGeneration,
    slicesPerStep,
    slicesPerEpoch,
    iterations,
    stepsPerEpoch,
    totalSteps,
    droppedRows: rows - generationsPerEpoch * promptsPerGeneration,
    warmupSteps: every(config.warmupSteps),
    logEvery: every(config.loggingSteps),
    saveEvery: interval(config.saveStrategy, config.saveSteps),
    evalEvery: interval(config.evalStrategy, config.evalSteps ?? config.loggingSteps),
  };
}

/** Whether something that comes every so many steps comes after this one; the last step has all of it. */
export function isDue({ totalSteps }: TrainingPlan, every: number, step: number): boolean {
  return every > 0 && (step % every === 0 || step === totalSteps);
}

/** Slices of one generation, in the order of training. */
export interface StepPart {
  readonly generation: number;
  readonly slices: readonly number[];
}

/**
 * What optimizer step `step` (0 is the first) trains on. An epoch is a sequence of slices: generation after generation, each
 * gone through `iterations` times; a step takes the next slicesPerStep of them, the last of an epoch what is left.
 */
export function partsOfStep(plan: TrainingPlan, step: number): StepPart[] {
  const { slicesPerGeneration, slicesPerStep, slicesPerEpoch, iterations, stepsPerEpoch } = plan;
  const reuse = slicesPerGeneration * iterations;
  const epoch = Math.floor(step / stepsPerEpoch);
  const first = (step % stepsPerEpoch) * slicesPerStep;
  const parts: { generation: number; slices: number[] }[] = [];
  for (let i = first; i < Math.min(first + slicesPerStep, slicesPerEpoch); i++) {
    const generation = epoch * (slicesPerEpoch / reuse) + Math.floor(i / reuse);
    const last = parts.at(-1);
    if (last?.generation === generation) last.slices.push(i % slicesPerGeneration);
    else parts.push({ generation, slices: [i % slicesPerGeneration] });
  }
  return parts;
}

/** The generation that step `step` goes on with from the step before, if it does. */
export function carriedInto(plan: TrainingPlan, step: number): number | undefined {
  if (step === 0) return undefined;
  const before = partsOfStep(plan, step - 1).at(-1)?.generation;
  return before === partsOfStep(plan, step)[0]?.generation ? before : undefined;
}

/** Epochs gone by after `steps` optimizer steps. */
export function epochAfter({ slicesPerStep, slicesPerEpoch, stepsPerEpoch }: TrainingPlan, steps: number): number {
  const slices = Math.min((steps % stepsPerEpoch) * slicesPerStep, slicesPerEpoch);
  return Math.floor(steps / stepsPerEpoch) + slices / slicesPerEpoch;
}

/** Whether the policy has changed before the last slice of a generation is trained on: then its samples need the old log-probabilities. */
export function trainsOnOldSamples({ slicesPerStep, slicesPerGeneration, iterations }: TrainingPlan): boolean {
  return slicesPerStep % (slicesPerGeneration * iterations) !== 0;
}
