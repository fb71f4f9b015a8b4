// IterableDataset over local files: the same rows as loading gives, one after another; what its methods do; memory.

import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, expectTypeOf, it } from "vitest";
import type { Dataset } from "../../lib/dataset/dataset.js";
import { IterableDataset } from "../../lib/dataset/iterable-dataset.js";
import { loadDataset } from "../../lib/dataset/load.js";
import { makeParquet, repeatGroups, textOf } from "../support/large-parquet.js";

const FIXTURES = new URL("../fixtures/data/", import.meta.url).pathname;
const TINY = new URL("../../scripts/assets/tiny-qwen2/", import.meta.url).pathname;

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "grpo-stream-"));
});

afterEach(() => rm(folder, { recursive: true, force: true }));

const numbers = IterableDataset.from(function* () {
  for (let n = 0; n < 10; n++) yield { n, text: `row ${n}` };
});

describe("streams of files", () => {
  it.each([
    "rows-snappy.parquet",
    "parquet/nested-brotli-groups.parquet",
    "parquet/text-gzip-delta-pages.parquet",
    "csv/types.csv",
    "csv/short.tsv",
  ])("give the rows that loading gives: %s", async (name) => {
    const file = path.join(FIXTURES, name);
    const stream = await loadDataset(file, { split: "train", streaming: true });
    const loaded = await loadDataset(file, { split: "train" });
    expect(await stream.toArray()).toEqual(loaded.toArray());
    expect(stream.columnNames).toEqual(loaded.columnNames);
  });

  it("start anew for every reader, and stop where the reader stops", async () => {
    const { train } = await loadDataset(TINY, { streaming: true });
    const first = await train?.take(2).toArray();
    expect(first).toHaveLength(2);
    for await (const row of train ?? []) {
      expect(row).toEqual(first?.[0]);
      break;
    }
  });

  it("have the type that the options say", () => {
    const file = `${TINY}train.jsonl`;
    const stream = () => loadDataset(file, { split: "train", streaming: true });
    expectTypeOf(stream).returns.resolves.toEqualTypeOf<IterableDataset<Record<string, unknown>>>();
    const typed = () => loadDataset<{ a: 1 }>(file, { split: "train", streaming: true });
    expectTypeOf(typed).returns.resolves.toEqualTypeOf<IterableDataset<{ a: 1 }>>();
    const pair = () => loadDataset(file, { split: ["train", "test"] });
    expectTypeOf(pair).returns.resolves.toHaveProperty("length").toEqualTypeOf<2>();
    expectTypeOf(pair).returns.resolves.toHaveProperty(1).toEqualTypeOf<Dataset<Record<string, unknown>>>();
    const load = () => loadDataset("openai/gsm8k", { name: "main", split: "train" });
    expectTypeOf(load).returns.resolves.toEqualTypeOf<Dataset<{ question: string; answer: string }>>();
  });

  it("say what they cannot do", async () => {
    const file = `${TINY}train.jsonl`;
    await expect(loadDataset(file, { split: "train[:5%]", streaming: true })).rejects.toThrow("with skip() and take()");
    const csv = path.join(folder, "a.csv");
    await writeFile(csv, `n,pad\n${`1,${"-".repeat(98)}\n`.repeat(4000)}x,\n`);
    const stream = await loadDataset(csv, { split: "train", streaming: true });
    await expect(stream.toArray()).rejects.toThrow('line 4002: "x" in column "n"');
    const broken = path.join(folder, "b.jsonl");
    await writeFile(broken, `${`{"pad":"${"-".repeat(90)}"}\n`.repeat(4000)}{`);
    const lines = await loadDataset(broken, { split: "train", streaming: true });
    await expect(lines.skip(3999).toArray()).rejects.toThrow("line 4001: not valid JSON");
  });

  it("read JSON that is no JSON lines as a whole", async () => {
    const file = path.join(folder, "a.json");
    // The first object ends behind the first quarter of a megabyte.
    const text = "x".repeat(300_000);
    await writeFile(file, `{\n "text": "${text}",\n "n": 1\n}\n{\n "text": "",\n "n": 2}`);
    const stream = await loadDataset(file, { split: "train", streaming: true });
    expect(await stream.toArray()).toEqual([
      { text, n: 1 },
      { text: "", n: 2 },
    ]);
    await writeFile(file, '[{"n":1},\n{"n":2}]');
    const list = await loadDataset(file, { split: "train", streaming: true });
    expect(await list.toArray()).toEqual([{ n: 1 }, { n: 2 }]);
  });

  it("refuse a column that the first rows do not have", async () => {
    const file = path.join(folder, "late.jsonl");
    await writeFile(file, `${`{"a":"${"-".repeat(90)}"}\n`.repeat(4000)}{"a":"last","late":1}\n`);
    const stream = await loadDataset(file, { split: "train", streaming: true });
    await expect(stream.skip(3999).toArray()).rejects.toThrow('late.jsonl has a column "late"');
    const chosen = await loadDataset(file, { split: "train", streaming: true, columns: ["a"] });
    expect(await chosen.skip(4000).toArray()).toEqual([{ a: "last" }]);
  });
});

