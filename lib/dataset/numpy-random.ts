// NumPy's default_rng(seed) in the draws that Hugging Face datasets makes, so that a shuffle or a mixture with a seed gives
// the rows that it gives in Python: PCG64 (O'Neill, XSL-RR 128/64) seeded through SeedSequence.

import { at } from "../at.js";

const MASK64 = (1n << 64n) - 1n;
const MULTIPLIER = 0x2360ed051fc65da44385df649fccf645n;

export class NumpyRandom {
  #state = 0n;
  readonly #increment: bigint;
  /** The upper half of a 64-bit draw of which only the lower half was needed. */
  #half: number | undefined;

  constructor(seed: number) {
    const [stateHigh, stateLow, streamHigh, streamLow] = seedWords(seed) as [bigint, bigint, bigint, bigint];
    this.#increment = BigInt.asUintN(128, ((streamHigh << 64n) | streamLow) << 1n) | 1n;
    this.#step();
    this.#state = BigInt.asUintN(128, this.#state + ((stateHigh << 64n) | stateLow));
    this.#step();
  }

  /** A float in [0, 1). */
  random(): number {
    return Number(this.#next64() >> 11n) / 2 ** 53;
  }

  /** A whole number in [0, bound), for bounds up to 2^32, by Lemire's method. */
  integer(bound: number): number {
    if (bound <= 1) return 0;
    let product = BigInt(this.#next32()) * BigInt(bound);
    if (Number(product & 0xffffffffn) < bound) {
      const threshold = (2 ** 32 - bound) % bound;
      while (Number(product & 0xffffffffn) < threshold) product = BigInt(this.#next32()) * BigInt(bound);
    }
    return Number(product >> 32n);
  }

  shuffle<T>(items: { [index: number]: T; readonly length: number }): void {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.#upTo(i);
      [items[i], items[j]] = [items[j] as T, items[i] as T];
    }
  }

  permutation(length: number): Uint32Array {
    const indices = Uint32Array.from({ length }, (_, index) => index);
    this.shuffle(indices);
    return indices;
  }

  /** An index drawn with the given probabilities. */
  choice(probabilities: readonly number[]): number {
    const total = probabilities.reduce((sum, p) => sum + p, 0);
    const drawn = this.random();
    let sum = 0;
    const found = probabilities.findIndex((p) => {
      sum += p;
      return sum / total > drawn;
    });
    return found < 0 ? probabilities.length - 1 : found;
  }

  /** A whole number in [0, largest]: NumPy's shuffles draw bits until the number fits, not by Lemire's way. */
  #upTo(largest: number): number {
    const mask = 2 ** (32 - Math.clz32(largest)) - 1;
    for (;;) {
      const value = (this.#next32() & mask) >>> 0;
      if (value <= largest) return value;
    }
  }

  #next32(): number {
    if (this.#half !== undefined) {
      const half = this.#half;
      this.#half = undefined;
      return half;
    }
    const both = this.#next64();
    this.#half = Number(both >> 32n);
    return Number(both & 0xffffffffn);
  }

  #next64(): bigint {
    this.#step();
    const state = this.#state;
    const rotation = state >> 122n;
    const mixed = (state >> 64n) ^ (state & MASK64);
    return BigInt.asUintN(64, (mixed >> rotation) | (mixed << (64n - rotation)));
  }

  #step(): void {
    this.#state = BigInt.asUintN(128, this.#state * MULTIPLIER + this.#increment);
  }
}

/** SeedSequence(seed).generate_state(4, uint64): a pool of four words, each mixed into every other. */
function seedWords(seed: number): bigint[] {
  const entropy = [seed % 2 ** 32, Math.floor(seed / 2 ** 32)];
  const hash = hasher(0x43b0d7e5, 0x931e8875);
  const pool = [0, 1, 2, 3].map((i) => hash(entropy[i] ?? 0));
  for (let source = 0; source < 4; source++) {
    for (let target = 0; target < 4; target++) {
      if (source !== target) pool[target] = mix(at(pool, target), hash(at(pool, source)));
    }
  }
  const draw = hasher(0x8b51f9dd, 0x58f38ded);
  const words = Array.from({ length: 8 }, (_, i) => BigInt(draw(at(pool, i % 4))));
  return [0, 2, 4, 6].map((i) => (at(words, i + 1) << 32n) | at(words, i));
}

function hasher(initial: number, multiplier: number): (value: number) => number {
  let constant = initial;
  return (value) => {
    const mixed = value ^ constant;
    constant = Math.imul(constant, multiplier);
    const product = Math.imul(mixed, constant);
    return (product ^ (product >>> 16)) >>> 0;
  };
}

function mix(x: number, y: number): number {
  const result = (Math.imul(0xca01f9dd, x) - Math.imul(0x4973f715, y)) | 0;
  return (result ^ (result >>> 16)) >>> 0;
}
