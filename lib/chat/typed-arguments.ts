// Arguments by the JSON schema of their tool: formats that write values as plain text cannot tell "7" from 7, and models that write
// JSON quote numbers at times. The rules are those of transformers' parse_response.

import { isJsonObject, type JsonObject } from "../json.js";
import { isPythonSpace, trimText } from "../text.js";
import { Float } from "../tokenizer/jinja/values.js";
import { isLiteralObject, type Literal, type LiteralObject, readJson, wholeNumber } from "./literals.js";

/** What types a call's arguments. */
export type TypeArguments = (tool: string, values: LiteralObject) => LiteralObject;

/** By tools as OpenAI describes them, or the functions alone. Texts of which the schema says something else are read as that. */
export function argumentTypes(tools: readonly JsonObject[] | undefined): TypeArguments {
  const properties = new Map<string, JsonObject>();
  for (const tool of tools ?? []) {
    const { name, parameters } = isJsonObject(tool.function) ? tool.function : tool;
    if (typeof name !== "string" || !isJsonObject(parameters) || !isJsonObject(parameters.properties)) continue;
    properties.set(name, parameters.properties);
  }
  return (tool, values) => {
    const schemas = properties.get(tool);
    if (schemas === undefined) return values;
    const typed = Object.entries(values).map(([key, value]) => [key, typedValue(value, schemas[key])] as const);
    return typed.every(([key, value]) => value === values[key]) ? values : Object.fromEntries(typed);
  };
}

function typedValue(value: Literal, schema: unknown): Literal {
  if (typeof value !== "string") return value;
  for (const type of typesOf(schema)) {
    const read = readAs(value, type);
    if (read !== undefined) return read;
  }
  return value;
}

/** The types that a schema allows, in its order. */
function typesOf(schema: unknown): string[] {
  if (!isJsonObject(schema)) return [];
  const declared = Array.isArray(schema.type) ? schema.type : [schema.type];
  const types = declared.filter((type): type is string => typeof type === "string");
  for (const choices of [schema.anyOf, schema.oneOf]) {
    if (Array.isArray(choices)) types.push(...choices.flatMap(typesOf));
  }
  if (schema.nullable && !types.includes("null")) types.push("null");
  return types;
}

// What Python's int() and float() read, beyond "nan" and "inf", which are no JSON.
const INTEGER = /^[+-]?\d+(?:_\d+)*$/;
const NUMBER = /^[+-]?(?:\d+(?:_\d+)*\.?(?:\d+(?:_\d+)*)?|\.\d+(?:_\d+)*)(?:[eE][+-]?\d+(?:_\d+)*)?$/;

/** Undefined for a text that is no value of the type; a text stays as it is where nothing else fits. */
function readAs(text: string, type: string): Literal | undefined {
  const trimmed = trimText(text, isPythonSpace);
  switch (type) {
    case "integer":
      return INTEGER.test(trimmed) ? wholeNumber(digitsOf(trimmed)) : wholeOf(trimmed);
    case "number":
      return fractionOf(trimmed);
    case "boolean": {
      const word = trimmed.toLowerCase();
      return word === "true" || word === "1" ? true : word === "false" || word === "0" ? false : undefined;
    }
    case "null":
      return trimmed === "null" || trimmed === "None" ? null : undefined;
    case "object":
    case "array": {
      const read = readJson(text);
      const fits = type === "array" ? Array.isArray(read) : isLiteralObject(read);
      return fits ? read : undefined;
    }
    default:
      return undefined;
  }
}

/** Without what Python allows and JavaScript does not. */
function digitsOf(text: string): string {
  return text.replaceAll("_", "").replace(/^\+/, "");
}

/** A whole number that is written with a fraction or an exponent. */
function wholeOf(text: string): number | bigint | undefined {
  const value = NUMBER.test(text) ? Number(digitsOf(text)) : Number.NaN;
  return Number.isInteger(value) ? wholeNumber(BigInt(value).toString()) : undefined;
}

/** Keeps the fraction of 2.0, and takes 1e3 for a whole number. */
function fractionOf(text: string): number | bigint | Float | undefined {
  const value = NUMBER.test(text) ? Number(digitsOf(text)) : Number.NaN;
  if (!Number.isInteger(value)) return Number.isFinite(value) ? value : undefined;
  return text.includes(".") ? new Float(value) : wholeOf(text);
}
