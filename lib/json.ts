// Reading JSON files of models, with errors that name the file; and the one thing that JSON.parse hides: repeated keys.

import { readFile } from "node:fs/promises";
import { GrpoError, type GrpoErrorCode, reasonOf } from "./errors.js";
import { namingForeignKind } from "./file-kind.js";

/** An object as JSON.parse gives it. */
export type JsonObject = Readonly<Record<string, unknown>>;

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** JSON text of anything that JSON can hold, and of bigints as texts: as numbers, readers would round them. */
export function toJson(value: unknown): string | undefined {
  return JSON.stringify(value, (_, part: unknown) => (typeof part === "bigint" ? String(part) : part));
}

/** The object in a JSON file. A missing file is FILE_NOT_FOUND; anything else that is wrong has the given code. */
export async function readJsonObject(file: string, code: GrpoErrorCode): Promise<JsonObject> {
  return (await readJsonFile(file, code)).object;
}

/** The same, and the text that it was read from. */
export async function readJsonFile(
  file: string,
  code: GrpoErrorCode,
): Promise<{ readonly object: JsonObject; readonly text: string }> {
  const text = await readFile(file, "utf8").catch((cause: unknown) => {
    throw new GrpoError("FILE_NOT_FOUND", `cannot read ${file}: ${reasonOf(cause)}`, { cause });
  });
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (cause) {
    throw await namingForeignKind(file, new GrpoError(code, `${file} is not JSON: ${reasonOf(cause)}`, { cause }));
  }
  if (isJsonObject(content)) return { object: content, text };
  throw new GrpoError(code, `${file}: expected a JSON object`);
}

/** The first key that an object of this valid JSON text has twice. JSON.parse keeps the last and says nothing. */
export function repeatedKey(json: string): string | undefined {
  const scopes: (Set<string> | undefined)[] = [];
  for (const [token] of json.matchAll(/"(?:[^"\\]|\\.)*"(?:\s*:)?|[{}[\]]/g)) {
    if (token === "{") scopes.push(new Set());
    else if (token === "[") scopes.push(undefined);
    else if (token === "}" || token === "]") scopes.pop();
    else if (token.endsWith(":")) {
      const key: string = JSON.parse(token.slice(0, token.lastIndexOf('"') + 1));
      const scope = scopes.at(-1);
      if (scope?.has(key)) return key;
      scope?.add(key);
    }
  }
  return undefined;
}

/**
 * A valid JSON object's text with some of its keys set, and all else as it was written: to strict readers 3.0 is another
 * number than 3, and parsing forgets which it was.
 */
export function withJsonKeys(json: string, values: JsonObject): string {
  const places = topLevelValues(json);
  const multiline = json.includes("\n");
  const written = (value: unknown) => {
    return multiline ? JSON.stringify(value, null, 2).replaceAll("\n", "\n  ") : JSON.stringify(value);
  };
  const present = Object.keys(values).filter((key) => places.has(key));
  const place = (key: string) => places.get(key) ?? [0, 0];
  // From the end on, so that earlier places stay where they are.
  present.sort((a, b) => place(b)[0] - place(a)[0]);
  let text = json;
  for (const key of present)
    text = `${text.slice(0, place(key)[0])} ${written(values[key])}${text.slice(place(key)[1])}`;
  const added = Object.keys(values).filter((key) => !places.has(key));
  if (added.length === 0) return text;
  const members = added.map((key) => `${JSON.stringify(key)}: ${written(values[key])}`);
  const [space, end] = multiline ? ["\n  ", "\n}\n"] : [" ", "}\n"];
  const before = text.slice(0, text.lastIndexOf("}")).trimEnd();
  return `${before}${places.size > 0 ? "," : ""}${space}${members.join(`,${space}`)}${end}`;
}

/** From where to where the value of each key of the outermost object goes, without the space after it. */
export function topLevelValues(json: string): Map<string, [number, number]> {
  const places = new Map<string, [number, number]>();
  let depth = 0;
  let open: { key: string; start: number } | undefined;
  const close = (end: number) => {
    if (open) places.set(open.key, [open.start, open.start + json.slice(open.start, end).trimEnd().length]);
    open = undefined;
  };
  for (const { 0: token, index } of json.matchAll(/"(?:[^"\\]|\\.)*"(?:\s*:)?|[{}[\],]/g)) {
    if (token === "{" || token === "[") depth++;
    else if (token === "}" || token === "]") {
      depth--;
      if (depth === 0) close(index);
    } else if (depth === 1 && token === ",") close(index);
    else if (depth === 1 && token.endsWith(":")) {
      open = { key: JSON.parse(token.slice(0, token.lastIndexOf('"') + 1)), start: index + token.length };
    }
  }
  return places;
}
