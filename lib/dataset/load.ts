// loadDataset: a local file, a local folder, or a data-set repository on the Hub, to data sets by split. Only what the splits
// asked for need is fetched, and rows are read when they are asked for.

import { at } from "../at.js";
import { badOption, checkBoolean, checkOptionNames } from "../checks.js";
import { GrpoError, nearestName } from "../errors.js";
import type { HubOptions } from "../hub/hub.js";
import { Dataset } from "./dataset.js";
import type { DataFilesOption } from "./dataset-card.js";
import { type Files, locate } from "./files.js";
import { IterableDataset } from "./iterable-dataset.js";
import type { KnownDatasets } from "./known-datasets.js";
import { type TableSlice, TableStore } from "./row-store.js";
import { shardStream } from "./row-stream.js";
import { parseSplit, type SplitSlice, sliceBounds, unknownSplit } from "./split.js";
import { blockOf, dataFormat, numRows, type Table } from "./table.js";

/** Which part of a data set is read, and from where. */
export interface LoadDatasetOptions extends HubOptions {
  /** "train", "train[:5%]", "train+test", "all" (every split, one after another), or an array of such. Without it: all splits, by name. */
  readonly split?: string | readonly string[];
  /** The configuration of a data set that has several, such as "main" of openai/gsm8k. */
  readonly name?: string;
  /** Patterns of files, for all rows or by split; default: by the conventions for names. */
  readonly dataFiles?: DataFilesOption;
  /** Only these columns. */
  readonly columns?: readonly string[];
  /** Rows one after another without keeping any: an IterableDataset. */
  readonly streaming?: boolean;
}

type DefaultRow = Record<string, unknown>;
type RowOf<Id> = Id extends keyof KnownDatasets ? KnownDatasets[Id] : DefaultRow;
type KindOf<Row extends object, Options> = Options extends { readonly streaming: true }
  ? IterableDataset<Row>
  : Dataset<Row>;
/** One data set, as many as there are splits in the array, or all by name. */
type Loaded<Kind, Options> = Options extends { readonly split: infer Split }
  ? Split extends readonly unknown[]
    ? { -readonly [Index in keyof Split]: Kind }
    : Kind
  : Record<string, Kind>;
type WithSplit<Split> = LoadDatasetOptions & { readonly split: Split };
type Streaming = { readonly streaming: true };

const OPTION_NAMES = ["split", "name", "dataFiles", "columns", "streaming", "revision", "token", "cacheDir"];

/** Arguments of Python's load_dataset, and what to write here. */
const FOREIGN: Readonly<Record<string, string>> = {
  trustRemoteCode: "leave it out: code from a data set's repository never runs",
  numProc: "leave it out: rows are read when they are asked for",
  keepInMemory: "leave it out: rows are read when they are asked for",
  downloadMode: "leave it out: a revision is fetched once",
  verificationMode: "leave it out: every file is checked",
  subset: "write name",
  config: "write name",
  configName: "write name",
};

/**
 * Loads one split ("train[:5%]"), several (an array), or, without `split`, all of them by name. `idOrPath` is a data file, a
 * folder, a Hub id, or with `dataFiles` a format ("json", "csv", "parquet", "text"). The type of rows is known for well-known
 * ids; for others give it: `loadDataset<{ question: string }>(…)`.
 */
