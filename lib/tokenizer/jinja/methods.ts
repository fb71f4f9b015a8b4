// Methods of Python's strings, dictionaries and lists that templates may call. Those that would change a value are
// refused, as in the sandbox that transformers uses.

import { type Ends, isPythonSpace, PYTHON_SPACE, trimText } from "../../text.js";
import { bind, needInteger, needText } from "./arguments.js";
import { TemplateTypeError } from "./errors.js";
import { formatValue } from "./format-spec.js";
import {
  type CallArguments,
  Callable,
  type Dict,
  equals,
  iterate,
  lengthOf,
  plainKey,
  repr,
  Tuple,
  textOf,
  typeName,
  type Value,
} from "./values.js";

type Method<T> = (self: T, args: CallArguments, name: string) => Value;

/** The method of a value by name, or undefined. */
export function methodOf(self: Value, name: string): Value | undefined {
  if (typeof self === "string") return withSelf(STRING_METHODS, self, name);
  if (self instanceof Map) return withSelf(DICT_METHODS, self, name);
  if (Array.isArray(self)) return withSelf(LIST_METHODS, self, name);
  if (!(self instanceof Tuple)) return undefined;
  return self.items[self.names.indexOf(name)] ?? withSelf(TUPLE_METHODS, [...self.items], name);
}

function withSelf<T>(methods: ReadonlyMap<string, Method<T>>, self: T, name: string): Value | undefined {
  const method = methods.get(name);
  return method && new Callable(name, (args) => method(self, args, name));
}

/** str.strip(), str.lstrip() and str.rstrip(); without `chars` white space goes. */
export function stripText(text: string, chars: Value | undefined, ends: Ends = "both"): string {
  if (chars === undefined || chars === null) return trimText(text, isPythonSpace, ends);
  const set = new Set(needText("strip", chars));
  return trimText(text, (char) => set.has(char), ends);
}

export function replaceText(text: string, from: string, to: string, count: number): string {
  if (count < 0) return text.replaceAll(from, () => to);
  const parts = from === "" ? ["", ...Array.from(text), ""] : text.split(from);
  const head = parts.slice(0, count + 1);
  const tail = parts.slice(count + 1);
  return head.join(to) + (tail.length > 0 ? from + tail.join(from) : "");
}

export function capitalize(text: string): string {
  const [first = ""] = text;
  return first.toUpperCase() + text.slice(first.length).toLowerCase();
}

function titleCase(text: string): string {
  return text.replace(/\p{L}+/gu, capitalize);
}

/** str.split() without a separator: at runs of white space, with none at the edges. */
function splitSpaces(text: string, max: number): string[] {
  const parts: string[] = [];
  let rest = stripText(text, undefined, "start");
  const word = new RegExp(`^[^${PYTHON_SPACE}]+`);
  while (rest !== "") {
    if (max >= 0 && parts.length >= max) {
      parts.push(stripText(rest, undefined, "end"));
      break;
    }
    const found = word.exec(rest)?.[0] ?? "";
    parts.push(found);
    rest = stripText(rest.slice(found.length), undefined, "start");
  }
  return parts;
}

function split(text: string, args: CallArguments): Value {
  const [separator, limit] = bind("split", ["sep", "maxsplit"], args);
  const max = needInteger("split", limit, -1);
  if (separator === undefined || separator === null) return splitSpaces(text, max);
  const by = needText("split", separator);
  if (by === "") throw new TemplateTypeError("empty separator");
  const parts = text.split(by);
  return max < 0 || parts.length <= max ? parts : [...parts.slice(0, max), parts.slice(max).join(by)];
}

function rsplit(text: string, args: CallArguments): Value {
  const [separator, limit] = bind("rsplit", ["sep", "maxsplit"], args);
  const max = needInteger("rsplit", limit, -1);
  if (max < 0) return split(text, { positional: separator === undefined ? [] : [separator], keyword: new Map() });
  const by = needText("rsplit", separator);
  const parts = text.split(by);
  const cut = Math.max(0, parts.length - max);
  return cut <= 1 ? parts : [parts.slice(0, cut).join(by), ...parts.slice(cut)];
}

