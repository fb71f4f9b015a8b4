// Which rows come in which order: splits, shuffles, mixtures and streams against Hugging Face datasets, for the same seeds.

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { parquetWriteBuffer } from "hyparquet-writer";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Dataset } from "../../lib/dataset/dataset.js";
import { IterableDataset } from "../../lib/dataset/iterable-dataset.js";
import { loadDataset } from "../../lib/dataset/load.js";
import { concatenateDatasets, interleaveDatasets } from "../../lib/dataset/mixture.js";
import { shardStream } from "../../lib/dataset/row-stream.js";
import { parseSplit, sliceBounds } from "../../lib/dataset/split.js";

interface Interleaved {
  lengths: number[];
  probabilities: number[] | null;
  seed: number | null;
  stoppingStrategy: "first_exhausted" | "all_exhausted" | "all_exhausted_without_replacement";
  table: number[];
  stream: number[];
}

interface Streamed {
  /** Of the files that the rows come from; null: from a generator. */
  format: "jsonl" | "parquet" | "json" | "csv" | null;
  shards: number[];
  seed: number;
  bufferSize: number;
  maxBufferInputShards: number;
  order: number[];
  skip2take20: number[];
  chained: number[];
  filtered: number[];
}

const golden = JSON.parse(await readFile(new URL("../fixtures/data/order.json", import.meta.url), "utf8")) as {
  splits: { expression: string; rows: number; bounds: [number, number][] }[];
  shuffles: { rows: number; seed: number; order: number[] }[];
  trainTestSplits: { rows: number; testSize: number; seed: number; train: number[]; test: number[] }[];
  interleaved: Interleaved[];
  streams: Streamed[];
};

const numbers = (count: number, start = 0) => Array.from({ length: count }, (_, n) => ({ n: start + n }));

async function* rowsOf(count: number, start: number): AsyncGenerator<{ n: number }> {
  yield* numbers(count, start);
}

function sharded(lengths: readonly number[]): IterableDataset<{ n: number }> {
  const starts = lengths.map((_, k) => lengths.slice(0, k).reduce((sum, length) => sum + length, 0));
  return new IterableDataset(shardStream(lengths.map((length, k) => () => rowsOf(length, starts[k] ?? 0))), ["n"]);
}

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "grpo-order-"));
});

afterAll(() => rm(folder, { recursive: true, force: true }));

/** The same rows from files, one a shard. */
async function written(
  lengths: readonly number[],
  format: NonNullable<Streamed["format"]>,
): Promise<IterableDataset<{ n: number }>> {
  let start = 0;
  const files: string[] = [];
  for (const length of lengths) {
    const file = path.join(folder, `${start}-${length}.${format}`);
    await writeFile(file, contentOf(numbers(length, start), format));
    files.push(file);
    start += length;
  }
  const builder = format === "jsonl" ? "json" : format;
  return loadDataset<{ n: number }>(builder, { dataFiles: files, split: "train", streaming: true });
}

function contentOf(rows: readonly { n: number }[], format: NonNullable<Streamed["format"]>): string | Buffer {
  if (format === "json") return JSON.stringify(rows);
  if (format === "jsonl") return rows.map((row) => `${JSON.stringify(row)}\n`).join("");
  if (format === "csv") return `n\n${rows.map(({ n }) => `${n}\n`).join("")}`;
  const data = Int32Array.from(rows, ({ n }) => n);
  return Buffer.from(parquetWriteBuffer({ columnData: [{ name: "n", data, type: "INT32" }] }));
}

async function column(dataset: IterableDataset<{ n: number }>): Promise<number[]> {
  return (await dataset.toArray()).map(({ n }) => n);
}

