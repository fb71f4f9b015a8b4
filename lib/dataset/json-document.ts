// JSON that is no JSON lines and has to be read as a whole: a list, objects over several lines, or a field of one object.

import { GrpoError } from "../errors.js";
import { isJsonObject } from "../json.js";
import { parseJson, splitJson } from "./exact-json.js";
import { checkRow } from "./json-lines.js";
import type { RawRow } from "./table.js";

/** Longer texts are not tried as anything but JSON lines and lists. */
export const LONGEST_DOCUMENT = 1 << 28;

/** Whether the text of a file that begins so is read as a whole anyway. */
export function isDocument(start: string, field: string | undefined): boolean {
  return field !== undefined || start.trimStart().startsWith("[");
}

/** The rows of a list, or of a field of an object. */
export function parseDocument(text: string, file: string, field: string | undefined): RawRow[] {
  const value = parseJson(text, file, { names: field !== undefined });
  if (field === undefined) return listRows(value as unknown[], isOfObjects(text), file);
  const found = isJsonObject(value) && Object.hasOwn(value, field) ? value[field] : undefined;
  if (Array.isArray(found)) {
    if (found.length > 0 && found.every(Array.isArray)) return found.map((row: unknown[]) => ({ ...row }));
    return listRows(found, found.some(isJsonObject), `${file}, "${field}"`);
  }
  if (isJsonObject(found)) return columnRows(found, file, field);
  throw new GrpoError("BAD_DATASET", `${file}: expected a list or an object of columns in "${field}"`, {
    hint: "fix the file, or the field that README.md names",
  });
}

/** As datasets looks at a list: whether an object begins before any text. */
function isOfObjects(text: string): boolean {
  return text.trimStart().slice(0, 100).split('"', 1)[0]?.includes("{") === true;
}

/** Objects are rows; what is none is a column "text". */
function listRows(values: readonly unknown[], areObjects: boolean, file: string): RawRow[] {
  return values.map((value, index) => (areObjects ? checkRow(value, `${file}, item ${index}`) : { text: value }));
}

/** Lists of one length, or objects with the same keys, by column. */
function columnRows(columns: Readonly<Record<string, unknown>>, file: string, field: string): RawRow[] {
  const lists = Object.entries(columns).map(([name, column]): [string, unknown[]] => {
    if (Array.isArray(column)) return [name, column as unknown[]];
    if (isJsonObject(column)) return [name, Object.values(column)];
    throw new GrpoError("BAD_DATASET", `${file}: expected lists in "${field}", found another value for "${name}"`);
  });
  const length = lists[0]?.[1].length ?? 0;
  if (lists.some(([, values]) => values.length !== length)) {
    throw new GrpoError("BAD_DATASET", `${file}: the columns in "${field}" have different lengths`);
  }
  return Array.from({ length }, (_, row) => Object.fromEntries(lists.map(([name, values]) => [name, values[row]])));
}

/** Objects over several lines, or several in one; undefined where the text is no such. */
export function objectsOf(text: string, file: string): RawRow[] | undefined {
  try {
    return splitJson(text)?.map((part) => checkRow(parseJson(part, file, { names: true }), file));
  } catch {
    return undefined;
  }
}
