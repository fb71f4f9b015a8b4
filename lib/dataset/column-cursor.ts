// Reads one leaf column of one row group forward, page by page, over hyparquet's page decoder. hyparquet's own reader takes a
// whole row group into memory and cannot give rows at once; with this only the pages of the rows asked for are decoded.

import { brotliDecompressSync, gunzipSync } from "node:zlib";
import type { ColumnMetaData, PageHeader, SchemaTree } from "hyparquet";
import { parquetHeader, readPage } from "hyparquet/src/column.js";
import { convert as convertDictionary } from "hyparquet/src/convert.js";
import { readOffsetIndex } from "hyparquet/src/indexes.js";
import { isFlatColumn } from "hyparquet/src/schema.js";
import { compressors } from "hyparquet-compressors";
import type { ByteRange, ByteSource } from "./byte-source.js";
import { leafFormat } from "./parquet-values.js";

/** Where a column chunk is and how to decode it. */
export interface ColumnChunk {
  readonly meta: ColumnMetaData;
  /** Root to leaf. */
  readonly schemaPath: SchemaTree[];
  readonly bytes: ByteRange;
  /** Says at which byte each page begins, and with which row. */
  readonly offsetIndex: ByteRange | undefined;
  readonly rows: number;
}

type Dictionary = Parameters<typeof readPage>[3];

// A page of nulls alone has nothing to decompress, which some decompressors take for a broken input.
const decompressors: typeof compressors = Object.fromEntries(
  Object.entries({
    ...compressors,
    GZIP: (input: Uint8Array) => gunzipSync(input),
    BROTLI: (input: Uint8Array) => brotliDecompressSync(input),
  }).map(([codec, decompress]) => [
    codec,
    (input: Uint8Array, length: number) => (length === 0 ? new Uint8Array() : decompress(input, length)),
  ]),
);

const WINDOW = 1 << 18;
const HEADER_WINDOW = 1 << 16;

export class ColumnCursor {
  readonly #source: ByteSource;
  readonly #chunk: ColumnChunk;
  readonly #decoder: Parameters<typeof readPage>[2];
  readonly #convert: ((value: unknown) => unknown) | undefined;
  readonly #isFlat: boolean;
  #dictionary: Dictionary;
  /** Next byte to read. */
  #offset: number;
  /** Row that #rows[0] is. The last one may go on in the next page. */
  #firstRow = 0;
  #rows: unknown[] = [];
  #window: { readonly start: number; readonly bytes: Uint8Array<ArrayBuffer> } | undefined;

