// Checks that every options object of the public API goes through: no unknown key, no wrong type, no impossible number.
// Messages name the call, the key and the value found.

import { GrpoError, isSameName, nearestName } from "./errors.js";

/** The names of a type's properties; one that is forgotten does not compile. */
export function namesOf<T>(names: { readonly [Name in keyof T]-?: true }): readonly string[] {
  return Object.keys(names);
}

/** What an error says to those who come from a library with other names, or with arguments by position. */
export interface OptionAdvice {
  /** What to write in place of an argument that is no options object. Default: an object with the first known option. */
  readonly positional?: string;
  /** Names from elsewhere in camelCase (snake_case is recognized too) → what to write. */
  readonly names?: Readonly<Record<string, string>>;
}

/** Throws BAD_OPTION for what is no options object; UNKNOWN_OPTION for a key outside `known`, naming the nearest one. */
export function checkOptionNames(
  where: string,
  options: object,
  known: readonly string[],
  advice: OptionAdvice = {},
): void {
  checkOptionsObject(where, options, known, advice.positional ?? `write { ${known[0]}: … }`);
  for (const key of Object.keys(options)) {
    if (known.includes(key)) continue;
    const foreign = Object.entries(advice.names ?? {}).find(([name]) => isSameName(name, key))?.[1];
    const nearest = nearestName(key, known);
    const hint = foreign ?? (nearest ? `did you mean ${nearest}?` : `use one of ${known.join(", ")}`);
    throw new GrpoError("UNKNOWN_OPTION", `${where}: unknown option ${key}`, { hint });
  }
}

/**
 * Throws BAD_OPTION for what is no options object. An instance of some class is an argument by position, unless it has properties of
 * known names. `positional` says what to write.
 */
export function checkOptionsObject(
  where: string,
  options: unknown,
  known: readonly string[],
  positional: string,
): asserts options is object {
  if (typeof options === "object" && options !== null && !Array.isArray(options)) {
    if (className(options) === undefined || Object.keys(options).some((key) => known.includes(key))) return;
  }
  throw new GrpoError("BAD_OPTION", `${where}: expected an options object, found ${show(options)}`, {
    hint: isPromise(options) ? AWAIT : positional,
  });
}

export interface NumberRange {
  readonly min?: number;
  readonly max?: number;
  /** The bounds themselves are outside the range. */
  readonly open?: boolean;
  readonly integer?: boolean;
}

/** The value, once it is known to be a finite number in the range. */
export function checkNumber(where: string, key: string, value: unknown, range: NumberRange = {}): number {
  const { min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY, open = false, integer = false } = range;
  const isNumber = typeof value === "number" && Number.isFinite(value) && (!integer || Number.isSafeInteger(value));
  if (isNumber && (open ? value > min && value < max : value >= min && value <= max)) return value;
  const bounds = [
    Number.isFinite(min) ? `${open ? "above" : "at least"} ${min}` : "",
    Number.isFinite(max) ? `${open ? "below" : "at most"} ${max}` : "",
  ].filter((bound) => bound !== "");
  const kind = integer ? "a whole number" : "a number";
  throw badOption(where, key, `${kind}${bounds.length > 0 ? ` ${bounds.join(" and ")}` : ""}`, value);
}

export function checkBoolean(where: string, key: string, value: unknown): boolean {
  if (typeof value === "boolean") return value;
  throw badOption(where, key, "true or false", value);
}

export function checkOneOf<T extends string>(where: string, key: string, value: unknown, allowed: readonly T[]): T {
  const found = allowed.find((candidate) => candidate === value);
  if (found !== undefined) return found;
  throw badOption(where, key, `one of ${allowed.join(", ")}`, value);
}

/** A text that is not empty. */
export function checkText(where: string, key: string, value: unknown): string {
  if (typeof value === "string" && value !== "") return value;
  throw badOption(where, key, "a text that is not empty", value);
}

/** A function that is called back. */
export function checkFunction(where: string, value: unknown): void {
  if (typeof value === "function") return;
  throw new GrpoError("BAD_INPUT", `${where} takes a function, found ${show(value)}`);
}

/** An AbortSignal, or nothing. */
export function checkSignal(where: string, value: unknown): void {
  if (value === undefined || value instanceof AbortSignal) return;
  const isController = value instanceof AbortController;
  throw badOption(where, "signal", "an AbortSignal", value, isController ? "write controller.signal" : undefined);
}

/** The error for a value that cannot be used; a promise is told to be awaited, for others `hint` says what to do. */
export function badOption(where: string, key: string, expected: string, found: unknown, hint?: string): GrpoError {
  const advice = isPromise(found) ? AWAIT : hint;
  const message = `${where}: ${key} must be ${expected}, found ${show(found)}`;
  return new GrpoError("BAD_OPTION", message, advice === undefined ? {} : { hint: advice });
}

const AWAIT = "await it first";

/** Whether a value is one that JavaScript would have awaited. */
export function isPromise(value: unknown): boolean {
  return typeof value === "object" && value !== null && typeof Reflect.get(value, "then") === "function";
}

/** The name of the class that an object is an instance of; undefined for lists and plain objects, of any realm. */
function className(value: object): string | undefined {
  if (Array.isArray(value)) return undefined;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (typeof prototype !== "object" || prototype === null || Object.getPrototypeOf(prototype) === null)
    return undefined;
  const name: unknown = Reflect.get(Object(Reflect.get(prototype, "constructor")), "name");
  if (name === "Object") return undefined;
  return typeof name === "string" ? name : "";
}

/** A short rendering of any value for a message. */
export function show(value: unknown): string {
  if (typeof value === "number" || typeof value === "bigint" || value === undefined) return String(value);
  if (typeof value === "function") return "a function";
  if (typeof value === "symbol") return String(value);
  const instance = showInstance(value);
  if (instance !== undefined) return instance;
  let text: string | undefined;
  try {
    text = JSON.stringify(value, (_, part: unknown) =>
      typeof part === "function" ? "a function" : (showInstance(part) ?? part),
    );
  } catch {
    text = undefined;
  }
  // A token of the Hub may be in the wrong place, and messages are kept in logs.
  text = (text ?? String(typeof value)).replaceAll(/hf_\w{16,}/g, "hf_…");
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

/** The name of its class for an instance of one. */
function showInstance(value: unknown): string | undefined {
  const name = typeof value === "object" && value !== null ? className(value) : undefined;
  if (name === undefined) return undefined;
  return name === "" ? "an instance of a class" : `an instance of ${name}`;
}
