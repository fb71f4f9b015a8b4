// One data file as a table: how many rows, which columns, and any range of its rows. Parquet by hyparquet, which reads only
// the ranges asked for; JSON lines and JSON arrays are read whole. It knows nothing of splits.

import { createReadStream } from "node:fs";
import { open, readFile, stat } from "node:fs/promises";
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects, parquetSchema } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { GrpoError, reasonOf } from "../errors.js";

export type RawRow = Record<string, unknown>;

export interface Table {
  readonly file: string;
  readonly numRows: number;
  readonly columnNames: readonly string[];
  read(start: number, end: number): Promise<RawRow[]>;
}

const READERS: Readonly<Record<string, (file: string) => Promise<Table>>> = {
  parquet: openParquet,
  jsonl: openJsonLines,
  ndjson: openJsonLines,
  json: openJson,
};

/** Formats that data sets come in but that cannot be read here, with what to do instead. */
const OTHER_FORMATS: Readonly<Record<string, string>> = {
  csv: "Save it as JSON lines or parquet; CSV is not supported yet.",
  tsv: "Save it as JSON lines or parquet; TSV is not supported yet.",
  arrow: "In Python: load_from_disk(folder).to_parquet(file).",
  gz: "Unpack it first.",
  zst: "Unpack it first.",
  zip: "Unpack it first.",
  txt: "Save it as JSON lines with one column.",
};

/** The format of a data file by its name; undefined for files that are no data. */
export function dataFormat(file: string): string | undefined {
  const extension = /\.([^./\\]+)$/.exec(file)?.[1]?.toLowerCase();
  if (extension === undefined) return undefined;
  return extension in READERS || extension in OTHER_FORMATS ? extension : undefined;
}

export function isReadable(format: string): boolean {
  return format in READERS;
}

export async function openTable(file: string): Promise<Table> {
  const format = dataFormat(file);
  const reader = format === undefined ? undefined : READERS[format];
  if (reader === undefined) {
    const readable = Object.keys(READERS).join(", ");
    throw new GrpoError("BAD_DATASET", `${file}: cannot read this format; the readable ones are ${readable}.`, {
      hint: (format === undefined ? undefined : OTHER_FORMATS[format]) ?? "Save it as JSON lines or parquet.",
    });
  }
  if (!(await stat(file).catch(() => undefined))?.isFile()) {
    throw new GrpoError("FILE_NOT_FOUND", `No such data file: ${file}`);
  }
  return reader(file);
}

async function openParquet(file: string): Promise<Table> {
  try {
    await checkMagic(file);
    const buffer = await asyncBufferFromFile(file);
    const metadata = await parquetMetadataAsync(buffer);
    const columnNames = parquetSchema(metadata).children.map((child) => child.element.name);
    return {
      file,
      numRows: Number(metadata.num_rows),
      columnNames,
      async read(rowStart, rowEnd) {
        if (rowEnd <= rowStart) return [];
        try {
          const rows = await parquetReadObjects({ file: buffer, metadata, compressors, rowStart, rowEnd });
          return rows.map((row) => plainRow(row, columnNames));
        } catch (thrown) {
          throw parquetError(file, thrown);
        }
      },
    };
  } catch (thrown) {
    throw parquetError(file, thrown);
  }
}

/** A Git LFS pointer or an HTML page saved under a data file's name is the usual mistake; say so. */
async function checkMagic(file: string): Promise<void> {
  const handle = await open(file);
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(48), 0, 48, 0);
    const start = buffer.subarray(0, bytesRead).toString("latin1");
    if (start.startsWith("PAR1")) return;
    const pointer = start.startsWith("version https://git-lfs");
    throw new GrpoError(
      "BAD_DATASET",
      `${file} is not a parquet file: ${pointer ? "a Git LFS pointer" : "no PAR1 mark"}.`,
      {
        hint: pointer ? "Fetch the file itself: git lfs pull." : "It may be truncated or of another format.",
      },
    );
  } finally {
    await handle.close();
  }
}

function parquetError(file: string, thrown: unknown): GrpoError {
  if (thrown instanceof GrpoError) return thrown;
  return new GrpoError("BAD_DATASET", `${file} cannot be read as parquet: ${reasonOf(thrown)}`, {
    hint: "The file may be truncated; fetch or write it again.",
    cause: thrown,
  });
}

/** Whole numbers arrive as bigint; those that a double holds exactly become numbers, at any depth. */
function plainRow(row: Readonly<RawRow>, columnNames: readonly string[]): RawRow {
  return Object.fromEntries(columnNames.map((name) => [name, plainValue(row[name])]));
}

function plainValue(value: unknown): unknown {
  if (value === undefined) return null;
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  if (Array.isArray(value)) return value.map(plainValue);
  if (typeof value !== "object" || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plainValue(inner)]));
}

async function openJsonLines(file: string): Promise<Table> {
  const rows: RawRow[] = [];
  let number = 0;
  for await (const line of lines(file)) {
    number++;
    if (line.trim() === "") continue;
    rows.push(parseRow(line, `${file}, line ${number}`));
  }
  return memoryTable(file, rows);
}

/** A .json file is an array of rows, or JSON lines under another name. */
async function openJson(file: string): Promise<Table> {
  const handle = await open(file);
  let first: string | undefined;
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(4096), 0, 4096, 0);
    first = buffer
      .subarray(0, bytesRead)
      .toString("utf8")
      .replace(/^\uFEFF/, "")
      .trimStart()[0];
  } finally {
    await handle.close();
  }
  if (first !== "[") return openJsonLines(file);
  const values = parseJson((await readFile(file, "utf8")).replace(/^\uFEFF/, ""), file) as unknown[];
  return memoryTable(
    file,
    values.map((value, index) => checkRow(value, `${file}, item ${index}`)),
  );
}

function memoryTable(file: string, rows: readonly RawRow[]): Table {
  const names = new Set<string>();
  for (const row of rows) for (const name of Object.keys(row)) names.add(name);
  return { file, numRows: rows.length, columnNames: [...names], read: async (start, end) => rows.slice(start, end) };
}

function parseRow(text: string, where: string): RawRow {
  return checkRow(parseJson(text, where), where);
}

function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (thrown) {
    throw new GrpoError("BAD_DATASET", `${where}: not valid JSON: ${reasonOf(thrown)}`, { cause: thrown });
  }
}

function checkRow(value: unknown, where: string): RawRow {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as RawRow;
  throw new GrpoError(
    "BAD_DATASET",
    `${where}: expected an object of columns, found ${JSON.stringify(value).slice(0, 80)}.`,
  );
}

/** Lines at \n only: node:readline also breaks at U+2028, which is legal inside a JSON string. */
async function* lines(file: string): AsyncGenerator<string> {
  const decoder = new TextDecoder("utf-8");
  let rest = "";
  for await (const chunk of createReadStream(file) as AsyncIterable<Uint8Array>) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = parts.pop() ?? "";
    yield* parts;
  }
  rest += decoder.decode();
  if (rest !== "") yield rest;
}
