// Reading the parts of tokenizer.json: typed values with a default, and one way of saying that a part is not supported.

import { GrpoError } from "../../errors.js";
import { isJsonObject, type JsonObject } from "../../json.js";

/** A token on top of the model's vocabulary. Its id is not its own: added-vocabulary.ts gives it. */
export interface AddedToken {
  readonly content: string;
  /** Only found where no word character is beside it. */
  readonly single_word: boolean;
  /** Takes the white space on its left along. */
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  /** Looked for in normalized text. */
  readonly normalized: boolean;
  readonly special: boolean;
}

export interface TokenizerJson {
  readonly added_tokens?: unknown;
  readonly model: { readonly type?: string; readonly [key: string]: unknown };
  readonly [key: string]: unknown;
}

export function unsupported(part: string, what: string, cause?: unknown): never {
  throw new GrpoError("BAD_TOKENIZER", `tokenizer.json: ${part} has an unsupported ${what}`, { cause });
}

/** With the library's defaults: only special tokens are looked for in the text as it was given. */
export function addedToken(content: string, flags: Partial<Record<keyof AddedToken, unknown>> = {}): AddedToken {
  const flag = (name: keyof AddedToken, fallback: boolean) => flagOf(flags, name, fallback);
  const special = flag("special", false);
  return {
    content,
    single_word: flag("single_word", false),
    lstrip: flag("lstrip", false),
    rstrip: flag("rstrip", false),
    normalized: flag("normalized", !special),
    special,
  };
}

/** An added token of tokenizer.json, with the id that the file gives it. */
export interface ListedToken {
  readonly id: number;
  readonly token: AddedToken;
}

/** In the file's order. */
export function readAddedTokens(json: TokenizerJson): ListedToken[] {
  const part = "the list of added tokens";
  if (json.added_tokens === undefined || json.added_tokens === null) return [];
  return listOf(json, "added_tokens", part).map((entry) => {
    if (!isJsonObject(entry)) return unsupported(part, `entry ${JSON.stringify(entry)}`);
    return { id: countOf(entry, "id", part), token: addedToken(textOf(entry, "content", part), entry) };
  });
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
