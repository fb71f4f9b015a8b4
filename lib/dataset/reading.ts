// How the files of a data set are read: in which format, and with which parameters of datasets' builders, as a card gives them. What
// is not known here is refused by its name, so that nothing is read in another way than the card says.

import { GrpoError } from "../errors.js";
import type { JsonObject } from "../json.js";
import { warn } from "../output.js";
import { type ColumnType, CSV, type CsvOptions, MISSING } from "./csv-options.js";
import { type Features, readFeatures } from "./features.js";
import { type DataFormat, readableFormat } from "./table.js";

export interface Reading {
  /** Of every file; undefined: as its name says. */
  readonly format: DataFormat | undefined;
  /** What differs from how CSV is read where nothing is said. */
  readonly csv: Partial<CsvOptions>;
  /** The key of a JSON object that has the rows. */
  readonly field: string | undefined;
  /** Columns that are declared, and to which the values are cast. */
  readonly features: Features | undefined;
  /** Whether columns that are not declared are left out; else they are an error. */
  readonly leavesOutOthers: boolean;
}

/** Where nobody says how. */
export const BY_NAME: Reading = {
  format: undefined,
  csv: {},
  field: undefined,
  features: undefined,
  leavesOutOthers: false,
};

/** The format of a file that is to be read. Throws for one that cannot be. */
export function formatOf(file: string, { format }: Reading): DataFormat {
  return format ?? readableFormat(file);
}

export function csvOptions(format: DataFormat, { csv }: Reading): CsvOptions {
  return format === "tsv" ? { ...CSV, delimiter: "\t", ...csv } : { ...CSV, ...csv };
}

/** The reading of a configuration of a card, whose files have this format. */
export function readParameters(format: DataFormat, parameters: JsonObject, declared: unknown, source: string): Reading {
  const given = new Parameters(parameters, source);
  const own = parameters.features === undefined ? undefined : readFeatures(parameters.features, source);
  const features = own ?? (declared === undefined ? undefined : readFeatures(declared, source));
  const isCsv = format === "csv" || format === "tsv";
  const csv = isCsv ? csvParameters(given, own) : {};
  const field = format === "json" ? given.text("field") : undefined;
  given.refuseOthers(DEFAULTS[format], NO_EFFECT);
  return { ...BY_NAME, csv, field, features, leavesOutOthers: isCsv && own !== undefined };
}

/** Parameters that change nothing that is read. */
const NO_EFFECT = new Set(
  "features version description chunksize block_size batch_size use_threads memory_map low_memory verbose float_precision"
    .concat(" mangle_dupe_cols parse_agent_traces fragment_scan_options error_bad_lines warn_bad_lines")
    .split(" "),
);

const UTF8 = ["utf-8", "utf8", "UTF-8", "UTF8", "utf-8-sig", null];
const JSON_DEFAULTS = {
  encoding: UTF8,
  encoding_errors: [null, "strict"],
  on_mixed_types: ["use_json"],
  newlines_in_values: [null],
};
const CSV_DEFAULTS = {
  index_col: [null, false],
  usecols: [null],
  nrows: [null],
  skipfooter: [0],
  lineterminator: [null],
  encoding: UTF8,
  encoding_errors: ["strict", null],
  on_bad_lines: ["error"],
  converters: [null],
  prefix: [null],
  date_format: [null],
  dialect: [null],
  engine: [null, "c"],
};
/** Parameters of which only these values are known. */
const DEFAULTS: Readonly<Record<DataFormat, Readonly<Record<string, readonly unknown[]>>>> = {
  csv: CSV_DEFAULTS,
  tsv: CSV_DEFAULTS,
  json: JSON_DEFAULTS,
  text: { encoding: UTF8, encoding_errors: [null, "strict"], keep_linebreaks: [false], sample_by: ["line"] },
  parquet: { columns: [null], filters: [null], on_bad_files: ["error"] },
};

function csvParameters(given: Parameters, features: Features | undefined): Partial<CsvOptions> {
  const [sep, delimiter] = [given.character("sep"), given.character("delimiter")];
  // pandas then guesses it from the first line.
  if (delimiter === undefined && given.take("sep") === null) throw given.error("sep", "one ASCII character");
  const [own, columns] = [given.texts("names"), given.texts("column_names")];
  const names = columns ?? own ?? undefined;
  const repeated = names?.find((name, index) => names.indexOf(name) !== index);
  if (repeated !== undefined) throw given.error("names", "names that differ");
  const [keepDefault, filter] = [given.flag("keep_default_na"), given.flag("na_filter")];
  const missing =
    filter === false ? [] : [...(keepDefault === false ? [] : MISSING), ...(given.texts("na_values") ?? [])];
  const quoting = given.oneOf("quoting", [0, 1, 3]);
  return defined<CsvOptions>({
    delimiter: delimiter ?? sep ?? undefined,
    header: header(given, names),
    names,
    quote: quoting === 3 ? "" : (given.character("quotechar") ?? undefined),
    doubleQuote: given.flag("doublequote"),
    escape: given.character("escapechar") ?? undefined,
    comment: given.character("comment") ?? undefined,
    skipInitialSpace: given.flag("skipinitialspace"),
    skipBlankLines: given.flag("skip_blank_lines"),
    skipRows: given.count("skiprows") ?? undefined,
    missing: new Set(missing),
    trueValues: new Set(given.texts("true_values") ?? []),
    falseValues: new Set(given.texts("false_values") ?? []),
    thousands: given.character("thousands") ?? undefined,
    decimal: given.character("decimal") ?? undefined,
    types: features && columnTypes(features, given),
  });
}

