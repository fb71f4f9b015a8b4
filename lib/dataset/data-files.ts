// Which files of a data-set folder belong to which split, by the conventions of Hugging Face datasets: the `configs` of the
// README's front matter, shard names like data/train-00000-of-00001.parquet, or a split's name in folder and file names.

import { GrpoError, nearestName, reasonOf } from "../errors.js";
import { matching } from "../hub/hub.js";
import { isJsonObject, type JsonObject } from "../json.js";
import { baseName, commonFormat, dataFormat, filesInFormat } from "./table.js";

/** Files by split, relative to the data set's folder. */
export type SplitFiles = ReadonlyMap<string, readonly string[]>;

/** What a caller or a README may say: one pattern, several, or those of each split. */
export type DataFilesOption = string | readonly string[] | Readonly<Record<string, string | readonly string[]>>;

const KEYWORDS: readonly (readonly [split: string, words: readonly string[]])[] = [
  ["train", ["train", "training"]],
  ["validation", ["validation", "valid", "dev", "val"]],
  ["test", ["test", "testing", "eval", "evaluation"]],
];
const SEPARATOR = "[-._ 0-9]";
const IN_FOLDERS = (word: string) => [
  `**/${word}/**`,
  `**/${word}${SEPARATOR}*/**`,
  `**/*${SEPARATOR}${word}/**`,
  `**/*${SEPARATOR}${word}${SEPARATOR}*/**`,
];
const IN_NAMES = (word: string) => [`**/${word}${SEPARATOR}*`, `**/*${SEPARATOR}${word}${SEPARATOR}*`];
// Data by its name that is about the data set, not of it.
const NOT_DATA = new Set([
  "README.md",
  "config.json",
  "dataset_info.json",
  "dataset_infos.json",
  "dataset_dict.json",
  "dummy_data.zip",
]);

/** A pattern may match nothing: in a cache, only the splits that were asked for before have their files. */
export function splitsFromOption(option: DataFilesOption, files: readonly string[]): SplitFiles {
  const named = typeof option === "string" || isList(option) ? { train: option } : option;
  return new Map(Object.entries(named).map(([split, patterns]) => [split, filesOf([patterns].flat(), files)]));
}

