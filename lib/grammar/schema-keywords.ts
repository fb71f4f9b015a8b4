// The keywords of JSON schemas: those that say nothing of which values fit, and those that no grammar keeps, which are refused by name;
// and errors that say where.

import { GrpoError } from "../errors.js";
import type { JsonObject } from "../json.js";
import type { Expression } from "./expression.js";

/** Turns a schema at a place into an expression. */
export type ReadSchema = (schema: unknown, where: string) => Expression;

/** Say nothing of which values fit. */
export const ANNOTATIONS: ReadonlySet<string> = new Set([
  "$schema",
  "$id",
  "$anchor",
  "$comment",
  "$defs",
  "definitions",
  "title",
  "description",
  "default",
  "examples",
  "deprecated",
  "readOnly",
  "writeOnly",
]);

/** They say something of a value as a whole, or of one part by another. */
const REFUSED: readonly string[] = [
  "not",
  "if",
  "then",
  "else",
  "contains",
  "minContains",
  "maxContains",
  "dependentRequired",
  "dependentSchemas",
  "dependencies",
  "patternProperties",
  "unevaluatedItems",
  "$dynamicRef",
  "$recursiveRef",
];

export function checkKeywords(schema: JsonObject, where: string): void {
  const found = REFUSED.find((keyword) => schema[keyword] !== undefined);
  if (found !== undefined) throw cannot(where, `has ${found}`);
}

/** `where` is a JSON pointer. */
export function cannot(where: string, what: string): GrpoError {
  const place = where === "" ? "the schema" : `the schema at ${where.slice(0, 200)}`;
  return new GrpoError("BAD_INPUT", `${place} ${what}, which no grammar can keep to`);
}

/** A count that a keyword gives. */
export function count(schema: JsonObject, key: string, fallback: number, where: string): number {
  const value = schema[key] ?? fallback;
  if (typeof value === "number" && value >= 0 && (Number.isInteger(value) || value === fallback)) return value;
  throw cannot(where, `has a ${key} that is no whole number of 0 or more`);
}