  constructor(source: ByteSource, chunk: ColumnChunk) {
    const leaf = chunk.schemaPath.at(-1);
    if (leaf === undefined) throw new Error("a column without a schema");
    const { element, parsers, convert } = leafFormat(leaf.element);
    const { meta, schemaPath } = chunk;
    const { type, codec, path_in_schema: pathInSchema } = meta;
    this.#source = source;
    this.#chunk = chunk;
    this.#convert = convert;
    this.#isFlat = isFlatColumn(schemaPath);
    this.#decoder = {
      type,
      codec,
      pathInSchema,
      schemaPath,
      element,
      parsers,
      compressors: decompressors,
      utf8: false,
    };
    this.#offset = chunk.bytes.start;
  }

  /** Values of rows [start, end) of the group; nested ones as lists by definition level, see hyparquet's assembleNested. */
  read(start: number, end: number): unknown[] {
    if (start < this.#firstRow) this.#rewind();
    if (start > this.#firstRow + this.#rows.length) this.#jump(start);
    while (this.#firstRow + this.#rows.length <= end && this.#offset < this.#chunk.bytes.end) this.#readPage(start);
    const from = start - this.#firstRow;
    const found = this.#rows.slice(from, from + end - start);
    if (found.length !== end - start) throw new Error(`column ${this.#decoder.pathInSchema.join(".")} ends too early`);
    this.#rows = this.#rows.slice(from + end - start);
    this.#firstRow = end;
    const convert = this.#convert;
    return convert ? mapLeaves(found, convert) : found;
  }

  #rewind(): void {
    this.#offset = this.#chunk.bytes.start;
    this.#firstRow = 0;
    this.#rows = [];
  }

  /** Goes to the page of a row, where there is an index of pages. */
  #jump(row: number): void {
    const { offsetIndex } = this.#chunk;
    if (offsetIndex === undefined) return;
    const bytes = this.#source.read(offsetIndex.start, offsetIndex.end);
    const { page_locations: pages } = readOffsetIndex({ view: viewOf(bytes), offset: 0 });
    const page = pages.findLast((candidate) => Number(candidate.first_row_index) <= row);
    if (page === undefined || Number(page.offset) < this.#offset) return;
    // The dictionary comes before all pages and is needed for each of them.
    const first = Number(pages[0]?.offset);
    while (this.#dictionary === undefined && this.#offset < first) this.#readPage(0);
    this.#offset = Number(page.offset);
    this.#firstRow = Number(page.first_row_index);
    this.#rows = [];
  }

  /** Reads the next page, or only passes over it if all its rows are before `wanted`. */
  #readPage(wanted: number): void {
    const { header, size } = this.#readHeader();
    const begin = this.#offset + size;
    const end = begin + header.compressed_page_size;
    this.#offset = end;
    const values = header.data_page_header?.num_values ?? header.data_page_header_v2?.num_values;
    if (header.type === "DATA_PAGE" || header.type === "DATA_PAGE_V2") {
      const rows = header.data_page_header_v2?.num_rows ?? (this.#isFlat ? values : undefined);
      const next = this.#firstRow + this.#rows.length;
      if (values === 0) return;
      if (rows !== undefined && next + rows <= wanted) {
        this.#firstRow = next + rows;
        this.#rows = [];
        return;
      }
    } else if (header.type !== "DICTIONARY_PAGE") return;
    const reader = { view: viewOf(this.#bytes(begin, end)), offset: 0 };
    if (header.type === "DICTIONARY_PAGE") {
      this.#dictionary ??= this.#decodeDictionary(reader, header);
      return;
    }
    const { data } = readPage(reader, header, this.#decoder, this.#dictionary, this.#rows, 0);
    // Lists are appended to the rows that were given; other values come in an array of their own.
    if (data === undefined || data === this.#rows) return;
    for (let i = 0; i < data.length; i++) this.#rows.push(data[i]);
  }

  #decodeDictionary(reader: { view: DataView<ArrayBuffer>; offset: number }, header: PageHeader): Dictionary {
    const { data } = readPage(reader, header, this.#decoder, undefined, undefined, 0);
    return data && convertDictionary(data, this.#decoder);
  }

  #readHeader(): { header: PageHeader; size: number } {
    const limit = this.#chunk.bytes.end;
    for (let length = HEADER_WINDOW; ; length *= 8) {
      const end = Math.min(this.#offset + length, limit);
      const reader = { view: viewOf(this.#bytes(this.#offset, end)), offset: 0 };
      try {
        return { header: parquetHeader(reader), size: reader.offset };
      } catch (thrown) {
        // A header may hold long strings as statistics.
        if (!(thrown instanceof RangeError) || end === limit) throw thrown;
      }
    }
  }

  #bytes(start: number, end: number): Uint8Array<ArrayBuffer> {
    const window = this.#window;
    if (window && start >= window.start && end <= window.start + window.bytes.length) {
      return window.bytes.subarray(start - window.start, end - window.start);
    }
    const stop = Math.min(Math.max(end, start + WINDOW), this.#chunk.bytes.end);
    this.#window = { start, bytes: this.#source.read(start, Math.max(stop, end)) };
    return this.#window.bytes.subarray(0, end - start);
  }
}

function viewOf(bytes: Uint8Array<ArrayBuffer>): DataView<ArrayBuffer> {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function mapLeaves(values: readonly unknown[], convert: (value: unknown) => unknown): unknown[] {
  return values.map((value) => (Array.isArray(value) ? mapLeaves(value, convert) : convert(value)));
}
