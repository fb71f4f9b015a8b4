// What a run of GRPO will do, worked out before it starts: batch sizes, generations and their slices, steps, dropped rows. Pure
// arithmetic on the config and the number of rows.

import { GrpoError } from "../errors.js";
import { planSteps, type RunPlan } from "../run/plan.js";
import type { GRPOConfig } from "./config.js";

export interface TrainingPlan extends RunPlan {
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
  /** Rows left out of each epoch because they do not fill a generation. */
  readonly droppedRows: number;
}

/** `rows`: those that can be trained on; `whyDropped`: what became of others, for messages. Throws BAD_DATASET. */
export function planTraining(config: GRPOConfig, rows: number, whyDropped?: string): TrainingPlan {
  const { completionsPerStep, completionsPerGeneration, slicesPerGeneration, numIterations: iterations } = config;
  const promptsPerGeneration = completionsPerGeneration / config.numGenerations;
  const generationsPerEpoch = Math.floor(rows / promptsPerGeneration);
  if (generationsPerEpoch === 0) throw tooFewRows(config, rows, promptsPerGeneration, whyDropped);
  const { slicesPerStep } = config;
  const slicesPerEpoch = generationsPerEpoch * iterations * slicesPerGeneration;
  const stepsPerEpoch = Math.ceil(slicesPerEpoch / slicesPerStep);
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
    droppedRows: rows - generationsPerEpoch * promptsPerGeneration,
    ...planSteps(config, stepsPerEpoch),
  };
}

function tooFewRows(
  { completionsPerStep, completionsPerGeneration, numGenerations }: GRPOConfig,
  rows: number,
  prompts: number,
  whyDropped: string | undefined,
): GrpoError {
  if (rows === 0 && whyDropped === undefined) {
    return new GrpoError("BAD_DATASET", "trainDataset has no rows", { hint: "look at its split and its filters" });
  }
  const what = completionsPerGeneration === completionsPerStep ? "one step" : "one generation";
  const needs = `${what} takes ${prompts} prompts (${completionsPerGeneration} completions / numGenerations ${numGenerations})`;
  const [why, hint] =
    whyDropped === undefined
      ? ["", "add rows, lower gradientAccumulationSteps, or raise numGenerations"]
      : [`; ${whyDropped}`, 'raise the limit, or set promptOverflow to "truncate"'];
  return new GrpoError("BAD_DATASET", `${needs}, but trainDataset has ${rows} usable rows${why}`, { hint });
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

/** The optimizer step that is the first to train on a generation. */
export function firstStepOf(plan: TrainingPlan, generation: number): number {
  const { slicesPerGeneration, slicesPerStep, slicesPerEpoch, iterations, stepsPerEpoch } = plan;
  const reuse = slicesPerGeneration * iterations;
  const perEpoch = slicesPerEpoch / reuse;
  const slice = (generation % perEpoch) * reuse;
  return Math.floor(generation / perEpoch) * stepsPerEpoch + Math.floor(slice / slicesPerStep);
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
