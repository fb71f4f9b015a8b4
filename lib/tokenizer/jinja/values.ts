// The values of a template with Python's rules: truth, equality, order, text. Lists are arrays, dictionaries are Maps,
// whole floats have a class of their own because JavaScript's numbers do not tell 1.0 from 1, and integers that a number cannot hold
// are bigints.

import { TemplateTypeError, UndefinedError } from "./errors.js";

export type Value =
  | string
  | number
  | boolean
  | null
  | Undefined
  | Float
  | bigint
  | Value[]
  | Tuple
  | Dict
  | Callable
  | Attributes;

export type Dict = Map<Value, Value>;

/** A float without a fraction. Those with one are plain numbers. */
export class Float {
  constructor(readonly value: number) {}
}

export class Tuple {
  constructor(
    readonly items: readonly Value[],
    /** The items' names in a named tuple. */
    readonly names: readonly string[] = [],
  ) {}
}

/** Nothing where something was asked for: prints as nothing, and fails when more is asked of it. */
export class Undefined {
  constructor(readonly message: string) {}

  fail(): never {
    throw new UndefinedError(this.message);
  }
}

export interface CallArguments {
  readonly positional: readonly Value[];
  readonly keyword: ReadonlyMap<string, Value>;
}

export class Callable {
  constructor(
    readonly name: string,
    readonly call: (args: CallArguments) => Value,
  ) {}
}

/** namespace(), loop and the like: no dictionaries, but with attributes. */
export class Attributes {
  constructor(
    readonly typeName: string,
    readonly get: (name: string) => Value | undefined,
    readonly set?: (name: string, value: Value) => void,
    /** Only a recursive loop can be called. */
    readonly call?: (args: CallArguments) => Value,
  ) {}
}

export function typeName(value: Value): string {
  if (value === null) return "NoneType";
  if (typeof value === "string") return "str";
  if (typeof value === "boolean") return "bool";
  if (typeof value === "number") return Number.isInteger(value) ? "int" : "float";
  if (typeof value === "bigint") return "int";
  if (value instanceof Float) return "float";
  if (Array.isArray(value)) return "list";
  if (value instanceof Tuple) return "tuple";
  if (value instanceof Map) return "dict";
  if (value instanceof Undefined) return "Undefined";
  return value instanceof Callable ? "function" : value.typeName;
}

/** How messages of Jinja call a value. */
export function objectName(value: Value): string {
  return value === null ? "None" : `${typeName(value)} object`;
}

/** JavaScript data as values; a whole number is an int, unless it is a Float. Arithmetic rounds bigints, texts of them have all digits. */
export function toValue(data: unknown): Value {
  if (data === undefined || data === null) return null;
  if (typeof data === "string" || typeof data === "boolean" || typeof data === "number") return data;
  if (typeof data === "bigint") return Number.isSafeInteger(Number(data)) ? Number(data) : data;
  if (data instanceof Float) return data;
  if (Array.isArray(data)) return data.map(toValue);
  if (data instanceof Date) return data.toISOString();
  if (typeof data === "object") {
    const dict: Dict = new Map();
    for (const [key, value] of Object.entries(data)) if (value !== undefined) dict.set(key, toValue(value));
    return dict;
  }
  throw new TemplateTypeError(`a ${typeof data} cannot be used in a template`);
}

export function isTrue(value: Value): boolean {
  if (value === null || value instanceof Undefined) return false;
  if (value instanceof Float) return value.value !== 0;
  if (Array.isArray(value)) return value.length > 0;
  if (value instanceof Tuple) return value.items.length > 0;
  if (value instanceof Map) return value.size > 0;
  return typeof value === "object" ? true : Boolean(value);
}

/** The number that a value is in Python, where booleans are numbers too. */
export function numberOf(value: Value): number | undefined {
  if (typeof value === "number") return value;
  if (typeof value === "boolean") return Number(value);
  if (typeof value === "bigint") return Number(value);
  return value instanceof Float ? value.value : undefined;
}

export function isFloat(value: Value): boolean {
  return value instanceof Float || (typeof value === "number" && !Number.isInteger(value));
}

export function makeNumber(value: number, float: boolean): Value {
  return float && Number.isInteger(value) ? new Float(value) : value;
}

export function itemsOf(value: Value): readonly Value[] | undefined {
  return Array.isArray(value) ? value : value instanceof Tuple ? value.items : undefined;
}

export function iterate(value: Value): readonly Value[] {
  if (typeof value === "string") return Array.from(value);
  if (value instanceof Map) return [...value.keys()];
  if (value instanceof Undefined) return [];
  const items = itemsOf(value);
  if (items !== undefined) return items;
  throw new TemplateTypeError(`'${typeName(value)}' object is not iterable`);
}

