// Golden fixtures as the engine tests use them.

import { fileURLToPath } from "node:url";
import type { TensorData } from "../../lib/model/files/safetensors.js";

export const goldenPath = (name: string): string =>
  fileURLToPath(new URL(`../fixtures/golden/${name}`, import.meta.url));

export const tinyQwen2 = fileURLToPath(new URL("../../scripts/assets/tiny-qwen2", import.meta.url));

export type Tensors = ReadonlyMap<string, TensorData>;

export function numbers(tensors: Tensors, name: string): number[] {
  const data = tensors.get(name)?.data;
  if (data === undefined || data instanceof BigInt64Array) throw new Error(`the fixture has no numbers named ${name}`);
  return Array.from(data);
}

/** The ragged ids of a fixture, one list per sequence. */
export function sequences(tensors: Tensors, ids = "ids", offsets = "offsets"): number[][] {
  const flat = numbers(tensors, ids);
  const bounds = numbers(tensors, offsets);
  return bounds.slice(1).map((end, i) => flat.slice(bounds[i], end));
}

/** Rows of [rows, width] numbers that lie in several arrays one after another; all rows, or those at `positions`. */
export function rowsOf(arrays: readonly Float32Array[], width: number, positions?: readonly number[]): Float32Array {
  const flat = Float32Array.from(arrays.flatMap((array) => Array.from(array)));
  if (positions === undefined) return flat;
  return Float32Array.from(positions.flatMap((row) => Array.from(flat.subarray(row * width, (row + 1) * width))));
}

export function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  let largest = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs((a[i] ?? 0) - (b[i] ?? 0));
    // A NaN must not pass as "not larger".
    if (!(difference <= largest)) largest = difference;
  }
  return largest;
}
