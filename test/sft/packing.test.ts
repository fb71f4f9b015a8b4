// How examples are laid out in packed rows. That whole data sets are packed as in TRL is in test/addon/sft-runs.test.ts.

import { expect, test } from "vitest";
import { type Example, PACKED_AT_A_TIME, type PackingStrategy, pack } from "../../lib/sft/packing.js";

let next = 0;
function examples(...lengths: number[]): Example[] {
  next = 0;
  return lengths.map((length) => ({
    ids: Int32Array.from({ length }, () => next++),
    counts: Uint8Array.from({ length }, (_, i) => i % 2),
  }));
}

function layout(lengths: readonly number[], size: number, strategy: PackingStrategy): number[][][] {
  return pack(examples(...lengths), size, strategy).map((row) => row.map(({ ids }) => Array.from(ids)));
}

test("best fit: the longest first, each where the least room is left", () => {
  expect(layout([5, 2, 3, 1], 4, "bfd")).toEqual([[[0, 1, 2, 3]], [[7, 8, 9], [10]], [[5, 6]]]);
});

test("what is beyond the size is a row of its own with bfd_split", () => {
  expect(layout([5, 2, 3, 1], 4, "bfd_split")).toEqual([[[0, 1, 2, 3]], [[7, 8, 9], [4]], [[5, 6], [10]]]);
});

test("wrapped rows are one text, cut anywhere, and the last is what is left", () => {
  expect(layout([5, 2, 3], 4, "wrapped")).toEqual([[[0, 1, 2, 3]], [[4, 5, 6, 7]], [[8, 9]]]);
});

test.each(["bfd", "bfd_split", "wrapped"] as const)(
  "%s: rows without tokens leave no trace, and marks follow their tokens",
  (strategy) => {
    const given = examples(0, 3, 0, 2);
    const all = pack(given, 8, strategy).flat();
    const pairs = all.flatMap(({ ids, counts }) => Array.from(ids, (id, i) => [id, counts[i]]));
    const expected = given.flatMap(({ ids, counts }) => Array.from(ids, (id, i) => [id, counts[i]]));
    expect(pairs.sort()).toEqual(expected.sort());
    expect(all.every(({ ids }) => ids.length > 0)).toBe(true);
  },
);

test("no row is larger than its size, and nothing is lost or doubled but what bfd cuts", () => {
  const lengths = Array.from({ length: 300 }, (_, i) => (i * 37) % 23);
  for (const strategy of ["bfd", "bfd_split", "wrapped"] as const) {
    const rows = layout(lengths, 16, strategy);
    expect(Math.max(...rows.map((row) => row.flat().length))).toBeLessThanOrEqual(16);
    const ids = rows.flat(2);
    expect(new Set(ids).size).toBe(ids.length);
    const kept = lengths.reduce((sum, length) => sum + (strategy === "bfd" ? Math.min(length, 16) : length), 0);
    expect(ids).toHaveLength(kept);
  }
});

test("rows are packed in batches, as TRL's map does it: none holds examples of two", () => {
  const rows = pack(examples(...new Array<number>(PACKED_AT_A_TIME + 1).fill(1)), 8, "bfd");
  expect(rows).toHaveLength(PACKED_AT_A_TIME / 8 + 1);
  expect(rows.at(-1)).toHaveLength(1);
});