describe("methods", () => {
  it("map, filter, take, skip", async () => {
    const changed = numbers
      .map(async ({ n }, index) => ({ square: n * n, index }))
      .filter(({ square }) => square % 2 === 0)
      .removeColumns(["text"])
      .renameColumn("square", "even");
    expect(await changed.skip(1).take(2).toArray()).toEqual([
      { n: 2, even: 4, index: 2 },
      { n: 4, even: 16, index: 4 },
    ]);
    expect(await numbers.take(0).toArray()).toEqual([]);
    expectTypeOf((await changed.toArray())[0]?.even).toEqualTypeOf<number | undefined>();
  });

  it("batch", async () => {
    const batches = await numbers.batch(4).toArray();
    expect(batches.map(({ n }) => n)).toEqual([
      [0, 1, 2, 3],
      [4, 5, 6, 7],
      [8, 9],
    ]);
    expect(await numbers.batch(4, { dropLastBatch: true }).toArray()).toHaveLength(2);
  });

  it("read no further than is needed", async () => {
    let read = 0;
    const counted = IterableDataset.from(function* () {
      for (;;) yield { n: read++ };
    });
    await counted
      .map(({ n }) => ({ n }))
      .take(3)
      .toArray();
    expect(read).toBe(3);
  });

  it("refuse what they cannot do", async () => {
    expect(() => numbers.batch(0)).toThrow("size must be a whole number at least 1");
    expect(() => numbers.shuffle({ bufferSize: 0 })).toThrow("bufferSize");
    expect(() => numbers.shuffle({ sed: 1 } as object)).toThrow("did you mean seed?");
    expect(() => numbers.take(-1)).toThrow("take() takes");
    await expect(numbers.map(() => 1 as unknown as object).toArray()).rejects.toThrow("found 1 (row 0)");
    const stream = await loadDataset(`${TINY}train.jsonl`, { split: "train", streaming: true });
    expect(() => stream.removeColumns("problm")).toThrow('did you mean "problem"?');
  });
});

describe("larger than memory", () => {
  it("reads any row of many row groups, and only those", async () => {
    const once = makeParquet({ groups: 3, rowsPerGroup: 20, textLength: 50 });
    const file = path.join(folder, "train.parquet");
    await writeFile(file, repeatGroups(once, 200));
    const dataset = await loadDataset<{ id: number; text: string }>(file, { split: "train" });
    expect(dataset.length).toBe(12_000);
    for (const row of [11_999, 0, 7_345]) expect(dataset.at(row).text).toBe(textOf(row % 60, 50));
    const even = dataset.filter(({ id }) => id % 2 === 0).map(({ id }) => ({ half: id / 2 }));
    expect(even.at(5_000).half).toBe((10_000 % 60) / 2);
    expect(even.length).toBe(6_000);
  });

  it("takes no more memory for more rows", { timeout: 120_000 }, async () => {
    const script = new URL("../../scripts/stream-memory.ts", import.meta.url).pathname;
    const run = promisify(execFile);
    const { stdout } = await run(process.execPath, ["--import", "tsx", script, "--gigabytes", "0.3"]);
    const { rows, textGB, peakMB } = JSON.parse(stdout) as { rows: number; textGB: number; peakMB: number };
    expect(rows).toBeGreaterThan(149_999);
    expect(textGB).toBeGreaterThan(0.29);
    expect(peakMB).toBeLessThan(500);
  });
});
