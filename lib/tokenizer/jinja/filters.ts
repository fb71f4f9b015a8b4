// Jinja's filters, with transformers' `tojson`. Filters that make no sense in a chat template (random, urlize, wordwrap
// and the like) are left out and refused by name.

import { isPythonSpace, trimText } from "../../text.js";
import { attributeOf, itemOf, sliceOf } from "./access.js";
import { bind, needInteger, needText } from "./arguments.js";
import { TemplateError, TemplateTypeError } from "./errors.js";
import { type JsonStyle, toJson } from "./json.js";
import { capitalize, methodOf, replaceText, stripText } from "./methods.js";
import { calculate, formatPercent } from "./operators.js";
import { applyTest } from "./tests.js";
import {
  type CallArguments,
  compare,
  equals,
  isFloat,
  isTrue,
  itemsOf,
  iterate,
  lengthOf,
  makeNumber,
  numberOf,
  Tuple,
  textOf,
  typeName,
  Undefined,
  type Value,
} from "./values.js";

type Filter = (value: Value, args: CallArguments, name: string) => Value;

export function applyFilter(name: string, value: Value, args: CallArguments): Value {
  const filter = FILTERS.get(name);
  if (filter === undefined) throw new TemplateError(`No filter named '${name}'.`);
  return filter(value, args, name);
}

/** Parameter names, then the filter over the arguments in that order. */
function withParameters(
  parameters: readonly string[],
  apply: (value: Value, ...args: (Value | undefined)[]) => Value,
): Filter {
  return (value, args, name) => apply(value, ...bind(name, parameters, args));
}

const onText = (convert: (text: string) => Value): Filter => withParameters([], (value) => convert(textOf(value)));

function fallback(value: Value, other: Value | undefined, falsy: Value | undefined): Value {
  const replaces = value instanceof Undefined || (falsy !== undefined && isTrue(falsy) && !isTrue(value));
  return replaces ? (other ?? "") : value;
}

function json(value: Value, ...given: (Value | undefined)[]): Value {
  const [ensureAscii, indent, separators, sortKeys] = given;
  const style: JsonStyle = {
    ensureAscii: ensureAscii !== undefined && isTrue(ensureAscii),
    indent:
      indent === undefined || indent === null
        ? undefined
        : typeof indent === "string"
          ? indent
          : " ".repeat(Math.max(0, needInteger("tojson", indent))),
    separators: jsonSeparators(separators, indent),
    sortKeys: sortKeys !== undefined && isTrue(sortKeys),
  };
  return toJson(value, style);
}

function jsonSeparators(given: Value | undefined, indent: Value | undefined): readonly [string, string] {
  if (given === undefined || given === null) return [indent === undefined || indent === null ? ", " : ",", ": "];
  const [item, key] = itemsOf(given) ?? [];
  return [needText("tojson", item), needText("tojson", key)];
}

function indentText(value: Value, width: Value | undefined, first: Value | undefined, blank: Value | undefined): Value {
  const by = typeof width === "string" ? width : " ".repeat(needInteger("indent", width, 4));
  const lines = `${textOf(value)}\n`.split(/\r\n|[\n\r\v\f]/);
  // The added line end is of no line of its own.
  lines.pop();
  const keepsBlank = blank === undefined || !isTrue(blank);
  const out = lines.map((line, i) => (i === 0 || (keepsBlank && line === "") ? line : by + line)).join("\n");
  return first !== undefined && isTrue(first) ? by + out : out;
}

function toInteger(value: Value, other: Value | undefined, base: Value | undefined): Value {
  const missing = other ?? 0;
  if (value instanceof Undefined) return value.fail();
  if (typeof value === "string") {
    const text = trimText(value, isPythonSpace).replaceAll("_", "");
    const radix = needInteger("int", base, 10);
    if (radix === 10 ? /^[+-]?\d+$/.test(text) : /^[+-]?\w+$/.test(text)) {
      const parsed = Number.parseInt(text, radix);
      if (!Number.isNaN(parsed)) return parsed;
    }
    const float = Number(text);
    return text !== "" && Number.isFinite(float) ? Math.trunc(float) : missing;
  }
  const number = numberOf(value);
  return number === undefined || !Number.isFinite(number) ? missing : Math.trunc(number);
}

