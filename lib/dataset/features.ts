// Features that a data set's card declares: which columns there are, and which type their values have. Values of another type are
// converted as Arrow casts them in Python's datasets, or refused.

import { GrpoError } from "../errors.js";
import { isJsonObject, type JsonObject } from "../json.js";
import type { RawRow, Table } from "./table.js";

/** Gives a value the declared type; throws an Error that says what is wrong with it. Null stays null. */
type Cast = (value: unknown) => unknown;

export interface Feature {
  /** As the card has it: "string", "int64", "class_label", "list", "struct". */
  readonly type: string;
  readonly cast: Cast;
}

/** By column, in the card's order. */
export type Features = ReadonlyMap<string, Feature>;

/** Reads `features` of a configuration or of dataset_info. */
export function readFeatures(list: unknown, source: string): Features {
  if (!Array.isArray(list)) throw badFeature(source, list);
  return new Map(
    (list as unknown[]).map((entry) => {
      if (!isJsonObject(entry) || typeof entry.name !== "string") throw badFeature(source, entry);
      const { name, ...rest } = entry;
      return [name, featureOf(rest, source)];
    }),
  );
}

/** The table with the columns that are declared; others are an error, or left out. */
export function declaredTable(table: Table, features: Features, leavesOutOthers: boolean): Table {
  if (!leavesOutOthers) checkDeclared(table.columnNames, features, table.file);
  const own = new Set(table.columnNames);
  const present = (columns: readonly string[]) => columns.filter((name) => own.has(name));
  const { prepare } = table;
  return {
    file: table.file,
    columnNames: [...features.keys()],
    blockStarts: table.blockStarts,
    blockBytes: (block) => table.blockBytes(block),
    readBlock: (block, columns) =>
      table.readBlock(block, present(columns)).map((row) => castRow(row, features, columns, table.file)),
    ...(prepare && { prepare: (blocks, columns) => prepare.call(table, blocks, present(columns)) }),
  };
}

/** The row with these columns, each of its type. `file` is for messages. */
export function castRow(row: RawRow, features: Features, columns: readonly string[], file: string): RawRow {
  return Object.fromEntries(
    columns.map((name) => {
      try {
        return [name, features.get(name)?.cast(row[name] ?? null) ?? null];
      } catch (thrown) {
        const reason = thrown instanceof Error ? thrown.message : String(thrown);
        throw new GrpoError("BAD_DATASET", `${file}: column "${name}" of the features in README.md: ${reason}`, {
          hint: "fix the card or the file: Python's datasets cannot read them together either",
          cause: thrown,
        });
      }
    }),
  );
}

/** Throws where a file has a column that is not declared. */
export function checkDeclared(columns: readonly string[], features: Features, file: string): void {
  const stray = columns.find((name) => !features.has(name));
  if (stray === undefined) return;
  throw new GrpoError("BAD_DATASET", `${file} has a column "${stray}", which the features in README.md do not have`, {
    hint: `fix the card, which declares ${[...features.keys()].join(", ")}`,
  });
}

function featureOf(given: unknown, source: string): Feature {
  if (Array.isArray(given)) return struct(readFeatures(given, source));
  if (typeof given === "string") return plainFeature(given);
  if (!isJsonObject(given)) throw badFeature(source, given);
  const [type] = Object.keys(given);
  if (type === "dtype") return featureOf(given.dtype, source);
  if (type === "struct") return featureOf(given.struct, source);
  if (type === "list" || type === "large_list") return list(featureOf(given[type], source), given.length);
  if (type === "sequence") {
    const inner = featureOf(given.sequence, source);
    // What was once written as a sequence of several features is stored as a list of each.
    if (!Array.isArray(given.sequence)) return list(inner, given.length);
    return struct(new Map([...readFeatures(given.sequence, source)].map(([name, item]) => [name, list(item)])));
  }
  if (type === "class_label") return classLabel(labelsOf(given.class_label));
  if (type === undefined) throw badFeature(source, given);
  return { type, cast: asStored(type) };
}

