// One data file as a stream of rows, from the disk or from the Hub, without keeping any. Types and columns are what the first
// block says: nobody has seen the rest.

import { createReadStream } from "node:fs";
import { GrpoError } from "../errors.js";
import type { RemoteFile } from "../hub/remote-file.js";
import { localSource } from "./byte-source.js";
import type { CsvTypes } from "./csv.js";
import { castRow, checkDeclared } from "./features.js";
import { isDocument, LONGEST_DOCUMENT, objectsOf, parseDocument } from "./json-document.js";
import { decodeUtf8, parseJsonLines, parseTextLines } from "./json-lines.js";
import { lineBlocks } from "./line-blocks.js";
import { localPlain, unpackedBytes } from "./packed-file.js";
import { RangedMemory } from "./ranged-source.js";
import { csvOptions, formatOf, type Reading } from "./reading.js";
import type { Tables } from "./row-stream.js";
import type { RawRow } from "./table.js";
import { pickColumns } from "./text-table.js";

export interface StreamInput {
  readonly name: string;
  /** Where the file is: one of the two. */
  readonly path?: string;
  readonly remote?: RemoteFile;
}

const CHUNK = 4 << 20;

/** What the first rows of a file say. */
export interface StreamStart {
  readonly columns: readonly string[];
  readonly tables: Tables;
}

export async function streamStart(input: StreamInput, reading: Reading): Promise<StreamStart> {
  const format = formatOf(input.name, reading);
  if (reading.features !== undefined) return { columns: [...reading.features.keys()], tables: "known" };
  if (format === "parquet") return { columns: (await parquetOf(input)).columnNames, tables: "known" };
  for await (const { rows, isDocument } of textBlocks(input, reading)) {
    const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
    return { columns, tables: format === "json" && !isDocument ? "known" : "unknown" };
  }
  return { columns: [], tables: "unknown" };
}

/** Rows with these columns. Where they are `all` that the first rows have, a row with another one is an error. */
export async function* streamRows(
  open: () => Promise<StreamInput>,
  reading: Reading,
  columns: readonly string[],
  { all }: { readonly all: boolean },
): AsyncGenerator<RawRow> {
  const input = await open();
  const { features, leavesOutOthers } = reading;
  const known = all && features === undefined ? new Set(columns) : undefined;
  const blocks = formatOf(input.name, reading) === "parquet" ? parquetBlocks : textRows;
  for await (const rows of blocks(input, reading, columns, known)) {
    for (const row of rows) {
      if (features === undefined) yield pickColumns(row, columns);
      else {
        if (!leavesOutOthers) checkDeclared(Object.keys(row), features, input.name);
        yield castRow(row, features, columns, input.name);
      }
    }
  }
}

function checkNames(found: readonly string[], known: ReadonlySet<string>, { name }: StreamInput): void {
  const late = found.find((column) => !known.has(column));
  if (late === undefined) return;
  throw new GrpoError("BAD_DATASET", `${name} has a column "${late}", which the first rows of the stream do not have`, {
    hint: "load it without streaming, or say which are to be read with { columns }",
  });
}

async function parquetOf({ name, path, remote }: StreamInput) {
  const { openParquet } = await import("./parquet.js");
  return openParquet(remote ? new RangedMemory(name, remote) : localSource(await localPlain(path ?? name), name));
}

async function* parquetBlocks(
  input: StreamInput,
  { features, leavesOutOthers }: Reading,
  columns: readonly string[],
  known: ReadonlySet<string> | undefined,
): AsyncGenerator<readonly RawRow[]> {
  const table = await parquetOf(input);
  if (known) checkNames(table.columnNames, known, input);
  if (features && !leavesOutOthers) checkDeclared(table.columnNames, features, input.name);
  const present = columns.filter((name) => table.columnNames.includes(name));
  const missing = features ? undefined : columns.find((name) => !present.includes(name));
  if (missing !== undefined) {
    throw new GrpoError("BAD_DATASET", `${input.name} has no column "${missing}", which the first file has`);
  }
  const blocks = table.blockStarts.length - 1;
  let coming = table.prepare?.([0], present);
  for (let block = 0; block < blocks; block++) {
    await coming;
    // The next block is fetched while this one is used. A failure shows when it is waited for.
    coming = block + 1 < blocks ? table.prepare?.([block + 1], present) : undefined;
    coming?.catch(() => {});
    yield table.readBlock(block, present);
  }
}

