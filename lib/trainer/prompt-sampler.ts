// Which rows a step trains on, from (seed, step) alone, so that a resumed run needs no stored position. Each epoch is a
// permutation of all rows, cut into steps; rows that do not fill the last step wait for the next epoch's permutation.

import { shuffledIndices } from "../dataset/random.js";

export interface PromptOrder {
  readonly rows: number;
  readonly promptsPerStep: number;
  readonly shuffle: boolean;
  readonly seed: number;
}

export class PromptSampler {
  readonly #order: PromptOrder;
  #epoch = -1;
  #permutation: readonly number[] = [];

  constructor(order: PromptOrder) {
    this.#order = order;
  }

  /** Row indices of optimizer step `step` (0 is the first). */
  rowsOf(step: number): number[] {
    const { rows, promptsPerStep, shuffle, seed } = this.#order;
    const stepsPerEpoch = Math.floor(rows / promptsPerStep);
    const epoch = Math.floor(step / stepsPerEpoch);
    if (epoch !== this.#epoch) {
      this.#permutation = shuffle
        ? shuffledIndices(rows, mixSeed(seed, epoch))
        : Array.from({ length: rows }, (_, i) => i);
      this.#epoch = epoch;
    }
    const start = (step % stepsPerEpoch) * promptsPerStep;
    return this.#permutation.slice(start, start + promptsPerStep);
  }
}

/** A well-mixed 32-bit number from two, for deriving one stream of random numbers from another. */
export function mixSeed(seed: number, index: number): number {
  let x = (Math.imul(seed, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b)) >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}
