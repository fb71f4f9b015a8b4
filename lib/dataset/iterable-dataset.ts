// A data set that is read as a stream, after the IterableDataset of Hugging Face datasets: rows come one after another, each time
// from the start, and none is kept. Every method returns a new one; nothing is read before the first row is asked for.

import { inspect } from "node:util";
import { checkFunction, checkNumber, checkOptionNames } from "../checks.js";
import { GrpoError, nearestName } from "../errors.js";
import {
  checkColumnName,
  checkedCount,
  checkedSeed,
  checkResult,
  checkRowFunction,
  type Mapped,
  ownRow,
  type Renamed,
} from "./dataset.js";
import { changedStream, fixedStream, type RowStream, shuffledStream } from "./row-stream.js";

/** `batch(n)` makes one row of n: every column is a list. */
export type Batched<Row> = { [K in keyof Row]: Row[K][] };

/** How a stream is shuffled: rows are drawn from a buffer, of which half is filled again. */
export interface StreamShuffleOptions {
  /** The same seed gives the same order. Default: on chance. */
  readonly seed?: number;
  /** Rows to draw from. Default 1000. */
  readonly bufferSize?: number;
  /** Shards (files) that fill the buffer in turn. Default 10. */
  readonly maxBufferInputShards?: number;
}

/** Rows as they come, none kept. Every method gives a new stream; going through it twice reads it twice. */
export class IterableDataset<Row extends object = Record<string, unknown>> implements AsyncIterable<Row> {
  /** Undefined after a map, which may return any. */
  readonly columnNames: readonly string[] | undefined;
  /** The source of rows, for mixtures. */
  readonly stream: RowStream<Row>;

  /** Use `loadDataset` with `streaming: true`, or `IterableDataset.from`. */
  constructor(stream: RowStream<Row>, columnNames: readonly string[] | undefined) {
    this.stream = stream;
    this.columnNames = columnNames;
  }

  /** Rows from a function that starts them anew for every pass. */
  static from<Row extends object>(rows: () => Iterable<Row> | AsyncIterable<Row>): IterableDataset<Row> {
    checkFunction("IterableDataset.from()", rows);
    const again = async function* () {
      yield* rows();
    };
    const stream: RowStream<Row> = {
      shards: 1,
      tables: "none",
      rows: again,
      part: () => stream,
      reordered: () => stream,
    };
    return new IterableDataset(stream, undefined);
  }

  /** Row by row. */
  [Symbol.asyncIterator](): AsyncIterator<Row> {
    return this.stream.rows()[Symbol.asyncIterator]();
  }

  /** The columns that `fn` returns join the row's own, or replace them. It may be async. */
  map<Result extends object>(
    fn: (row: Row, index: number) => Result | Promise<Result>,
    ...more: readonly never[]
  ): IterableDataset<Mapped<Row, Result>> {
    checkRowFunction("map", fn, more);
    const change = async function* (rows: AsyncIterable<Row>) {
      let index = 0;
      for await (const row of rows) {
        yield { ...row, ...checkResult(await fn(ownRow(row), index), index) } as unknown as Mapped<Row, Result>;
        index++;
      }
    };
    return new IterableDataset(changedStream(this.stream, change), undefined);
  }

  /** Rows for which the function, which may be async, is true. */
  filter(fn: (row: Row, index: number) => boolean | Promise<boolean>, ...more: readonly never[]): IterableDataset<Row> {
    checkRowFunction("filter", fn, more);
    const change = async function* (rows: AsyncIterable<Row>) {
      let index = 0;
      for await (const row of rows) if (await fn(ownRow(row), index++)) yield row;
    };
    return new IterableDataset(changedStream(this.stream, change), this.columnNames);
  }

  /** The first `count` rows. They stay the first ones, whatever shuffle follows. */
  take(count: number): IterableDataset<Row> {
    const limit = checkedCount("take", count);
    const change = async function* (rows: AsyncIterable<Row>) {
      let left = limit;
      if (left === 0) return;
      for await (const row of rows) {
        yield row;
        if (--left === 0) return;
      }
    };
    return new IterableDataset(fixedStream(this.stream, change), this.columnNames);
  }