/** Pattern by pattern. A name without wildcards stands for itself, whether it is there or not. */
function filesOf(patterns: readonly string[], files: readonly string[]): string[] {
  return patterns.flatMap((given) => {
    const pattern = given.replace(/^(?:\.\/)+/, "");
    return /[*?[]/.test(pattern) ? matching(files, [pattern]).filter((file) => isWanted(file, pattern)) : [pattern];
  });
}

/** Data, and neither hidden nor in a folder like __pycache__ unless the pattern says so. */
function isWanted(file: string, pattern: string): boolean {
  const hidden = (name: string) => name.split("/").filter((part) => part.startsWith(".")).length;
  const special = (name: string) =>
    name
      .split("/")
      .slice(0, -1)
      .filter((part) => part.startsWith("__")).length;
  const ignored = NOT_DATA.has(baseName(file)) && baseName(file) !== baseName(pattern);
  const requested = hidden(file) === hidden(pattern) && special(file) === special(pattern);
  return dataFormat(file) !== undefined && !ignored && requested;
}

/** Splits by the README's front matter; undefined when it names no files. */
export async function splitsFromReadme(
  readme: string,
  files: readonly string[],
  name: string | undefined,
  source: string,
): Promise<SplitFiles | undefined> {
  const configs = await readConfigs(readme, source);
  if (configs.length === 0) return undefined;
  const config = name === undefined ? defaultConfig(configs) : configs.find((candidate) => candidate.name === name);
  if (config === undefined) {
    throw unknownConfig(
      source,
      name,
      configs.map((candidate) => candidate.name),
    );
  }
  if (config.dataFiles !== undefined) return splitsFromOption(config.dataFiles, files);
  const below = files.filter((file) => file.startsWith(config.folder)).map((file) => file.slice(config.folder.length));
  const splits = splitsFromNames(below, `${source} (${config.folder})`);
  return new Map([...splits].map(([split, names]) => [split, names.map((file) => config.folder + file)]));
}

/** Splits by file names alone, none if there is no data: those files of each that are in the format of most of them. */
export function splitsFromNames(files: readonly string[], source: string): SplitFiles {
  const found = [bySharding(files), byKeyword(files, IN_FOLDERS), byKeyword(files, IN_NAMES), all(files)];
  const splits = found.find(({ size }) => size > 0) ?? new Map<string, readonly string[]>();
  const formats = new Map([...splits].map(([split, names]) => [split, commonFormat(names)]));
  if (new Set(formats.values()).size <= 1) {
    return new Map([...splits].map(([split, names]) => [split, filesInFormat(names, formats.get(split) ?? "")]));
  }
  const list = [...formats].map(([split, format]) => `${split} ${format}`).join(", ");
  throw new GrpoError("BAD_DATASET", `the splits of ${source} have different formats: ${list}`, {
    hint: `choose with { dataFiles }, for example { dataFiles: { train: ${JSON.stringify([...splits.values()][0]?.[0])} } }`,
  });
}

/** What to say of a data set of which no file can be read. */
export function noData(files: readonly string[], source: string): GrpoError {
  const other = files.find((file) => isWanted(file, ""));
  return new GrpoError("BAD_DATASET", `${source} has no data file that can be read (parquet, jsonl, json, csv)`, {
    hint: other === undefined ? "check the path" : `save what it has (${other}) as JSON lines or parquet`,
  });
}

/** Splits and configurations of the Hub's own conversion to parquet: CONFIGURATION/SPLIT/0000.parquet. */
export function splitsFromConversion(files: readonly string[], name: string | undefined, source: string): SplitFiles {
  const parts = files.map((file) => /^([^/]+)\/([^/]+)\/\d+\.parquet$/.exec(file));
  const names = [...new Set(parts.flatMap((match) => match?.[1] ?? []))];
  const config = name ?? (names.length === 1 || !names.includes("default") ? names[0] : "default");
  if (
    config === undefined ||
    !names.includes(config) ||
    (name === undefined && names.length > 1 && config !== "default")
  ) {
    throw unknownConfig(source, name, names);
  }
  const splits = new Map<string, string[]>();
  for (const match of parts) {
    if (match?.[1] !== config || match[2] === undefined) continue;
    // "partial-train": the first part of a split that is too large to be converted.
    const split = match[2].replace(/^partial-/, "");
    splits.set(split, [...(splits.get(split) ?? []), match[0]]);
    if (split !== match[2])
      process.emitWarning(`the Hub has only the first part of "${split}" of ${source} as parquet`);
  }
  return inUsualOrder(splits);
}

function unknownConfig(source: string, name: string | undefined, names: readonly string[]): GrpoError {
  const nearest = name === undefined ? undefined : nearestName(name, names);
  const problem = name === undefined ? "has several configurations" : `has no configuration "${name}"`;
  return new GrpoError("BAD_OPTION", `${source} ${problem}; they are: ${names.join(", ")}`, {
    hint: nearest ? `did you mean { name: "${nearest}" }?` : "pass { name } with one of them",
  });
}

function bySharding(files: readonly string[]): SplitFiles {
  const shards = filesOf(["data/*-[0-9][0-9][0-9][0-9][0-9]-of-[0-9][0-9][0-9][0-9][0-9]*.*"], files);
  return groupBy(shards, (file) => /^data\/(\w+(?:\.\w+)*)-\d{5}-of-/.exec(file)?.[1]);
}

function byKeyword(files: readonly string[], patterns: (word: string) => string[]): SplitFiles {
  const found = KEYWORDS.map(([split, words]) => [split, filesOf(words.flatMap(patterns), files)] as const);
  return new Map(found.filter(([, names]) => names.length > 0));
}

function all(files: readonly string[]): SplitFiles {
  return groupBy(filesOf(["**"], files), () => "train");
}

function groupBy(files: readonly string[], splitOf: (file: string) => string | undefined): SplitFiles {
  const splits = new Map<string, string[]>();
  for (const file of files) {
    const split = splitOf(file);
    if (split === undefined) continue;
    const group = splits.get(split);
    if (group === undefined) splits.set(split, [file]);
    else group.push(file);
  }
  return inUsualOrder(splits);
}

/** The splits in the order in which people name them, whatever the alphabet says. */
function inUsualOrder(splits: ReadonlyMap<string, readonly string[]>): SplitFiles {
  const order = (split: string) => KEYWORDS.findIndex(([name]) => name === split) >>> 0;
  return new Map([...splits].sort(([a], [b]) => order(a) - order(b)));
}

interface ReadmeConfig {
  readonly name: string;
  readonly isDefault: boolean;
  /** Where its files are, with a slash at the end; empty for the whole data set. */
  readonly folder: string;
  /** The files as the README names them; undefined: names decide about the files of the folder. */
  readonly dataFiles: DataFilesOption | undefined;
}

async function readConfigs(readme: string, source: string): Promise<ReadmeConfig[]> {
  const front = /^\uFEFF?---\r?\n([\s\S]*?)\r?\n---/.exec(readme)?.[1];
  if (front === undefined) return [];
  const { parse } = await import("yaml");
  let header: unknown;
  try {
    header = parse(front);
  } catch (thrown) {
    throw new GrpoError(
      "BAD_DATASET",
      `${source}: the front matter of README.md is not valid YAML: ${reasonOf(thrown)}`,
    );
  }
  const configs = isJsonObject(header) && Array.isArray(header.configs) ? (header.configs as unknown[]) : [];
  return configs.flatMap((config) => {
    if (!isJsonObject(config)) return [];
    const name = typeof config.config_name === "string" ? config.config_name : "default";
    const folder = typeof config.data_dir === "string" ? config.data_dir.replace(/^(?:\.\/)+|\/+$/g, "") : "";
    const base = folder === "" || folder === "." ? "" : `${folder}/`;
    const dataFiles = config.data_files === undefined ? undefined : readDataFiles(config, base, source);
    return [{ name, isDefault: config.default === true, folder: base, dataFiles }];
  });
}

function defaultConfig(configs: readonly ReadmeConfig[]): ReadmeConfig | undefined {
  const marked = configs.find((config) => config.isDefault) ?? configs.find((config) => config.name === "default");
  return marked ?? (configs.length === 1 ? configs[0] : undefined);
}

/** data_files is a pattern, a list of patterns, or a list of { split, path }. */
function readDataFiles(config: JsonObject, base: string, source: string): DataFilesOption {
  const patterns = (value: unknown): string[] => {
    const list: unknown[] = Array.isArray(value) ? value : [value];
    if (list.every((item) => typeof item === "string")) return list.map((item) => base + item.replace(/^\.\//, ""));
    throw new GrpoError("BAD_DATASET", `${source}: data_files of README.md has ${JSON.stringify(value)} for a path`);
  };
  const entries: unknown[] = Array.isArray(config.data_files) ? config.data_files : [config.data_files];
  if (!entries.some(isJsonObject)) return patterns(entries);
  return Object.fromEntries(
    entries.map((entry) => {
      if (isJsonObject(entry) && typeof entry.split === "string") return [entry.split, patterns(entry.path)];
      throw new GrpoError("BAD_DATASET", `${source}: data_files of README.md has ${JSON.stringify(entry)} for a split`);
    }),
  );
}

function isList(value: DataFilesOption): value is readonly string[] {
  return Array.isArray(value);
}
