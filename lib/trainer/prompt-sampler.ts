// Which rows a generation samples, from (seed, generation) alone, so that a resumed run needs no stored position. Each epoch is a
// permutation of all rows, cut into generations; rows that do not fill the last one wait for the next epoch's permutation.

import { shuffledIndices } from "../dataset/random.js";

export interface PromptOrder {
  readonly rows: number;
  readonly promptsPerGeneration: number;
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

  /** Row indices of generation `generation` (0 is the first). */
  rowsOf(generation: number): number[] {
    const { rows, promptsPerGeneration, shuffle, seed } = this.#order;
    const perEpoch = Math.floor(rows / promptsPerGeneration);
    const epoch = Math.floor(generation / perEpoch);
    if (epoch !== this.#epoch) {
      this.#permutation = shuffle
        ? shuffledIndices(rows, mixSeed(seed, epoch))
        : Array.from({ length: rows }, (_, i) => i);
      this.#epoch = epoch;
    }
    const start = (generation % perEpoch) * promptsPerGeneration;
    return this.#permutation.slice(start, start + promptsPerGeneration);
  }
}

/** A well-mixed 32-bit number from two, for deriving one stream of random numbers from another. */
export function mixSeed(seed: number, index: number): number {
  let x = (Math.imul(seed, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b)) >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}
