// An immutable table of rows with named columns, after the Dataset of Hugging Face datasets. Every method returns a new
// one that shares the rows. Rows are read from a RowStore, so that they need not be in memory.

import { inspect } from "node:util";
import { GrpoError, nearestName } from "../errors.js";
import { checkOptionNames } from "../options.js";
import { shuffledIndices } from "./random.js";

/** Where rows are: anything that can give the row at an index. */
export interface RowStore<Row> {
  readonly length: number;
  row(index: number): Row;
}

/** The columns of a row after `map`: those of the result replace or join its own. */
export type Mapped<Row, Result> = Omit<Row, keyof Result> & Result;

/** The row with one column under another name. */
export type Renamed<Row, From extends keyof Row, To extends string> = Omit<Row, From | To> & { [K in To]: Row[From] };

export class Dataset<Row extends object = Record<string, unknown>> implements Iterable<Row> {
  readonly columnNames: readonly string[];
  readonly #store: RowStore<Row>;

  /** Use `Dataset.from` or `loadDataset`. */
  constructor(store: RowStore<Row>, columnNames: readonly string[]) {
    this.#store = store;
    this.columnNames = columnNames;
  }

  /** A data set of the given rows. A column that a row lacks is null in it. */
  static from<Row extends object>(rows: readonly Row[]): Dataset<Row> {
    return fromRows(rows, []);
  }

  get length(): number {
    return this.#store.length;
  }

  /** The row at an index; negative indices count from the end. The object is the caller's own to change. */
  at(index: number): Row {
    const absolute = index < 0 ? this.length + index : index;
    if (!Number.isInteger(index) || absolute < 0 || absolute >= this.length) {
      throw new GrpoError("BAD_INPUT", `No row ${String(index)} in a data set of ${this.length} rows.`);
    }
    return { ...this.#store.row(absolute) };
  }

  /** All values of one column. */
  column<K extends keyof Row & string>(name: K): Row[K][] {
    this.#checkColumns([name]);
    return Array.from({ length: this.length }, (_, index) => this.#store.row(index)[name]);
  }

  *[Symbol.iterator](): Iterator<Row> {
    for (let index = 0; index < this.length; index++) yield this.at(index);
  }

  /** Calls `fn` with every row; the columns that it returns are added to the row's own, or replace them. */
  map<Result extends object>(fn: (row: Row, index: number) => Result): Dataset<Mapped<Row, Result>> {
    const rows = Array.from(this, (row, index) => {
      const result: unknown = fn(row, index);
      if (typeof result !== "object" || result === null || Array.isArray(result) || result instanceof Promise) {
        const found = result instanceof Promise ? "a promise" : Array.isArray(result) ? "an array" : String(result);
        throw new GrpoError(
          "BAD_INPUT",
          `map() needs an object of columns from its function, found ${found} (row ${index}).`,
          {
            hint: "Return for example { prompt: row.question }; the function must not be async.",
          },
        );
      }
      return { ...row, ...result } as unknown as Mapped<Row, Result>;
    });
    return fromRows(rows, this.columnNames);
  }

  /** The rows for which `fn` is true. */
  filter(fn: (row: Row, index: number) => boolean): Dataset<Row> {
    const kept: number[] = [];
    for (let index = 0; index < this.length; index++) if (fn(this.at(index), index)) kept.push(index);
    return this.#view(kept);
  }

  /** The rows at the given indices, in that order. */
  select(indices: Iterable<number>): Dataset<Row> {
    const absolute = Array.from(indices, (index) => {
      const at = index < 0 ? this.length + index : index;
      if (Number.isInteger(index) && at >= 0 && at < this.length) return at;
      throw new GrpoError("BAD_INPUT", `select() got index ${String(index)}; the data set has ${this.length} rows.`);
    });
    return this.#view(absolute);
  }

  /** The first `count` rows, or all if there are fewer. */
  take(count: number): Dataset<Row> {
    return this.#range(0, checkedCount("take", count));
  }

  /** All rows but the first `count`. */
  skip(count: number): Dataset<Row> {
    return this.#range(checkedCount("skip", count), this.length);
  }

  /** The rows in an order that depends on the seed alone; without a seed, on chance. */
  shuffle(options: { readonly seed?: number } = {}): Dataset<Row> {
    checkOptionNames("shuffle", options, ["seed"]);
    return this.#view(shuffledIndices(this.length, checkedSeed(options.seed)));
  }

  removeColumns<K extends keyof Row & string>(...names: K[]): Dataset<Omit<Row, K>> {
    this.#checkColumns(names);
    const removed = new Set<string>(names);
    const kept = this.columnNames.filter((name) => !removed.has(name));
    return this.#project(kept.map((name) => [name, name]));
  }

  renameColumn<K extends keyof Row & string, To extends string>(from: K, to: To): Dataset<Renamed<Row, K, To>> {
    this.#checkColumns([from]);
    if (this.columnNames.includes(to)) {
      throw new GrpoError("BAD_INPUT", `renameColumn: there is a column "${to}" already.`, {
        hint: "Remove it first.",
      });
    }
    return this.#project(this.columnNames.map((name) => [name, name === from ? to : name]));
  }

  /** Two disjoint parts. `testSize` is a share (0 to 1) or a number of rows; default 0.25. Shuffled unless told not to. */
  trainTestSplit(options: { readonly testSize?: number; readonly seed?: number; readonly shuffle?: boolean } = {}): {
    train: Dataset<Row>;
    test: Dataset<Row>;
  } {
    checkOptionNames("trainTestSplit", options, ["testSize", "seed", "shuffle"]);
    const { testSize = 0.25 } = options;
    const rows = testSize > 0 && testSize < 1 ? Math.ceil(testSize * this.length) : testSize;
    if (!Number.isInteger(rows) || rows < 1 || rows >= this.length) {
      throw new GrpoError("BAD_OPTION", `testSize ${testSize} leaves a part of ${this.length} rows empty.`, {
        hint: "Give a share between 0 and 1, or a number of rows smaller than the data set.",
      });
    }
    const order =
      options.shuffle === false ? this : this.shuffle(options.seed === undefined ? {} : { seed: options.seed });
    // The test part comes first in a shuffled order and last in the given one, as in datasets.
    if (order === this) return { train: this.take(this.length - rows), test: this.skip(this.length - rows) };
    return { test: order.take(rows), train: order.skip(rows) };
  }

  toArray(): Row[] {
    return [...this];
  }

  toString(): string {
    const features = this.columnNames.map((name) => JSON.stringify(name)).join(", ");
    return `Dataset({ features: [${features}], numRows: ${this.length} })`;
  }

  [inspect.custom](): string {
    return this.toString();
  }

  #range(start: number, end: number): Dataset<Row> {
    const from = Math.min(start, this.length);
    const store = this.#store;
    const length = Math.max(0, Math.min(end, this.length) - from);
    return new Dataset({ length, row: (index) => store.row(from + index) }, this.columnNames);
  }

  #view(indices: readonly number[]): Dataset<Row> {
    const store = this.#store;
    return new Dataset(
      { length: indices.length, row: (index) => store.row(indices[index] as number) },
      this.columnNames,
    );
  }

