// CSV and TSV as pandas (and so Python's datasets) reads them: names of columns, and the types that it infers for a column: whole
// numbers, numbers, true/false, else text; the usual spellings of "not available" are null. csv-records.ts finds the fields.

import { GrpoError } from "../errors.js";
import type { ColumnType, CsvOptions } from "./csv-options.js";
import { type CsvRecord, csvRecords } from "./csv-records.js";
import { checkUtf8 } from "./json-lines.js";
import { BLOCK_BYTES } from "./line-blocks.js";
import type { RawRow } from "./table.js";

/** Whole records. */
export interface CsvBlock {
  /** Of the first block: the records up to that with the names. */
  readonly head: readonly CsvRecord[];
  readonly records: readonly CsvRecord[];
  /** Number of the line with the first record. */
  readonly firstLine: number;
  /** Where it ends in the file. */
  readonly end: number;
}

/** Blocks of about a quarter of a megabyte; a longer record is a block of its own. */
export async function* csvBlocks(
  chunks: AsyncIterable<Uint8Array>,
  options: CsvOptions,
  file: string,
): AsyncGenerator<CsvBlock> {
  let pending: Uint8Array = new Uint8Array();
  const waiting: Uint8Array[] = [];
  let size = 0;
  let wanted = BLOCK_BYTES;
  let offset = 0;
  let line = 1;
  const take = (whole: boolean): CsvBlock | undefined => {
    pending = Buffer.concat([pending, ...waiting.splice(0)]);
    const found = readRecords({ bytes: pending, firstLine: line, isFirst: offset === 0, whole }, options, file);
    pending = pending.subarray(found.bytes);
    size = pending.length;
    // What is left may be one long record: to look at it again for each chunk would take ever longer.
    wanted = Math.max(BLOCK_BYTES, 2 * size);
    offset += found.bytes;
    line += found.lines;
    return found.bytes === 0 ? undefined : { ...found.block, end: offset };
  };
  for await (const chunk of chunks) {
    waiting.push(chunk);
    size += chunk.length;
    const block = size < wanted ? undefined : take(false);
    if (block !== undefined) yield block;
  }
  const last = size === 0 ? undefined : take(true);
  if (last !== undefined) yield last;
}

/** The records of a block that was found before. */
export function csvBlock(
  bytes: Uint8Array,
  place: { readonly firstLine: number; readonly isFirst: boolean },
  options: CsvOptions,
  file: string,
): Omit<CsvBlock, "end"> {
  return readRecords({ bytes, ...place, whole: true }, options, file).block;
}

interface CsvBytes {
  readonly bytes: Uint8Array;
  readonly firstLine: number;
  readonly isFirst: boolean;
  /** Whether no bytes follow. */
  readonly whole: boolean;
}

/** The whole records, and how many bytes and lines they take. */
function readRecords({ bytes, firstLine, isFirst, whole }: CsvBytes, options: CsvOptions, file: string) {
  // At the end of a line no character is cut in two.
  const cut = whole ? bytes.length : 1 + Math.max(bytes.lastIndexOf(10), bytes.lastIndexOf(13));
  checkUtf8({ bytes: bytes.subarray(0, cut), firstLine }, file);
  const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes.subarray(0, cut));
  const marked = isFirst && text.startsWith("\uFEFF") ? text.slice(1) : text;
  const { records, end, lines, openQuote } = csvRecords(marked, options, whole, isFirst ? options.skipRows : 0);
  if (whole && openQuote) {
    throw new GrpoError("BAD_DATASET", `${file}, line ${firstLine + lines}: quotes begin here that never end`, {
      hint: "close them, or double quotes that belong to the text",
    });
  }
  const head = isFirst && options.header !== null ? options.header + 1 : 0;
  const block = { head: records.slice(0, head), records: records.slice(head), firstLine };
  const passed = end === 0 ? 0 : text.length - marked.length + end;
  return { block, bytes: whole ? bytes.length : Buffer.byteLength(text.slice(0, passed)), lines };
}

