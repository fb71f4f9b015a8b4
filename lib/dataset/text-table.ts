// JSON, CSV and text files as tables. A pass over the file when it is opened finds columns, types and mistakes, and where each
// block of rows begins; the rows themselves are parsed again when they are asked for, so that a large file takes no memory.

import { createReadStream } from "node:fs";
import { open, readFile, stat } from "node:fs/promises";
import { at } from "../at.js";
import { GrpoError } from "../errors.js";
import { readRange } from "./byte-source.js";
import type { CsvTypes } from "./csv.js";
import type { CsvOptions } from "./csv-options.js";
import { isDocument, LONGEST_DOCUMENT, objectsOf, parseDocument } from "./json-document.js";
import { decodeUtf8, parseJsonLines, parseTextLines } from "./json-lines.js";
import { type LineBlock, lineBlocks } from "./line-blocks.js";
import { csvOptions, type Reading } from "./reading.js";
import type { DataFormat, RawRow, Table } from "./table.js";

/** Opens a file that is on the disk, whatever its format but parquet. */
export async function openTextTable(
  names: Names,
  format: Exclude<DataFormat, "parquet">,
  reading: Reading,
): Promise<Table> {
  const { file } = names;
  if (format === "csv" || format === "tsv") return openCsv(names, csvOptions(format, reading));
  if (format === "text") return openLines(names, (block) => parseTextLines(block, file));
  if (isDocument(await startOf(names.plain), reading.field)) {
    return memoryTable(file, parseDocument(await wholeText(names), file, reading.field));
  }
  return openLines(names, (block) => parseJsonLines(block, file)).catch(async (thrown: unknown) => {
    const isShort = (await stat(names.plain)).size <= LONGEST_DOCUMENT;
    const rows = isShort ? objectsOf(await wholeText(names), file) : undefined;
    if (rows === undefined) throw thrown;
    return memoryTable(file, rows);
  });
}

export interface Names {
  /** The file as the user knows it, for messages. */
  readonly file: string;
  /** Where its bytes are. */
  readonly plain: string;
}

interface BlockIndex {
  /** Rows and bytes before each block, and one entry more at the end. */
  readonly rows: number[];
  readonly offsets: number[];
}

async function openLines({ file, plain }: Names, parse: (block: LineBlock) => RawRow[]): Promise<Table> {
  const names = new Set<string>();
  const index: BlockIndex = { rows: [0], offsets: [0] };
  const firstLines: number[] = [];
  for await (const block of lineBlocks(createReadStream(plain))) {
    const rows = parse(block);
    for (const row of rows) for (const name of Object.keys(row)) names.add(name);
    firstLines.push(block.firstLine);
    addBlock(index, rows.length, block.offset + block.bytes.length);
  }
  return blockTable({ file, plain }, [...names], index, (bytes, block) =>
    parse({ bytes, firstLine: at(firstLines, block), offset: 0 }),
  );
}

async function openCsv({ file, plain }: Names, options: CsvOptions): Promise<Table> {
  const index: BlockIndex = { rows: [0], offsets: [0] };
  const firstLines: number[] = [];
  const { CsvTypes, csvBlock, csvBlocks } = await import("./csv.js");
  let types: CsvTypes | undefined;
  for await (const block of csvBlocks(createReadStream(plain), options, file)) {
    types ??= new CsvTypes(block, options, file);
    types.add(block);
    firstLines.push(block.firstLine);
    addBlock(index, block.records.length, block.end);
  }
  const known = types ?? new CsvTypes({ head: [], records: [] }, options, file);
  return blockTable({ file, plain }, known.names, index, (bytes, number) => {
    const place = { firstLine: at(firstLines, number), isFirst: number === 0 };
    return known.rows(csvBlock(bytes, place, options, file));
  });
}

async function wholeText({ file, plain }: Names): Promise<string> {
  return decodeUtf8({ bytes: await readFile(plain), firstLine: 1 }, file);
}

function memoryTable(file: string, rows: readonly RawRow[]): Table {
  const columnNames = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  return {
    file,
    columnNames,
    blockStarts: [0, rows.length],
    blockBytes: () => 0,
    readBlock: (_, columns) => rows.map((row) => pickColumns(row, columns)),
  };
}

function addBlock(index: BlockIndex, rows: number, end: number): void {
  index.rows.push(at(index.rows, index.rows.length - 1) + rows);
  index.offsets.push(end);
}

function blockTable(
  { file, plain }: Names,
  columnNames: readonly string[],
  { rows, offsets }: BlockIndex,
  parse: (bytes: Uint8Array, block: number) => RawRow[],
): Table {
  const bounds = (block: number) => [at(offsets, block), at(offsets, block + 1)] as const;
  return {
    file,
    columnNames,
    blockStarts: rows,
    blockBytes: (block) => 4 * (bounds(block)[1] - bounds(block)[0]),
    readBlock: (block, columns) => {
      const found = parse(readRange(plain, ...bounds(block)), block);
      if (found.length === at(rows, block + 1) - at(rows, block)) {
        return found.map((row) => pickColumns(row, columns));
      }
      throw new GrpoError("BAD_DATASET", `${file} has changed since it was loaded`, { hint: "load it again" });
    },
  };
}

/** A column that a row lacks is null in it. */
export function pickColumns(row: RawRow, columns: readonly string[]): RawRow {
  return Object.fromEntries(columns.map((name) => [name, row[name] ?? null]));
}

async function startOf(file: string): Promise<string> {
  const handle = await open(file);
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(4096), 0, 4096, 0);
    return new TextDecoder().decode(buffer.subarray(0, bytesRead));
  } finally {
    await handle.close();
  }
}
