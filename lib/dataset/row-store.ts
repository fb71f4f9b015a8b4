// Where the rows of a Dataset come from. Nothing is read or computed before a row is asked for; what was is kept for a while.

import { at } from "../at.js";
import { GrpoError } from "../errors.js";
import { LruCache, sizeOf } from "../lru-cache.js";
import { blockOf, type RawRow, type Table } from "./table.js";

export interface RowStore<Row> {
  /** May have to be found out: a filter has to look at every row. */
  readonly length: number;
  /** undefined after the last row, so that rows can be read without knowing how many there are. */
  row(index: number): Row | undefined;
  /** The same rows with these columns only, where that saves reading the others. */
  pick?(columns: readonly string[]): RowStore<RawRow>;
}

const CACHE_BYTES = 64 << 20;

export function memoryStore<Row>(rows: readonly Row[]): RowStore<Row> {
  return { length: rows.length, row: (index) => rows[index] };
}

/** Rows at the given indices of another store. */
export function viewStore<Row>(store: RowStore<Row>, indices: ArrayLike<number>): RowStore<Row> {
  return {
    length: indices.length,
    row: (index) => {
      const at = indices[index];
      return at === undefined ? undefined : store.row(at);
    },
    ...(store.pick && { pick: (columns) => viewStore(pickFrom(store, columns), indices) }),
  };
}

/** Rows [start, end) of another store, as far as it goes. */
export function rangeStore<Row>(store: RowStore<Row>, start: number, end: number): RowStore<Row> {
  return {
    get length() {
      return Math.max(0, Math.min(end, store.length) - start);
    },
    row: (index) => (start + index < end ? store.row(start + index) : undefined),
    ...(store.pick && { pick: (columns) => rangeStore(pickFrom(store, columns), start, end) }),
  };
}

function pickFrom(store: RowStore<unknown>, columns: readonly string[]): RowStore<RawRow> {
  return store.pick?.(columns) ?? (store as RowStore<RawRow>);
}

/** One store after another. */
export function concatStore<Row>(stores: readonly RowStore<Row>[]): RowStore<Row> {
  let starts: number[] | undefined;
  const bounds = () => (starts ??= cumulative(stores.map((store) => store.length)));
  return {
    get length() {
      return at(bounds(), stores.length);
    },
    row: (index) => {
      const part = bounds().findLastIndex((start) => start <= index);
      return stores[part]?.row(index - at(bounds(), part));
    },
  };
}

function cumulative(lengths: readonly number[]): number[] {
  let sum = 0;
  return [0, ...lengths.map((length) => (sum += length))];
}

/** Calls `fn` for a row when it is asked for, and again only if the result has been forgotten. */
export function mappedStore<Row, Result>(
  store: RowStore<Row>,
  fn: (row: Row, index: number) => Result,
): RowStore<Result> {
  const cache = new LruCache<number, Result>(CACHE_BYTES);
  return {
    get length() {
      return store.length;
    },
    row: (index) => {
      const known = cache.get(index);
      if (known !== undefined) return known;
      const row = store.row(index);
      if (row === undefined) return undefined;
      const result = fn(row, index);
      cache.set(index, result, sizeOf(result));
      return result;
    },
  };
}

/** Looks for rows that are kept only as far as they are asked for, and remembers which they are. */
export function filteredStore<Row>(store: RowStore<Row>, keep: (row: Row, index: number) => boolean): RowStore<Row> {
  const kept: number[] = [];
  let next = 0;
  let done = false;
  const lookUntil = (count: number) => {
    while (!done && kept.length < count) {
      const row = store.row(next);
      if (row === undefined) done = true;
      else if (keep(row, next++)) kept.push(next - 1);
    }
  };
  const keptOf = <Picked>(source: RowStore<Picked>): RowStore<Picked> => ({
    get length() {
      lookUntil(Number.POSITIVE_INFINITY);
      return kept.length;
    },
    row: (index) => {
      lookUntil(index + 1);
      const at = kept[index];
      return at === undefined ? undefined : source.row(at);
    },
  });
  const whole = keptOf(store);
  // Deciding needs all columns, reading what was kept does not. A spread would ask for the length.
  return store.pick
    ? Object.assign(whole, { pick: (columns: readonly string[]) => keptOf(pickFrom(store, columns)) })
    : whole;
}

/** Rows [start, end) of a table. */
export interface TableSlice {
  readonly table: Table;
  readonly start: number;
  readonly end: number;
}

/** Rows of data files, block by block. */
export class TableStore implements RowStore<RawRow> {
  readonly length: number;
  readonly #slices: readonly TableSlice[];
  readonly #starts: readonly number[];
  readonly #columns: readonly string[];
  readonly #cache = new LruCache<string, readonly RawRow[]>(CACHE_BYTES);
  /** The block of the row before: rows are mostly read in order. */
  #last: { readonly from: number; readonly to: number; readonly rows: readonly RawRow[]; readonly offset: number };

  constructor(slices: readonly TableSlice[], columns: readonly string[]) {
    this.#slices = slices;
    this.#columns = columns;
    this.#starts = cumulative(slices.map(({ start, end }) => end - start));
    this.#last = { from: 0, to: 0, rows: [], offset: 0 };
    this.length = at(this.#starts, slices.length);
  }

  row(index: number): RawRow | undefined {
    if (!(index >= 0 && index < this.length)) return undefined;
    if (index < this.#last.from || index >= this.#last.to) this.#load(index);
    return this.#last.rows[index - this.#last.offset];
  }

  pick(columns: readonly string[]): RowStore<RawRow> {
    return new TableStore(this.#slices, columns);
  }

  #load(index: number): void {
    const part = this.#starts.findLastIndex((start) => start <= index);
    const slice = this.#slices[part];
    if (slice === undefined) throw new GrpoError("INTERNAL", `no data file has row ${index}`);
    const first = at(this.#starts, part);
    const { table, start, end } = slice;
    const block = blockOf(table, start + index - first);
    const [blockStart, blockEnd] = [at(table.blockStarts, block), at(table.blockStarts, block + 1)];
    const offset = first + blockStart - start;
    this.#last = {
      from: Math.max(offset, first),
      to: Math.min(offset + blockEnd - blockStart, first + end - start),
      rows: this.#block(part, table, block),
      offset,
    };
  }

  #block(part: number, table: Table, block: number): readonly RawRow[] {
    const key = `${part} ${block}`;
    const known = this.#cache.get(key);
    if (known !== undefined) return known;
    const own = new Set(table.columnNames);
    const present = this.#columns.filter((name) => own.has(name));
    let rows = table.readBlock(block, present);
    if (present.length < this.#columns.length) {
      rows = rows.map((row) => Object.fromEntries(this.#columns.map((name) => [name, row[name] ?? null])));
    }
    this.#cache.set(key, rows, table.blockBytes(block));
    return rows;
  }
}