export function loadDataset<Id extends string, const Options extends LoadDatasetOptions>(
  idOrPath: Id,
  options: Options,
): Promise<Loaded<KindOf<RowOf<Id>, Options>, Options>>;
export function loadDataset<Row extends object>(
  idOrPath: string,
  options: WithSplit<string> & Streaming,
): Promise<IterableDataset<Row>>;
export function loadDataset<Row extends object>(
  idOrPath: string,
  options: LoadDatasetOptions & { readonly split?: undefined } & Streaming,
): Promise<Record<string, IterableDataset<Row>>>;
export function loadDataset<Row extends object>(idOrPath: string, options: WithSplit<string>): Promise<Dataset<Row>>;
export function loadDataset<Row extends object>(
  idOrPath: string,
  options: WithSplit<readonly [string, string]>,
): Promise<[Dataset<Row>, Dataset<Row>]>;
export function loadDataset<Row extends object>(
  idOrPath: string,
  options: WithSplit<readonly [string, string, string]>,
): Promise<[Dataset<Row>, Dataset<Row>, Dataset<Row>]>;
export function loadDataset<Row extends object>(
  idOrPath: string,
  options: WithSplit<readonly string[]>,
): Promise<Dataset<Row>[]>;
export function loadDataset<Row extends object = DefaultRow>(
  idOrPath: string,
  options?: LoadDatasetOptions & { readonly split?: undefined },
): Promise<Record<string, Dataset<Row>>>;
export async function loadDataset(idOrPath: string, options: LoadDatasetOptions = {}): Promise<unknown> {
  checkOptionNames("loadDataset", options, OPTION_NAMES, { positional: "write { name: … }", names: FOREIGN });
  const { split, columns } = options;
  if (split !== undefined && !isText(split) && !isTexts(split)) {
    throw badOption("loadDataset", "split", "a split or a list of splits", split);
  }
  if (columns !== undefined && !isTexts(columns)) throw badOption("loadDataset", "columns", "a list of names", columns);
  const streaming = checkBoolean("loadDataset", "streaming", options.streaming ?? false);
  const given = split === undefined ? undefined : typeof split === "string" ? [split] : split;
  // A mistake in an expression is said before anything is fetched.
  given?.forEach(parseSplit);
  const files = await locate(idOrPath, options);
  const known = [...files.splits.keys()];
  const wanted = (given ?? known).map((expression) => parseSplit(expression === "all" ? known.join("+") : expression));
  for (const slice of wanted.flat()) checkSplit(files, slice);
  const load = streaming ? streamSlices : readSlices;
  const datasets: unknown[] = [];
  for (const dataset of await load(files, wanted, columns)) datasets.push(dataset);
  if (typeof split === "string") return datasets[0];
  if (split !== undefined) return datasets;
  return Object.fromEntries(known.map((name, index) => [name, datasets[index]]));
}

function isText(value: unknown): value is string {
  return typeof value === "string";
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every(isText);
}

function checkSplit(files: Files, { split }: SplitSlice): void {
  const found = files.splits.get(split);
  if (found === undefined) throw unknownSplit(split, [...files.splits.keys()], files.source);
  checkSameFormat(files, split, found);
  if (found.length > 0) return;
  const some = files.names.slice(0, 10).join(", ");
  throw new GrpoError(
    "FILE_NOT_FOUND",
    `${files.source} has no file that matches what split "${split}" is said to be`,
    {
      hint: `choose from its files: ${some}${files.names.length > 10 ? ", …" : ""}`,
    },
  );
}

/** One data set for each expression. */
async function readSlices(
  files: Files,
  expressions: readonly (readonly SplitSlice[])[],
  columns: readonly string[] | undefined,
): Promise<Dataset[]> {
  const tables = new Map<string, readonly Table[]>();
  for (const { split } of expressions.flat()) {
    if (tables.has(split)) continue;
    const slices = expressions.flat().filter((slice) => slice.split === split);
    const all = columns === undefined && slices.some(({ from, to }) => from === undefined && to === undefined);
    const opened = await files.open(files.splits.get(split) ?? [], { all });
    checkSameColumns(files, opened);
    tables.set(split, opened);
  }
  const datasets: Dataset[] = [];
  for (const slices of expressions) datasets.push(await readExpression(files, slices, tables, columns));
  return datasets;
}

