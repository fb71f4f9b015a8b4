// The files of a data set, by split, and how they are opened: from the disk, fetched whole into the Hub's cache, or by range where
// only a part is needed. It knows nothing of rows and slices.

import { mkdir, readdir, readFile, stat } from "node:fs/promises";
import path from "node:path";
import { GrpoError } from "../errors.js";
import { type HubOptions, isSafePath, matching, openSnapshot, type Snapshot, walk } from "../hub/hub.js";
import { redacted } from "../hub/hub-client.js";
import { openRemoteFile, type RemoteFile } from "../hub/remote-file.js";
import type { JsonObject } from "../json.js";
import { localSource } from "./byte-source.js";
import {
  isMeant,
  noData,
  type SplitFiles,
  splitsFromConfig,
  splitsFromConversion,
  splitsFromNames,
  splitsFromOption,
} from "./data-files.js";
import {
  chooseConfig,
  type DataFilesOption,
  type DatasetCard,
  declaredFeatures,
  readCard,
  unknownConfig,
} from "./dataset-card.js";
import { declaredTable } from "./features.js";
import { localPlain } from "./packed-file.js";
import { openRangedFile } from "./ranged-source.js";
import { BY_NAME, formatOf, type Reading, readParameters } from "./reading.js";
import { type StreamInput, type StreamStart, streamRows, streamStart } from "./stream-file.js";
import { commonFormat, type DataFormat, dataFormat, isReadable, type RawRow, type Table } from "./table.js";
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
  readonly reading: Reading;
  /** `all`: every row and column will be read. */
  open(files: readonly string[], need: { readonly all: boolean }): Promise<Table[]>;
  /** `all`: these are all columns that a row may have. */
  stream(file: string, columns: readonly string[], given: { readonly all: boolean }): AsyncIterable<RawRow>;
  streamStart(file: string): Promise<StreamStart>;
}

const CONVERSION = "refs/convert/parquet";
const BUILDERS: readonly DataFormat[] = ["json", "csv", "parquet", "text"];

/** The files of each split, and where they are. */
export async function locate(idOrPath: string, options: LocateOptions): Promise<Files> {
  const found = typeof idOrPath === "string" ? await stat(idOrPath).catch(() => undefined) : undefined;
  if (found?.isFile()) return locateFile(path.resolve(idOrPath), options);
  const builder = BUILDERS.find((name) => name === idOrPath);
  if (found === undefined && builder !== undefined && options.dataFiles !== undefined) {
    return locatePatterns(builder, options.dataFiles);
  }
  // "data/train.jsonl" has the form of a Hub id as well.
  if (found === undefined && typeof idOrPath === "string" && dataFormat(idOrPath) !== undefined) {
    throw new GrpoError("FILE_NOT_FOUND", `no such data file: ${idOrPath}`, {
      hint: `check the path; it was looked for at ${path.resolve(idOrPath)}`,
    });
  }
  if (found?.isDirectory()) {
    // Hidden folders too: a pattern may name one.
    const local = { folder: path.resolve(idOrPath), files: await walk(path.resolve(idOrPath), { hidden: true }) };
    const parts = await partsOf(idOrPath, { ...local, fetch: async () => {} }, options);
    if (!readable(parts.splits, "some")) throw noData(local.files, idOrPath);
    return localFiles(idOrPath, local, parts);
  }
  const hub = await withRangedFiles(await openSnapshot("dataset", idOrPath, options));
  checkOnHub(options.dataFiles, idOrPath);
  const parts = await partsOf(idOrPath, hub, options);
  if (!readable(parts.splits, "every") && options.dataFiles === undefined) {
    const converted = options.revision === undefined ? await openConversion(idOrPath, options) : undefined;
    if (converted !== undefined) return converted;
  }
  if (!readable(parts.splits, "some")) throw noData(hub.files, idOrPath);
  return hubFiles(idOrPath, hub, parts, options);
}

/** Files by split, and how they are read. */
interface Parts {
  readonly splits: SplitFiles;
  readonly reading: Reading;
}

/** In a repository there are only its own files. */
function checkOnHub(dataFiles: DataFilesOption | undefined, id: string): void {
  const patterns = typeof dataFiles === "string" ? [dataFiles] : Object.values(dataFiles ?? {}).flat();
  const outside = patterns.find((pattern) => !isSafePath(pattern));
  if (outside === undefined) return;
  throw new GrpoError("BAD_OPTION", `dataFiles of "${id}" are paths in the repository, found ${outside}`, {
    hint: "load a file on the disk by its path: loadDataset(file)",
  });
}

/** Whether some or all files have a format that is read. Splits without files count as readable: what they lack is said elsewhere. */
function readable(splits: SplitFiles, howMany: "some" | "every"): boolean {
  const names = [...splits.values()].flat();
  return names.length === 0 ? splits.size > 0 : names[howMany](isReadable);
}

