// Reading the parts of tokenizer.json: typed values with a default, and one way of saying that a part is not supported.

import { GrpoError } from "../../errors.js";
import { isJsonObject, type JsonObject } from "../../json.js";

export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly single_word?: boolean;
  readonly lstrip?: boolean;
  readonly rstrip?: boolean;
  readonly normalized?: boolean;
  readonly special?: boolean;
}

export interface TokenizerJson {
  readonly added_tokens?: readonly AddedToken[] | null;
  readonly model: { readonly type?: string; readonly [key: string]: unknown };
  readonly [key: string]: unknown;
}

export function unsupported(part: string, what: string, cause?: unknown): never {
  throw new GrpoError("BAD_TOKENIZER", `tokenizer.json: ${part} has an unsupported ${what}`, { cause });
}

/** The part's own type; null and undefined mean that the tokenizer does without this part. */
export function typeOf(config: unknown, part: string): string | undefined {
  if (config === null || config === undefined) return undefined;
  if (isJsonObject(config) && typeof config.type === "string") return config.type;
  return unsupported(part, `form: ${JSON.stringify(config)?.slice(0, 80)}`);
}

export function listOf(config: JsonObject, key: string, part: string): readonly unknown[] {
  const value = config[key];
  return Array.isArray(value) ? value : unsupported(part, `"${key}" (expected a list)`);
}

export function textOf(config: JsonObject, key: string, part: string, fallback?: string): string {
  const value = config[key] ?? fallback;
  return typeof value === "string" ? value : unsupported(part, `"${key}" (expected a string)`);
}

export function flagOf(config: JsonObject, key: string, fallback: boolean): boolean {
  const value = config[key];
  return typeof value === "boolean" ? value : fallback;
}

export function countOf(config: JsonObject, key: string, part: string, fallback?: number): number {
  const value = config[key] ?? fallback;
  return typeof value === "number" && Number.isInteger(value) && value >= 0
    ? value
    : unsupported(part, `"${key}" (expected a whole number)`);
}

export function choiceOf<T extends string>(value: unknown, choices: readonly T[], part: string, fallback?: T): T {
  const given = value ?? fallback;
  const chosen = choices.find((choice) => choice === given);
  return chosen ?? unsupported(part, `value ${JSON.stringify(given)} (expected one of ${choices.join(", ")})`);
}