async function readExpression(
  files: Files,
  slices: readonly SplitSlice[],
  tables: ReadonlyMap<string, readonly Table[]>,
  columns: readonly string[] | undefined,
): Promise<Dataset> {
  const used = slices.flatMap((slice) => tables.get(slice.split) ?? []);
  checkSameColumns(files, used);
  const names = [...new Set(used.flatMap(({ columnNames }) => columnNames))];
  const chosen = columns === undefined ? names : checkColumns(columns, names);
  const parts: TableSlice[] = [];
  for (const slice of slices) {
    const shards = tables.get(slice.split) ?? [];
    const total = shards.reduce((sum, shard) => sum + numRows(shard), 0);
    const bounds = sliceBounds(slice, total);
    let offset = 0;
    for (const table of shards) {
      const start = Math.max(bounds.start - offset, 0);
      const end = Math.min(bounds.end - offset, numRows(table));
      if (start < end) parts.push({ table, start, end });
      offset += numRows(table);
    }
  }
  for (const { table, start, end } of parts) {
    const [first, last] = [blockOf(table, start), blockOf(table, end - 1)];
    const blocks = Array.from({ length: last - first + 1 }, (_, i) => first + i);
    const own = new Set(table.columnNames);
    await table.prepare?.(
      blocks,
      chosen.filter((name) => own.has(name)),
    );
  }
  return new Dataset(new TableStore(parts, chosen), chosen);
}

async function streamSlices(
  files: Files,
  expressions: readonly (readonly SplitSlice[])[],
  columns: readonly string[] | undefined,
): Promise<IterableDataset[]> {
  const datasets: IterableDataset[] = [];
  for (const slices of expressions) {
    const cut = slices.find(({ from, to }) => from !== undefined || to !== undefined);
    if (cut !== undefined) {
      throw new GrpoError("BAD_OPTION", `a stream has no end from which "${cut.text}" could be computed`, {
        hint: `use { split: "${cut.split}", streaming: true } with skip() and take()`,
      });
    }
    const shards = slices.flatMap(({ split }) => files.splits.get(split) ?? []);
    const start = await files.streamStart(at(shards, 0));
    const chosen = columns === undefined ? start.columns : checkColumns(columns, start.columns);
    const open = shards.map((file) => () => files.stream(file, chosen, { all: columns === undefined }));
    const stream = shardStream(open, start);
    datasets.push(new IterableDataset(stream, chosen));
  }
  return datasets;
}

function checkColumns(columns: readonly string[], names: readonly string[]): readonly string[] {
  const unknown = columns.find((name) => !names.includes(name));
  if (unknown === undefined) return columns;
  const nearest = nearestName(unknown, names);
  throw new GrpoError("BAD_OPTION", `there is no column "${unknown}"; the columns are: ${names.join(", ")}`, {
    ...(nearest === undefined ? {} : { hint: `did you mean "${nearest}"?` }),
  });
}

/** The same rows saved twice (test.jsonl beside test.parquet) must not count twice. */
function checkSameFormat({ reading }: Files, split: string, files: readonly string[]): void {
  const kind = (file: string) => reading.format ?? dataFormat(file);
  const other = files.find((file) => kind(file) !== kind(files[0] ?? ""));
  if (other === undefined) return;
  throw new GrpoError("BAD_DATASET", `split "${split}" would mix files of two formats: ${files.join(", ")}`, {
    hint: `choose with { dataFiles }, for example { dataFiles: { ${split}: "${other}" } }`,
  });
}

/** Shards of parquet have a schema and must agree; JSON rows may lack columns, which are then null. */
function checkSameColumns({ reading }: Files, tables: readonly Table[]): void {
  const [first, ...others] = tables.filter((table) => (reading.format ?? dataFormat(table.file)) === "parquet");
  if (first === undefined) return;
  const key = (table: Table) => [...table.columnNames].sort().join("\n");
  const different = others.find((table) => key(table) !== key(first));
  if (different === undefined) return;
  throw new GrpoError("BAD_DATASET", `${different.file} and ${first.file} have different columns`, {
    hint: `choose files with { dataFiles }; the columns are [${different.columnNames.join(", ")}] and [${first.columnNames.join(", ")}]`,
  });
}
