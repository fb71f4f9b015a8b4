// loadDataset: a local file, a local folder, or a data-set repository on the Hub, to Datasets by split. Only the files of the
// splits asked for are fetched, and only the rows asked for are read.

import { readFile, stat } from "node:fs/promises";
import path from "node:path";
import { GrpoError } from "../errors.js";
import { type HubOptions, openSnapshot, type Snapshot } from "../hub/hub.js";
import { checkOptionNames } from "../options.js";
import {
  type DataFilesOption,
  type SplitFiles,
  splitsFromNames,
  splitsFromOption,
  splitsFromReadme,
} from "./data-files.js";
import { type Dataset, fromRows } from "./dataset.js";
import { parseSplit, type SplitSlice, sliceBounds, unknownSplit } from "./split.js";
import { dataFormat, openTable, type RawRow, type Table } from "./table.js";

export interface LoadDatasetOptions extends HubOptions {
  /** The configuration of a data set that has several, such as "main" of openai/gsm8k. */
  readonly name?: string;
  /** Patterns of files, for all rows or by split; default: by the conventions for names. */
  readonly dataFiles?: DataFilesOption;
}

type DefaultRow = Record<string, unknown>;
type WithSplit<Split> = LoadDatasetOptions & { readonly split: Split };

const OPTION_NAMES = ["split", "name", "dataFiles", "revision", "token", "cacheDir"];

/**
 * Loads one split ("train[:5%]"), several (an array), or, without `split`, all of them by name.
 * `idOrPath` is a data file, a folder, or a Hub id.
 */
export function loadDataset<Row extends object = DefaultRow>(
  idOrPath: string,
  options: WithSplit<string>,
): Promise<Dataset<Row>>;
export function loadDataset<Row extends object = DefaultRow>(
  idOrPath: string,
  options: WithSplit<readonly [string, string]>,
): Promise<[Dataset<Row>, Dataset<Row>]>;
export function loadDataset<Row extends object = DefaultRow>(
  idOrPath: string,
  options: WithSplit<readonly [string, string, string]>,
): Promise<[Dataset<Row>, Dataset<Row>, Dataset<Row>]>;
export function loadDataset<Row extends object = DefaultRow>(
  idOrPath: string,
  options: WithSplit<readonly string[]>,
): Promise<Dataset<Row>[]>;
export function loadDataset<Row extends object = DefaultRow>(
  idOrPath: string,
  options?: LoadDatasetOptions,
): Promise<Record<string, Dataset<Row>>>;
export async function loadDataset(
  idOrPath: string,
  options: LoadDatasetOptions & { readonly split?: string | readonly string[] } = {},
): Promise<unknown> {
  checkOptionNames("loadDataset", options, OPTION_NAMES);
  const { split } = options;
  const requested = split === undefined ? undefined : (typeof split === "string" ? [split] : split).map(parseSplit);
  const { splits, snapshot } = await locate(idOrPath, options);
  const wanted = requested ?? [...splits.keys()].map(parseSplit);
  const tables = await openTables(idOrPath, splits, snapshot, wanted.flat());
  const datasets: Dataset[] = [];
  for (const slices of wanted) datasets.push(await readSlices(slices, tables));
  if (typeof split === "string") return datasets[0];
  if (split !== undefined) return datasets;
  return Object.fromEntries([...splits.keys()].map((name, index) => [name, datasets[index]]));
}

interface Located {
  readonly splits: SplitFiles;
  readonly snapshot: Snapshot;
}

/** The files of each split, and where they are. */
async function locate(idOrPath: string, options: LoadDatasetOptions): Promise<Located> {
  if (typeof idOrPath === "string" && (await stat(idOrPath).catch(() => undefined))?.isFile()) {
    return locateFile(path.resolve(idOrPath), options);
  }
  // "data/train.jsonl" has the form of a Hub id as well.
  if (typeof idOrPath === "string" && dataFormat(idOrPath) !== undefined && !(await exists(idOrPath))) {
    throw new GrpoError("FILE_NOT_FOUND", `No such data file: ${idOrPath}`, {
      hint: `It was looked for at ${path.resolve(idOrPath)}.`,
    });
  }
  const snapshot = await openSnapshot("dataset", idOrPath, options);
  const { files } = snapshot;
  if (options.dataFiles !== undefined) {
    return { splits: splitsFromOption(options.dataFiles, files), snapshot };
  }
  if (files.includes("README.md")) {
    await snapshot.fetch(["README.md"]);
    const readme = await readFile(path.join(snapshot.folder, "README.md"), "utf8");
    const splits = splitsFromReadme(readme, files, options.name, idOrPath);
    if (splits !== undefined) return { splits, snapshot };
  }
  if (options.name !== undefined && options.name !== "default") {
    throw new GrpoError("BAD_OPTION", `${idOrPath} has no configuration "${options.name}"; its README.md names none.`);
  }
  return { splits: splitsFromNames(files, idOrPath), snapshot };
}

