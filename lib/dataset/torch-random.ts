// torch's generator on a CPU in the one draw that transformers' Trainer makes of it: torch.randperm, the order of the rows in an epoch.
// The generator is the Mersenne Twister (Matsumoto and Nishimura 1998, MT19937), seeded as torch.manual_seed does.

import { at } from "../at.js";

const SIZE = 624;
const SHIFT = 397;

class MersenneTwister {
  readonly #state = new Uint32Array(SIZE);
  #next = SIZE;

  /** Of the seed the lower 32 bits count. */
  constructor(seed: number) {
    this.#state[0] = seed % 2 ** 32;
    for (let i = 1; i < SIZE; i++) {
      const last = at(this.#state, i - 1);
      this.#state[i] = Math.imul(1812433253, last ^ (last >>> 30)) + i;
    }
  }

  /** 32 bits. */
  next(): number {
    if (this.#next === SIZE) this.#twist();
    let y = at(this.#state, this.#next++);
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  #twist(): void {
    const state = this.#state;
    for (let i = 0; i < SIZE; i++) {
      const y = (at(state, i) & 0x80000000) | (at(state, (i + 1) % SIZE) & 0x7fffffff);
      state[i] = at(state, (i + SHIFT) % SIZE) ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.#next = 0;
  }
}

/** torch.randperm(length, generator=torch.Generator().manual_seed(seed)). */
export function torchPermutation(length: number, seed: number): Uint32Array {
  const random = new MersenneTwister(seed);
  const indices = Uint32Array.from({ length }, (_, index) => index);
  for (let i = 0; i < length - 1; i++) {
    const j = i + (random.next() % (length - i));
    [indices[i], indices[j]] = [at(indices, j), at(indices, i)];
  }
  return indices;
}
