// The files of a data set, by split, and how they are opened: from the disk, fetched whole into the Hub's cache, or by range where
// only a part is needed. It knows nothing of rows and slices.

import { mkdir, readdir, readFile, stat } from "node:fs/promises";
import path from "node:path";
import { GrpoError } from "../errors.js";
import { type HubOptions, matching, openSnapshot, type Snapshot } from "../hub/hub.js";
import { redacted } from "../hub/hub-client.js";
import { openRemoteFile, type RemoteFile } from "../hub/remote-file.js";
import { localSource } from "./byte-source.js";
import {
  type DataFilesOption,
  noData,
  type SplitFiles,
  splitsFromConversion,
  splitsFromNames,
  splitsFromOption,
  splitsFromReadme,
} from "./data-files.js";
import { openRangedFile } from "./ranged-source.js";
import { firstColumns, type StreamInput, streamRows } from "./stream-file.js";
import { dataFormat, isReadable, type RawRow, readableFormat, type Table } from "./table.js";
import { openTextTable } from "./text-table.js";

export interface LocateOptions extends HubOptions {
  readonly name?: string;
  readonly dataFiles?: DataFilesOption;
}

export interface Files {
  /** What the user asked for, for messages. */
  readonly source: string;
  readonly names: readonly string[];
  readonly splits: SplitFiles;
  /** `all`: every row and column will be read. */
  open(files: readonly string[], need: { readonly all: boolean }): Promise<Table[]>;
  /** `all`: these are all columns that a row may have. */
  stream(file: string, columns: readonly string[], given: { readonly all: boolean }): AsyncIterable<RawRow>;
  streamColumns(file: string): Promise<readonly string[]>;
}

const CONVERSION = "refs/convert/parquet";
const BUILDERS = new Set(["json", "csv", "parquet", "text"]);

/** The files of each split, and where they are. */
export async function locate(idOrPath: string, options: LocateOptions): Promise<Files> {
  const found = typeof idOrPath === "string" ? await stat(idOrPath).catch(() => undefined) : undefined;
  if (found?.isFile()) return locateFile(path.resolve(idOrPath), options);
  if (found === undefined && BUILDERS.has(idOrPath) && options.dataFiles !== undefined) {
    return locatePatterns(idOrPath, options.dataFiles);
  }
  // "data/train.jsonl" has the form of a Hub id as well.
  if (found === undefined && typeof idOrPath === "string" && dataFormat(idOrPath) !== undefined) {
    throw new GrpoError("FILE_NOT_FOUND", `no such data file: ${idOrPath}`, {
      hint: `check the path; it was looked for at ${path.resolve(idOrPath)}`,
    });
  }
  const snapshot = await openSnapshot("dataset", idOrPath, options);
  const hub = found?.isDirectory() ? undefined : await withRangedFiles(snapshot);
  const { files } = hub ?? snapshot;
  const splits = await splitsOf(idOrPath, { ...snapshot, files }, options);
  if (hub !== undefined && !readable(splits, "every") && options.dataFiles === undefined) {
    const converted = options.revision === undefined ? await openConversion(idOrPath, options) : undefined;
    if (converted !== undefined) return converted;
  }
  if (!readable(splits, "some")) throw noData(files, idOrPath);
  return hub ? hubFiles(idOrPath, hub, splits, options) : localFiles(idOrPath, snapshot, splits);
}

/** Whether some or all files have a format that is read. Splits without files count as readable: what they lack is said elsewhere. */
function readable(splits: SplitFiles, howMany: "some" | "every"): boolean {
  const names = [...splits.values()].flat();
  return names.length === 0 ? splits.size > 0 : names[howMany](isReadable);
}

