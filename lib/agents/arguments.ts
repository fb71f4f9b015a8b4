// Whether arguments are those that a tool has. TRL calls Python functions, and the model reads what Python says of arguments that are
// missing or too many; here the tool's JSON schema stands for the function's parameters.

import { isJsonObject, type JsonObject } from "../json.js";
import type { ReadyTool } from "./tool.js";

/** What Python 3.11 says; undefined where the arguments fit. */
export function bindingError(
  { name, parameters }: Pick<ReadyTool, "name" | "parameters">,
  given: JsonObject,
): string | undefined {
  const known = isJsonObject(parameters.properties) ? Object.keys(parameters.properties) : [];
  // As **kwargs.
  const takesMore = Boolean(parameters.additionalProperties);
  const foreign = Object.keys(given).find((key) => !known.includes(key));
  if (foreign !== undefined && !takesMore) return `${name}() got an unexpected keyword argument '${foreign}'`;
  const required = Array.isArray(parameters.required) ? parameters.required.map(String) : [];
  const missing = required.filter((key) => !Object.hasOwn(given, key)).map((key) => `'${key}'`);
  if (missing.length === 0) return undefined;
  const what = missing.length === 1 ? "argument" : "arguments";
  return `${name}() missing ${missing.length} required positional ${what}: ${listed(missing)}`;
}

/** "'a'", "'a' and 'b'", "'a', 'b', and 'c'". */
function listed(names: readonly string[]): string {
  if (names.length < 3) return names.join(" and ");
  return `${names.slice(0, -1).join(", ")}, and ${names.at(-1)}`;
}
