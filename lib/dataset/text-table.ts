// JSON, CSV and text files as tables. A pass over the file when it is opened finds columns, types and mistakes, and where each
// block of rows begins; the rows themselves are parsed again when they are asked for, so that a large file takes no memory.

import { createHash, randomUUID } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, open, readFile, rename, rm, stat } from "node:fs/promises";
import path from "node:path";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { at } from "../at.js";
import { GrpoError, reasonOf } from "../errors.js";
import { cacheFolder } from "../native/libtorch.js";
import { readRange } from "./byte-source.js";
import type { CsvTypes, Delimiter } from "./csv.js";
import { parseJson, splitJson } from "./exact-json.js";
import { checkRow, decodeUtf8, parseJsonLines, parseTextLines } from "./json-lines.js";
import { type LineBlock, lineBlocks } from "./line-blocks.js";
import { type DataFormat, isGzip, type RawRow, type Table } from "./table.js";

/** Opens a file that is on the disk, whatever its format but parquet. */
export async function openTextTable(file: string, format: Exclude<DataFormat, "parquet">): Promise<Table> {
  const plain = isGzip(file) ? await unpacked(file) : file;
  const names = { file, plain };
  if (format === "csv" || format === "tsv") return openCsv(names, format === "csv" ? "," : "\t");
  if (format === "text") return openLines(names, (block) => parseTextLines(block, file));
  if (format === "json" && (await firstCharacter(plain)) === "[") return openJsonArray(names);
  return openLines(names, (block) => parseJsonLines(block, file)).catch(async (thrown: unknown) => {
    const table = await openJsonObjects(names);
    if (table !== undefined) return table;
    throw thrown;
  });
}

interface Names {
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

async function openCsv({ file, plain }: Names, delimiter: Delimiter): Promise<Table> {
  const index: BlockIndex = { rows: [0], offsets: [0] };
  const firstLines: number[] = [];
  const { CsvTypes, parseCsv } = await import("./csv.js");
  let types: CsvTypes | undefined;
  for await (const block of lineBlocks(createReadStream(plain), { quoted: true })) {
    const records = parseCsv(block, delimiter, file);
    const header = types === undefined ? 1 : 0;
    types ??= new CsvTypes(records[0] ?? [], delimiter, file);
    types.add(block, records, header);
    firstLines.push(block.firstLine);
    addBlock(index, Math.max(0, records.length - header), block.offset + block.bytes.length);
  }
  const known = types ?? new CsvTypes([], delimiter, file);
  return blockTable({ file, plain }, known.names, index, (bytes, number) => {
    const block = { bytes, firstLine: at(firstLines, number), offset: 0 };
    return known.rows(block, parseCsv(block, delimiter, file), number === 0 ? 1 : 0);
  });
}

/** Has to be in memory at once: JSON says nowhere where its items are. A list of what are no objects is a column "text". */
async function openJsonArray({ file, plain }: Names): Promise<Table> {
  const values = parseJson(decodeUtf8({ bytes: await readFile(plain), firstLine: 1 }, file), file) as unknown[];
  const isPlain = values.every((value) => typeof value !== "object" || value === null);
  const where = (index: number) => `${file}, item ${index}`;
  return memoryTable(
    file,
    values.map((value, index) => (isPlain ? { text: value } : checkRow(value, where(index)))),
  );
}

const LONGEST_TEXT = 1 << 28;

/** Objects over several lines, or several in one; undefined where the file is no such. */
async function openJsonObjects({ file, plain }: Names): Promise<Table | undefined> {
  if ((await stat(plain)).size > LONGEST_TEXT) return undefined;
  const texts = splitJson(decodeUtf8({ bytes: await readFile(plain), firstLine: 1 }, file));
  try {
    return (
      texts &&
      memoryTable(
        file,
        texts.map((text) => checkRow(parseJson(text, file, { names: true }), file)),
      )
    );
  } catch {
    return undefined;
  }
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

async function firstCharacter(file: string): Promise<string | undefined> {
  const handle = await open(file);
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(4096), 0, 4096, 0);
    return firstCharacterOf(buffer.subarray(0, bytesRead));
  } finally {
    await handle.close();
  }
}

export function firstCharacterOf(bytes: Uint8Array): string | undefined {
  return new TextDecoder().decode(bytes).trimStart()[0];
}

/** The path of a gzip file's content, kept in the cache: rows of a packed file cannot be read from its middle. */
async function unpacked(file: string): Promise<string> {
  const { size, mtimeMs } = await stat(file);
  const key = createHash("sha256")
    .update(`${path.resolve(file)}\n${size}\n${mtimeMs}`)
    .digest("hex")
    .slice(0, 32);
  const folder = path.join(cacheFolder(), "unpacked");
  const target = path.join(folder, key);
  if (await stat(target).catch(() => undefined)) return target;
  await mkdir(folder, { recursive: true });
  const partial = `${target}.${randomUUID()}`;
  try {
    await pipeline(createReadStream(file), createGunzip(), createWriteStream(partial));
    await rename(partial, target);
    return target;
  } catch (thrown) {
    await rm(partial, { force: true });
    throw new GrpoError("BAD_DATASET", `${file} cannot be unpacked: ${reasonOf(thrown)}`, { cause: thrown });
  }
}