async function* textRows(
  input: StreamInput,
  reading: Reading,
  _: readonly string[],
  known: ReadonlySet<string> | undefined,
): AsyncGenerator<readonly RawRow[]> {
  for await (const { rows } of textBlocks(input, reading)) {
    if (known) for (const row of rows) checkNames(Object.keys(row), known, input);
    yield rows;
  }
}

interface TextBlock {
  readonly rows: readonly RawRow[];
  /** Whether it is a whole file of JSON. */
  readonly isDocument?: true;
}

async function* textBlocks(input: StreamInput, reading: Reading): AsyncGenerator<TextBlock> {
  const { name } = input;
  const format = formatOf(name, reading);
  const chunks = unpackedBytes(chunksOf(input), name);
  if (format === "csv" || format === "tsv") yield* csvRows(chunks, csvOptions(format, reading), name);
  else if (format === "text") {
    for await (const block of lineBlocks(chunks)) yield { rows: parseTextLines(block, name) };
  } else yield* jsonRows(chunks, reading, name);
}

/** JSON lines block by block; anything else that JSON may be as a whole. */
async function* jsonRows(
  chunks: AsyncIterable<Uint8Array>,
  { field }: Reading,
  name: string,
): AsyncGenerator<TextBlock> {
  const blocks = lineBlocks(chunks);
  const first = await blocks.next();
  if (first.done) return;
  const rest = () => restOf(first.value.bytes, blocks, name);
  if (isDocument(new TextDecoder().decode(first.value.bytes.subarray(0, 4096)), field)) {
    yield { rows: parseDocument(await rest(), name, field), isDocument: true };
    return;
  }
  let rows: readonly RawRow[];
  try {
    rows = parseJsonLines(first.value, name);
  } catch (thrown) {
    const objects = objectsOf(await rest(), name);
    if (objects === undefined) throw thrown;
    yield { rows: objects, isDocument: true };
    return;
  }
  yield { rows };
  for await (const block of blocks) yield { rows: parseJsonLines(block, name) };
}

/** The text of a file of which the first bytes were read. */
async function restOf(first: Uint8Array, blocks: AsyncIterable<{ readonly bytes: Uint8Array }>, name: string) {
  const parts = [first];
  let size = first.length;
  for await (const { bytes } of blocks) {
    parts.push(bytes);
    size += bytes.length;
    if (size <= LONGEST_DOCUMENT) continue;
    throw new GrpoError(
      "BAD_DATASET",
      `${name} is not JSON lines, so it has to be read as a whole, but it is too long for that`,
      {
        hint: "load it without streaming, or save it as JSON lines",
      },
    );
  }
  return decodeUtf8({ bytes: Buffer.concat(parts), firstLine: 1 }, name);
}

async function* csvRows(
  chunks: AsyncIterable<Uint8Array>,
  options: ReturnType<typeof csvOptions>,
  name: string,
): AsyncGenerator<TextBlock> {
  const { CsvTypes, csvBlocks } = await import("./csv.js");
  let types: CsvTypes | undefined;
  for await (const block of csvBlocks(chunks, options, name)) {
    if (types === undefined) {
      types = new CsvTypes(block, options, name);
      types.add(block);
    }
    yield { rows: types.rows(block) };
  }
}

function chunksOf({ name, path, remote }: StreamInput): AsyncIterable<Uint8Array> {
  return remote ? remoteChunks(remote) : createReadStream(path ?? name, { highWaterMark: 1 << 18 });
}

async function* remoteChunks(remote: RemoteFile): AsyncGenerator<Uint8Array> {
  for (let start = 0; start < remote.byteLength; start += CHUNK) {
    yield await remote.slice(start, Math.min(start + CHUNK, remote.byteLength));
  }
}
