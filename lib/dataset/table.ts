// One data file as a table: its columns, how many rows, and its rows in blocks small enough to be held in memory. Which
// format a file has is told by its name. It knows nothing of splits.

import { at } from "../at.js";
import { GrpoError } from "../errors.js";

export type RawRow = Record<string, unknown>;

export interface Table {
  readonly file: string;
  readonly columnNames: readonly string[];
  /** Block k holds rows [blockStarts[k], blockStarts[k + 1]); the last entry is the number of rows. */
  readonly blockStarts: ArrayLike<number>;
  /** About how much memory the rows of a block take, with every column. */
  blockBytes(block: number): number;
  /** Must be given columns that the table has. Reads from the disk, at once. */
  readBlock(block: number, columns: readonly string[]): RawRow[];
  /** Fetches what readBlock will need of a file that is elsewhere; absent where the whole file is on the disk. */
  prepare?(blocks: Iterable<number>, columns: readonly string[]): Promise<void>;
}

export type DataFormat = "parquet" | "json" | "csv" | "tsv" | "text";

const FORMATS: Readonly<Record<string, DataFormat>> = {
  parquet: "parquet",
  jsonl: "json",
  ndjson: "json",
  json: "json",
  csv: "csv",
  tsv: "tsv",
  txt: "text",
};

/** Formats that data sets come in but that cannot be read here, with what to do instead. */
const OTHER_FORMATS: Readonly<Record<string, string>> = {
  arrow: "convert it in Python: load_from_disk(folder).to_parquet(file)",
  zst: "unpack it first, or pack it with gzip",
  bz2: "unpack it first, or pack it with gzip",
  xz: "unpack it first, or pack it with gzip",
  zip: "unpack it first, or pack single files with gzip",
  tar: "unpack it first, or pack single files with gzip",
};

/** What else datasets reads: where most files are such ones, the others are notes about them. */
const FOREIGN_FORMATS = new Set(
  [
    "arrow tar zip conll conllu xml hdf5 h5 eval lance tsfile pdf nii glb ply stl",
    "apng bmp dds eps fits gif icns ico j2k jfif jp2 jpe jpeg jpg jpx pbm pcx pgm png pnm ppm psd tga tif tiff webp xbm xpm",
    "3gp aiff au avr caf flac htk m4v mp3 mpg ogg opus raw sds svx voc w64 wav webm wma wmv",
    "avi mkv mov mp4 mpeg",
  ].flatMap((names) => names.split(" ")),
);

/** What a file is by its name; undefined for a file that is no data, such as a picture. */
export function dataFormat(file: string): DataFormat | "unreadable" | undefined {
  const extension = extensionOf(file.replace(/\.gz$/i, ""));
  const isOther = extension in OTHER_FORMATS || FOREIGN_FORMATS.has(extension);
  return FORMATS[extension] ?? (isOther ? "unreadable" : undefined);
}

/** The format of most files, as datasets infers it from all parts of their names; "json" for JSON lines as well. */
export function commonFormat(files: readonly string[]): string | undefined {
  // Files of these names tell about pictures or sounds beside them.
  const isMetadata = (file: string) => /^metadata\.(?:csv|jsonl|parquet)$/.test(baseName(file));
  const [most] = [files.filter((file) => !isMetadata(file)), files].map(mostCommonExtension).filter(Boolean);
  return most !== undefined && JSON_NAMES.includes(most) ? "json" : most;
}

/** The files that datasets would read of those with this common format. */
export function filesInFormat(files: readonly string[], format: string): string[] {
  const family = [JSON_NAMES, ["csv", "tsv"]].find((names) => names.includes(format)) ?? [format];
  return files.filter((file) =>
    extensionsOf(file).some((extension) => extension === "zip" || family.includes(extension)),
  );
}

const JSON_NAMES = ["json", "jsonl", "ndjson"];
/** Where equally many files have several formats, the last of these wins, else the last in the alphabet. */
const PREFERRED = ["csv", "json", "jsonl", "arrow", "lance", "parquet"];

function mostCommonExtension(files: readonly string[]): string | undefined {
  const counts = new Map<string, number>();
  for (const extension of files.flatMap(extensionsOf)) {
    if (!(extension in FORMATS || FOREIGN_FORMATS.has(extension))) continue;
    counts.set(extension, (counts.get(extension) ?? 0) + 1);
  }
  const rank = (extension: string) => PREFERRED.indexOf(extension);
  const sorted = [...counts].sort(([a, m], [b, n]) => n - m || rank(b) - rank(a) || (a < b ? 1 : -1));
  return sorted[0]?.[0];
}

export function isReadable(file: string): boolean {
  const format = dataFormat(file);
  return format !== undefined && format !== "unreadable";
}

/** The format of a file that is to be read, by its name. */
export function readableFormat(file: string): DataFormat {
  const format = dataFormat(file);
  if (format !== undefined && format !== "unreadable") return format;
  const names = Object.keys(FORMATS).join(", ");
  throw new GrpoError("BAD_DATASET", `${file}: cannot read this format; the readable ones are ${names}, also as .gz`, {
    hint: OTHER_FORMATS[extensionOf(file)] ?? "save it as JSON lines or parquet",
  });
}

export function baseName(file: string): string {
  return file.slice(file.lastIndexOf("/") + 1);
}

/** All that follow a dot: "jsonl" and "gz" of train.jsonl.gz. */
function extensionsOf(file: string): string[] {
  return baseName(file).toLowerCase().split(".").slice(1);
}

function extensionOf(file: string): string {
  return /\.([^./\\]+)$/.exec(file)?.[1]?.toLowerCase() ?? "";
}

/** The block that holds a row. */
export function blockOf(table: Table, row: number): number {
  let low = 0;
  let high = table.blockStarts.length - 2;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (at(table.blockStarts, middle) <= row) low = middle;
    else high = middle - 1;
  }
  return low;
}

export function numRows(table: Table): number {
  return at(table.blockStarts, table.blockStarts.length - 1);
}