async function splitsOf(source: string, snapshot: Snapshot, options: LocateOptions): Promise<SplitFiles> {
  const { files } = snapshot;
  if (options.dataFiles !== undefined) return splitsFromOption(options.dataFiles, files);
  if (files.includes("README.md")) {
    await snapshot.fetch(["README.md"]);
    const readme = await readFile(path.join(snapshot.folder, "README.md"), "utf8");
    const splits = await splitsFromReadme(readme, files, options.name, source);
    if (splits !== undefined) return splits;
  }
  const splits = splitsFromNames(files, source);
  if (options.name !== undefined && options.name !== "default" && readable(splits, "every")) {
    throw new GrpoError("BAD_OPTION", `${source} has no configuration "${options.name}"; its README.md names none`);
  }
  return splits;
}

/** Other formats than those that can be read here: the Hub keeps most data sets as parquet as well. */
async function openConversion(id: string, options: LocateOptions): Promise<Files | undefined> {
  const given = { ...options, revision: CONVERSION };
  const snapshot = await openSnapshot("dataset", id, given).catch((thrown: unknown) => {
    if (thrown instanceof GrpoError && thrown.code === "HUB_ERROR") return undefined;
    throw thrown;
  });
  if (snapshot === undefined || !snapshot.files.some(isReadable)) return undefined;
  const hub = await withRangedFiles(snapshot);
  return hubFiles(id, hub, splitsFromConversion(hub.files, options.name, id), given);
}

/** A file stands for one split: "train", whatever it is called, as in datasets. */
function locateFile(file: string, options: LocateOptions): Files {
  for (const key of ["name", "dataFiles"] as const) {
    if (options[key] === undefined) continue;
    throw new GrpoError("BAD_OPTION", `${key} belongs to folders and Hub ids; ${file} is a file`);
  }
  return localFiles(file, { folder: "/", files: [file] }, new Map([["train", [file]]]));
}

/** Files anywhere on the disk, as with load_dataset("json", data_files=…). */
async function locatePatterns(format: string, option: DataFilesOption): Promise<Files> {
  const given = typeof option === "string" || Array.isArray(option) ? { train: option } : option;
  const splits = new Map<string, string[]>();
  for (const [split, patterns] of Object.entries(given)) {
    const files: string[] = [];
    for (const pattern of [patterns].flat()) files.push(...(await expand(pattern)));
    splits.set(split, files);
    const other = files.find((file) => !new RegExp(`^${format}`).test(dataFormat(file) ?? "") && format !== "csv");
    if (other !== undefined) {
      throw new GrpoError("BAD_INPUT", `${other} is not a ${format} file by its name`, {
        hint: "load it by its path: loadDataset(file)",
      });
    }
  }
  return localFiles(format, { folder: "/", files: [...splits.values()].flat() }, splits);
}

