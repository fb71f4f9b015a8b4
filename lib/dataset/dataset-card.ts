// The front matter of a data set's README.md: configurations, which of its files belong to them and how these are read, and the
// features that it declares. It was written by whoever owns the data set, so that no path of it may lead out of its folder.

import { GrpoError, nearestName, reasonOf } from "../errors.js";
import { isSafePath } from "../hub/hub.js";
import { isJsonObject, type JsonObject } from "../json.js";
import { trimText } from "../text.js";

/** What a caller or a card may say: one pattern, several, or those of each split. */
export type DataFilesOption = string | readonly string[] | Readonly<Record<string, string | readonly string[]>>;

export interface CardConfig {
  readonly name: string;
  readonly isDefault: boolean;
  /** Where its files are, with a slash at the end; empty for the whole data set. */
  readonly folder: string;
  /** The files as the card names them; undefined: names decide about the files of the folder. */
  readonly dataFiles: DataFilesOption | undefined;
  /** What it says besides, for the builder. */
  readonly parameters: JsonObject;
}

export interface DatasetCard {
  readonly configs: readonly CardConfig[];
  /** `features` of dataset_info, by configuration. */
  readonly features: ReadonlyMap<string, unknown>;
}

export async function readCard(readme: string, source: string): Promise<DatasetCard> {
  const header = await frontMatter(readme, source);
  const configs = Array.isArray(header.configs) ? (header.configs as unknown[]).filter(isJsonObject) : [];
  const infos = [header.dataset_info].flat().filter(isJsonObject);
  return {
    configs: configs.map((config) => readConfig(config, source)),
    features: new Map(
      infos.filter((info) => info.features != null).map((info) => [nameOf(info.config_name), info.features]),
    ),
  };
}

/** The configuration of this name, or the default one; undefined where there are several and none is the default. */
export function chooseConfig({ configs }: DatasetCard, name: string | undefined): CardConfig | undefined {
  if (name !== undefined) return configs.find((config) => config.name === name);
  const marked = configs.find((config) => config.isDefault) ?? configs.find((config) => config.name === "default");
  return marked ?? (configs.length === 1 ? configs[0] : undefined);
}

/** The features that are declared for a configuration; without configurations those of the only entry, whatever it is called. */
export function declaredFeatures(card: DatasetCard, name: string | undefined): unknown {
  const only = card.features.size === 1 && card.configs.length === 0 ? [...card.features.keys()][0] : undefined;
  return card.features.get(name ?? only ?? "default");
}

export function unknownConfig(source: string, name: string | undefined, names: readonly string[]): GrpoError {
  const nearest = name === undefined ? undefined : nearestName(name, names);
  const problem = name === undefined ? "has several configurations" : `has no configuration "${name}"`;
  return new GrpoError("BAD_OPTION", `${source} ${problem}; they are: ${names.join(", ")}`, {
    hint: nearest ? `did you mean { name: "${nearest}" }?` : "pass { name } with one of them",
  });
}

async function frontMatter(readme: string, source: string): Promise<JsonObject> {
  const front = /^\uFEFF?---\r?\n([\s\S]*?)\r?\n---/.exec(readme)?.[1];
  if (front === undefined) return {};
  checkNesting(front, source);
  const { parse } = await import("yaml");
  try {
    const header: unknown = parse(front);
    return isJsonObject(header) ? header : {};
  } catch (thrown) {
    throw new GrpoError(
      "BAD_DATASET",
      `${source}: the front matter of README.md is not valid YAML: ${reasonOf(thrown)}`,
    );
  }
}

/** Far above any card. */
const DEEPEST = 200;

/** The YAML library calls itself for every level, and where the stack ends, so may the process. */
function checkNesting(yaml: string, source: string): void {
  // A block is as deep as it is indented, or as many marks as begin its line.
  let tooDeep = new RegExp(`^[-?: ]{${4 * DEEPEST}}`, "m").test(yaml);
  let depth = 0;
  for (let at = 0; at < yaml.length && !tooDeep; at++) {
    const char = yaml.charAt(at);
    if (char === "[" || char === "{") depth++;
    else if (char === "]" || char === "}") depth = Math.max(0, depth - 1);
    tooDeep = depth > DEEPEST;
  }
  if (!tooDeep) return;
  throw new GrpoError(
    "BAD_DATASET",
    `${source}: the front matter of README.md is nested more than ${DEEPEST} levels deep`,
  );
}

function nameOf(value: unknown): string {
  return typeof value === "string" ? value : "default";
}

function readConfig(config: JsonObject, source: string): CardConfig {
  const { config_name: name, default: isDefault, data_dir: dir, data_files: dataFiles, ...parameters } = config;
  const folder = typeof dir === "string" ? folderName(checkInside(dir, "data_dir", source)) : "";
  const base = folder === "" || folder === "." ? "" : `${folder}/`;
  return {
    name: nameOf(name),
    isDefault: isDefault === true,
    folder: base,
    dataFiles: dataFiles === undefined ? undefined : readDataFiles(dataFiles, base, source),
    parameters,
  };
}

/** Without "./" before it and slashes behind. */
function folderName(dir: string): string {
  return trimText(dir.replace(/^(?:\.\/)+/, ""), (char) => char === "/", "end");
}

/** data_files is a pattern, a list of patterns, or a list of { split, path }. */
function readDataFiles(dataFiles: unknown, base: string, source: string): DataFilesOption {
  const patterns = (value: unknown): string[] => {
    const list: unknown[] = Array.isArray(value) ? value : [value];
    return list.map((item) => {
      if (typeof item === "string") return base + checkInside(item, "data_files", source).replace(/^\.\//, "");
      throw new GrpoError("BAD_DATASET", `${source}: data_files of README.md has ${JSON.stringify(value)} for a path`);
    });
  };
  const entries: unknown[] = Array.isArray(dataFiles) ? dataFiles : [dataFiles];
  if (!entries.some(isJsonObject)) return patterns(entries);
  return Object.fromEntries(
    entries.map((entry) => {
      if (isJsonObject(entry) && typeof entry.split === "string") return [entry.split, patterns(entry.path)];
      throw new GrpoError("BAD_DATASET", `${source}: data_files of README.md has ${JSON.stringify(entry)} for a split`);
    }),
  );
}

function checkInside(path: string, key: string, source: string): string {
  if (isSafePath(path) && !/^[a-z][a-z0-9+.-]+:/i.test(path)) return path;
  throw new GrpoError(
    "BAD_DATASET",
    `${source}: ${key} of README.md has ${JSON.stringify(path)}, which is not within the data set's folder`,
    { hint: "to read it all the same, load it by its own path, or name it yourself with { dataFiles }" },
  );
}
