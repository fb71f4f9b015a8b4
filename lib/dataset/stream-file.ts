// One data file as a stream of rows, from the disk or from the Hub, without keeping any. Types and columns are what the first
// block says: nobody has seen the rest.

import { createReadStream } from "node:fs";
import { Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { GrpoError } from "../errors.js";
import type { RemoteFile } from "../hub/remote-file.js";
import { localSource } from "./byte-source.js";
import type { CsvTypes, Delimiter } from "./csv.js";
import { parseJsonLines, parseTextLines } from "./json-lines.js";
import { lineBlocks } from "./line-blocks.js";
import { RangedMemory } from "./ranged-source.js";
import { isGzip, type RawRow, readableFormat } from "./table.js";
import { firstCharacterOf, pickColumns } from "./text-table.js";

export interface StreamInput {
  readonly name: string;
  /** Where the file is: one of the two. */
  readonly path?: string;
  readonly remote?: RemoteFile;
}

const CHUNK = 4 << 20;

/** The columns of a file by its first rows. */
export async function firstColumns(input: StreamInput): Promise<readonly string[]> {
  if (readableFormat(input.name) === "parquet") return (await parquetOf(input)).columnNames;
  for await (const rows of textBlocks(input)) return [...new Set(rows.flatMap((row) => Object.keys(row)))];
  return [];
}

/** Rows with these columns. Where they are `all` that the first rows have, a row with another one is an error. */
export async function* streamRows(
  open: () => Promise<StreamInput>,
  columns: readonly string[],
  { all }: { readonly all: boolean },
): AsyncGenerator<RawRow> {
  const input = await open();
  const known = all ? new Set(columns) : undefined;
  if (readableFormat(input.name) === "parquet") {
    yield* parquetRows(input, columns, known);
    return;
  }
  for await (const rows of textBlocks(input)) {
    for (const row of rows) {
      if (known) checkNames(Object.keys(row), known, input);
      yield pickColumns(row, columns);
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
  return openParquet(remote ? new RangedMemory(name, remote) : localSource(path ?? name));
}

async function* parquetRows(
  input: StreamInput,
  columns: readonly string[],
  known: ReadonlySet<string> | undefined,
): AsyncGenerator<RawRow> {
  const table = await parquetOf(input);
  if (known) checkNames(table.columnNames, known, input);
  const missing = columns.find((name) => !table.columnNames.includes(name));
  if (missing !== undefined) {
    throw new GrpoError("BAD_DATASET", `${input.name} has no column "${missing}", which the first file has`);
  }
  const blocks = table.blockStarts.length - 1;
  let coming = table.prepare?.([0], columns);
  for (let block = 0; block < blocks; block++) {
    await coming;
    // The next block is fetched while this one is used. A failure shows when it is waited for.
    coming = block + 1 < blocks ? table.prepare?.([block + 1], columns) : undefined;
    coming?.catch(() => {});
    yield* table.readBlock(block, columns);
  }
}

async function* textBlocks(input: StreamInput): AsyncGenerator<readonly RawRow[]> {
  const { name } = input;
  const format = readableFormat(name);
  const chunks = bytesOf(input);
  if (format === "csv" || format === "tsv") yield* csvRows(chunks, format === "csv" ? "," : "\t", name);
  else if (format === "text") for await (const block of lineBlocks(chunks)) yield parseTextLines(block, name);
  else {
    let first = true;
    for await (const block of lineBlocks(chunks)) {
      if (first && format === "json" && firstCharacterOf(block.bytes) === "[") {
        throw new GrpoError("BAD_DATASET", `${name} is one JSON array, which has to be read as a whole`, {
          hint: "load it without streaming, or save it as JSON lines",
        });
      }
      first = false;
      yield parseJsonLines(block, name);
    }
  }
}

async function* csvRows(
  chunks: AsyncIterable<Uint8Array>,
  delimiter: Delimiter,
  name: string,
): AsyncGenerator<readonly RawRow[]> {
  const { CsvTypes, parseCsv } = await import("./csv.js");
  let types: CsvTypes | undefined;
  for await (const block of lineBlocks(chunks, { quoted: true })) {
    const records = parseCsv(block, delimiter, name);
    const header = types === undefined ? 1 : 0;
    if (types === undefined) {
      types = new CsvTypes(records[0] ?? [], delimiter, name);
      types.add(block, records, 1);
    }
    yield types.rows(block, records, header);
  }
}

function bytesOf({ name, path, remote }: StreamInput): AsyncIterable<Uint8Array> {
  const plain = remote ? Readable.from(chunksOf(remote)) : createReadStream(path ?? name, { highWaterMark: 1 << 18 });
  if (!isGzip(name)) return plain;
  const gunzip = createGunzip();
  plain.on("error", (error: Error) => gunzip.destroy(error));
  return plain.pipe(gunzip);
}

async function* chunksOf(remote: RemoteFile): AsyncGenerator<Uint8Array> {
  for (let start = 0; start < remote.byteLength; start += CHUNK) {
    yield await remote.slice(start, Math.min(start + CHUNK, remote.byteLength));
  }
}
