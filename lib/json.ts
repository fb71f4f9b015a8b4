// Reading JSON files of models, with errors that name the file; and the one thing that JSON.parse hides: repeated keys.

import { readFile } from "node:fs/promises";
import { GrpoError, type GrpoErrorCode, reasonOf } from "./errors.js";

export type JsonObject = Readonly<Record<string, unknown>>;

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The object in a JSON file. A missing file is FILE_NOT_FOUND; anything else that is wrong has the given code. */
export async function readJsonObject(file: string, code: GrpoErrorCode): Promise<JsonObject> {
  const text = await readFile(file, "utf8").catch((cause: unknown) => {
    throw new GrpoError("FILE_NOT_FOUND", `Cannot read ${file}: ${reasonOf(cause)}`, { cause });
  });
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (cause) {
    throw new GrpoError(code, `${file} is not JSON: ${reasonOf(cause)}`, { cause });
  }
  if (isJsonObject(content)) return content;
  throw new GrpoError(code, `${file}: expected a JSON object.`);
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
