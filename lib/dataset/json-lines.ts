// JSON lines and plain text lines: one row a line, found again by the byte at which a block of lines begins.

import { GrpoError, reasonOf } from "../errors.js";
import type { RawRow } from "./table.js";

/** A run of whole lines, as bytes, with the number of the first one. */
export interface LineBlock {
  readonly bytes: Uint8Array;
  readonly firstLine: number;
  /** Where it begins in the file. */
  readonly offset: number;
}

const BLOCK_BYTES = 1 << 18;
const NEWLINE = 10;

/** Cuts a stream at line ends into blocks of about a quarter of a megabyte; a longer line is a block of its own. */
export async function* lineBlocks(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<LineBlock> {
  let pending: Uint8Array[] = [];
  let size = 0;
  let offset = 0;
  let firstLine = 1;
  const take = (): LineBlock => {
    const bytes = pending.length === 1 && pending[0] ? pending[0] : Buffer.concat(pending);
    const block = { bytes, firstLine, offset };
    offset += bytes.length;
    for (const byte of bytes) if (byte === NEWLINE) firstLine++;
    pending = [];
    size = 0;
    return block;
  };
  for await (const chunk of chunks) {
    const end = size + chunk.length >= BLOCK_BYTES ? chunk.lastIndexOf(NEWLINE) + 1 : 0;
    pending.push(end > 0 ? chunk.subarray(0, end) : chunk);
    size += end > 0 ? end : chunk.length;
    if (end === 0) continue;
    yield take();
    if (end < chunk.length) pending.push(chunk.subarray(end));
    size = chunk.length - end;
  }
  if (size > 0) yield take();
}

/** The rows of a block of JSON lines; blank lines count for the numbering only. */
export function parseJsonLines({ bytes, firstLine }: LineBlock, file: string): RawRow[] {
  const rows: RawRow[] = [];
  splitLines(bytes).forEach((line, i) => {
    if (line.trim() === "") return;
    const where = `${file}, line ${firstLine + i}`;
    rows.push(checkRow(parseJson(line, where), where));
  });
  return rows;
}

/** One row for each line, with the column "text". */
export function parseTextLines({ bytes }: LineBlock): RawRow[] {
  return splitLines(bytes).map((text) => ({ text: text.replace(/\r$/, "") }));
}

/** At \n only: U+2028 is legal inside a JSON string. TextDecoder drops a byte order mark. */
function splitLines(bytes: Uint8Array): string[] {
  const lines = new TextDecoder().decode(bytes).split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines;
}

export function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (thrown) {
    throw new GrpoError("BAD_DATASET", `${where}: not valid JSON: ${reasonOf(thrown)}`, { cause: thrown });
  }
}

export function checkRow(value: unknown, where: string): RawRow {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as RawRow;
  const found = JSON.stringify(value).slice(0, 80);
  throw new GrpoError("BAD_DATASET", `${where}: expected an object of columns, found ${found}.`);
}
