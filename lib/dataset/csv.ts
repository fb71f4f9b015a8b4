// CSV and TSV with a header, by csv-parse. Values get the types that pandas (and so Python's datasets) infers for a column:
// whole numbers, numbers, true/false, else text; the usual spellings of "not available" are null.

import type { Info, Options } from "csv-parse";
import { parse as csvRows } from "csv-parse/sync";
import { GrpoError, reasonOf } from "../errors.js";
import { checkUtf8 } from "./json-lines.js";
import type { LineBlock } from "./line-blocks.js";
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

const CHECKS: readonly (readonly [ColumnType, (text: string) => boolean])[] = [
  ["integer", (text) => /^[+-]?\d+$/.test(text)],
  ["number", (text) => /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$|^[+-]?inf(?:inity)?$/i.test(text)],
  ["boolean", (text) => /^(?:true|True|TRUE|false|False|FALSE)$/.test(text)],
];

/** The header, and the type of each column, narrowed with every block that it is shown. */
export class CsvTypes {
  readonly names: readonly string[];
  readonly #possible: ColumnType[][];
  readonly #delimiter: Delimiter;
  readonly #file: string;

  constructor(header: Record_, delimiter: Delimiter, file: string) {
    this.names = uniqueNames(header);
    this.#possible = this.names.map(() => CHECKS.map(([type]) => type));
    this.#delimiter = delimiter;
    this.#file = file;
  }

  /** `skip` leaves out the header. */
  add(block: LineBlock, records: readonly Record_[], skip: number): void {
    records.slice(skip).forEach((record, i) => {
      this.#checkLength(record, block, skip + i);
      this.#narrow(record);
    });
  }

  rows(block: LineBlock, records: readonly Record_[], skip: number): RawRow[] {
    return records.slice(skip).map((record, i) => this.#row(record, block, skip + i));
  }

  #narrow(record: Record_): void {
    this.#possible.forEach((types, column) => {
      const text = record[column];
      if (types.length === 0 || text === undefined || MISSING.has(text)) return;
      // A whole number is a number as well.
      const fits = types.filter((type) => CHECKS.find(([name]) => name === type)?.[1](text));
      if (fits.length < types.length) this.#possible[column] = fits;
    });
  }

  #row(record: Record_, block: LineBlock, index: number): RawRow {
    this.#checkLength(record, block, index);
    const entries = this.names.map((name, column) => {
      const text = record[column];
      const type = this.#possible[column]?.[0] ?? "string";
      if (text === undefined || MISSING.has(text)) return [name, null];
      if (type === "string") return [name, text];
      if (CHECKS.find(([known]) => known === type)?.[1](text)) return [name, typedValue(text, type)];
      const found = `${JSON.stringify(text)} in column "${name}", which has type ${type} in the rows before`;
      throw this.#error(block, index, found, "quote or remove it, or load without streaming");
    });
    return Object.fromEntries(entries);
  }

  #checkLength(record: Record_, block: LineBlock, index: number): void {
    if (record.length <= this.names.length) return;
    throw this.#error(block, index, `${record.length} values in a row for ${this.names.length} columns`);
  }

  #error(block: LineBlock, record: number, found: string, hint?: string): GrpoError {
    const line = lineOf(block, record, this.#delimiter);
    return new GrpoError("BAD_DATASET", `${this.#file}, line ${line}: ${found}`, hint === undefined ? {} : { hint });
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

/** The records of a block of whole lines. The first block's first record is the header. */
export function parseCsv(block: LineBlock, delimiter: Delimiter, file: string): Record_[] {
  const { bytes, firstLine } = block;
  checkUtf8(block, file);
  const content = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  try {
    return csvRows(content, csvOptions(delimiter)) as string[][];
  } catch (thrown) {
    const { lines } = thrown as { readonly lines?: number };
    const where = lines === undefined ? file : `${file}, line ${firstLine + lines - 1}`;
    throw new GrpoError("BAD_DATASET", `${where}: not valid CSV: ${reasonOf(thrown)}`, { cause: thrown });
  }
}

/** The line at which a record of a block ends. Costs another pass, so it is for messages. */
export function lineOf(block: LineBlock, record: number, delimiter: Delimiter): number {
  const content = Buffer.from(block.bytes.buffer, block.bytes.byteOffset, block.bytes.length);
  const found = csvRows(content, { ...csvOptions(delimiter), info: true, to: record + 1 }) as unknown as {
    info: Info;
  }[];
  return block.firstLine - 1 + (found[record]?.info.lines ?? 0);
}

function csvOptions(delimiter: Delimiter): Options {
  return { delimiter, bom: true, skip_empty_lines: true, relax_column_count: true };
}
