// Indexing that finds bugs: where an element is missing, a fallback in its place would train on something else in silence.

import { GrpoError } from "./errors.js";

/** The element at `index`, from 0. Throws INTERNAL, naming index and length, where there is none. */
export function at<T extends NonNullable<unknown> | null>(list: ArrayLike<T | undefined>, index: number): T {
  const value = list[index];
  if (value !== undefined) return value;
  throw new GrpoError("INTERNAL", `there is no element ${index} in a list of ${list.length}`);
}

/** The value of `key` in a map. Throws INTERNAL, naming the key, where there is none. */
export function atKey<K, V extends NonNullable<unknown>>(map: ReadonlyMap<K, V>, key: K): V {
  const value = map.get(key);
  if (value !== undefined) return value;
  throw new GrpoError("INTERNAL", `there is no ${String(key)} among ${map.size}`);
}
