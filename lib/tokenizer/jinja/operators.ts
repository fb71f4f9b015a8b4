// Arithmetic and concatenation with Python's rules and Python's errors.

import type { BinaryOperator, Comparison } from "./ast.js";
import { TemplateTypeError } from "./errors.js";
import { formatted } from "./format-spec.js";
import {
  compare,
  contains,
  equals,
  isFloat,
  itemsOf,
  makeNumber,
  numberOf,
  repr,
  Tuple,
  textOf,
  typeName,
  Undefined,
  type Value,
} from "./values.js";

export function compareWith(operator: Comparison, left: Value, right: Value): boolean {
  switch (operator) {
    case "==":
      return equals(left, right);
    case "!=":
      return !equals(left, right);
    case "in":
      return contains(right, left);
    case "not in":
      return !contains(right, left);
    case "<":
      return compare(left, right, operator) < 0;
    case "<=":
      return compare(left, right, operator) <= 0;
    case ">":
      return compare(left, right, operator) > 0;
    case ">=":
      return compare(left, right, operator) >= 0;
  }
}

export function calculate(operator: BinaryOperator, left: Value, right: Value): Value {
  if (operator === "~") return textOf(left) + textOf(right);
  if (operator === "%" && typeof left === "string") return formatPercent(left, right);
  if (left instanceof Undefined) return left.fail();
  if (right instanceof Undefined) return right.fail();
  const [a, b] = [numberOf(left), numberOf(right)];
  if (a !== undefined && b !== undefined) return arithmetic(operator, a, b, isFloat(left) || isFloat(right));
  if (operator === "+") return concatenate(left, right);
  if (operator === "*" && b !== undefined && !isFloat(right)) return repeat(left, b);
  if (operator === "*" && a !== undefined && !isFloat(left)) return repeat(right, a);
  return mismatch(operator, left, right);
}

function arithmetic(operator: BinaryOperator, a: number, b: number, float: boolean): Value {
  if (b === 0 && (operator === "/" || operator === "//" || operator === "%")) {
    throw new TemplateTypeError("division by zero");
  }
  switch (operator) {
    case "+":
      return makeNumber(a + b, float);
    case "-":
      return makeNumber(a - b, float);
    case "*":
      return makeNumber(a * b, float);
    case "/":
      return makeNumber(a / b, true);
    case "//":
      return makeNumber(Math.floor(a / b), float);
    case "%":
      return makeNumber(a - b * Math.floor(a / b), float);
    default:
      return makeNumber(a ** b, float || b < 0);
  }
}

function concatenate(left: Value, right: Value): Value {
  if (typeof left === "string" && typeof right === "string") return left + right;
  if (Array.isArray(left) && Array.isArray(right)) return [...left, ...right];
  if (left instanceof Tuple && right instanceof Tuple) return new Tuple([...left.items, ...right.items]);
  if (typeof left === "string" || itemsOf(left) !== undefined) {
    const type = typeName(left);
    throw new TemplateTypeError(`can only concatenate ${type} (not "${typeName(right)}") to ${type}`);
  }
  return mismatch("+", left, right);
}

function repeat(value: Value, count: number): Value {
  if (typeof value === "string") return value.repeat(Math.max(0, count));
  const items = itemsOf(value);
  if (items === undefined) return mismatch("*", value, count);
  const repeated = Array.from({ length: Math.max(0, count) }, () => items).flat();
  return value instanceof Tuple ? new Tuple(repeated) : repeated;
}

function mismatch(operator: string, left: Value, right: Value): never {
  const types = `'${typeName(left)}' and '${typeName(right)}'`;
  throw new TemplateTypeError(`unsupported operand type(s) for ${operator}: ${types}`);
}

/** "%s" % value, with flags, width and precision; a field may name a key of a dictionary: "%(name)s". */
export function formatPercent(format: string, right: Value): string {
  const values = right instanceof Tuple ? right.items : [right];
  let next = 0;
  const part = /%(?:%|(?:\((\w+)\))?([-+ 0]*)([1-9]\d*)?(?:\.(\d+))?([sriduxXofFeEgG]))|%/g;
  const text = format.replace(part, (whole, key, flags = "", width = "", precision, kind) => {
    if (whole === "%%") return "%";
    if (kind === undefined) throw new TemplateTypeError(`unsupported format character in '${format}'`);
    const value = key === undefined ? values[next++] : right instanceof Map ? right.get(key) : undefined;
    if (value === undefined) throw new TemplateTypeError("not enough arguments for format string");
    return percentValue(value, { flags, width: Number(width), precision, kind });
  });
  if (next < values.length && !(right instanceof Map)) {
    throw new TemplateTypeError("not all arguments converted during string formatting");
  }
  return text;
}

interface Percent {
  readonly flags: string;
  readonly width: number;
  readonly precision: string | undefined;
  readonly kind: string;
}

function percentValue(value: Value, { flags, width, precision, kind }: Percent): string {
  const isText = kind === "s" || kind === "r";
  const zeros = flags.includes("0") && !flags.includes("-") && !isText;
  const spec = {
    fill: zeros ? "0" : " ",
    align: flags.includes("-") ? "<" : zeros ? "=" : ">",
    width,
    alternate: false,
    group: "",
    sign: isText ? "" : (/[+]/.exec(flags)?.[0] ?? / /.exec(flags)?.[0] ?? ""),
    precision: precision === undefined ? undefined : Number(precision),
    type: isText ? "" : kind.replace(/[iu]/, "d"),
  };
  if (isText) return formatted(kind === "s" ? textOf(value) : repr(value), spec);
  const number = numberOf(value);
  if (number === undefined) {
    throw new TemplateTypeError(`%${kind} format: a number is required, not ${typeName(value)}`);
  }
  return formatted(spec.type === "d" ? Math.trunc(number) : value, spec);
}