  /** All rows but the first `count`. */
  skip(count: number): IterableDataset<Row> {
    const limit = checkedCount("skip", count);
    const change = async function* (rows: AsyncIterable<Row>) {
      let left = limit;
      for await (const row of rows) {
        if (left > 0) left--;
        else yield row;
      }
    };
    return new IterableDataset(fixedStream(this.stream, change), this.columnNames);
  }

  /** Rows of `size` rows each, every column a list; the last one may be shorter. */
  batch(size: number, options: { readonly dropLastBatch?: boolean } = {}): IterableDataset<Batched<Row>> {
    checkOptionNames("batch", options, ["dropLastBatch"]);
    checkNumber("batch", "size", size, { min: 1, integer: true });
    const change = async function* (rows: AsyncIterable<Row>) {
      let group: Row[] = [];
      for await (const row of rows) {
        group.push(row);
        if (group.length < size) continue;
        yield batchOf(group);
        group = [];
      }
      if (group.length > 0 && options.dropLastBatch !== true) yield batchOf(group);
    };
    return new IterableDataset(changedStream(this.stream, change), this.columnNames);
  }

  /** Rows from a buffer of the next ones, and files in another order: those of Python's datasets 5.2 for the same seed. */
  shuffle(options: StreamShuffleOptions = {}): IterableDataset<Row> {
    checkOptionNames("shuffle", options, ["seed", "bufferSize", "maxBufferInputShards"]);
    const atLeastOne = { min: 1, integer: true };
    const bufferSize = checkNumber("shuffle", "bufferSize", options.bufferSize ?? 1000, atLeastOne);
    const inputShards = checkNumber("shuffle", "maxBufferInputShards", options.maxBufferInputShards ?? 10, atLeastOne);
    const seed = checkedSeed(options.seed);
    return new IterableDataset(shuffledStream(this.stream, { seed, bufferSize, inputShards }), this.columnNames);
  }

  /** The stream without these columns, given one by one or as a list. */
  removeColumns<K extends keyof Row & string>(
    ...names: readonly K[] | readonly [readonly K[]]
  ): IterableDataset<Omit<Row, K>> {
    const removed = new Set<string>(names.flat());
    this.#checkColumns([...removed]);
    const change = async function* (rows: AsyncIterable<Row>) {
      for await (const row of rows) {
        yield Object.fromEntries(Object.entries(row).filter(([name]) => !removed.has(name))) as Omit<Row, K>;
      }
    };
    const left = this.columnNames?.filter((name) => !removed.has(name));
    return new IterableDataset(changedStream(this.stream, change), left);
  }

  /** The stream with another name for one column. */
  renameColumn<K extends keyof Row & string, To extends string>(from: K, to: To): IterableDataset<Renamed<Row, K, To>> {
    this.#checkColumns([from]);
    const rename = (name: string) => (name === from ? to : name);
    const change = async function* (rows: AsyncIterable<Row>) {
      for await (const row of rows) {
        const entries = Object.entries(row).map(([name, value]) => [rename(name), value] as const);
        yield Object.fromEntries(entries) as Renamed<Row, K, To>;
      }
    };
    return new IterableDataset(changedStream(this.stream, change), this.columnNames?.map(rename));
  }

  /** All rows, in memory. */
  async toArray(): Promise<Row[]> {
    const rows: Row[] = [];
    for await (const row of this) rows.push(row);
    return rows;
  }

  toString(): string {
    const features = this.columnNames?.map((name) => JSON.stringify(name)).join(", ");
    return `IterableDataset({ features: ${features === undefined ? "unknown" : `[${features}]`}, numShards: ${this.stream.shards} })`;
  }

  /** As console.log shows it. */
  [inspect.custom](): string {
    return this.toString();
  }

  #checkColumns(names: readonly string[]): void {
    names.forEach(checkColumnName);
    const known = this.columnNames;
    const unknown = known && names.find((name) => !known.includes(name));
    if (known === undefined || unknown === undefined) return;
    const nearest = nearestName(unknown, known);
    throw new GrpoError("BAD_INPUT", `no column "${unknown}"; the columns are: ${known.join(", ")}`, {
      ...(nearest === undefined ? {} : { hint: `did you mean "${nearest}"?` }),
    });
  }
}

function batchOf<Row extends object>(rows: readonly Row[]): Batched<Row> {
  const names = Object.keys(rows[0] ?? {}) as (keyof Row)[];
  return Object.fromEntries(names.map((name) => [name, rows.map((row) => row[name])])) as Batched<Row>;
}
