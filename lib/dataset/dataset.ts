// An immutable table of rows with named columns, after the Dataset of Hugging Face datasets. Every method returns a new one
// over the same rows, and nothing is read, mapped or filtered before a row is asked for: rows need not fit into memory.

import { inspect } from "node:util";
import { checkFunction, checkOptionNames, show } from "../checks.js";
import { GrpoError, nearestName } from "../errors.js";
import { NumpyRandom } from "./numpy-random.js";
import { filteredStore, mappedStore, memoryStore, type RowStore, rangeStore, viewStore } from "./row-store.js";

/** The columns of a row after `map`: those of the result replace or join its own. */
export type Mapped<Row, Result> = Omit<Row, keyof Result> & Result;

/** The row with one column under another name. */
export type Renamed<Row, From extends keyof Row, To extends string> = Omit<Row, From | To> & { [K in To]: Row[From] };

/** Rows with named columns, read when they are asked for. Every method gives a new data set; none changes its own. */
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

  /** Rows. Of a filtered data set, counting looks at all of them. */
  get length(): number {
    return this.#store.length;
  }

  /** The row at an index; negative indices count from the end. The object is the caller's own to change. */
  at(index: number): Row {
    const absolute = index < 0 ? this.length + index : index;
    const row = Number.isInteger(index) && absolute >= 0 ? this.#store.row(absolute) : undefined;
    if (row !== undefined) return ownRow(row);
    throw new GrpoError("BAD_INPUT", `no row ${String(index)} in a data set of ${this.length} rows`);
  }

  /** All values of one column. */
  column<K extends keyof Row & string>(name: K): Row[K][] {
    this.#checkColumns([name]);
    return Array.from(this.#project<Row>([[name, name]]), (row) => row[name]);
  }

  /** Row by row. */
  *[Symbol.iterator](): Iterator<Row> {
    for (let index = 0; ; index++) {
      const row = this.#store.row(index);
      if (row === undefined) return;
      yield ownRow(row);
    }
  }

  /**
   * The columns that `fn` returns join the row's own, or replace them. Called when a row is asked for, and again if its result
   * was forgotten meanwhile, so it must depend on its arguments alone. The first row says which columns there are.
   */
  map<Result extends object>(
    fn: (row: Row, index: number) => Result,
    ...more: readonly never[]
  ): Dataset<Mapped<Row, Result>> {
    checkRowFunction("map", fn, more);
    const start = this.#store.row(0);
    const first = start && checkResult(fn(ownRow(start), 0), 0);
    const columns = [...new Set([...this.columnNames, ...Object.keys(first ?? {})])];
    const mapped = mappedStore(this.#store, (row, index) => {
      const result = index === 0 && first !== undefined ? first : checkResult(fn(ownRow(row), index), index);
      const stray = Object.keys(result).find((name) => !columns.includes(name));
      if (stray === undefined) return completed({ ...row, ...result }, columns) as Mapped<Row, Result>;
      const message = `map() returned the column "${stray}" for row ${index}, but not for the first row`;
      throw new GrpoError("BAD_INPUT", message, {
        hint: "return the same columns for every row, null where there is no value",
      });
    });
    return new Dataset(mapped, columns);
  }

  /** The rows for which `fn` is true. Looks at rows only as far as they are asked for; `length` looks at all. */
  filter(fn: (row: Row, index: number) => boolean, ...more: readonly never[]): Dataset<Row> {
    checkRowFunction("filter", fn, more);
    return new Dataset(
      filteredStore(this.#store, (row, index) => checkVerdict(fn(ownRow(row), index), index)),
      this.columnNames,
    );
  }

  /** The rows at the given indices, in that order. */
  select(indices: Iterable<number>): Dataset<Row> {
    if (typeof indices !== "object" || indices === null || !(Symbol.iterator in indices)) {
      throw new GrpoError("BAD_INPUT", `select() takes a list of indices, found ${show(indices)}`);
    }
    const absolute = Array.from(indices, (index) => {
      const at = index < 0 ? this.length + index : index;
      if (Number.isInteger(index) && at >= 0 && at < this.length) return at;
      throw new GrpoError("BAD_INPUT", `select() got index ${String(index)}; the data set has ${this.length} rows`);
    });
    return this.#view(absolute);
  }

  /** The first `count` rows, or all if there are fewer. */
  take(count: number): Dataset<Row> {
    return new Dataset(rangeStore(this.#store, 0, checkedCount("take", count)), this.columnNames);
  }

  /** All rows but the first `count`. */
  skip(count: number): Dataset<Row> {
    const all = Number.POSITIVE_INFINITY;
    return new Dataset(rangeStore(this.#store, checkedCount("skip", count), all), this.columnNames);
  }

  /** The rows in an order that depends on the seed alone, and is Python's for the same seed; without one, on chance. */
  shuffle(options: { readonly seed?: number } = {}): Dataset<Row> {
    checkOptionNames("shuffle", options, ["seed"]);
    return this.#view(new NumpyRandom(checkedSeed(options.seed)).permutation(this.length));
  }

  /** The data set without these columns, given one by one or as a list. Throws BAD_INPUT where there is none of that name. */
  removeColumns<K extends keyof Row & string>(...names: readonly K[] | readonly [readonly K[]]): Dataset<Omit<Row, K>> {
    const removed = new Set<string>(names.flat());
    this.#checkColumns([...removed]);
    const kept = this.columnNames.filter((name) => !removed.has(name));
    return this.#project(kept.map((name) => [name, name]));
  }

  /** The data set with another name for one column. Throws BAD_INPUT where it is taken. */
  renameColumn<K extends keyof Row & string, To extends string>(from: K, to: To): Dataset<Renamed<Row, K, To>> {
    this.#checkColumns([from]);
    if (this.columnNames.includes(to)) {
      throw new GrpoError("BAD_INPUT", `renameColumn: there is a column "${to}" already`, {
        hint: "remove it first",
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
      throw new GrpoError("BAD_OPTION", `testSize ${testSize} leaves a part of ${this.length} rows empty`, {
        hint: "give a share between 0 and 1, or a number of rows smaller than the data set",
      });
    }
    const order =
      options.shuffle === false ? this : this.shuffle(options.seed === undefined ? {} : { seed: options.seed });
    // The test part comes first in a shuffled order and last in the given one, as in datasets.
    if (order === this) return { train: this.take(this.length - rows), test: this.skip(this.length - rows) };
    return { test: order.take(rows), train: order.skip(rows) };
  }

  /** All rows at once. */
  toArray(): Row[] {
    return [...this];
  }

  toString(): string {
    const features = this.columnNames.map((name) => JSON.stringify(name)).join(", ");
    return `Dataset({ features: [${features}], numRows: ${this.length} })`;
  }

  /** As console.log shows it. */
  [inspect.custom](): string {
    return this.toString();
  }

  #view(indices: ArrayLike<number>): Dataset<Row> {
    return new Dataset(viewStore(this.#store, indices), this.columnNames);
  }

  #project<Next extends object>(columns: readonly (readonly [from: string, to: string])[]): Dataset<Next> {
    const store = this.#store.pick?.(columns.map(([from]) => from)) ?? this.#store;
    const row = (index: number): Next | undefined => {
      const full = store.row(index) as Record<string, unknown> | undefined;
      return full && (Object.fromEntries(columns.map(([from, to]) => [to, full[from]])) as Next);
    };
    return new Dataset(
      {
        get length() {
          return store.length;
        },
        row,
        // Leaving out columns twice must still reach the file.
        ...(store.pick && columns.every(([from, to]) => from === to) && { pick: store.pick.bind(store) }),
      },
      columns.map(([, to]) => to),
    );
  }

  #checkColumns(names: readonly string[]): void {
    for (const name of names) {
      checkColumnName(name);
      if (this.columnNames.includes(name)) continue;
      const nearest = nearestName(name, this.columnNames);
      throw new GrpoError("BAD_INPUT", `no column "${name}"; the columns are: ${this.columnNames.join(", ")}`, {
        ...(nearest === undefined ? {} : { hint: `did you mean "${nearest}"?` }),
      });
    }
  }
}

/** Python's methods also take a dictionary of names; here names are arguments. */
export function checkColumnName(name: unknown): void {
  if (typeof name === "string") return;
  throw new GrpoError("BAD_INPUT", `expected the name of a column, found ${show(name)}`, {
    hint: 'write removeColumns("a", "b") or renameColumn("from", "to")',
  });
}

/** Python's map and filter take options, which would change what they do. Throws BAD_INPUT for those, and for what is no function. */
export function checkRowFunction(method: "map" | "filter", fn: unknown, more: readonly unknown[]): void {
  checkFunction(`${method}()`, fn);
  if (more.length === 0) return;
  throw new GrpoError("BAD_INPUT", `${method}() takes a function and nothing else, found ${show(more[0])} too`, {
    hint: "leave it out: the function gets one row, and removeColumns() takes columns away",
  });
}

/** Rows in memory. `known` columns come first, then new ones as they appear; a missing value is null. */
export function fromRows<Row extends object>(rows: readonly Row[], known: readonly string[]): Dataset<Row> {
  if (!Array.isArray(rows)) {
    throw new GrpoError("BAD_INPUT", `expected a list of rows, found ${show(rows)}`, {
      hint: "write an object of columns for each row: [{ prompt: … }, …]",
    });
  }
  const names = new Set<string>(known);
  rows.forEach((row: unknown, index) => {
    if (typeof row !== "object" || row === null || Array.isArray(row)) {
      throw new GrpoError(
        "BAD_INPUT",
        `row ${index} is not an object of columns: ${JSON.stringify(row)?.slice(0, 80)}`,
      );
    }
    for (const name of Object.keys(row)) names.add(name);
  });
  const columns = [...names];
  return new Dataset(memoryStore(rows.map((row) => completed(row, columns) as Row)), columns);
}

function completed(row: object, columns: readonly string[]): Record<string, unknown> {
  const values = row as Readonly<Record<string, unknown>>;
  return Object.fromEntries(columns.map((name) => [name, values[name] ?? null]));
}

/** What a function given to map() may return. */
export function checkResult<Result>(result: Result, index: number): Result & object {
  if (typeof result === "object" && result !== null && !Array.isArray(result) && !(result instanceof Promise))
    return result;
  const found = result instanceof Promise ? "a promise" : Array.isArray(result) ? "an array" : String(result);
  throw new GrpoError(
    "BAD_INPUT",
    `map() needs an object of columns from its function, found ${found} (row ${index})`,
    {
      hint: "return for example { prompt: row.question }, from a function that is not async",
    },
  );
}

/** A promise is true whatever it resolves to. */
function checkVerdict(verdict: boolean, index: number): boolean {
  const found: unknown = verdict;
  if (typeof found !== "object" || found === null || !("then" in found)) return verdict;
  throw new GrpoError("BAD_INPUT", `filter() needs true or false from its function, found a promise (row ${index})`, {
    hint: "give a function that is not async, or stream: loadDataset with { streaming: true } takes one that is",
  });
}

/** A row for someone who may change it: what it holds is kept for others. Values that are no lists or objects cost nothing. */
export function ownRow<Row extends object>(row: Row): Row {
  const copy = { ...row } as Record<string, unknown>;
  for (const name of Object.keys(copy)) {
    if (typeof copy[name] === "object") copy[name] = ownValue(copy[name]);
  }
  return copy as Row;
}

function ownValue(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(ownValue);
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null ? ownRow(value) : value;
}

export function checkedCount(method: string, count: number): number {
  if (Number.isInteger(count) && count >= 0) return count;
  throw new GrpoError("BAD_INPUT", `${method}() takes a number of rows from 0, found ${String(count)}`);
}

export function checkedSeed(seed: number | undefined): number {
  if (seed === undefined) return Math.floor(Math.random() * 2 ** 32);
  if (Number.isSafeInteger(seed) && seed >= 0) return seed;
  throw new GrpoError("BAD_OPTION", `seed must be an integer from 0, found ${String(seed)}`);
}