function affix(test: (text: string, part: string) => boolean): Method<string> {
  return (self, args, name) => {
    const [parts] = bind(name, ["prefix"], args);
    const all = parts instanceof Tuple ? parts.items : [parts];
    return all.some((part) => test(self, needText(name, part)));
  };
}

function find(self: string, args: CallArguments, name: string, at: number, missing: () => Value): Value {
  needText(name, args.positional[0]);
  return at < 0 ? missing() : lengthOf(self.slice(0, at));
}

/** "{} {name!r:>5}".format(…). What lies within a value ({a.b}, {a[0]}) and specifications from values ({:{w}}) are refused. */
function format(self: string, args: CallArguments): Value {
  let next = 0;
  const parts = /\{\{|\}\}|\{(\w*)(?:!([rs]))?(?::([^{}]*))?\}|[{}]/g;
  return self.replace(parts, (whole, field: string | undefined, conversion: string | undefined, spec = "") => {
    if (whole === "{{" || whole === "}}") return whole.slice(0, 1);
    if (field === undefined) throw new TemplateTypeError(`format() does not understand '${self}'`);
    const value = /^\d*$/.test(field)
      ? args.positional[field === "" ? next++ : Number(field)]
      : args.keyword.get(field);
    if (value === undefined) throw new TemplateTypeError(`format() has nothing for {${field}}`);
    return formatValue(conversion === "r" ? repr(value) : conversion === "s" ? textOf(value) : value, spec);
  });
}

const noArguments =
  (convert: (text: string) => Value): Method<string> =>
  (self, args, name) => {
    bind(name, [], args);
    return convert(self);
  };
const stripping =
  (ends: Ends): Method<string> =>
  (self, args, name) =>
    stripText(self, bind(name, ["chars"], args)[0], ends);
const matching = (pattern: RegExp) => noArguments((text) => pattern.test(text));

