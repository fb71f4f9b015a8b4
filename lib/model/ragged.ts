// Ragged lists of token ids as the engine takes them: one flat typed array with an offsets array beside it, and back.

import { at } from "../at.js";
import { show } from "../checks.js";
import { GrpoError } from "../errors.js";
import type { NativeBatch } from "../native/native.js";
import type { SequenceBatch } from "./learner.js";

const ENCODE = "encode text with the tokenizer first";

export interface FlatIds {
  readonly ids: Int32Array;
  /** [n + 1], offsets[0] = 0. */
  readonly offsets: Int32Array;
}

/** Throws BAD_INPUT for anything but lists of token ids below `vocabSize`. `what` names a list in messages. */
export function flattenIds(what: string, lists: readonly (readonly number[])[], vocabSize: number): FlatIds {
  if (!Array.isArray(lists)) {
    throw new GrpoError("BAD_INPUT", `expected a list of ${what}s (lists of token ids), found ${show(lists)}`, {
      hint: ENCODE,
    });
  }
  const offsets = new Int32Array(lists.length + 1);
  lists.forEach((list, i) => {
    if (!isList(list)) {
      throw new GrpoError("BAD_INPUT", `${what} ${i}: expected a list of token ids, found ${show(list)}`, {
        hint: Number.isInteger(list) ? `write a list of ${what}s: [ids]` : ENCODE,
      });
    }
    offsets[i + 1] = at(offsets, i) + list.length;
  });
  const ids = new Int32Array(at(offsets, lists.length));
  lists.forEach((list, i) => {
    const bad = list.findIndex((id: number) => !Number.isInteger(id) || id < 0 || id >= vocabSize);
    if (bad >= 0) {
      const range = `a token id from 0 to ${vocabSize - 1}`;
      throw new GrpoError("BAD_INPUT", `${what} ${i}: expected ${range} at position ${bad}, found ${show(list[bad])}`);
    }
    ids.set(list, offsets[i]);
  });
  return { ids, offsets };
}

function isList(value: unknown): boolean {
  return Array.isArray(value) || (ArrayBuffer.isView(value) && "length" in value);
}

/** One array per list, copied out of a flat one. */
export function splitFloats(flat: Float32Array, offsets: ArrayLike<number>): Float32Array[] {
  return Array.from({ length: offsets.length - 1 }, (_, i) => flat.slice(offsets[i], offsets[i + 1]));
}

/** Per-token numbers that go with `offsets`, flat. Throws BAD_INPUT where a list has another length than its completion. */
export function flattenFloats(what: string, lists: readonly ArrayLike<number>[], offsets: Int32Array): Float32Array {
  return flattenInto(new Float32Array(at(offsets, offsets.length - 1)), what, lists, offsets);
}

/** Per-token marks of 0 or 1, flat. Throws BAD_INPUT for other lengths than those of the completions, and for other values. */
export function flattenMasks(what: string, lists: readonly ArrayLike<number>[], offsets: Int32Array): Uint8Array {
  const flat = flattenInto(new Uint8Array(at(offsets, offsets.length - 1)), what, lists, offsets);
  lists.forEach((list, i) => {
    const bad = Array.prototype.findIndex.call(list, (mark) => mark !== 0 && mark !== 1);
    if (bad >= 0) {
      throw new GrpoError("BAD_INPUT", `${what}[${i}]: expected 0 or 1 at position ${bad}, found ${show(list[bad])}`);
    }
  });
  return flat;
}

function flattenInto<T extends Float32Array | Uint8Array>(
  flat: T,
  what: string,
  lists: readonly ArrayLike<number>[],
  offsets: Int32Array,
): T {
  if (lists.length !== offsets.length - 1) {
    throw new GrpoError("BAD_INPUT", `expected ${offsets.length - 1} ${what}, found ${lists.length}`);
  }
  lists.forEach((list, i) => {
    const start = at(offsets, i);
    const expected = at(offsets, i + 1) - start;
    if (list.length !== expected) {
      throw new GrpoError("BAD_INPUT", `${what}[${i}]: expected ${expected} values, found ${list.length}`);
    }
    flat.set(list, start);
  });
  return flat;
}

/** A prompt that several completions in a row continue crosses once, so that the engine computes it once. */
export function flattenBatch(
  { promptIds, completionIds, contextLength }: SequenceBatch,
  vocabSize: number,
): NativeBatch {
  const completions = flattenIds("completion", completionIds, vocabSize);
  if (!Array.isArray(promptIds) || promptIds.length !== completionIds.length) {
    const found = `${completionIds.length} completions and ${Array.isArray(promptIds) ? promptIds.length : "no"} prompts`;
    throw new GrpoError("BAD_INPUT", `expected one prompt for each completion, found ${found}`);
  }
  const distinct: (readonly number[])[] = [];
  const promptOf = Int32Array.from(promptIds, (prompt) => {
    const last = distinct.at(-1);
    if (last === undefined || !sameIds(last, prompt)) distinct.push(prompt);
    return distinct.length - 1;
  });
  const prompts = flattenIds("prompt", distinct, vocabSize);
  const empty = distinct.findIndex((prompt) => prompt.length === 0);
  if (empty >= 0) throw new GrpoError("BAD_INPUT", `prompt ${empty} is empty; the first token needs a context`);
  return {
    ...(contextLength === undefined ? {} : { contextLength }),
    promptIds: prompts.ids,
    promptOffsets: prompts.offsets,
    completionIds: completions.ids,
    completionOffsets: completions.offsets,
    promptOf,
  };
}

function sameIds(a: readonly number[], b: readonly number[]): boolean {
  return a === b || (a.length === b?.length && a.every((id, i) => id === b[i]));
}
