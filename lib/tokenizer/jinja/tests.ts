// Jinja's tests: what follows `is`.

import { TemplateError, TemplateTypeError } from "./errors.js";
import { compareWith } from "./operators.js";
import {
  Attributes,
  Callable,
  contains,
  equals,
  isFloat,
  itemsOf,
  numberOf,
  textOf,
  typeName,
  Undefined,
  type Value,
} from "./values.js";

type Test = (value: Value, argument: Value) => boolean;

const ordering =
  (operator: "<" | "<=" | ">" | ">="): Test =>
  (value, argument) =>
    compareWith(operator, value, argument);

const TESTS: ReadonlyMap<string, Test> = new Map<string, Test>([
  ["defined", (value) => !(value instanceof Undefined)],
  ["undefined", (value) => value instanceof Undefined],
  ["none", (value) => value === null],
  ["boolean", (value) => typeof value === "boolean"],
  ["true", (value) => value === true],
  ["false", (value) => value === false],
  ["string", (value) => typeof value === "string"],
  ["number", (value) => numberOf(value) !== undefined],
  ["integer", (value) => typeof value !== "boolean" && numberOf(value) !== undefined && !isFloat(value)],
  ["float", (value) => isFloat(value)],
  ["mapping", (value) => value instanceof Map],
  ["sequence", (value) => isSized(value)],
  ["iterable", (value) => isSized(value)],
  ["callable", (value) => value instanceof Callable || (value instanceof Attributes && value.call !== undefined)],
  ["odd", (value, _) => modulo(value, 2) === 1],
  ["even", (value, _) => modulo(value, 2) === 0],
  ["divisibleby", (value, by) => modulo(value, integer(by)) === 0],
  ["lower", (value) => cased(textOf(value), (text) => text.toLowerCase())],
  ["upper", (value) => cased(textOf(value), (text) => text.toUpperCase())],
  ["in", (value, container) => contains(container, value)],
  ["sameas", (value, other) => value === other],
  ["escaped", () => false],
  ["filter", () => true],
  ...(["eq", "equalto", "=="] as const).map((name): [string, Test] => [name, equals]),
  ...(["ne", "!="] as const).map((name): [string, Test] => [name, (a, b) => !equals(a, b)]),
  ...(["lt", "lessthan", "<"] as const).map((name): [string, Test] => [name, ordering("<")]),
  ...(["le", "<="] as const).map((name): [string, Test] => [name, ordering("<=")]),
  ...(["gt", "greaterthan", ">"] as const).map((name): [string, Test] => [name, ordering(">")]),
  ...(["ge", ">="] as const).map((name): [string, Test] => [name, ordering(">=")]),
]);

export function applyTest(name: string, value: Value, args: readonly Value[]): boolean {
  const test = TESTS.get(name);
  if (test === undefined) throw new TemplateError(`No test named '${name}'.`);
  return test(value, args[0] ?? null);
}

function isSized(value: Value): boolean {
  return (
    typeof value === "string" || value instanceof Map || value instanceof Undefined || itemsOf(value) !== undefined
  );
}

function integer(value: Value): number {
  const number = numberOf(value);
  if (number !== undefined) return number;
  if (value instanceof Undefined) return value.fail();
  throw new TemplateTypeError(`unsupported operand type(s) for %: '${typeName(value)}'`);
}

function modulo(value: Value, by: number): number {
  const number = integer(value);
  if (by === 0) throw new TemplateTypeError("integer modulo by zero");
  return number - by * Math.floor(number / by);
}

/** str.islower() and str.isupper(): there must be a letter that has case. */
function cased(text: string, convert: (text: string) => string): boolean {
  return convert(text) === text && text.toLowerCase() !== text.toUpperCase();
}
