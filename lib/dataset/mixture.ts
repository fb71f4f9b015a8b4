// Several data sets as one: one after another, or interleaved, in turn or by chance. Which rows come in which order is as in
// Hugging Face datasets, for the same seed too.

import { at } from "../at.js";
import { badOption, checkOneOf, checkOptionNames } from "../checks.js";
import { GrpoError } from "../errors.js";
import { checkedSeed, Dataset } from "./dataset.js";
import { IterableDataset } from "./iterable-dataset.js";
import { concatStore } from "./row-store.js";
import {
  chainedStream,
  changedStream,
  interleavedStream,
  type Mixture,
  type RowStream,
  type StoppingStrategy,
  sourceOrder,
} from "./row-stream.js";

/** How rows of several data sets follow each other. */
export interface InterleaveOptions {
  /** One for each data set; without them the data sets take turns. */
  readonly probabilities?: readonly number[];
  /** The same seed draws the same data sets. Default: on chance. */
  readonly seed?: number;
  /**
   * "first_exhausted" (default): ends with the first data set that does. "all_exhausted": every row at least once, short data
   * sets again and again. "all_exhausted_without_replacement": every row once.
   */
  readonly stoppingStrategy?: StoppingStrategy;
}

const STRATEGIES: readonly StoppingStrategy[] = [
  "first_exhausted",
  "all_exhausted",
  "all_exhausted_without_replacement",
];

/** A column that a data set lacks is null in its rows. */
export function concatenateDatasets<Row extends object>(datasets: readonly Dataset<Row>[]): Dataset<Row>;
export function concatenateDatasets<Row extends object>(
  datasets: readonly IterableDataset<Row>[],
): IterableDataset<Row>;
export function concatenateDatasets<Row extends object>(
  datasets: readonly Dataset<Row>[] | readonly IterableDataset<Row>[],
): Dataset<Row> | IterableDataset<Row> {
  const tables = asTables("concatenateDatasets", datasets);
  if (tables !== undefined) return concatenated(tables);
  const streams = datasets as readonly IterableDataset<Row>[];
  const columns = unionOfColumns(streams);
  return new IterableDataset(chainedStream(streams.map((dataset) => completedStream(dataset, columns))), columns);
}

/** Rows of several data sets in turn, or drawn with probabilities. */
export function interleaveDatasets<Row extends object>(
  datasets: readonly Dataset<Row>[],
  options?: InterleaveOptions,
): Dataset<Row>;
export function interleaveDatasets<Row extends object>(
  datasets: readonly IterableDataset<Row>[],
  options?: InterleaveOptions,
): IterableDataset<Row>;
export function interleaveDatasets<Row extends object>(
  datasets: readonly Dataset<Row>[] | readonly IterableDataset<Row>[],
  options: InterleaveOptions = {},
): Dataset<Row> | IterableDataset<Row> {
  const tables = asTables("interleaveDatasets", datasets);
  const mixture = checkMixture(options, datasets.length);
  if (tables !== undefined) return concatenated(tables).select(interleavedIndices(tables, mixture));
  const streams = datasets as readonly IterableDataset<Row>[];
  const columns = unionOfColumns(streams);
  const completed = streams.map((dataset) => completedStream(dataset, columns));
  return new IterableDataset(interleavedStream(completed, mixture), columns);
}

/** The data sets if they are tables, undefined if they are streams. */
function asTables<Row extends object>(
  where: string,
  datasets: readonly (Dataset<Row> | IterableDataset<Row>)[],
): readonly Dataset<Row>[] | undefined {
  if (!Array.isArray(datasets) || datasets.length === 0) {
    throw new GrpoError("BAD_INPUT", `${where} needs an array of data sets, at least one`);
  }
  const tables = datasets.filter((dataset) => dataset instanceof Dataset);
  const streams = datasets.filter((dataset) => dataset instanceof IterableDataset);
  if (tables.length === datasets.length) return tables;
  if (streams.length === datasets.length) return undefined;
  throw new GrpoError("BAD_INPUT", `${where} needs data sets of one kind, all Dataset or all IterableDataset`);
}

