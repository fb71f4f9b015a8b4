// Python's json.dumps, with which templates write tools and arguments.

import { TemplateTypeError } from "./errors.js";
import { Float, floatText, integerText, itemsOf, textOf, typeName, type Value } from "./values.js";

export interface JsonStyle {
  readonly ensureAscii: boolean;
  /** What a level is indented by; undefined for one line. */
  readonly indent: string | undefined;
  readonly separators: readonly [item: string, key: string];
  readonly sortKeys: boolean;
}

export function toJson(value: Value, style: JsonStyle, level = 0): string {
  if (value === null) return "null";
  if (typeof value === "boolean") return value ? "true" : "false";
  if (typeof value === "number") return Number.isInteger(value) ? integerText(value) : jsonFloat(value);
  if (typeof value === "bigint") return String(value);
  if (value instanceof Float) return jsonFloat(value.value);
  if (typeof value === "string") return jsonText(value, style.ensureAscii);
  const items = itemsOf(value);
  if (items !== undefined) {
    return enclose(
      "[",
      items.map((item) => toJson(item, style, level + 1)),
      "]",
      style,
      level,
    );
  }
  if (value instanceof Map) {
    const entries = [...value].map(([key, item]) => [jsonKey(key), item] as const);
    if (style.sortKeys) entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    const [, colon] = style.separators;
    const parts = entries.map(
      ([key, item]) => jsonText(key, style.ensureAscii) + colon + toJson(item, style, level + 1),
    );
    return enclose("{", parts, "}", style, level);
  }
  throw new TemplateTypeError(`Object of type ${typeName(value)} is not JSON serializable`);
}

function enclose(open: string, parts: readonly string[], close: string, style: JsonStyle, level: number): string {
  if (parts.length === 0) return open + close;
  const [comma] = style.separators;
  if (style.indent === undefined) return open + parts.join(comma) + close;
  const inner = `\n${style.indent.repeat(level + 1)}`;
  return `${open}${inner}${parts.join(comma + inner)}\n${style.indent.repeat(level)}${close}`;
}

function jsonKey(key: Value): string {
  if (typeof key === "string") return key;
  if (key === null) return "null";
  if (typeof key === "boolean") return key ? "true" : "false";
  if (typeof key === "number" || typeof key === "bigint" || key instanceof Float) return textOf(key);
  throw new TemplateTypeError(`keys must be str, int, float, bool or None, not ${typeName(key)}`);
}

function jsonFloat(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "Infinity" : "-Infinity";
  return floatText(value);
}

function jsonText(text: string, ensureAscii: boolean): string {
  const json = JSON.stringify(text);
  if (!ensureAscii) return json;
  return json.replace(/[\x7f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