const LARGEST_INT64 = 2n ** 63n - 1n;
const INTEGER = /^[ \t\n\v\f\r]*[+-]?\d+[ \t\n\v\f\r]*$/;
const NUMBER = /^[ \t\n\v\f\r]*[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?[ \t\n\v\f\r]*$/i;
const INFINITE = /^[+-]?inf(?:inity)?$/i;
/** The narrowest first: a whole number is a number as well, and everything is text. */
const TYPES: readonly ColumnType[] = ["integer", "number", "boolean", "string"];

/** What a column was seen to hold. */
interface Column {
  readonly name: string;
  readonly isDeclared: boolean;
  /** What its values can be, the narrowest first. */
  possible: readonly ColumnType[];
  hasMissing: boolean;
  hasNegative: boolean;
  /** A whole number beyond 64 bits with a sign. */
  hasLarge: boolean;
}

/** The header, and the type of each column, narrowed with every block that it is shown. */
export class CsvTypes {
  readonly names: readonly string[];
  readonly #columns: readonly Column[];
  readonly #options: CsvOptions;
  readonly #file: string;

  /** For the file of which this is the first block. */
  constructor({ head, records }: Pick<CsvBlock, "head" | "records">, options: CsvOptions, file: string) {
    const numbers = Array.from(records[0]?.values ?? [], (_, index) => String(index));
    const found = options.header === null ? numbers : uniqueNames(head.at(-1)?.values ?? []);
    this.names = options.names ?? found;
    if (options.header !== null && this.names.length > found.length) {
      throw new GrpoError("BAD_DATASET", `${file}: ${this.names.length} names are given for ${found.length} columns`);
    }
    this.#columns = this.names.map((name) => {
      const type = options.types.get(name);
      return {
        name,
        isDeclared: type !== undefined,
        possible: type === undefined ? TYPES : [type],
        hasMissing: false,
        hasNegative: false,
        hasLarge: false,
      };
    });
    this.#options = options;
    this.#file = file;
  }

  add(block: Records): void {
    for (const record of block.records) {
      this.#checkLength(record, block);
      this.#columns.forEach((column, index) => {
        this.#narrow(column, record.values[index] ?? "", record, block);
      });
    }
  }

  rows(block: Records): RawRow[] {
    const types = this.#columns.map(typeOf);
    return block.records.map((record) => {
      this.#checkLength(record, block);
      const entries = this.#columns.map((column, index) => {
        const type = types[index] ?? "string";
        // What a short row lacks is empty.
        const value = this.#valueOf(record.values[index] ?? "", column, type);
        if (value !== undefined) return [column.name, value];
        const found = `${JSON.stringify(record.values[index])} in column "${column.name}", which has type ${type} in the rows before`;
        throw this.#error(record, block, found, "quote or remove it, or load without streaming");
      });
      return Object.fromEntries(entries);
    });
  }

  #narrow(column: Column, text: string, record: CsvRecord, block: Records): void {
    if (this.#options.missing.has(text)) {
      column.hasMissing = true;
      const [only] = column.possible;
      if (!column.isDeclared || only === "string" || only === "number") return;
      throw this.#error(record, block, `column "${column.name}" is declared as ${only}, and has no value here`);
    }
    if (column.possible[0] === "string") return;
    const fits = column.possible.filter((type) => this.#fits(text, type));
    if (fits.length === 0) {
      const found = `${JSON.stringify(text)} in column "${column.name}", which is declared as ${column.possible[0]}`;
      throw this.#error(record, block, found);
    }
    if (fits.length < column.possible.length) column.possible = fits;
    if (column.possible[0] !== "integer") return;
    if (text.includes("-")) column.hasNegative = true;
    if (text.length > 18 && BigInt(this.#digits(text)) > LARGEST_INT64) column.hasLarge = true;
  }

  #fits(text: string, type: ColumnType): boolean {
    if (type === "string") return true;
    if (type === "boolean") return this.#boolean(text) !== undefined;
    if (type === "integer") return INTEGER.test(this.#joined(text));
    return NUMBER.test(this.#pointed(text)) || INFINITE.test(text);
  }

  /** undefined where the text is not of the type. */
  #valueOf(text: string, column: Column, type: ColumnType): unknown {
    // Whole numbers that no type of Arrow holds stay as they are written, and so does what is missing among them.
    if (type === "string" && column.possible[0] === "integer") return text;
    if (this.#options.missing.has(text)) return null;
    if (type === "string") return text;
    if (!this.#fits(text, type)) return undefined;
    if (type === "boolean") return this.#boolean(text);
    if (type === "number") return Number(this.#pointed(text).replace(/inf(?:inity)?$/i, "Infinity"));
    // There is no -0 among whole numbers.
    const value = Number(this.#digits(text)) + 0;
    // With missing values, a column of whole numbers is one of doubles.
    return column.hasMissing || Number.isSafeInteger(value) ? value : BigInt(this.#digits(text));
  }

  #boolean(text: string): boolean | undefined {
    if (this.#options.trueValues.has(text) || /^true$/i.test(text)) return true;
    return this.#options.falseValues.has(text) || /^false$/i.test(text) ? false : undefined;
  }

  #digits(text: string): string {
    return this.#joined(text).trim().replace(/^\+/, "");
  }

  /** Without what stands between thousands. */
  #joined(text: string): string {
    const { thousands } = this.#options;
    return thousands === "" ? text : text.replaceAll(thousands, "");
  }

  /** And with a point before the fraction. */
  #pointed(text: string): string {
    const { decimal } = this.#options;
    const joined = this.#joined(text);
    if (decimal === ".") return joined;
    return joined.includes(".") ? "" : joined.replace(decimal, ".");
  }

  #checkLength(record: CsvRecord, block: Records): void {
    if (record.values.length <= this.names.length) return;
    throw this.#error(record, block, `${record.values.length} values in a row for ${this.names.length} columns`);
  }

  #error(record: CsvRecord, block: Records, found: string, hint?: string): GrpoError {
    const line = block.firstLine + record.line;
    return new GrpoError("BAD_DATASET", `${this.#file}, line ${line}: ${found}`, hint === undefined ? {} : { hint });
  }
}

type Records = Pick<CsvBlock, "records" | "firstLine">;

function typeOf({ possible, hasLarge, hasNegative, hasMissing }: Column): ColumnType {
  const [first] = possible;
  return first === undefined || (first === "integer" && hasLarge && (hasNegative || hasMissing)) ? "string" : first;
}

/** pandas' way: the second "a" becomes "a.1", or the next that is free; a name that is missing "Unnamed: 2". */
function uniqueNames(header: readonly string[]): string[] {
  const names = header.map((given, index) => (given === "" ? `Unnamed: ${index}` : given));
  const given = names.map((_, index) => index);
  // Names in the file come before those that are made here.
  const order = [...given.filter((index) => header[index] !== ""), ...given.filter((index) => header[index] === "")];
  const counts = new Map<string, number>();
  for (const index of order) {
    const old = names[index] ?? "";
    let name = old;
    let count = counts.get(name) ?? 0;
    while (count > 0) {
      counts.set(old, count + 1);
      name = `${old}.${count}`;
      count = names.includes(name) ? count + 1 : (counts.get(name) ?? 0);
    }
    names[index] = name;
    counts.set(name, count + 1);
  }
  return names;
}