describe("as in Python's datasets", () => {
  it("cuts splits", () => {
    for (const { expression, rows, bounds } of golden.splits) {
      const found = parseSplit(expression).map((slice) => sliceBounds(slice, rows));
      // A range that is upside down has no rows there and here.
      const expected = bounds.map(([start, end]) => [start, Math.max(start, end)]);
      expect([expression, rows, found.map(({ start, end }) => [start, end])]).toEqual([expression, rows, expected]);
    }
    expect(golden.splits.length).toBeGreaterThan(100);
  });

  it.each(golden.shuffles)("shuffles $rows rows with seed $seed", ({ rows, seed, order }) => {
    expect(Dataset.from(numbers(rows)).shuffle({ seed }).column("n")).toEqual(order);
  });

  it.each(golden.trainTestSplits)("splits $rows rows into train and test", ({ rows, testSize, seed, train, test }) => {
    const parts = Dataset.from(numbers(rows)).trainTestSplit({ testSize, seed });
    expect([parts.train.column("n"), parts.test.column("n")]).toEqual([train, test]);
  });

  it.each(golden.interleaved)(
    "interleaves $lengths with $probabilities, $stoppingStrategy",
    async ({ lengths, probabilities, seed, stoppingStrategy, table, stream }) => {
      const options = { stoppingStrategy, ...(probabilities && { probabilities, seed: seed ?? 0 }) };
      const parts = lengths.map((length, k) => Dataset.from(numbers(length, 100 * k)));
      expect(interleaveDatasets(parts, options).column("n")).toEqual(table);
      const streams = lengths.map(
        (length, k) => new IterableDataset(shardStream([() => rowsOf(length, 100 * k)]), ["n"]),
      );
      expect(await column(interleaveDatasets(streams, options))).toEqual(stream);
    },
  );

  it.each(golden.streams)(
    "shuffles a stream of shards $shards, $format, in a buffer of $bufferSize",
    async ({ format, shards, seed, bufferSize, ...expected }) => {
      const options = { seed, bufferSize, maxBufferInputShards: expected.maxBufferInputShards };
      const stream = format === null ? sharded(shards) : await written(shards, format);
      expect(await column(stream.shuffle(options))).toEqual(expected.order);
      expect(await column(stream.skip(2).take(20).shuffle(options))).toEqual(expected.skip2take20);
      expect(await column(concatenateDatasets([stream, stream]).shuffle(options))).toEqual(expected.chained);
      expect(await column(stream.filter(({ n }) => n % 3 > 0).shuffle(options))).toEqual(expected.filtered);
    },
  );
});

describe("mixtures", () => {
  it("concatenate rows and columns; what a data set lacks is null", () => {
    const both = concatenateDatasets<{ a?: number; b?: string }>([
      Dataset.from([{ a: 1 }]),
      Dataset.from([{ b: "x" }]),
    ]);
    expect(both.columnNames).toEqual(["a", "b"]);
    expect(both.toArray()).toEqual([
      { a: 1, b: null },
      { a: null, b: "x" },
    ]);
  });

  it("read only as much of the streams as is asked for", async () => {
    const endless = IterableDataset.from(function* () {
      for (let n = 0; ; n++) yield { n };
    });
    const mixed = interleaveDatasets([endless, endless.map(({ n }) => ({ n: n + 10 }))]);
    expect(await column(mixed.take(5))).toEqual([0, 10, 1, 11, 2]);
  });

  it("refuse what they cannot do", () => {
    const dataset = Dataset.from(numbers(2));
    const stream = sharded([2]);
    const mixed = [dataset, stream] as unknown as Dataset<{ n: number }>[];
    expect(() => interleaveDatasets(mixed)).toThrow("of one kind");
    expect(() => concatenateDatasets([] as Dataset[])).toThrow("at least one");
    expect(() => interleaveDatasets([dataset, dataset], { probabilities: [0.5, 0.6] })).toThrow(
      "2 numbers from 0 with the sum 1",
    );
    expect(() => interleaveDatasets([dataset, Dataset.from([])], { probabilities: [0.5, 0.5] })).toThrow(
      "data set 1 has no rows",
    );
    const options = { probabilities: [1, 0], stoppingStrategy: "all_exhausted" } as const;
    expect(() => interleaveDatasets([dataset, dataset], options)).toThrow("above 0");
    expect(() => interleaveDatasets([dataset], { stoppingStrategy: "never" as "all_exhausted" })).toThrow(
      "must be one of",
    );
  });
});
