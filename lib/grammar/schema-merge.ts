// Several schemas that must all fit, as one.

import { isJsonObject, type JsonObject } from "../json.js";
import { cannot } from "./schema-keywords.js";

/** The types that a schema allows, by its keywords where it names none; undefined: any. */
export function typesOf(schema: JsonObject): readonly string[] | undefined {
  const { type, nullable } = schema;
  const named = Array.isArray(type) ? type.map(String) : type === undefined ? impliedTypes(schema) : [String(type)];
  return nullable === true && named && !named.includes("null") ? [...named, "null"] : named;
}

const IMPLIED: readonly (readonly [type: string, keywords: readonly string[]])[] = [
  ["object", ["properties", "required", "additionalProperties", "propertyNames", "minProperties", "maxProperties"]],
  ["array", ["items", "prefixItems", "minItems", "maxItems", "uniqueItems"]],
  ["string", ["minLength", "maxLength", "pattern", "format"]],
  ["number", ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]],
];

/** A value of another type would fit as well; who writes `properties` means an object. */
function impliedTypes(schema: JsonObject): readonly string[] | undefined {
  const implied = IMPLIED.find(([, keywords]) => keywords.some((keyword) => schema[keyword] !== undefined));
  return implied && [implied[0]];
}

/** How two values of a keyword are one. Keywords that are not here must be equal. */
const MERGES: Readonly<Record<string, (first: never, second: never) => unknown>> = {
  minimum: (a: number, b: number) => Math.max(a, b),
  exclusiveMinimum: (a: number, b: number) => Math.max(a, b),
  minLength: (a: number, b: number) => Math.max(a, b),
  minItems: (a: number, b: number) => Math.max(a, b),
  maximum: (a: number, b: number) => Math.min(a, b),
  exclusiveMaximum: (a: number, b: number) => Math.min(a, b),
  maxLength: (a: number, b: number) => Math.min(a, b),
  maxItems: (a: number, b: number) => Math.min(a, b),
  required: (a: readonly string[], b: readonly string[]) => [...new Set([...a, ...b])],
  properties: (a: JsonObject, b: JsonObject) => {
    const both = Object.keys(a).filter((key) => Object.hasOwn(b, key));
    return { ...a, ...b, ...Object.fromEntries(both.map((key) => [key, { allOf: [a[key], b[key]] }])) };
  },
  additionalProperties: (a: unknown, b: unknown) => (a === false || b === false ? false : { allOf: [a, b] }),
  items: (a: unknown, b: unknown) => ({ allOf: [a, b] }),
  title: (a: unknown) => a,
  description: (a: unknown) => a,
  default: (a: unknown) => a,
  examples: (a: unknown) => a,
  $schema: (a: unknown) => a,
  $id: (a: unknown) => a,
  $defs: (a: unknown) => a,
  definitions: (a: unknown) => a,
};

/** Throws BAD_INPUT where a grammar would have to fit both at once. */
export function mergedSchemas(schemas: readonly unknown[], where: string): unknown {
  return schemas.reduce((first, second) => merged(first, second, where));
}

function merged(first: unknown, second: unknown, where: string): unknown {
  if (first === true || second === true) return first === true ? second : first;
  if (!isJsonObject(first) || !isJsonObject(second)) return false;
  // Options of one beside options of the other: the other's wait inside.
  if (COMBINED.some((key) => first[key] !== undefined && second[key] !== undefined)) {
    throw cannot(where, "has allOf of schemas that each have options");
  }
  if (isClosed(first, second) || isClosed(second, first)) return false;
  const result: Record<string, unknown> = { ...within(first, second) };
  for (const [key, value] of Object.entries(within(second, first))) {
    if (result[key] === undefined) result[key] = value;
    else if (key === "type") result.type = commonTypes(result.type, value);
    else if (MERGES[key] !== undefined) result[key] = MERGES[key](result[key] as never, value as never);
    else if (JSON.stringify(result[key]) !== JSON.stringify(value))
      throw cannot(where, `has allOf of two schemas with ${key}`);
  }
  return result;
}

const COMBINED = ["allOf", "anyOf", "oneOf"];

/** Whether one lets no property through that the other requires. */
function isClosed(closed: JsonObject, other: JsonObject): boolean {
  if (closed.additionalProperties !== false || !Array.isArray(other.required)) return false;
  const { properties } = closed;
  return other.required.some((key) => !isJsonObject(properties) || !Object.hasOwn(properties, String(key)));
}

/** Without the properties that the other does not let through. */
function within(schema: JsonObject, { additionalProperties, properties: allowed }: JsonObject): JsonObject {
  const { properties } = schema;
  if (additionalProperties !== false || !isJsonObject(properties)) return schema;
  const kept = Object.entries(properties).filter(([key]) => isJsonObject(allowed) && Object.hasOwn(allowed, key));
  return { ...schema, properties: Object.fromEntries(kept) };
}

function commonTypes(first: unknown, second: unknown): string[] {
  const [types, others] = [first, second].map((type) => (Array.isArray(type) ? type.map(String) : [String(type)])) as [
    string[],
    string[],
  ];
  const both = types.filter((type) => others.includes(type) || (type === "integer" && others.includes("number")));
  return types.includes("number") && others.includes("integer") ? [...both, "integer"] : both;
}