function checkMixture(options: InterleaveOptions, sources: number): Mixture {
  const where = "interleaveDatasets";
  checkOptionNames(where, options, ["probabilities", "seed", "stoppingStrategy"]);
  const { probabilities } = options;
  const strategy = checkOneOf(where, "stoppingStrategy", options.stoppingStrategy ?? "first_exhausted", STRATEGIES);
  if (probabilities === undefined) return { strategy };
  const sum = probabilities.reduce((total, p) => total + p, 0);
  const valid = probabilities.length === sources && probabilities.every((p) => p >= 0) && Math.abs(sum - 1) < 1e-8;
  if (!valid) throw badOption(where, "probabilities", `${sources} numbers from 0 with the sum 1`, probabilities);
  // With a share of 0 a data set is never exhausted.
  if (strategy !== "first_exhausted" && probabilities.includes(0)) {
    throw badOption(where, "probabilities", `above 0 with stoppingStrategy "${strategy}"`, probabilities);
  }
  return { strategy, probabilities, seed: checkedSeed(options.seed) };
}

function concatenated<Row extends object>(datasets: readonly Dataset<Row>[]): Dataset<Row> {
  const columns = [...new Set(datasets.flatMap(({ columnNames }) => columnNames))];
  const stores = datasets.map((dataset) => ({
    get length() {
      return dataset.length;
    },
    row: (index: number) => (index < dataset.length ? completed(dataset.at(index), columns) : undefined),
  }));
  return new Dataset(concatStore(stores), columns);
}

/** Indices into the data sets one after another. */
export function interleavedIndices(datasets: readonly { readonly length: number }[], mixture: Mixture): number[] {
  const lengths = datasets.map(({ length }) => length);
  const empty = lengths.indexOf(0);
  if (empty >= 0 && (mixture.strategy !== "first_exhausted" || mixture.probabilities)) {
    throw new GrpoError("BAD_INPUT", `interleaveDatasets: data set ${empty} has no rows`);
  }
  if (empty >= 0) return [];
  const offsets = lengths.map((_, source) => lengths.slice(0, source).reduce((sum, length) => sum + length, 0));
  const next = lengths.map(() => 0);
  const exhausted = lengths.map(() => false);
  const indices: number[] = [];
  for (const source of sourceOrder(lengths.length, mixture)) {
    const done = mixture.strategy === "first_exhausted" ? exhausted.some(Boolean) : exhausted.every(Boolean);
    // Sources that take turns end with a full round.
    if (done && (mixture.probabilities || source === 0)) return indices;
    const again = mixture.strategy !== "all_exhausted_without_replacement";
    if (exhausted[source] && !again) continue;
    indices.push(at(offsets, source) + at(next, source));
    next[source] = at(next, source) + 1;
    if (next[source] === lengths[source]) {
      exhausted[source] = true;
      if (again) next[source] = 0;
    }
  }
  return indices;
}

function unionOfColumns(datasets: readonly { readonly columnNames: readonly string[] | undefined }[]) {
  if (datasets.some(({ columnNames }) => columnNames === undefined)) return undefined;
  return [...new Set(datasets.flatMap(({ columnNames }) => columnNames ?? []))];
}

function completedStream<Row extends object>(
  { stream }: IterableDataset<Row>,
  columns: readonly string[] | undefined,
): RowStream<Row> {
  if (columns === undefined) return stream;
  const complete = async function* (rows: AsyncIterable<Row>) {
    for await (const row of rows) yield completed(row, columns);
  };
  return changedStream(stream, complete, stream);
}

function completed<Row extends object>(row: Row, columns: readonly string[]): Row {
  const values = row as Readonly<Record<string, unknown>>;
  return Object.fromEntries(columns.map((name) => [name, values[name] ?? null])) as Row;
}
