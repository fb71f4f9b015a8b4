// The Dataset class: what each method returns, that nothing changes a data set, and what misuse says.

import { inspect } from "node:util";
import { describe, expect, expectTypeOf, it } from "vitest";
import { Dataset } from "../../lib/dataset/dataset.js";
import { LruCache } from "../../lib/lru-cache.js";

const rows = Array.from({ length: 10 }, (_, i) => ({ id: i, text: `row ${i}` }));
const dataset = Dataset.from(rows);

describe("reading", () => {
  it("gives length, columns and rows, the last ones by negative index", () => {
    expect(dataset.length).toBe(10);
    expect(dataset.columnNames).toEqual(["id", "text"]);
    expect(dataset.at(0)).toEqual({ id: 0, text: "row 0" });
    expect(dataset.at(-1)).toEqual({ id: 9, text: "row 9" });
    expect([...dataset]).toEqual(rows);
    expect(dataset.column("id")).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  it("prints as in the guide", () => {
    const printed = 'Dataset({ features: ["id", "text"], numRows: 10 })';
    expect(String(dataset)).toBe(printed);
    expect(inspect(dataset)).toBe(printed);
    expect(inspect([dataset])).toBe(`[ ${printed} ]`);
    expect(String(Dataset.from([]))).toBe("Dataset({ features: [], numRows: 0 })");
  });

  it("fills what a row lacks with null", () => {
    const ragged = Dataset.from<{ a?: number; b?: number }>([{ a: 1 }, { b: 2 }]);
    expect([...ragged]).toEqual([
      { a: 1, b: null },
      { a: null, b: 2 },
    ]);
  });

  it.each([10, -11, 1.5, Number.NaN])("has no row %d", (index) => {
    expect(() => dataset.at(index)).toThrow("in a data set of 10 rows");
  });
});

describe("changing", () => {
  it("maps: new columns join, named ones are replaced, the row's index is given", () => {
    const mapped = dataset.map((row, index) => ({ text: row.text.length, double: index * 2 }));
    expect(mapped.columnNames).toEqual(["id", "text", "double"]);
    expect(mapped.at(3)).toEqual({ id: 3, text: 5, double: 6 });
    expectTypeOf(mapped.at(0)).toEqualTypeOf<
      Omit<{ id: number; text: string }, "text" | "double"> & { text: number; double: number }
    >();
  });

  it("keeps the original as it was, even when a function writes to its row", () => {
    dataset.map((row) => {
      row.id = -1;
      return row;
    });
    const first = dataset.at(0);
    first.text = "changed";
    expect(dataset.at(0)).toEqual({ id: 0, text: "row 0" });
    expect(rows[0]).toEqual({ id: 0, text: "row 0" });
  });

  it("keeps what is inside a row as well", () => {
    const chats = () => [{ prompt: [{ role: "user", content: "hi" }] }];
    const nested = Dataset.from(chats());
    const changed = nested.map((row) => {
      row.prompt.push({ role: "assistant", content: "no" });
      return { turns: row.prompt };
    });
    expect([changed.at(0).turns.length, changed.at(0).turns.length]).toEqual([2, 2]);
    for (const row of nested.filter(({ prompt }) => prompt.splice(0).length > 0)) row.prompt.length = 0;
    const [message] = nested.at(0).prompt;
    if (message) message.content = "changed";
    changed.at(0).turns.length = 0;
    expect(nested.toArray()).toEqual(chats());
    expect(changed.at(0).turns).toHaveLength(2);
  });

  it("filters, selects, takes and skips", () => {
    expect(dataset.filter((row) => row.id % 2 === 1).column("id")).toEqual([1, 3, 5, 7, 9]);
    expect(dataset.select([3, 0, -1, 3]).column("id")).toEqual([3, 0, 9, 3]);
    expect(dataset.take(2).column("id")).toEqual([0, 1]);
    expect(dataset.take(99).length).toBe(10);
    expect(dataset.skip(8).column("id")).toEqual([8, 9]);
    expect(dataset.skip(99).length).toBe(0);
    expect(
      dataset
        .skip(2)
        .take(3)
        .filter((row) => row.id !== 3)
        .column("text"),
    ).toEqual(["row 2", "row 4"]);
  });

  it("removes and renames columns", () => {
    const removed = dataset.removeColumns("text");
    expect(dataset.removeColumns(["text"]).toArray()).toEqual(removed.toArray());
    expect(removed.at(1)).toEqual({ id: 1 });
    expectTypeOf(removed).toEqualTypeOf<Dataset<Omit<{ id: number; text: string }, "text">>>();
    const renamed = dataset.renameColumn("text", "prompt");
    expect(renamed.columnNames).toEqual(["id", "prompt"]);
    expect(renamed.at(1)).toEqual({ id: 1, prompt: "row 1" });
    expectTypeOf(renamed.at(0).prompt).toEqualTypeOf<string>();
  });

  it("keeps the columns of a data set that has become empty", () => {
    const none = dataset.filter(() => false).map(() => ({ extra: 1 }));
    expect([none.length, none.columnNames]).toEqual([0, ["id", "text"]]);
  });
});

describe("laziness", () => {
  const counted = () => {
    const calls: number[] = [];
    const mapped = dataset.map((row, index) => {
      calls.push(index);
      return { double: row.id * 2 };
    });
    return { calls, mapped };
  };

  it("maps a row when it is asked for, and once", () => {
    const { calls, mapped } = counted();
    expect(calls).toEqual([0]);
    expect([mapped.at(7).double, mapped.at(7).double, mapped.at(0).double]).toEqual([14, 14, 0]);
    expect(mapped.length).toBe(10);
    expect(calls).toEqual([0, 7]);
  });

  it("filters as far as rows are asked for", () => {
    const { calls, mapped } = counted();
    const odd = mapped.filter(({ id }) => id % 2 === 1);
    expect(odd.take(2).column("id")).toEqual([1, 3]);
    expect(calls).toEqual([0, 1, 2, 3]);
    expect(odd.skip(3).at(0).id).toBe(7);
    expect(odd.length).toBe(5);
    expect([...odd.skip(4)]).toEqual([{ id: 9, text: "row 9", double: 18 }]);
    expect(() => odd.at(5)).toThrow("in a data set of 5 rows");
  });

  it("forgets what was used longest ago", () => {
    const cache = new LruCache<string, number>(100);
    cache.set("a", 1, 40);
    cache.set("b", 2, 40);
    expect(cache.get("a")).toBe(1);
    cache.set("c", 3, 40);
    expect([cache.get("a"), cache.get("b"), cache.get("c")]).toEqual([1, undefined, 3]);
    cache.set("large", 4, 1000);
    expect([cache.get("a"), cache.get("c"), cache.get("large")]).toEqual([undefined, undefined, 4]);
  });
});

describe("chance", () => {
  it("shuffles all rows, the same way for the same seed", () => {
    const ids = dataset.shuffle({ seed: 42 }).column("id");
    expect([...ids].sort((a, b) => a - b)).toEqual(dataset.column("id"));
    expect(ids).not.toEqual(dataset.column("id"));
    expect(dataset.shuffle({ seed: 42 }).column("id")).toEqual(ids);
    expect(dataset.shuffle({ seed: 43 }).column("id")).not.toEqual(ids);
    expect(dataset.shuffle({ seed: 42 + 2 ** 40 }).column("id")).not.toEqual(ids);
  });

  it("puts every row in every place equally often", () => {
    const small = Dataset.from([{ id: 0 }, { id: 1 }, { id: 2 }]);
    const counts = new Map<string, number>();
    for (let seed = 0; seed < 6000; seed++) {
      const key = small.shuffle({ seed }).column("id").join("");
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    // Six orders, 1000 expected of each: chi-square with 5 degrees of freedom is below 20.5 with probability 0.999.
    const chiSquare = [...counts.values()].reduce((sum, count) => sum + (count - 1000) ** 2 / 1000, 0);
    expect(counts.size).toBe(6);
    expect(chiSquare).toBeLessThan(20.5);
  });

  it("splits into two disjoint parts", () => {
    const { train, test } = dataset.trainTestSplit({ testSize: 0.25, seed: 1 });
    expect([train.length, test.length]).toEqual([7, 3]);
    expect([...train.column("id"), ...test.column("id")].sort((a, b) => a - b)).toEqual(dataset.column("id"));
    expect(dataset.trainTestSplit({ testSize: 0.25, seed: 1 }).test.column("id")).toEqual(test.column("id"));
    const ordered = dataset.trainTestSplit({ testSize: 2, shuffle: false });
    expect(ordered.train.column("id")).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(ordered.test.column("id")).toEqual([8, 9]);
  });
});

describe("misuse", () => {
  it.each<[string, () => unknown, string]>([
    ["an unknown column", () => dataset.removeColumns("txet" as "text"), 'did you mean "text"?'],
    ["a column twice", () => dataset.renameColumn("id", "text"), 'a column "text" already'],
    ["an index out of range", () => dataset.select([10]), "select() got index 10"],
    ["a negative count", () => dataset.take(-1), "take() takes a number of rows"],
    ["a bad seed", () => dataset.shuffle({ seed: -1 }), "seed must be an integer"],
    ["a part without rows", () => dataset.trainTestSplit({ testSize: 10 }), "empty"],
    ["an async filter", () => dataset.filter((async () => false) as never).at(0), "found a promise (row 0)"],
    ["an async map", () => dataset.map(async () => ({})), "found a promise (row 0)"],
    [
      "columns that come late in a map",
      () => dataset.map((_, index) => (index === 3 ? { b: 1 } : { a: 1 })).toArray(),
      'map() returned the column "b" for row 3, but not for the first row',
    ],
    ["a map to no object", () => dataset.map(() => undefined as unknown as object), "found undefined (row 0)"],
    ["a row that is no object", () => Dataset.from([1 as unknown as object]), "row 0 is not an object"],
  ])("names %s", (_, misuse, message) => {
    expect(misuse).toThrow(message);
  });
});
