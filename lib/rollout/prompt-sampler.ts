// Which rows are sampled, from the seed and a position alone. Each epoch is a permutation of all rows, cut into generations; rows
// that do not fill the last one wait for the next epoch's permutation. The epochs make one endless sequence of prompts. The first
// rows of a stream are an epoch in their own order: it must not matter how many were read.

import { shuffledIndices } from "../dataset/random.js";

export interface PromptOrder {
  readonly rows: number;
  readonly promptsPerGeneration: number;
  readonly shuffle: boolean;
  readonly seed: number;
  /** The rows are the first of a stream, which was shuffled itself. */
  readonly streamed?: boolean;
}

export class PromptSampler {
  readonly #order: PromptOrder;
  readonly #perEpoch: number;
  #epoch = -1;
  #permutation: readonly number[] = [];

  constructor(order: PromptOrder) {
    this.#order = order;
    this.#perEpoch = order.rows - (order.rows % order.promptsPerGeneration);
  }

  /** The row indices of `count` prompts from `position` of the sequence on. */
  take(position: number, count: number): number[] {
    const taken: number[] = [];
    while (taken.length < count) {
      const next = position + taken.length;
      const start = next % this.#perEpoch;
      const end = Math.min(start + count - taken.length, this.#perEpoch);
      taken.push(...this.#permutationOf(Math.floor(next / this.#perEpoch)).slice(start, end));
    }
    return taken;
  }

  #permutationOf(epoch: number): readonly number[] {
    const { rows, shuffle, seed, streamed = false } = this.#order;
    if (epoch !== this.#epoch) {
      this.#permutation =
        shuffle && !(streamed && epoch === 0)
          ? shuffledIndices(rows, mixSeed(seed, epoch))
          : Array.from({ length: rows }, (_, i) => i);
      this.#epoch = epoch;
    }
    return this.#permutation;
  }
}

/** A well-mixed 32-bit number from two, for deriving one stream of random numbers from another. */
export function mixSeed(seed: number, index: number): number {
  let x = (Math.imul(seed, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b)) >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}
