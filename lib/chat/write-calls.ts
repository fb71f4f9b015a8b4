// Calls as text, for chat templates that pass over those of a message.

import { Float } from "../tokenizer/jinja/values.js";
import { isLiteralObject, type Literal, literalJson } from "./literals.js";
import type { PreparedCall } from "./prepare.js";

/** As Hermes and its like do. */
export function writeJsonCalls(calls: readonly PreparedCall[]): string {
  return calls
    .map(({ name, values }) => `{"name": ${JSON.stringify(name)}, "arguments": ${literalJson(values)}}`)
    .map((call) => `<tool_call>\n${call}\n</tool_call>`)
    .join("\n");
}

/** As LFM2 does. */
export function writePythonCalls(calls: readonly PreparedCall[]): string {
  const written = calls.map(({ name, values }) => {
    return `${name}(${Object.entries(values)
      .map(([key, value]) => `${key}=${python(value)}`)
      .join(", ")})`;
  });
  return `<|tool_call_start|>[${written.join(", ")}]<|tool_call_end|>`;
}

function python(value: Literal): string {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (value instanceof Float || !isLiteralObject(value)) return literalJson(value);
  return `{${Object.entries(value)
    .map(([key, item]) => `${JSON.stringify(key)}: ${python(item)}`)
    .join(", ")}}`;
}