function toFloat(value: Value, other: Value | undefined): Value {
  if (value instanceof Undefined) return value.fail();
  const text = typeof value === "string" ? trimText(value, isPythonSpace) : "";
  const number = typeof value === "string" ? (text === "" ? Number.NaN : Number(text)) : numberOf(value);
  return number === undefined || Number.isNaN(number) ? (other ?? makeNumber(0, true)) : makeNumber(number, true);
}

function round(value: Value, precision: Value | undefined, method: Value | undefined): Value {
  const number = numberOf(value);
  if (number === undefined) throw new TemplateTypeError(`type ${typeName(value)} cannot be rounded`);
  const factor = 10 ** needInteger("round", precision, 0);
  const how = method === undefined ? "common" : needText("round", method);
  if (how !== "common") return makeNumber((how === "ceil" ? Math.ceil : Math.floor)(number * factor) / factor, true);
  // Python rounds halves to the even neighbour.
  const scaled = number * factor;
  const nearest = Math.round(scaled);
  const even = Math.abs(scaled % 1) === 0.5 && nearest % 2 !== 0 ? nearest - 1 : nearest;
  return makeNumber(even / factor, isFloat(value));
}

/** The attribute of an item by a path such as "function.name". */
function pathOf(item: Value, path: Value): Value {
  const parts = typeof path === "string" ? path.split(".") : [path];
  return parts.reduce<Value>(
    (value, part) => itemOf(value, typeof part === "string" && /^\d+$/.test(part) ? Number(part) : part),
    item,
  );
}

function keyOf(attribute: Value | undefined, caseSensitive: Value | undefined): (item: Value) => Value {
  const sensitive = caseSensitive !== undefined && isTrue(caseSensitive);
  return (item) => {
    const value = attribute === undefined || attribute === null ? item : pathOf(item, attribute);
    return typeof value === "string" && !sensitive ? value.toLowerCase() : value;
  };
}

function sortBy(items: readonly Value[], key: (item: Value) => Value, reverse: Value | undefined): Value[] {
  const sign = reverse !== undefined && isTrue(reverse) ? -1 : 1;
  return [...items].sort((a, b) => sign * compare(key(a), key(b), "<"));
}

function unique(value: Value, caseSensitive: Value | undefined, attribute: Value | undefined): Value {
  const key = keyOf(attribute, caseSensitive);
  const kept: Value[] = [];
  for (const item of iterate(value)) if (!kept.some((other) => equals(key(other), key(item)))) kept.push(item);
  return kept;
}

function extreme(sign: 1 | -1): Filter {
  return withParameters(["case_sensitive", "attribute"], (value, caseSensitive, attribute) => {
    const key = keyOf(attribute, caseSensitive);
    const items = iterate(value);
    if (items.length === 0) return new Undefined("No aggregated item, sequence was empty.");
    return items.reduce((best, item) => (sign * compare(key(item), key(best), "<") < 0 ? item : best));
  });
}

function groupBy(value: Value, attribute: Value | undefined): Value {
  const key = keyOf(attribute, undefined);
  const groups: { name: Value; items: Value[] }[] = [];
  for (const item of sortBy(iterate(value), key, undefined)) {
    const last = groups.at(-1);
    if (last && equals(key(last.items[0] as Value), key(item))) last.items.push(item);
    else groups.push({ name: pathOf(item, attribute ?? null), items: [item] });
  }
  return groups.map(({ name, items }) => new Tuple([name, items], ["grouper", "list"]));
}

function dictSort(
  value: Value,
  caseSensitive: Value | undefined,
  by: Value | undefined,
  reverse: Value | undefined,
): Value {
  if (!(value instanceof Map)) return attributeOf(value, "items");
  const at = by === "value" ? 1 : 0;
  const entries = [...value].map((entry) => new Tuple(entry));
  const key = keyOf(undefined, caseSensitive);
  return sortBy(entries, (entry) => key((entry as Tuple).items[at] as Value), reverse);
}

/** These filters take anything false for an empty list. */
function itemsIfAny(value: Value): readonly Value[] {
  return isTrue(value) ? iterate(value) : [];
}