async function partsOf(source: string, snapshot: Snapshot, options: LocateOptions): Promise<Parts> {
  const { files } = snapshot;
  const card = await cardOf(source, snapshot);
  const config = chooseConfig(card, options.name);
  if (options.dataFiles !== undefined) {
    const splits = splitsFromOption(options.dataFiles, files);
    return { splits, reading: readingOf(splits, config?.parameters ?? {}, undefined, source) };
  }
  if (card.configs.length > 0) {
    const names = card.configs.map(({ name }) => name);
    if (config === undefined) throw unknownConfig(source, options.name, names);
    const splits = splitsFromConfig(config, files, source);
    return { splits, reading: readingOf(splits, config.parameters, declaredFeatures(card, config.name), source) };
  }
  const splits = splitsFromNames(files, source);
  if (options.name !== undefined && options.name !== "default" && readable(splits, "every")) {
    throw new GrpoError("BAD_OPTION", `${source} has no configuration "${options.name}"; its README.md names none`);
  }
  return { splits, reading: readingOf(splits, {}, declaredFeatures(card, options.name), source) };
}

async function cardOf(source: string, { folder, files, fetch }: Snapshot): Promise<DatasetCard> {
  if (!files.includes("README.md")) return { configs: [], features: new Map() };
  await fetch(["README.md"]);
  return readCard(await readFile(path.join(folder, "README.md"), "utf8"), source);
}

/** As the card says, for the format that most files have. */
function readingOf(splits: SplitFiles, parameters: JsonObject, features: unknown, source: string): Reading {
  const format = dataFormat(`.${commonFormat([...splits.values()].flat()) ?? ""}`);
  if (format === undefined || format === "unreadable") return BY_NAME;
  return readParameters(format, parameters, features, source);
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
  const splits = splitsFromConversion(hub.files, options.name, id);
  return hubFiles(id, hub, { splits, reading: BY_NAME }, given);
}

/** A file stands for one split: "train", whatever it is called, as in datasets. */
function locateFile(file: string, options: LocateOptions): Files {
  for (const key of ["name", "dataFiles"] as const) {
    if (options[key] === undefined) continue;
    throw new GrpoError("BAD_OPTION", `${key} belongs to folders and Hub ids; ${file} is a file`);
  }
  const splits = new Map([["train", [file]]]);
  return localFiles(file, { folder: "/", files: [file] }, { splits, reading: BY_NAME });
}

/** Files anywhere on the disk, whatever they are called, as with load_dataset("json", data_files=…). */
async function locatePatterns(format: DataFormat, option: DataFilesOption): Promise<Files> {
  const given = typeof option === "string" || Array.isArray(option) ? { train: option } : option;
  const splits = new Map<string, string[]>();
  for (const [split, patterns] of Object.entries(given)) {
    const files: string[] = [];
    for (const pattern of [patterns].flat()) files.push(...(await expand(pattern)));
    splits.set(split, files);
  }
  const files = [...splits.values()].flat();
  return localFiles(format, { folder: "/", files }, { splits, reading: { ...BY_NAME, format } });
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
  return matching(files, [pattern])
    .filter((file) => isMeant(file, pattern))
    .sort();
}

function localFiles(source: string, { folder, files }: Pick<Snapshot, "folder" | "files">, parts: Parts): Files {
  const { splits, reading } = parts;
  const input = async (file: string): Promise<StreamInput> => ({ name: file, path: path.resolve(folder, file) });
  return {
    source,
    splits,
    reading,
    names: files,
    open: (names) => inOrder(names, (name) => openLocal(path.resolve(folder, name), reading)),
    stream: (file, columns, given) => streamRows(() => input(file), reading, columns, given),
    streamStart: async (file) => streamStart(await input(file), reading),
  };
}

function hubFiles(id: string, snapshot: HubSnapshot, { splits, reading }: Parts, options: LocateOptions): Files {
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
      return openLocal(await fetchWhole(file), reading);
    }
    // The mark of a commit that is in the cache, for runs without the Hub.
    await mkdir(snapshot.folder, { recursive: true });
    const source = await openRangedFile(file, {
      cacheFile: path.join(snapshot.rangesFolder, file),
      open: snapshot.onHub.has(file) ? () => remote(file) : undefined,
      fetchWhole: () => fetchWhole(file),
    });
    return declared(await (await import("./parquet.js")).openParquet(source), reading);
  };
  return {
    source: id,
    splits,
    reading,
    names: snapshot.files,
    async open(files, { all }) {
      // At once, so that several files come side by side and under one line of progress.
      if (all) await snapshot.fetch(files.filter((file) => !snapshot.rangedOnly.has(file)));
      return inOrder(files, (file) => openOne(file, all && !snapshot.rangedOnly.has(file)));
    },
    stream: (file, columns, given) => streamRows(() => input(file), reading, columns, given),
    streamStart: async (file) => streamStart(await input(file), reading),
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

async function openLocal(file: string, reading: Reading): Promise<Table> {
  const format = formatOf(file, reading);
  if (!(await exists(file))) throw new GrpoError("FILE_NOT_FOUND", `no such data file: ${file}`);
  const plain = await localPlain(file);
  if (format !== "parquet") return declared(await openTextTable({ file, plain }, format, reading), reading);
  return declared(await (await import("./parquet.js")).openParquet(localSource(plain, file)), reading);
}

function declared(table: Table, { features, leavesOutOthers }: Reading): Table {
  return features === undefined ? table : declaredTable(table, features, leavesOutOthers);
}

async function exists(file: string): Promise<boolean> {
  return (await stat(file).catch(() => undefined))?.isFile() === true;
}

async function inOrder<T>(files: readonly string[], open: (file: string) => Promise<T>): Promise<T[]> {
  const opened: T[] = [];
  for (const file of files) opened.push(await open(file));
  return opened;
}
