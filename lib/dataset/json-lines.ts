// JSON lines and plain text lines: one row a line.

import { GrpoError, reasonOf } from "../errors.js";
import type { LineBlock } from "./line-blocks.js";
import type { RawRow } from "./table.js";

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