export function equals(a: Value, b: Value): boolean {
  const [x, y] = [numberOf(a), numberOf(b)];
  if (x !== undefined || y !== undefined) return x === y;
  if (a instanceof Undefined && b instanceof Undefined) return true;
  if (a instanceof Map && b instanceof Map) {
    return a.size === b.size && [...a].every(([key, value]) => b.has(key) && equals(value, b.get(key) as Value));
  }
  const [left, right] = [itemsOf(a), itemsOf(b)];
  if (left && right && Array.isArray(a) === Array.isArray(b)) {
    return left.length === right.length && left.every((item, i) => equals(item, right[i] as Value));
  }
  return a === b;
}

/** Negative, zero or positive. */
export function compare(a: Value, b: Value, operator: string): number {
  const [x, y] = [numberOf(a), numberOf(b)];
  if (x !== undefined && y !== undefined) return x - y;
  if (typeof a === "string" && typeof b === "string") return compareText(a, b);
  if (a instanceof Undefined) return a.fail();
  if (b instanceof Undefined) return b.fail();
  const [left, right] = [itemsOf(a), itemsOf(b)];
  if (left && right && Array.isArray(a) === Array.isArray(b)) {
    for (let i = 0; i < Math.min(left.length, right.length); i++) {
      const [p, q] = [left[i] as Value, right[i] as Value];
      if (!equals(p, q)) return compare(p, q, operator);
    }
    return left.length - right.length;
  }
  const types = `'${typeName(a)}' and '${typeName(b)}'`;
  throw new TemplateTypeError(`'${operator}' not supported between instances of ${types}`);
}

/** Compares by code points, where JavaScript compares UTF-16 units. */
function compareText(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a, "utf8"), Buffer.from(b, "utf8"));
}

export function contains(container: Value, item: Value): boolean {
  if (typeof container === "string") {
    if (item instanceof Undefined) return item.fail();
    if (typeof item === "string") return container.includes(item);
    throw new TemplateTypeError(`'in <string>' requires string as left operand, not ${typeName(item)}`);
  }
  if (container instanceof Map) return container.has(plainKey(item));
  if (container instanceof Undefined) return false;
  const items = itemsOf(container);
  if (items !== undefined) return items.some((one) => equals(one, item));
  throw new TemplateTypeError(`argument of type '${typeName(container)}' is not iterable`);
}

/** 1, 1.0 and True are one key in Python. */
export function plainKey(key: Value): Value {
  return numberOf(key) ?? key;
}

export function lengthOf(value: Value): number {
  if (typeof value === "string") return value.length < 1 ? 0 : countCharacters(value);
  if (value instanceof Map) return value.size;
  if (value instanceof Undefined) return 0;
  const items = itemsOf(value);
  if (items !== undefined) return items.length;
  throw new TemplateTypeError(`object of type '${typeName(value)}' has no len()`);
}

function countCharacters(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}

/** Python's str(). */
export function textOf(value: Value): string {
  if (typeof value === "string") return value;
  return value instanceof Undefined ? "" : repr(value);
}

/** Python's repr(). */
export function repr(value: Value): string {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "number") return Number.isInteger(value) ? integerText(value) : floatText(value);
  if (typeof value === "bigint") return String(value);
  if (typeof value === "string") return quote(value);
  if (value instanceof Float) return floatText(value.value);
  if (Array.isArray(value)) return `[${value.map(repr).join(", ")}]`;
  if (value instanceof Tuple) return `(${value.items.map(repr).join(", ")}${value.items.length === 1 ? "," : ""})`;
  if (value instanceof Map) return `{${[...value].map(([k, v]) => `${repr(k)}: ${repr(v)}`).join(", ")}}`;
  if (value instanceof Undefined) return "Undefined";
  return value instanceof Callable ? `<function ${value.name}>` : `<${value.typeName}>`;
}

export function integerText(value: number): string {
  return Math.abs(value) < 1e21 ? String(value) : BigInt(value).toString();
}

/** Python's float.__repr__: the same digits as in JavaScript, with a fraction always and exponents from 1e16 and 1e-5. */
export function floatText(value: number): string {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  if (Object.is(value, -0)) return "-0.0";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e16 || size < 1e-4)) {
    const [digits, exponent] = value.toExponential().split("e") as [string, string];
    const sign = exponent.startsWith("-") ? "-" : "+";
    return `${digits}e${sign}${exponent.slice(1).padStart(2, "0")}`;
  }
  return Number.isInteger(value) ? `${value}.0` : String(value);
}

function quote(text: string): string {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  const escaped = text.replace(/[\\\p{C}\p{Z}'"]/gu, (char) => {
    if (char === " " || (/['"]/.test(char) && char !== mark)) return char;
    const named = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\", [mark]: `\\${mark}` }[char];
    if (named !== undefined) return named;
    const code = char.codePointAt(0) as number;
    const hex = code.toString(16);
    if (code < 0x100) return `\\x${hex.padStart(2, "0")}`;
    return code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
  });
  return mark + escaped + mark;
}