function badFeature(source: string, found: unknown): GrpoError {
  return new GrpoError("BAD_DATASET", `${source}: features of README.md have ${JSON.stringify(found)} for a column`, {
    hint: 'write for example "features: [{ name: text, dtype: string }]"',
  });
}

function labelsOf(label: unknown): readonly string[] {
  const names = isJsonObject(label) ? label.names : undefined;
  if (Array.isArray(names)) return names.map(String);
  if (!isJsonObject(names)) return [];
  const byId = Object.entries(names as JsonObject).sort(([a], [b]) => Number(a) - Number(b));
  return byId.map(([, name]) => String(name));
}

const INTEGERS: Readonly<Record<string, readonly [min: bigint, max: bigint]>> = Object.fromEntries(
  [8, 16, 32, 64].flatMap((bits) => {
    const [half, whole] = [2n ** BigInt(bits - 1), 2n ** BigInt(bits)];
    return [
      [`int${bits}`, [-half, half - 1n]],
      [`uint${bits}`, [0n, whole - 1n]],
    ];
  }),
);

function plainFeature(type: string): Feature {
  const range = INTEGERS[type];
  if (range !== undefined) return { type, cast: orNull((value) => integer(value, range)) };
  if (/^(?:large_)?string$|^string_view$/.test(type)) return { type, cast: orNull(text) };
  if (type === "float64") return { type, cast: orNull(double) };
  if (type === "float16") return { type, cast: orNull((value) => toHalf(double(value))) };
  if (type === "float32") return { type, cast: orNull((value) => Math.fround(double(value))) };
  if (type === "bool") return { type, cast: orNull(boolean) };
  if (type === "json") return { type, cast: (value) => value };
  if (type.startsWith("timestamp[") && !type.includes("tz=")) return { type, cast: orNull(timestamp) };
  if (type === "date32") return { type, cast: orNull(date) };
  return { type, cast: asStored(type) };
}

function orNull(cast: Cast): Cast {
  return (value) => (value === null || value === undefined ? null : cast(value));
}

/** Types that parquet has and that text and numbers do not become: pictures, bytes, times, decimals. */
function asStored(type: string): Cast {
  const isText = /^(?:time|date|duration|decimal)/.test(type);
  return orNull((value) => {
    if (typeof value === "object" || (isText && typeof value === "string")) return value;
    throw new Error(`the type ${type} is not made of ${shown(value)}`);
  });
}

function text(value: unknown): unknown {
  if (typeof value === "string") return value;
  if (typeof value === "number") return numberText(value);
  if (typeof value === "bigint" || typeof value === "boolean") return String(value);
  throw new Error(`expected a string, found ${shown(value)}`);
}

/** As Arrow writes doubles: in full from 1e-6 up to below 1e10. */
function numberText(value: number): string {
  if (Object.is(value, -0)) return "-0";
  if (!Number.isFinite(value)) return String(value).toLowerCase().replace("infinity", "inf");
  const isInFull = Number.isSafeInteger(value) || (Math.abs(value) >= 1e-6 && Math.abs(value) < 1e10);
  return isInFull ? String(value) : value.toExponential();
}

function integer(value: unknown, [min, max]: readonly [min: bigint, max: bigint]): unknown {
  if (typeof value === "boolean") return Number(value);
  const isWhole = typeof value === "bigint" || Number.isInteger(value) || /^-?\d+$/.test(String(value));
  if (!isWhole || typeof value === "object") throw new Error(`expected a whole number, found ${shown(value)}`);
  const whole = BigInt(value as string | number | bigint);
  if (whole < min || whole > max) throw new Error(`expected a whole number from ${min} to ${max}, found ${whole}`);
  return Number.isSafeInteger(Number(whole)) ? Number(whole) : whole;
}

