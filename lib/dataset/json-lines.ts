// JSON lines and plain text lines: one row a line. Bytes that are no UTF-8 are refused, as in Python.

import { isUtf8 } from "node:buffer";
import { GrpoError } from "../errors.js";
import { parseJson } from "./exact-json.js";
import type { LineBlock } from "./line-blocks.js";
import type { RawRow } from "./table.js";

/** The rows of a block of JSON lines; blank lines count for the numbering only. */
export function parseJsonLines(block: LineBlock, file: string): RawRow[] {
  const rows: RawRow[] = [];
  splitLines(block, file).forEach((line, i) => {
    if (line.trim() === "") return;
    const where = `${file}, line ${block.firstLine + i}`;
    rows.push(checkRow(parseJson(line, where, { names: true }), where));
  });
  return rows;
}

/** One row for each line, with the column "text". */
export function parseTextLines(block: LineBlock, file: string): RawRow[] {
  return splitLines(block, file).map((text) => ({ text: text.replace(/\r$/, "") }));
}

/** The lines of a block, which end at \n only: U+2028 is legal inside a JSON string. */
function splitLines(block: LineBlock, file: string): string[] {
  const lines = decodeUtf8(block, file).split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines;
}

/** The text of a block, without a byte order mark. Throws BAD_DATASET for bytes that are not UTF-8. */
export function decodeUtf8({ bytes, firstLine }: Pick<LineBlock, "bytes" | "firstLine">, file: string): string {
  checkUtf8({ bytes, firstLine }, file);
  return new TextDecoder().decode(bytes);
}

export function checkUtf8({ bytes, firstLine }: Pick<LineBlock, "bytes" | "firstLine">, file: string): void {
  if (isUtf8(bytes)) return;
  let start = 0;
  let line = firstLine;
  for (
    let end = bytes.indexOf(10) + 1;
    end > 0 && isUtf8(bytes.subarray(start, end));
    end = bytes.indexOf(10, end) + 1
  ) {
    start = end;
    line++;
  }
  throw new GrpoError("BAD_DATASET", `${file}, line ${line}: not valid UTF-8`, { hint: "save the file as UTF-8" });
}

export function checkRow(value: unknown, where: string): RawRow {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as RawRow;
  const found = JSON.stringify(value).slice(0, 80);
  throw new GrpoError("BAD_DATASET", `${where}: expected an object of columns, found ${found}`);
}
