// Which rows a step trains on, from (seed, step) alone, so that a resumed run needs no stored position. Each epoch is a
// permutation of all rows, cut into steps; rows that do not fill the last step wait for the next epoch's permutation.

export interface PromptOrder {
  readonly rows: number;
  readonly promptsPerStep: number;
  readonly shuffle: boolean;
  readonly seed: number;
}

export class PromptSampler {
  readonly #order: PromptOrder;
  #epoch = -1;
  #permutation = new Int32Array();

  constructor(order: PromptOrder) {
    this.#order = order;
  }

  /** Row indices of optimizer step `step` (0 is the first). */
  rowsOf(step: number): number[] {
    const { rows, promptsPerStep, shuffle, seed } = this.#order;
    const stepsPerEpoch = Math.floor(rows / promptsPerStep);
    const epoch = Math.floor(step / stepsPerEpoch);
    if (epoch !== this.#epoch) {
      this.#permutation = shuffle ? permutation(rows, seed, epoch) : ascending(rows);
      this.#epoch = epoch;
    }
    const start = (step % stepsPerEpoch) * promptsPerStep;
    return Array.from(this.#permutation.subarray(start, start + promptsPerStep));
  }
}

/** A well-mixed 32-bit number from two, for deriving one stream of random numbers from another. */
export function mixSeed(seed: number, index: number): number {
  let x = (Math.imul(seed, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b)) >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}

function ascending(length: number): Int32Array<ArrayBuffer> {
  return Int32Array.from({ length }, (_, i) => i);
}

/** Fisher-Yates; draw i of epoch e is a function of (seed, e, i). */
function permutation(length: number, seed: number, epoch: number): Int32Array<ArrayBuffer> {
  const order = ascending(length);
  const stream = mixSeed(seed, epoch);
  for (let last = length - 1; last > 0; last--) {
    const pick = Math.floor((mixSeed(stream, last) / 2 ** 32) * (last + 1));
    const held = order[last] ?? 0;
    order[last] = order[pick] ?? 0;
    order[pick] = held;
  }
  return order;
}