/** select, reject, and the two that look at an attribute. */
function selecting(wanted: boolean, byAttribute: boolean): Filter {
  return (value, { positional }) => {
    const [attribute] = positional;
    const [test, ...rest] = byAttribute ? positional.slice(1) : positional;
    const holds = (item: Value) =>
      test === undefined ? isTrue(item) : applyTest(needText("select", test), item, rest);
    return itemsIfAny(value).filter((item) => holds(byAttribute ? pathOf(item, attribute ?? null) : item) === wanted);
  };
}

function mapItems(value: Value, args: CallArguments): Value {
  const attribute = args.keyword.get("attribute");
  if (attribute !== undefined) {
    const other = args.keyword.get("default");
    return itemsIfAny(value).map((item) => {
      const found = pathOf(item, attribute);
      return found instanceof Undefined && other !== undefined ? other : found;
    });
  }
  const [name, ...rest] = args.positional;
  const filter = needText("map", name);
  return itemsIfAny(value).map((item) => applyFilter(filter, item, { positional: rest, keyword: args.keyword }));
}

/** Other than object.name, this filter does not look for an item. */
function attributeOnly(value: Value, name: Value | undefined): Value {
  const attribute = needText("attr", name);
  return value instanceof Map && !methodOf(value, attribute)
    ? new Undefined(`'dict object' has no attribute '${attribute}'`)
    : attributeOf(value, attribute);
}

function batch(value: Value, size: Value | undefined, fill: Value | undefined): Value {
  const items = iterate(value);
  const length = needInteger("batch", size);
  const rows: Value[][] = [];
  for (let i = 0; i < items.length; i += length) rows.push(items.slice(i, i + length));
  const last = rows.at(-1);
  while (last && fill !== undefined && fill !== null && last.length < length) last.push(fill);
  return rows;
}

function slice(value: Value, count: Value | undefined, fill: Value | undefined): Value {
  const items = iterate(value);
  const slices = needInteger("slice", count);
  const [size, longer] = [Math.floor(items.length / slices), items.length % slices];
  return Array.from({ length: slices }, (_, i) => {
    const part = items.slice(i * size + Math.min(i, longer), (i + 1) * size + Math.min(i + 1, longer));
    return fill !== undefined && fill !== null && i >= longer ? [...part, fill] : part;
  });
}

function first(value: Value): Value {
  const [item] = iterate(value);
  return item === undefined ? new Undefined("No first item, sequence was empty.") : item;
}

function last(value: Value): Value {
  const item = iterate(value).at(-1);
  return item === undefined ? new Undefined("No last item, sequence was empty.") : item;
}

function itemsOfMapping(value: Value): Value {
  if (value instanceof Undefined) return [];
  if (value instanceof Map) return [...value].map((entry) => new Tuple(entry));
  throw new TemplateTypeError("Can only get item pairs from a mapping.");
}

function truncate(value: Value, ...args: (Value | undefined)[]): Value {
  const [length, killWords, end, leeway] = args;
  const text = textOf(value);
  const limit = needInteger("truncate", length, 255);
  const suffix = end === undefined ? "..." : needText("truncate", end);
  if (lengthOf(text) <= limit + needInteger("truncate", leeway, 5)) return text;
  const cut = sliceOf(text, 0, limit - lengthOf(suffix), null) as string;
  if (killWords !== undefined && isTrue(killWords)) return cut + suffix;
  const space = cut.lastIndexOf(" ");
  return (space < 0 ? cut : cut.slice(0, space)) + suffix;
}

