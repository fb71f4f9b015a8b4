// Parquet files as tables: row groups cut into blocks, and only the columns and pages that are asked for. The format itself
// is hyparquet's matter; here is where the bytes lie and how columns become rows.

import { type FileMetaData, parquetMetadata, parquetSchema, type SchemaTree } from "hyparquet";
import { assembleNested } from "hyparquet/src/assemble.js";
import { DEFAULT_PARSERS } from "hyparquet/src/convert.js";
import { getTreePath } from "hyparquet/src/schema.js";
import { GrpoError, reasonOf } from "../errors.js";
import type { ByteRange, ByteSource } from "./byte-source.js";
import { type ColumnChunk, ColumnCursor } from "./column-cursor.js";
import { plainValue } from "./parquet-values.js";
import type { RawRow, Table } from "./table.js";

interface Block {
  readonly group: number;
  /** Rows within the group. */
  readonly start: number;
  readonly end: number;
  readonly bytes: number;
}

interface RowGroup {
  readonly rows: number;
  readonly bytes: number;
  /** One for each leaf of the schema. */
  readonly chunks: readonly ColumnChunk[];
}

const BLOCK_BYTES = 4 << 20;
const FOOTER_BYTES = 1 << 19;

export interface ParquetOptions {
  /** About how many bytes of a row group make a block. */
  readonly blockBytes?: number;
}

export async function openParquet(source: ByteSource, options: ParquetOptions = {}): Promise<Table> {
  try {
    return new ParquetTable(source, await readMetadata(source), options.blockBytes ?? BLOCK_BYTES);
  } catch (thrown) {
    throw parquetError(source.name, thrown);
  }
}

class ParquetTable implements Table {
  readonly file: string;
  readonly columnNames: readonly string[];
  readonly blockStarts: readonly number[];
  readonly #source: ByteSource;
  readonly #columns: ReadonlyMap<string, SchemaTree>;
  readonly #groups: readonly RowGroup[];
  readonly #blocks: readonly Block[];
  /** The cursors of the group that was read last, so that its blocks one after another cost one pass. */
  #cursors: { readonly group: number; readonly byLeaf: Map<ColumnChunk, ColumnCursor> } | undefined;

