// Packing: several sequences in one row of a fixed number of tokens, laid out as TRL's pack_dataset does for the same sequences. The
// engine computes every sequence by itself, so nothing here decides who sees whom, but for "wrapped", whose rows are single sequences.

import { at } from "../at.js";

/** One sequence that the model sees: tokens, and for each whether it counts in the loss. */
export interface Example {
  readonly ids: Int32Array;
  /** 1: it counts, unless it is the first, which nothing predicts. */
  readonly counts: Uint8Array;
}

/** What a batch is counted in: one sequence, or those that were packed together. */
export type TrainingRow = readonly Example[];

export type PackingStrategy = "bfd" | "bfd_split" | "wrapped";

/** TRL packs so many rows of the data set at a time: those of a batch of datasets' map(). */
export const PACKED_AT_A_TIME = 1000;

/** Packs rows of `size` tokens, in batches of PACKED_AT_A_TIME examples. */
export function pack(examples: readonly Example[], size: number, strategy: PackingStrategy): TrainingRow[] {
  const rows: TrainingRow[] = [];
  for (let start = 0; start < examples.length; start += PACKED_AT_A_TIME) {
    rows.push(...packBatch(examples.slice(start, start + PACKED_AT_A_TIME), size, strategy));
  }
  return rows;
}

function packBatch(examples: readonly Example[], size: number, strategy: PackingStrategy): TrainingRow[] {
  if (strategy === "wrapped") return wrap(examples, size);
  const filled = examples.filter(({ ids }) => ids.length > 0);
  const fitting = strategy === "bfd" ? filled.map((example) => part(example, 0, size)) : split(filled, size);
  return bestFitDecreasing(fitting, size);
}

/** All examples one after the other, cut every `size` tokens. */
function wrap(examples: readonly Example[], size: number): TrainingRow[] {
  const length = examples.reduce((sum, { ids }) => sum + ids.length, 0);
  const all: Example = { ids: new Int32Array(length), counts: new Uint8Array(length) };
  let end = 0;
  for (const { ids, counts } of examples) {
    all.ids.set(ids, end);
    all.counts.set(counts, end);
    end += ids.length;
  }
  return split([all], size).map((chunk) => [chunk]);
}

function split(examples: readonly Example[], size: number): Example[] {
  return examples.flatMap((example) =>
    Array.from({ length: Math.ceil(example.ids.length / size) }, (_, i) => part(example, i * size, (i + 1) * size)),
  );
}

export function part({ ids, counts }: Example, start: number, end?: number): Example {
  return { ids: ids.slice(start, end), counts: counts.slice(start, end) };
}

/**
 * The longest first, each into the row with the least space that is enough for it (arXiv 2404.10830); of those with the same space into
 * the one that has had it for longest. Examples of one length keep their order.
 */
function bestFitDecreasing(examples: readonly Example[], size: number): TrainingRow[] {
  const rows: Example[][] = [];
  // The rows that have so much space, by space.
  const withSpace = Array.from({ length: size + 1 }, (): Example[][] => []);
  const order = [...examples].sort((a, b) => b.ids.length - a.ids.length);
  for (const example of order) {
    let space = example.ids.length;
    while (space < size && at(withSpace, space).length === 0) space++;
    const row = space < size ? at(withSpace, space).shift() : undefined;
    const chosen = row ?? [];
    if (row === undefined) rows.push(chosen);
    chosen.push(example);
    at(withSpace, (row === undefined ? size : space) - example.ids.length).push(chosen);
  }
  return rows;
}