const HTML: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;" };
const escapeHtml = onText((text) => text.replace(/[&<>"']/g, (char) => HTML[char] as string));
const length = withParameters([], lengthOf);
const defaults = withParameters(["default_value", "boolean"], fallback);

function join(value: Value, separator: Value | undefined, attribute: Value | undefined): Value {
  const items = iterate(value).map((item) =>
    attribute === undefined || attribute === null ? item : pathOf(item, attribute),
  );
  return items.map(textOf).join(separator === undefined ? "" : textOf(separator));
}

function reverse(value: Value): Value {
  return typeof value === "string" ? Array.from(value).reverse().join("") : [...iterate(value)].reverse();
}

function sum(value: Value, attribute: Value | undefined, start: Value | undefined): Value {
  return iterate(value)
    .map((item) => (attribute === undefined || attribute === null ? item : pathOf(item, attribute)))
    .reduce((total, item) => calculate("+", total, item), start ?? 0);
}

function absolute(value: Value): Value {
  const number = numberOf(value);
  if (number !== undefined) return makeNumber(Math.abs(number), isFloat(value));
  if (value instanceof Undefined) return value.fail();
  throw new TemplateTypeError(`bad operand type for abs(): '${typeName(value)}'`);
}

function center(value: Value, width: Value | undefined): Value {
  const text = textOf(value);
  const space = Math.max(0, needInteger("center", width, 80) - lengthOf(text));
  const left = Math.floor(space / 2) + (space & (needInteger("center", width, 80) & 1));
  return " ".repeat(left) + text + " ".repeat(space - left);
}

function replace(value: Value, from: Value | undefined, to: Value | undefined, count: Value | undefined): Value {
  const limit = count === null ? -1 : needInteger("replace", count, -1);
  return replaceText(textOf(value), textOf(from ?? null), textOf(to ?? null), limit);
}

const FILTERS: ReadonlyMap<string, Filter> = new Map<string, Filter>([
  ["abs", withParameters([], absolute)],
  ["attr", withParameters(["name"], attributeOnly)],
  ["batch", withParameters(["linecount", "fill_with"], batch)],
  ["capitalize", onText(capitalize)],
  ["center", withParameters(["width"], center)],
  ["count", length],
  ["d", defaults],
  ["default", defaults],
  ["dictsort", withParameters(["case_sensitive", "by", "reverse"], dictSort)],
  ["e", escapeHtml],
  ["escape", escapeHtml],
  ["first", withParameters([], first)],
  ["float", withParameters(["default"], toFloat)],
  ["format", (value, args) => formatPercent(textOf(value), new Tuple(args.positional))],
  ["groupby", withParameters(["attribute"], groupBy)],
  ["indent", withParameters(["width", "first", "blank"], indentText)],
  ["int", withParameters(["default", "base"], toInteger)],
  ["items", withParameters([], itemsOfMapping)],
  ["join", withParameters(["d", "attribute"], join)],
  ["last", withParameters([], last)],
  ["length", length],
  ["list", withParameters([], (value) => [...iterate(value)])],
  ["lower", onText((text) => text.toLowerCase())],
  ["map", mapItems],
  ["max", extreme(-1)],
  ["min", extreme(1)],
  ["reject", selecting(false, false)],
  ["rejectattr", selecting(false, true)],
  ["replace", withParameters(["old", "new", "count"], replace)],
  ["reverse", withParameters([], reverse)],
  ["round", withParameters(["precision", "method"], round)],
  ["safe", withParameters([], (value) => textOf(value))],
  ["select", selecting(true, false)],
  ["selectattr", selecting(true, true)],
  ["slice", withParameters(["slices", "fill_with"], slice)],
  [
    "sort",
    withParameters(["reverse", "case_sensitive", "attribute"], (value, descending, caseSensitive, attribute) =>
      sortBy(iterate(value), keyOf(attribute, caseSensitive), descending),
    ),
  ],
  ["string", withParameters([], (value) => textOf(value))],
  ["sum", withParameters(["attribute", "start"], sum)],
  ["title", onText((text) => text.replace(/[^-\s([{<]+/gu, capitalize))],
  ["tojson", withParameters(["ensure_ascii", "indent", "separators", "sort_keys"], json)],
  ["trim", withParameters(["chars"], (value, chars) => stripText(textOf(value), chars))],
  ["truncate", withParameters(["length", "killwords", "end", "leeway"], truncate)],
  ["unique", withParameters(["case_sensitive", "attribute"], unique)],
  ["upper", onText((text) => text.toUpperCase())],
  ["urlencode", onText((text) => encodeURIComponent(text).replaceAll("%2F", "/"))],
  ["wordcount", onText((text) => text.match(/[\p{L}\p{N}_]+/gu)?.length ?? 0)],
]);
