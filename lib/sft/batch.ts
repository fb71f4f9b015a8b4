// Rows as one call of the engine takes them, and what the sums that come back are by slice. Every sequence is a row of its own there: the
// tokens before the first that counts are its prompt, and nothing after the last that counts is computed.

import { at } from "../at.js";
import type { SupervisedBatch } from "../model/learner.js";
import type { NativeSftResult } from "../native/native.js";
import type { Example, TrainingRow } from "./packing.js";
import { countedTokens } from "./training-data.js";

/** Of the tokens of some rows that count. */
export interface SliceScores {
  /** Sum over its tokens, divided by what the call divided by. */
  readonly loss: number;
  readonly counted: number;
  readonly entropy: number;
  readonly accuracy: number;
}

interface Part {
  readonly prompt: readonly number[];
  readonly completion: readonly number[];
  readonly mask: Uint8Array;
}

/** Undefined where nothing counts. */
function partOf({ ids, counts }: Example): Part | undefined {
  const first = counts.indexOf(1, 1);
  if (first < 0) return undefined;
  const end = counts.lastIndexOf(1) + 1;
  return {
    prompt: Array.from(ids.subarray(0, first)),
    completion: Array.from(ids.subarray(first, end)),
    mask: counts.subarray(first, end),
  };
}

/** Sequences in which nothing counts are left out. */
export function batchOf(rows: readonly TrainingRow[]): SupervisedBatch {
  const parts = rows.flat().flatMap((example) => partOf(example) ?? []);
  return {
    promptIds: parts.map(({ prompt }) => prompt),
    completionIds: parts.map(({ completion }) => completion),
    lossMask: parts.map(({ mask }) => mask),
  };
}

/** Tokens of all rows, and those that count. */
export function tokensOf(rows: readonly TrainingRow[]): { readonly all: number; readonly counted: number } {
  let [all, counted] = [0, 0];
  for (const example of rows.flat()) {
    all += example.ids.length;
    counted += countedTokens(example);
  }
  return { all, counted };
}

/** What the engine said of a batch, by slices of so many rows. */
export function sliceScores(
  rows: readonly TrainingRow[],
  result: NativeSftResult,
  rowsPerSlice: number,
): SliceScores[] {
  let next = 0;
  const scores: SliceScores[] = [];
  for (let start = 0; start < rows.length; start += rowsPerSlice) {
    const slice = rows.slice(start, start + rowsPerSlice);
    const sequences = slice.flat().filter((example) => partOf(example) !== undefined).length;
    const sum = (values: Float32Array) => {
      let total = 0;
      for (let i = next; i < next + sequences; i++) total += at(values, i);
      return total;
    };
    const { counted } = tokensOf(slice);
    // As in TRL, 0 where nothing counts.
    const mean = (values: Float32Array) => (counted > 0 ? sum(values) / counted : 0);
    scores.push({ loss: sum(result.loss), counted, entropy: mean(result.entropy), accuracy: mean(result.correct) });
    next += sequences;
  }
  return scores;
}