  #project<Next extends object>(columns: readonly (readonly [from: string, to: string])[]): Dataset<Next> {
    const store = this.#store;
    const row = (index: number): Next => {
      const full = store.row(index) as Record<string, unknown>;
      return Object.fromEntries(columns.map(([from, to]) => [to, full[from]])) as Next;
    };
    return new Dataset(
      { length: this.length, row },
      columns.map(([, to]) => to),
    );
  }

  #checkColumns(names: readonly string[]): void {
    for (const name of names) {
      if (this.columnNames.includes(name)) continue;
      const nearest = nearestName(name, this.columnNames);
      throw new GrpoError("BAD_INPUT", `No column "${name}"; the columns are: ${this.columnNames.join(", ")}.`, {
        ...(nearest === undefined ? {} : { hint: `Did you mean "${nearest}"?` }),
      });
    }
  }
}

/** Rows in memory. `known` columns come first, then new ones as they appear; a missing value is null. */
export function fromRows<Row extends object>(rows: readonly Row[], known: readonly string[]): Dataset<Row> {
  const names = new Set<string>(known);
  rows.forEach((row: unknown, index) => {
    if (typeof row !== "object" || row === null || Array.isArray(row)) {
      throw new GrpoError(
        "BAD_INPUT",
        `Row ${index} is not an object of columns: ${JSON.stringify(row)?.slice(0, 80)}`,
      );
    }
    for (const name of Object.keys(row)) names.add(name);
  });
  const columns = [...names];
  const complete = rows.map((row) => {
    const values = row as Readonly<Record<string, unknown>>;
    return Object.fromEntries(columns.map((name) => [name, values[name] ?? null])) as Row;
  });
  return new Dataset({ length: complete.length, row: (index) => complete[index] as Row }, columns);
}

function checkedCount(method: string, count: number): number {
  if (Number.isInteger(count) && count >= 0) return count;
  throw new GrpoError("BAD_INPUT", `${method}() takes a number of rows from 0, found ${String(count)}.`);
}

function checkedSeed(seed: number | undefined): number {
  if (seed === undefined) return Math.floor(Math.random() * 2 ** 32);
  if (Number.isSafeInteger(seed) && seed >= 0) return seed;
  throw new GrpoError("BAD_OPTION", `seed must be an integer from 0, found ${String(seed)}.`);
}
