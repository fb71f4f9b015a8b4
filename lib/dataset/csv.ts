// CSV and TSV with a header, by csv-parse. Values get the types that pandas (and so Python's datasets) infers for a column:
// whole numbers, numbers, true/false, else text; the usual spellings of "not available" are null.

import { Readable } from "node:stream";
import { type CsvError, parse as csvStream, type Info, type Options } from "csv-parse";
import { parse as csvRows } from "csv-parse/sync";
import { GrpoError, reasonOf } from "../errors.js";
import type { RawRow } from "./table.js";

export type Delimiter = "," | "\t";
type ColumnType = "integer" | "number" | "boolean" | "string";
type Record_ = readonly string[];

/** What pandas reads as missing. */
const MISSING = new Set(
  [
    "",
    "#N/A",
    "#N/A N/A",
    "#NA",
    "-1.#IND",
    "-1.#QNAN",
    "-NaN",
    "-nan",
    "1.#IND",
    "1.#QNAN",
    "<NA>",
    "N/A",
    "NA",
  ].concat(["NULL", "NaN", "None", "n/a", "nan", "null"]),
);
const BLOCK_BYTES = 1 << 18;

const CHECKS: readonly (readonly [ColumnType, (text: string) => boolean])[] = [
  ["integer", (text) => /^[+-]?\d+$/.test(text)],
  ["number", (text) => /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$|^[+-]?inf(?:inity)?$/i.test(text)],
  ["boolean", (text) => /^(?:true|True|TRUE|false|False|FALSE)$/.test(text)],
];

/** Narrows the type of each column with every record that it is shown. */
export class CsvTypes {
  readonly names: readonly string[];
  readonly #possible: ColumnType[][];
  readonly #file: string;

  constructor(header: Record_, file: string) {
    this.names = uniqueNames(header);
    this.#possible = this.names.map(() => CHECKS.map(([type]) => type));
    this.#file = file;
  }

  add(record: Record_): void {
    this.#possible.forEach((types, column) => {
      const text = record[column];
      if (types.length === 0 || text === undefined || MISSING.has(text)) return;
      // A whole number is a number as well.
      const fits = types.filter((type) => CHECKS.find(([name]) => name === type)?.[1](text));
      if (fits.length < types.length) this.#possible[column] = fits;
    });
  }

  row(record: Record_, line: number): RawRow {
    const entries = this.names.map((name, column) => {
      const text = record[column];
      const type = this.#possible[column]?.[0] ?? "string";
      if (text === undefined || MISSING.has(text)) return [name, null];
      if (type === "string") return [name, text];
      if (CHECKS.find(([known]) => known === type)?.[1](text)) return [name, typedValue(text, type)];
      throw new GrpoError("BAD_DATASET", `${this.#file}, line ${line}: ${JSON.stringify(text)} in column "${name}".`, {
        hint: `The rows before it have type ${type} there; quote or remove it, or load without streaming.`,
      });
    });
    return Object.fromEntries(entries);
  }
}

function typedValue(text: string, type: ColumnType): number | bigint | boolean {
  if (type === "boolean") return /^t/i.test(text);
  const value = Number(text.replace(/inf(?:inity)?$/i, "Infinity"));
  return type === "integer" && !Number.isSafeInteger(value) ? BigInt(text.replace(/^\+/, "")) : value;
}

/** pandas' way: the second "a" becomes "a.1"; a name that is missing "Unnamed: 2". */
function uniqueNames(header: Record_): string[] {
  const seen = new Map<string, number>();
  return header.map((given, index) => {
    const name = given === "" ? `Unnamed: ${index}` : given;
    const count = seen.get(name) ?? 0;
    seen.set(name, count + 1);
    return count === 0 ? name : `${name}.${count}`;
  });
}

export interface CsvBlock {
  readonly records: readonly Record_[];
  readonly firstLine: number;
  /** Bytes [start, end) of the file. */
  readonly start: number;
  readonly end: number;
}

/** Whole records in blocks; the first block is the header alone. */
export async function* csvBlocks(
  chunks: AsyncIterable<Uint8Array>,
  delimiter: Delimiter,
  file: string,
): AsyncGenerator<CsvBlock> {
  const parser = Readable.from(chunks).pipe(csvStream({ ...options(delimiter), info: true }));
  let records: Record_[] = [];
  let start = 0;
  let firstLine = 1;
  let header = true;
  try {
    for await (const { info, record } of parser as AsyncIterable<{ info: Info; record: string[] }>) {
      records.push(record);
      if (!header && info.bytes - start < BLOCK_BYTES) continue;
      yield { records, firstLine, start, end: info.bytes };
      [records, start, firstLine, header] = [[], info.bytes, info.lines + 1, false];
    }
  } catch (thrown) {
    throw csvError(file, thrown);
  }
  if (records.length > 0) yield { records, firstLine, start, end: Number.POSITIVE_INFINITY };
}

/** The records of a block that csvBlocks found before. */
export function parseCsv(bytes: Uint8Array, delimiter: Delimiter, file: string): Record_[] {
  try {
    // How many values a row may have was checked against the header.
    const relaxed = { ...options(delimiter), relax_column_count: true };
    return csvRows(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), relaxed) as string[][];
  } catch (thrown) {
    throw csvError(file, thrown);
  }
}

function options(delimiter: Delimiter): Options {
  return { delimiter, bom: true, skip_empty_lines: true, relax_column_count_less: true };
}

function csvError(file: string, thrown: unknown): GrpoError {
  const { code, lines } = thrown as Partial<CsvError> & { readonly lines?: number };
  const where = lines === undefined ? file : `${file}, line ${lines}`;
  const hint =
    code === "CSV_RECORD_INCONSISTENT_FIELDS_LENGTH" ? "A row has more values than the header has names." : "";
  return new GrpoError("BAD_DATASET", `${where}: not valid CSV: ${reasonOf(thrown)}`, {
    ...(hint ? { hint } : {}),
    cause: thrown,
  });
}
