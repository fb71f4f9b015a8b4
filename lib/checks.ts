// Checks that every options object of the public API goes through: no unknown key, no wrong type, no impossible number.
// Messages name the call, the key and the value found.

import { GrpoError, nearestName } from "./errors.js";

/** The names of a type's properties; one that is forgotten does not compile. */
export function namesOf<T>(names: { readonly [Name in keyof T]-?: true }): readonly string[] {
  return Object.keys(names);
}

/** Throws UNKNOWN_OPTION for a key outside `known`, naming the nearest one. */
export function checkOptionNames(where: string, options: object, known: readonly string[]): void {
  if (typeof options !== "object" || options === null) {
    throw new GrpoError("BAD_OPTION", `${where}: expected an options object, found ${show(options)}`);
  }
  for (const key of Object.keys(options)) {
    if (known.includes(key)) continue;
    const nearest = nearestName(key, known);
    const hint = nearest ? `did you mean ${nearest}?` : `use one of ${known.join(", ")}`;
    throw new GrpoError("UNKNOWN_OPTION", `${where}: unknown option ${key}`, { hint });
  }
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

export function badOption(where: string, key: string, expected: string, found: unknown): GrpoError {
  return new GrpoError("BAD_OPTION", `${where}: ${key} must be ${expected}, found ${show(found)}`);
}

/** A short rendering of any value for a message. */
export function show(value: unknown): string {
  if (typeof value === "number" || typeof value === "bigint" || value === undefined) return String(value);
  if (typeof value === "function") return "a function";
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch {
    text = undefined;
  }
  text ??= String(typeof value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}
