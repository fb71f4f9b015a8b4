// A hash table from a pair of token ids to the rank and the result of their merge, in flat arrays: a vocabulary has
// hundreds of thousands of pairs, and a Map with numbers beyond 31 bits as keys is several times slower.

export class PairTable {
  readonly #mask: number;
  /** Left, right, rank, joined; left is -1 in an empty slot. */
  readonly #slots: Int32Array;

  constructor(pairs: number) {
    const size = 2 ** Math.ceil(Math.log2(Math.max(2 * pairs, 16)));
    this.#mask = size - 1;
    this.#slots = new Int32Array(4 * size).fill(-1);
  }

  set(left: number, right: number, rank: number, joined: number): void {
    const slots = this.#slots;
    const slot = this.#probe(left, right);
    slots[slot] = left;
    slots[slot + 1] = right;
    slots[slot + 2] = rank;
    slots[slot + 3] = joined;
  }

  /** A slot for rank() and joined(), or -1. */
  find(left: number, right: number): number {
    const slot = this.#probe(left, right);
    return (this.#slots[slot] as number) < 0 ? -1 : slot;
  }

  rank(slot: number): number {
    return this.#slots[slot + 2] as number;
  }

  joined(slot: number): number {
    return this.#slots[slot + 3] as number;
  }

  #probe(left: number, right: number): number {
    const slots = this.#slots;
    let hash = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
    hash ^= hash >>> 15;
    for (let i = hash & this.#mask; ; i = (i + 1) & this.#mask) {
      const slot = 4 * i;
      const found = slots[slot] as number;
      if (found < 0 || (found === left && slots[slot + 1] === right)) return slot;
    }
  }
}
