// Which files of a data-set folder belong to which split, by the conventions of Hugging Face datasets: patterns of the caller or
// of the data set's card, shard names like data/train-00000-of-00001.parquet, or a split's name in folder and file names.

import { GrpoError } from "../errors.js";
import { matching } from "../hub/hub.js";
import { warn } from "../output.js";
import { type CardConfig, type DataFilesOption, unknownConfig } from "./dataset-card.js";
import { baseName, commonFormat, dataFormat, filesInFormat } from "./table.js";

/** Files by split, relative to the data set's folder. */
export type SplitFiles = ReadonlyMap<string, readonly string[]>;

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
  return dataFormat(file) !== undefined && isMeant(file, pattern);
}

/** Whether a file that matches a pattern is one that the pattern means: of hidden ones, it names as many folders as they have. */
export function isMeant(file: string, pattern: string): boolean {
  const hidden = (name: string) => name.split("/").filter((part) => part.startsWith(".")).length;
  const special = (name: string) =>
    name
      .split("/")
      .slice(0, -1)
      .filter((part) => part.startsWith("__")).length;
  const ignored = NOT_DATA.has(baseName(file)) && baseName(file) !== baseName(pattern);
  const requested = hidden(file) === hidden(pattern) && special(file) === special(pattern);
  return !ignored && requested;
}

/** Splits of a configuration of the card. */
export function splitsFromConfig(config: CardConfig, files: readonly string[], source: string): SplitFiles {
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
    if (split !== match[2]) warn(`the Hub has only the first part of "${split}" of ${source} as parquet`);
  }
  return inUsualOrder(splits);
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

function isList(value: DataFilesOption): value is readonly string[] {
  return Array.isArray(value);
}