  constructor(source: ByteSource, metadata: FileMetaData, blockBytes: number) {
    const schema = withoutKeyOnlyMaps(parquetSchema(metadata));
    this.file = source.name;
    this.#source = source;
    this.#columns = new Map(schema.children.map((child) => [child.element.name, child]));
    this.columnNames = [...this.#columns.keys()];
    checkNoneTwice(source.name, schema);
    this.#groups = rowGroups(metadata, schema);
    this.#blocks = this.#groups.flatMap((group, index) => cutGroup(group, index, blockBytes));
    let row = 0;
    this.blockStarts = [0, ...this.#blocks.map(({ start, end }) => (row += end - start))];
  }

  blockBytes(block: number): number {
    // Strings take up to two bytes a character, and objects around them.
    return 2 * (this.#blocks[block]?.bytes ?? 0);
  }

  async prepare(blocks: Iterable<number>, columns: readonly string[]): Promise<void> {
    if (this.#source.ensure === undefined) return;
    const groups = new Set(Array.from(blocks, (block) => this.#blocks[block]?.group));
    const wanted = new Set(columns);
    const ranges = [...groups].flatMap((group) =>
      (this.#groups[group ?? -1]?.chunks ?? [])
        .filter(({ meta }) => wanted.has(meta.path_in_schema[0] ?? ""))
        .flatMap(({ bytes, offsetIndex }) => (offsetIndex ? [bytes, offsetIndex] : [bytes])),
    );
    await this.#source.ensure(ranges);
  }

  readBlock(block: number, columns: readonly string[]): RawRow[] {
    const found = this.#blocks[block];
    if (found === undefined) throw new GrpoError("INTERNAL", `${this.file} has no block ${block}`);
    try {
      const values = columns.map((name) => this.#readColumn(name, found));
      return Array.from({ length: found.end - found.start }, (_, row) =>
        Object.fromEntries(columns.map((name, column) => [name, plainValue(values[column]?.[row])])),
      );
    } catch (thrown) {
      throw parquetError(this.file, thrown);
    }
  }

  #readColumn(name: string, { group, start, end }: Block): ArrayLike<unknown> {
    const tree = this.#columns.get(name);
    const chunks = this.#groups[group]?.chunks.filter(({ meta }) => meta.path_in_schema[0] === name) ?? [];
    if (tree === undefined || chunks.length === 0) throw new Error(`no column "${name}"`);
    const leaves = new Map(
      chunks.map((chunk) => [chunk.meta.path_in_schema.join("."), this.#cursor(group, chunk).read(start, end)]),
    );
    assembleNested(leaves, tree, DEFAULT_PARSERS);
    const values = leaves.get(name);
    if (values === undefined) throw new Error(`column "${name}" cannot be put together`);
    return hasBareList(tree) ? Array.from(values, (value) => withEmptyLists(value, tree)) : values;
  }

  #cursor(group: number, chunk: ColumnChunk): ColumnCursor {
    if (this.#cursors?.group !== group) this.#cursors = { group, byLeaf: new Map() };
    const { byLeaf } = this.#cursors;
    const known = byLeaf.get(chunk);
    if (known !== undefined) return known;
    const cursor = new ColumnCursor(this.#source, chunk);
    byLeaf.set(chunk, cursor);
    return cursor;
  }
}

function checkNoneTwice(file: string, { children }: SchemaTree): void {
  const names = children.map((child) => child.element.name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice === undefined) return;
  throw new GrpoError("BAD_DATASET", `${file} has two columns called "${twice}"`, {
    hint: "write it again with a name for each: a row has one value for a name",
  });
}

function rowGroups(metadata: FileMetaData, schema: SchemaTree): RowGroup[] {
  // Chunks of the same column share their path through the schema.
  const paths = new Map<string, SchemaTree[]>();
  return metadata.row_groups.map((group) => {
    const rows = Number(group.num_rows);
    const chunks = group.columns.map((column): ColumnChunk => {
      const { meta_data: meta } = column;
      if (meta === undefined || column.file_path) throw new Error("column data outside the file is not supported");
      const key = meta.path_in_schema.join("\0");
      const schemaPath = paths.get(key) ?? getTreePath(schema, meta.path_in_schema);
      paths.set(key, schemaPath);
      // Statistics of a thousand groups would be most of what is kept.
      const { statistics: _, ...rest } = meta;
      return { meta: rest, schemaPath, bytes: chunkBytes(meta), offsetIndex: indexBytes(column), rows };
    });
    return { rows, bytes: Number(group.total_byte_size), chunks };
  });
}

function chunkBytes(meta: ColumnChunk["meta"]): ByteRange {
  // Some writers give 0 for "no dictionary", others leave a dictionary out.
  const dictionary = Number(meta.dictionary_page_offset ?? 0);
  const data = Number(meta.data_page_offset);
  const start = dictionary > 0 && dictionary < data ? dictionary : data;
  return { start, end: start + Number(meta.total_compressed_size) };
}

function indexBytes(column: FileMetaData["row_groups"][number]["columns"][number]): ByteRange | undefined {
  const { offset_index_offset: offset, offset_index_length: length } = column;
  if (!offset || !length) return undefined;
  return { start: Number(offset), end: Number(offset) + length };
}

/** A map with keys only is a list of them. */
function withoutKeyOnlyMaps(tree: SchemaTree): SchemaTree {
  if (tree.element.converted_type === "MAP" && tree.children[0]?.children.length === 1) {
    tree.element.converted_type = "LIST";
  }
  tree.children.forEach(withoutKeyOnlyMaps);
  return tree;
}

/** Old writers have repeated values without a list around them. hyparquet gives null for one without entries. */
function hasBareList({ element, children }: SchemaTree): boolean {
  if (element.converted_type === "LIST" || element.converted_type === "MAP") return false;
  return children.length > 0 ? children.some(hasBareList) : element.repetition_type === "REPEATED";
}

function withEmptyLists(value: unknown, tree: SchemaTree): unknown {
  if (!hasBareList(tree)) return value;
  if (tree.children.length === 0) return value ?? [];
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  const filled = tree.children.map((child) => {
    const { name } = child.element;
    return [name, withEmptyLists(Reflect.get(value, name), child)];
  });
  return Object.fromEntries(filled);
}

/** A large group becomes several blocks of about the same number of rows. */
function cutGroup({ rows, bytes }: RowGroup, group: number, blockBytes: number): Block[] {
  if (rows === 0) return [];
  const count = Math.min(rows, Math.max(1, Math.ceil(bytes / blockBytes)));
  return Array.from({ length: count }, (_, i) => ({
    group,
    start: Math.floor((i * rows) / count),
    end: Math.floor(((i + 1) * rows) / count),
    bytes: bytes / count,
  }));
}

async function readMetadata(source: ByteSource): Promise<FileMetaData> {
  await checkMagic(source);
  const length = source.byteLength;
  const footer = await tail(source, Math.min(length, FOOTER_BYTES));
  const size = new DataView(footer.buffer).getUint32(Math.max(0, footer.length - 8), true) + 8;
  if (size > length) throw new Error("its footer is damaged");
  return parquetMetadata(size > footer.length ? await tail(source, size) : footer, { geoparquet: false });
}

async function tail(source: ByteSource, count: number): Promise<Uint8Array<ArrayBuffer>> {
  const range = { start: source.byteLength - count, end: source.byteLength };
  await source.ensure?.([range]);
  return source.read(range.start, range.end);
}

/** A Git LFS pointer or an HTML page saved under a data file's name is the usual mistake; say so. */
async function checkMagic(source: ByteSource): Promise<void> {
  const range = { start: 0, end: Math.min(48, source.byteLength) };
  await source.ensure?.([range]);
  const start = Buffer.from(source.read(range.start, range.end)).toString("latin1");
  if (start.startsWith("PAR1")) return;
  const pointer = start.startsWith("version https://git-lfs");
  const found = pointer ? "a Git LFS pointer" : "no PAR1 mark";
  throw new GrpoError("BAD_DATASET", `${source.name} is not a parquet file: ${found}`, {
    hint: pointer
      ? "fetch the file itself: git lfs pull"
      : "fetch it again if it is truncated, or load it by its own format",
  });
}

function parquetError(file: string, thrown: unknown): GrpoError {
  if (thrown instanceof GrpoError) return thrown;
  return new GrpoError("BAD_DATASET", `${file} cannot be read as parquet: ${reasonOf(thrown)}`, {
    hint: "fetch or write it again: it may be truncated",
    cause: thrown,
  });
}
