// The tokens of a vocabulary by their bytes, as a tree in the order in which it is walked: what all tokens with one beginning have in
// common is decided once.

import { LruCache } from "../lru-cache.js";
import type { TokenBytes } from "../model/sampling.js";
import { maskWords } from "../model/token-constraint.js";

/** Bytes of masks that are kept for places that come again. */
const MASK_BYTES = 64 * 2 ** 20;

/** By byte the state behind it: null where none is, undefined where nobody has asked. */
export interface ByteState<State> {
  readonly next: readonly (State | null | undefined)[];
}

export class TokenTrie {
  readonly #spelling: TokenBytes;
  /** Of each node: its byte, how many bytes lead to it, the node behind its subtree, its first token in #order. */
  readonly #byte: Uint8Array;
  readonly #depth: Int32Array;
  readonly #end: Int32Array;
  readonly #first: Int32Array;
  /** Token ids by their bytes; those of a node follow one another. */
  readonly #order: Int32Array;
  readonly #deepest: number;
  readonly #masks = new LruCache<object, Int32Array>(MASK_BYTES);

  /** Of the tokens that have a text and are below `vocabSize`, which is the model's. */
  constructor(
    spelling: TokenBytes,
    readonly vocabSize: number,
  ) {
    this.#spelling = spelling;
    const { bytes, offsets } = spelling;
    const known = Math.min(vocabSize, offsets.length - 1);
    // A character for each byte: texts are compared faster than bytes.
    const names = Array.from({ length: known }, (_, id) => {
      return Buffer.from(bytes.subarray(offsets[id], offsets[id + 1])).toString("latin1");
    });
    const order = Array.from(names.keys()).filter((id) => names[id] !== "");
    order.sort((a, b) => ((names[a] as string) < (names[b] as string) ? -1 : names[a] === names[b] ? a - b : 1));
    const nodes = nodesOf(order.map((id) => names[id] as string));
    this.#order = Int32Array.from(order);
    this.#byte = Uint8Array.from(nodes.byte);
    this.#depth = Int32Array.from(nodes.depth);
    this.#end = Int32Array.from(nodes.end);
    this.#first = Int32Array.from([...nodes.first, order.length]);
    this.#deepest = nodes.depth.reduce((most, depth) => Math.max(most, depth), 0);
  }

  /** The bytes of a token; none where it is no text. */
  bytesOf(id: number): Uint8Array {
    const { bytes, offsets } = this.#spelling;
    return id + 1 < offsets.length ? bytes.subarray(offsets[id], offsets[id + 1]) : bytes.subarray(0, 0);
  }

  /**
   * The mask of the tokens all of whose bytes can be read from a state, with `step` from state to state (null: not at all) where a
   * state does not know yet. Kept for the state, so do not write to it.
   */
  mask<State extends ByteState<State>>(start: State, step: (state: State, byte: number) => State | null): Int32Array {
    const kept = this.#masks.get(start);
    if (kept) return kept;
    const mask = new Int32Array(maskWords(this.vocabSize));
    const states = new Array<State>(this.#deepest + 1);
    states[0] = start;
    const [byte, depth, end, first, order] = [this.#byte, this.#depth, this.#end, this.#first, this.#order];
    for (let node = 0; node < byte.length; ) {
      const level = depth[node] as number;
      const before = states[level - 1] as State;
      const known = before.next[byte[node] as number];
      const state = known === undefined ? step(before, byte[node] as number) : known;
      if (state === null) {
        node = end[node] as number;
        continue;
      }
      states[level] = state;
      for (let i = first[node] as number; i < (first[node + 1] as number); i++) {
        const id = order[i] as number;
        mask[id >> 5] = (mask[id >> 5] as number) | (1 << (id & 31));
      }
      node++;
    }
    this.#masks.set(start, mask, mask.byteLength);
    return mask;
  }
}

/** Of names in order. A node for each beginning, in the order of a walk that goes down first. */
function nodesOf(names: readonly string[]) {
  const byte: number[] = [];
  const depth: number[] = [];
  const end: number[] = [];
  const first: number[] = [];
  const open: number[] = [];
  let before = "";
  for (const [i, name] of names.entries()) {
    let common = 0;
    while (common < before.length && before[common] === name[common]) common++;
    for (const node of open.splice(common)) end[node] = byte.length;
    for (let j = common; j < name.length; j++) {
      open.push(byte.length);
      first.push(i);
      depth.push(j + 1);
      byte.push(name.charCodeAt(j));
    }
    before = name;
  }
  for (const node of open) end[node] = byte.length;
  return { byte, depth, end, first };
}
