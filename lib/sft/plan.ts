// What a run of supervised fine-tuning will do, worked out before it starts: steps, and the rows of each. Rows come in the order of
// transformers' Trainer for the same seed: each epoch a permutation of all, the last step of an epoch what is left.

import { torchPermutation } from "../dataset/torch-random.js";
import { planSteps, type RunPlan } from "../run/plan.js";
import type { SFTConfig } from "./config.js";

export interface SftPlan extends RunPlan {
  /** Rows of the data set after packing. */
  readonly rows: number;
  /** Rows of a full step. */
  readonly rowsPerStep: number;
  /** Slices of perDeviceTrainBatchSize rows, the last of what is left. */
  readonly slicesPerEpoch: number;
  readonly slicesPerStep: number;
  readonly stepsPerEpoch: number;
}

export function planTraining(config: SFTConfig, rows: number): SftPlan {
  const { perDeviceTrainBatchSize, gradientAccumulationSteps: slicesPerStep, rowsPerStep } = config;
  const slicesPerEpoch = Math.ceil(rows / perDeviceTrainBatchSize);
  const stepsPerEpoch = Math.ceil(slicesPerEpoch / slicesPerStep);
  return { rows, rowsPerStep, slicesPerEpoch, slicesPerStep, stepsPerEpoch, ...planSteps(config, stepsPerEpoch) };
}

/** Epochs gone by after `steps` optimizer steps. */
export function epochAfter({ slicesPerStep, slicesPerEpoch, stepsPerEpoch }: SftPlan, steps: number): number {
  const slices = Math.min((steps % stepsPerEpoch) * slicesPerStep, slicesPerEpoch);
  return Math.floor(steps / stepsPerEpoch) + slices / slicesPerEpoch;
}

/** The rows of each step, as indices. Step 0 is the first. */
export class RowOrder {
  readonly #plan: SftPlan;
  readonly #orderOf: (epoch: number) => ArrayLike<number>;
  #epoch = -1;
  #order: ArrayLike<number> = [];

  /** `inOrder`: the rows are those of a stream, whose order is its own. */
  constructor(plan: SftPlan, { trainSamplingStrategy, dataSeed, seed }: SFTConfig, inOrder: boolean) {
    this.#plan = plan;
    this.#orderOf =
      inOrder || trainSamplingStrategy === "sequential"
        ? () => Array.from({ length: plan.rows }, (_, index) => index)
        : (epoch) => torchPermutation(plan.rows, (dataSeed ?? seed) + epoch);
  }

  rowsOf(step: number): readonly number[] {
    const { rows, rowsPerStep, stepsPerEpoch } = this.#plan;
    const epoch = Math.floor(step / stepsPerEpoch);
    if (epoch !== this.#epoch) this.#order = this.#orderOf(epoch);
    this.#epoch = epoch;
    const start = (step % stepsPerEpoch) * rowsPerStep;
    return Array.prototype.slice.call(this.#order, start, Math.min(start + rowsPerStep, rows)) as number[];
  }
}