function double(value: unknown): number {
  const isNumber = typeof value === "number" || typeof value === "boolean" || Number.isSafeInteger(Number(value));
  if (isNumber && value !== "" && typeof value !== "object") return Number(value);
  if (typeof value === "string" && /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?$/i.test(value)) return Number(value);
  if (typeof value === "string" && /^[+-]?(?:nan|inf(?:inity)?)$/i.test(value)) {
    return Number(value.toLowerCase().replace(/inf(?:inity)?$/, "Infinity"));
  }
  throw new Error(`expected a number that a double holds, found ${shown(value)}`);
}

/** The nearest number of 16 bits, the even one of two. */
function toHalf(value: number): number {
  const magnitude = Math.abs(value);
  if (magnitude >= 65520) return Math.sign(value) * Number.POSITIVE_INFINITY;
  // A half has 10 bits behind its first one. A sum this large keeps whole steps only.
  const step = 2 ** (Math.max(Math.floor(Math.log2(magnitude)), -14) - 10);
  const large = 1.5 * 2 ** 52 * step;
  return value + large - large;
}

function boolean(value: unknown): boolean {
  if (typeof value === "boolean") return value;
  if (typeof value === "number" || typeof value === "bigint") return value !== 0;
  if (typeof value === "string" && /^(?:true|false|0|1)$/i.test(value)) return /^(?:true|1)$/i.test(value);
  throw new Error(`expected true or false, found ${shown(value)}`);
}

function timestamp(value: unknown): string {
  const parts = /^(\d{4}-\d\d-\d\d)(?:[ T](\d\d)(?::?(\d\d)(?::?(\d\d(?:\.\d{1,9})?))?)?)?$/.exec(String(value));
  if (parts === null) throw new Error(`expected a timestamp such as 2024-01-31T12:00:00, found ${shown(value)}`);
  const [, day, hours = "00", minutes = "00", seconds = "00"] = parts;
  return `${day}T${hours}:${minutes}:${seconds}`;
}

function date(value: unknown): string {
  if (typeof value === "string" && /^-?\d{4,}-\d\d-\d\d$/.test(value)) return value;
  throw new Error(`expected a date such as 2024-01-31, found ${shown(value)}`);
}

function classLabel(names: readonly string[]): Feature {
  const byName = new Map(names.map((name, id) => [name, id]));
  const cast = orNull((value) => {
    const id =
      typeof value === "string" ? (byName.get(value) ?? (/^\d+$/.test(value) ? Number(value) : Number.NaN)) : value;
    if (id === -1 || (typeof id === "number" && Number.isInteger(id) && id >= 0 && id < names.length)) return id;
    throw new Error(`expected a label (${names.join(", ")}) or its number, found ${shown(value)}`);
  });
  return { type: "class_label", cast };
}

/** `length`: of every list, where it is declared; -1 says that they differ. */
function list({ cast }: Feature, length: unknown = -1): Feature {
  const castList = orNull((value) => {
    if (!Array.isArray(value)) throw new Error(`expected a list, found ${shown(value)}`);
    if (length === -1 || value.length === length) return value.map(cast);
    throw new Error(`expected a list of ${shown(length)}, found ${value.length}: ${shown(value)}`);
  });
  return { type: "list", cast: castList };
}

function struct(fields: Features): Feature {
  const cast = orNull((value) => {
    if (!isJsonObject(value) || ArrayBuffer.isView(value)) throw new Error(`expected an object, found ${shown(value)}`);
    const stray = Object.keys(value).find((name) => !fields.has(name));
    if (stray !== undefined) throw new Error(`expected an object without "${stray}"`);
    return Object.fromEntries([...fields].map(([name, field]) => [name, field.cast(value[name] ?? null)]));
  });
  return { type: "struct", cast };
}

function shown(value: unknown): string {
  return typeof value === "bigint" ? String(value) : (JSON.stringify(value)?.slice(0, 60) ?? String(value));
}