async function expand(given: string): Promise<string[]> {
  if (/^[a-z][a-z0-9+.-]+:\/\//i.test(given)) {
    throw new GrpoError("BAD_OPTION", `dataFiles takes paths, not addresses: ${redacted(given)}`, {
      hint: "load files on the Hub with loadDataset(id, { dataFiles: path in the repository }), and download others first",
    });
  }
  const pattern = path.resolve(given);
  const fixed = pattern.split("/").findIndex((part) => /[*?[]/.test(part));
  if (fixed < 0) {
    if ((await stat(pattern).catch(() => undefined))?.isFile()) return [pattern];
    throw new GrpoError("FILE_NOT_FOUND", `no such data file: ${pattern}`);
  }
  const base = pattern.split("/").slice(0, fixed).join("/") || "/";
  const names = await readdir(base, { recursive: true, withFileTypes: true }).catch(() => []);
  const files = names.filter((entry) => !entry.isDirectory()).map((entry) => path.join(entry.parentPath, entry.name));
  return matching(files, [pattern]).sort();
}

function localFiles(source: string, { folder, files }: Pick<Snapshot, "folder" | "files">, splits: SplitFiles): Files {
  const input = async (file: string): Promise<StreamInput> => ({ name: file, path: path.resolve(folder, file) });
  return {
    source,
    splits,
    names: files,
    open: (names) => inOrder(names, (name) => openLocal(path.resolve(folder, name))),
    stream: (file, columns, given) => streamRows(() => input(file), columns, given),
    streamColumns: async (file) => firstColumns(await input(file)),
  };
}

function hubFiles(id: string, snapshot: HubSnapshot, splits: SplitFiles, options: LocateOptions): Files {
  const remote = (file: string): Promise<RemoteFile> =>
    openRemoteFile({ type: "dataset", id }, file, { revision: snapshot.commit, token: options.token });
  const fetchWhole = async (file: string) => {
    await snapshot.fetch([file]);
    return path.join(snapshot.folder, file);
  };
  const input = async (file: string): Promise<StreamInput> => {
    const local = path.join(snapshot.folder, file);
    if (await exists(local)) return { name: file, path: local };
    return { name: file, remote: await remote(file) };
  };
  const openOne = async (file: string, all: boolean): Promise<Table> => {
    const local = path.join(snapshot.folder, file);
    if (dataFormat(file) !== "parquet" || file.endsWith(".gz") || all || (await exists(local))) {
      return openLocal(await fetchWhole(file));
    }
    // The mark of a commit that is in the cache, for runs without the Hub.
    await mkdir(snapshot.folder, { recursive: true });
    const source = await openRangedFile(file, {
      cacheFile: path.join(snapshot.rangesFolder, file),
      open: snapshot.onHub.has(file) ? () => remote(file) : undefined,
      fetchWhole: () => fetchWhole(file),
    });
    return (await import("./parquet.js")).openParquet(source);
  };
  return {
    source: id,
    splits,
    names: snapshot.files,
    async open(files, { all }) {
      // At once, so that several files come side by side and under one line of progress.
      if (all) await snapshot.fetch(files.filter((file) => !snapshot.rangedOnly.has(file)));
      return inOrder(files, (file) => openOne(file, all && !snapshot.rangedOnly.has(file)));
    },
    stream: (file, columns, given) => streamRows(() => input(file), columns, given),
    streamColumns: async (file) => firstColumns(await input(file)),
  };
}

interface HubSnapshot extends Snapshot {
  readonly commit: string;
  readonly rangesFolder: string;
  /** Files that can be fetched. */
  readonly onHub: ReadonlySet<string>;
  /** Files of which parts are in the cache, while the Hub is not asked. */
  readonly rangedOnly: ReadonlySet<string>;
}

/** What there is while the Hub is not asked: the files in the cache, and those of which some ranges are there. */
async function withRangedFiles(snapshot: Snapshot): Promise<HubSnapshot> {
  const commit = path.basename(snapshot.folder);
  const rangesFolder = path.join(snapshot.folder, "../../ranges", commit);
  const names = await readdir(rangesFolder, { recursive: true }).catch(() => []);
  const ranged = names.filter((name) => name.endsWith(".json")).map((name) => name.slice(0, -".json".length));
  const onHub = new Set(snapshot.files);
  const rangedOnly = new Set(ranged.filter((name) => !onHub.has(name)));
  const files = [...snapshot.files, ...rangedOnly].sort();
  return { ...snapshot, files, commit, rangesFolder, onHub, rangedOnly };
}

async function openLocal(file: string): Promise<Table> {
  const format = readableFormat(file);
  if (!(await exists(file))) throw new GrpoError("FILE_NOT_FOUND", `no such data file: ${file}`);
  if (format !== "parquet") return openTextTable(file, format);
  if (file.endsWith(".gz"))
    throw new GrpoError("BAD_DATASET", `${file}: parquet is not read from gzip; unpack it first`);
  return (await import("./parquet.js")).openParquet(localSource(file));
}

async function exists(file: string): Promise<boolean> {
  return (await stat(file).catch(() => undefined))?.isFile() === true;
}

async function inOrder<T>(files: readonly string[], open: (file: string) => Promise<T>): Promise<T[]> {
  const opened: T[] = [];
  for (const file of files) opened.push(await open(file));
  return opened;
}