const STRING_METHODS: ReadonlyMap<string, Method<string>> = new Map<string, Method<string>>([
  ["upper", noArguments((text) => text.toUpperCase())],
  ["lower", noArguments((text) => text.toLowerCase())],
  ["casefold", noArguments((text) => text.toLowerCase().replaceAll("ß", "ss"))],
  ["title", noArguments(titleCase)],
  ["capitalize", noArguments(capitalize)],
  [
    "swapcase",
    noArguments((text) => text.replace(/\p{L}/gu, (c) => (c === c.toLowerCase() ? c.toUpperCase() : c.toLowerCase()))),
  ],
  ["strip", stripping("both")],
  ["lstrip", stripping("start")],
  ["rstrip", stripping("end")],
  ["split", split],
  ["rsplit", rsplit],
  [
    "splitlines",
    noArguments((text) => (text === "" ? [] : text.replace(/(?:\r\n|[\n\r\v\f])$/, "").split(/\r\n|[\n\r\v\f]/))),
  ],
  ["startswith", affix((text, part) => text.startsWith(part))],
  ["endswith", affix((text, part) => text.endsWith(part))],
  [
    "replace",
    (self, args, name) => {
      const [from, to, count] = bind(name, ["old", "new", "count"], args);
      return replaceText(self, needText(name, from), needText(name, to), needInteger(name, count, -1));
    },
  ],
  [
    "removeprefix",
    (self, args, name) => {
      const prefix = needText(name, args.positional[0]);
      return self.startsWith(prefix) ? self.slice(prefix.length) : self;
    },
  ],
  [
    "removesuffix",
    (self, args, name) => {
      const suffix = needText(name, args.positional[0]);
      return suffix !== "" && self.endsWith(suffix) ? self.slice(0, -suffix.length) : self;
    },
  ],
  [
    "join",
    (self, args, name) =>
      iterate(args.positional[0] ?? null)
        .map((item) => needText(name, item))
        .join(self),
  ],
  ["find", (self, args, name) => find(self, args, name, self.indexOf(String(args.positional[0])), () => -1)],
  ["rfind", (self, args, name) => find(self, args, name, self.lastIndexOf(String(args.positional[0])), () => -1)],
  [
    "index",
    (self, args, name) =>
      find(self, args, name, self.indexOf(String(args.positional[0])), () => {
        throw new TemplateTypeError("substring not found");
      }),
  ],
  ["count", (self, args, name) => self.split(needText(name, args.positional[0])).length - 1],
  ["format", format],
  ["isdigit", matching(/^\p{Nd}+$/u)],
  ["isnumeric", matching(/^\p{N}+$/u)],
  ["isdecimal", matching(/^\p{Nd}+$/u)],
  ["isalpha", matching(/^\p{L}+$/u)],
  ["isalnum", matching(/^[\p{L}\p{N}]+$/u)],
  ["isspace", matching(new RegExp(`^[${PYTHON_SPACE}]+$`))],
  ["isupper", noArguments((text) => text === text.toUpperCase() && text !== text.toLowerCase())],
  ["islower", noArguments((text) => text === text.toLowerCase() && text !== text.toUpperCase())],
  ["zfill", (self, args, name) => self.padStart(needInteger(name, args.positional[0]), "0")],
  ["ljust", (self, args, name) => self.padEnd(needInteger(name, args.positional[0]))],
  ["rjust", (self, args, name) => self.padStart(needInteger(name, args.positional[0]))],
  [
    "partition",
    (self, args, name) => {
      const by = needText(name, args.positional[0]);
      const at = self.indexOf(by);
      return new Tuple(at < 0 ? [self, "", ""] : [self.slice(0, at), by, self.slice(at + by.length)]);
    },
  ],
  [
    "rpartition",
    (self, args, name) => {
      const by = needText(name, args.positional[0]);
      const at = self.lastIndexOf(by);
      return new Tuple(at < 0 ? ["", "", self] : [self.slice(0, at), by, self.slice(at + by.length)]);
    },
  ],
]);

function refused<T>(self: T & Value, _: CallArguments, name: string): Value {
  throw new TemplateTypeError(`${typeName(self)}.${name}() would change a value, which templates must not do`);
}

const DICT_METHODS: ReadonlyMap<string, Method<Dict>> = new Map<string, Method<Dict>>([
  [
    "get",
    (self, args, name) => {
      const [key, fallback] = bind(name, ["key", "default"], args);
      const found = self.get(plainKey(key ?? null));
      return found === undefined ? (fallback ?? null) : found;
    },
  ],
  ["items", (self) => [...self].map(([key, value]) => new Tuple([key, value]))],
  ["keys", (self) => [...self.keys()]],
  ["values", (self) => [...self.values()]],
  ["copy", (self) => new Map(self)],
  ...["update", "pop", "popitem", "setdefault", "clear"].map((name): [string, Method<Dict>] => [name, refused]),
]);

const READING_METHODS: readonly [string, Method<Value[]>][] = [
  ["count", (self, args) => self.filter((item) => equals(item, args.positional[0] ?? null)).length],
  [
    "index",
    (self, args) => {
      const at = self.findIndex((item) => equals(item, args.positional[0] ?? null));
      if (at >= 0) return at;
      throw new TemplateTypeError("the value is not in the list");
    },
  ],
];
const TUPLE_METHODS: ReadonlyMap<string, Method<Value[]>> = new Map(READING_METHODS);
const LIST_METHODS: ReadonlyMap<string, Method<Value[]>> = new Map<string, Method<Value[]>>([
  ...READING_METHODS,
  ["copy", (self) => [...self]],
  ...["append", "extend", "insert", "pop", "remove", "reverse", "sort", "clear"].map(
    (name): [string, Method<Value[]>] => [name, refused],
  ),
]);