async function exists(file: string): Promise<boolean> {
  return (await stat(file).catch(() => undefined)) !== undefined;
}

/** A file stands for one split: "train", whatever it is called, as in datasets. */
function locateFile(file: string, options: LoadDatasetOptions): Located {
  for (const key of ["name", "dataFiles"] as const) {
    if (options[key] === undefined) continue;
    throw new GrpoError("BAD_OPTION", `${key} belongs to folders and Hub ids; ${file} is a file.`);
  }
  const name = path.basename(file);
  const snapshot = { folder: path.dirname(file), files: [name], fetch: async () => {} };
  return { splits: new Map([["train", [name]]]), snapshot };
}

async function openTables(
  source: string,
  splits: SplitFiles,
  snapshot: Snapshot,
  slices: readonly SplitSlice[],
): Promise<ReadonlyMap<string, readonly Table[]>> {
  const files = new Map<string, readonly string[]>();
  for (const { split } of slices) {
    const found = splits.get(split);
    if (found === undefined) throw unknownSplit(split, [...splits.keys()], source);
    if (found.length === 0) {
      throw new GrpoError("FILE_NOT_FOUND", `${source} has no file that matches what split "${split}" is said to be.`, {
        hint: `It has: ${snapshot.files.slice(0, 10).join(", ")}${snapshot.files.length > 10 ? ", …" : ""}`,
      });
    }
    files.set(split, found);
  }
  await snapshot.fetch([...new Set([...files.values()].flat())]);
  const tables = new Map<string, readonly Table[]>();
  for (const [split, names] of files) {
    const opened: Table[] = [];
    for (const name of names) opened.push(await openTable(path.join(snapshot.folder, name)));
    checkSameFormat(split, opened);
    checkSameColumns(opened);
    tables.set(split, opened);
  }
  return tables;
}

async function readSlices(
  slices: readonly SplitSlice[],
  tables: ReadonlyMap<string, readonly Table[]>,
): Promise<Dataset> {
  const used = slices.flatMap((slice) => tables.get(slice.split) ?? []);
  checkSameColumns(used);
  const rows: RawRow[] = [];
  for (const slice of slices) {
    const shards = tables.get(slice.split) ?? [];
    const bounds = sliceBounds(
      slice,
      shards.reduce((sum, shard) => sum + shard.numRows, 0),
    );
    let offset = 0;
    for (const shard of shards) {
      const start = Math.max(bounds.start - offset, 0);
      const end = Math.min(bounds.end - offset, shard.numRows);
      // Not push(...rows): a call takes some hundred thousand arguments at most.
      if (start < end) for (const row of await shard.read(start, end)) rows.push(row);
      offset += shard.numRows;
    }
  }
  return fromRows(rows, used[0]?.columnNames ?? []);
}

/** The same rows saved twice (test.jsonl beside test.parquet) must not count twice. */
function checkSameFormat(split: string, tables: readonly Table[]): void {
  const isParquet = (table: Table) => dataFormat(table.file) === "parquet";
  const other = tables.find((table) => isParquet(table) !== isParquet(tables[0] as Table));
  if (other === undefined) return;
  const files = tables.map((table) => path.basename(table.file)).join(", ");
  throw new GrpoError("BAD_DATASET", `Split "${split}" would mix files of two formats: ${files}.`, {
    hint: `Choose with { dataFiles }, for example { dataFiles: { ${split}: "${path.basename(other.file)}" } }.`,
  });
}

/** Shards of parquet have a schema and must agree; JSON rows may lack columns, which are then null. */
function checkSameColumns(tables: readonly Table[]): void {
  const [first, ...others] = tables.filter((table) => table.file.endsWith(".parquet"));
  if (first === undefined) return;
  const key = (table: Table) => [...table.columnNames].sort().join("\n");
  const different = others.find((table) => key(table) !== key(first));
  if (different === undefined) return;
  throw new GrpoError("BAD_DATASET", `${different.file} and ${first.file} have different columns.`, {
    hint: `[${different.columnNames.join(", ")}] and [${first.columnNames.join(", ")}]; choose files with { dataFiles }.`,
  });
}