/** Names that are given stand for a header, unless it is said which line is one. */
function header(given: Parameters, names: readonly string[] | undefined): number | null | undefined {
  const value = given.take("header");
  if (value === undefined || value === "infer") return names === undefined ? undefined : null;
  if (value === null || (Number.isInteger(value) && Number(value) >= 0)) return value as number | null;
  throw given.error("header", '"infer", null or the number of a line');
}

/** Features of the configuration itself say how pandas reads a column, before anything is inferred. */
function columnTypes(features: Features, given: Parameters): ReadonlyMap<string, ColumnType> {
  return new Map(
    [...features].map(([name, { type }]) => {
      if (/^u?int\d+$/.test(type)) return [name, "integer"];
      if (/^float\d+$/.test(type)) return [name, "number"];
      if (type === "bool") return [name, "boolean"];
      if (/string/.test(type) || type === "class_label") return [name, "string"];
      throw given.error("features", `numbers, texts and booleans in CSV, not ${type} for "${name}"`);
    }),
  );
}

/** The parameters of a configuration, each taken by its name. */
class Parameters {
  readonly #given: JsonObject;
  readonly #source: string;
  readonly #taken = new Set<string>();

  constructor(given: JsonObject, source: string) {
    this.#given = given;
    this.#source = source;
  }

  take(name: string): unknown {
    this.#taken.add(name);
    return this.#given[name];
  }

  text(name: string): string | undefined {
    const value = this.take(name) ?? undefined;
    if (value === undefined || typeof value === "string") return value;
    throw this.error(name, "a text");
  }

  /** One character; a tab may be written as \t. */
  character(name: string): string | undefined {
    const value = this.text(name)?.replace(/^\\t$/, "\t");
    if (value === undefined || /^[\0-\x7F]$/.test(value)) return value;
    throw this.error(name, "one ASCII character");
  }

  texts(name: string): readonly string[] | undefined {
    const value = this.take(name) ?? undefined;
    if (value === undefined) return undefined;
    const list: readonly unknown[] = Array.isArray(value) ? value : [value];
    if (list.every((item) => typeof item === "string" || typeof item === "number")) return list.map(String);
    throw this.error(name, "a list of texts");
  }

  flag(name: string): boolean | undefined {
    const value = this.take(name) ?? undefined;
    if (value === undefined || typeof value === "boolean") return value;
    throw this.error(name, "true or false");
  }

  count(name: string): number | undefined {
    const value = this.take(name) ?? undefined;
    if (value === undefined || (Number.isInteger(value) && Number(value) >= 0)) return value as number | undefined;
    throw this.error(name, "a number of lines");
  }

  oneOf<T>(name: string, allowed: readonly T[]): T | undefined {
    const value = this.take(name) ?? undefined;
    const found = allowed.find((item) => item === value);
    if (value === undefined || found !== undefined) return found;
    throw this.error(name, `one of ${allowed.join(", ")}`);
  }

  /** Only defaults of what is not known here; what no builder knows is ignored in Python, with a warning. */
  refuseOthers(defaults: Readonly<Record<string, readonly unknown[]>>, noEffect: ReadonlySet<string>): void {
    for (const name of Object.keys(this.#given)) {
      if (this.#taken.has(name) || noEffect.has(name)) continue;
      const allowed = defaults[name];
      if (allowed === undefined) {
        warn(`${this.#source}: README.md has "${name}" for a configuration, which says nothing about its files`);
      } else if (!allowed.includes(this.#given[name])) {
        throw this.error(name, allowed.map((value) => JSON.stringify(value)).join(" or "));
      }
    }
  }

  error(name: string, expected: string): GrpoError {
    const found = JSON.stringify(this.#given[name]);
    return new GrpoError("BAD_DATASET", `${this.#source}: ${name} of README.md must be ${expected}, found ${found}`, {
      hint: "choose files that are read without it, or save the data as JSON lines or parquet",
    });
  }
}

/** Without the entries that are undefined. */
function defined<T>(values: { readonly [K in keyof T]?: T[K] | undefined }): Partial<T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Partial<T>;
}
