// The special tokens that a model's files name, by the rules of transformers 5: each with the name that templates know it by, and
// what transformers adds to the tokens of tokenizer.json on their account. Ids are not decided here.

import { GrpoError } from "../errors.js";
import { isJsonObject, type JsonObject } from "../json.js";
import { type AddedToken, addedToken, type ListedToken } from "./pipeline/config.js";

const SPECIAL_TOKEN_NAMES = [
  "bos_token",
  "eos_token",
  "unk_token",
  "sep_token",
  "pad_token",
  "cls_token",
  "mask_token",
] as const;
export type SpecialTokenName = (typeof SPECIAL_TOKEN_NAMES)[number];
/** Texts by name: those of the seven that there are, and names of the model's own, such as "image_token". */
export type SpecialTokens = Readonly<Partial<Record<SpecialTokenName, string>> & Record<string, string>>;

/** The parsed files that name tokens. */
export interface TokenSources {
  /** For messages. */
  readonly folder: string;
  /** The added tokens of tokenizer.json. */
  readonly inFile: readonly ListedToken[];
  /** The token that tokenizer.json pads with, if it says how to pad. */
  readonly padding: unknown;
  /** tokenizer_config.json */
  readonly config: JsonObject;
  /** special_tokens_map.json */
  readonly map: JsonObject | undefined;
  /** added_tokens.json: ids by text. */
  readonly added: JsonObject | undefined;
}

export interface NamedTokens {
  readonly specialTokens: SpecialTokens;
  /** To be added to the tokens of tokenizer.json, in this order. */
  readonly addedTokens: readonly AddedToken[];
}

/** A token as a file has it: its text, or an object with its text in `content`, and flags. */
type Given = string | (JsonObject & { readonly content: string });

export function readSpecialTokens(sources: TokenSources): NamedTokens {
  const settings = collectOwnNames({ ...sources.config });
  if (!("pad_token" in settings)) settings.pad_token = sources.padding;
  const listed =
    settings.added_tokens_decoder === undefined ? legacyTokens(sources, settings) : decoderTokens(settings);
  const byText = new Map(listed.map(([, token]) => [textOf(token), token]));
  const named = namedTokens(sources.folder, settings, byText);
  const extra = extraTokens(sources.folder, settings);
  return {
    specialTokens: Object.fromEntries([...named].map(([name, token]) => [name, textOf(token)])),
    addedTokens: tokensToAdd(sources.inFile, new Map(listed), [...named.values()], extra),
  };
}

/**
 * The names of the model's own that tokenizer_config.json gives (`extra_special_tokens` as an object, keys that end in _token)
 * go together under `model_specific_special_tokens`, and take the place of what is there.
 */
function collectOwnNames(settings: Record<string, unknown>): Record<string, unknown> {
  if ("additional_special_tokens" in settings && isEmpty(settings.extra_special_tokens)) {
    settings.extra_special_tokens = settings.additional_special_tokens;
    delete settings.additional_special_tokens;
  }
  const own: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(settings)) {
    if (!isOwnName(name) || typeof value !== "string") continue;
    own[name] = value;
    delete settings[name];
  }
  if (isJsonObject(settings.extra_special_tokens)) {
    Object.assign(own, settings.extra_special_tokens);
    delete settings.extra_special_tokens;
  }
  if (Object.keys(own).length > 0) settings.model_specific_special_tokens = own;
  return settings;
}

function isOwnName(name: string): boolean {
  return name.endsWith("_token") && !SPECIAL_TOKEN_NAMES.some((known) => known === name);
}

/** What Python takes for false. */
function isEmpty(value: unknown): boolean {
  if (Array.isArray(value)) return value.length === 0;
  return isJsonObject(value) ? Object.keys(value).length === 0 : !value;
}

/** Tokens with ids that only give their order. */
type Listed = readonly (readonly [id: number, token: Given])[];

function decoderTokens(settings: JsonObject): Listed {
  const listed = isJsonObject(settings.added_tokens_decoder) ? settings.added_tokens_decoder : {};
  return Object.entries(listed).map(([id, token]) => [Number(id), given("added_tokens_decoder", token)]);
}

/** Files of before `added_tokens_decoder`: special_tokens_map.json counts, over tokenizer_config.json, and added_tokens.json. */
function legacyTokens({ map, added, inFile }: TokenSources, settings: Record<string, unknown>): Listed {
  for (const [name, value] of Object.entries(map ?? {})) settings[name] = fromMap(name, value, settings);
  if (isJsonObject(settings.extra_special_tokens)) {
    const known = settings.model_specific_special_tokens;
    settings.model_specific_special_tokens = {
      ...(isJsonObject(known) ? known : {}),
      ...settings.extra_special_tokens,
    };
    delete settings.extra_special_tokens;
  }
  const extra = Array.isArray(settings.extra_special_tokens) ? settings.extra_special_tokens : [];
  // transformers has not looked into the objects of tokenizer_config.json yet, which are marked by their type.
  const named = [...SPECIAL_TOKEN_NAMES.map((name) => settings[name]), ...extra];
  const special = new Set(named.filter((token) => !isJsonObject(token) || !("__type" in token)).map(contentOf));
  const fromAdded = Object.entries(added ?? {}).map(([content, id]): [number, Given] => {
    return [Number(id), { content, special: special.has(content), normalized: !special.has(content) }];
  });
  return [...fromAdded, ...inFile.map(({ id, token }): [number, Given] => [id, { ...token }])];
}

function fromMap(name: string, value: unknown, settings: JsonObject): unknown {
  if (name !== "extra_special_tokens") return isJsonObject(value) ? { ...value, special: true } : value;
  if (!Array.isArray(value)) return value;
  const known = Array.isArray(settings.extra_special_tokens) ? settings.extra_special_tokens : [];
  return [...known, ...value.map((token) => (isJsonObject(token) ? { ...token, special: true } : token))];
}

/** The seven, with the flags that a list gives them, then names of the model's own. */
function namedTokens(folder: string, settings: JsonObject, listed: ReadonlyMap<string, Given>): Map<string, Given> {
  // A name of the model's own may be one of the seven, and then keeps its place.
  const named = new Map<string, Given | undefined>(SPECIAL_TOKEN_NAMES.map((key) => [key, undefined]));
  const name = (key: string, value: unknown): void => {
    if (value !== undefined && value !== null) named.set(key, given(`${folder}: ${key}`, value));
  };
  for (const key of SPECIAL_TOKEN_NAMES) name(key, listed.get(contentOf(settings[key]) ?? "") ?? settings[key]);
  for (const [key, value] of Object.entries(settings)) {
    if (isOwnName(key) && contentOf(value) !== undefined) name(key, value);
  }
  const own = settings.model_specific_special_tokens ?? {};
  if (!isJsonObject(own))
    throw badToken(`${folder}: model_specific_special_tokens`, "an object of names and tokens", own);
  for (const [key, value] of Object.entries(own)) name(key, value ?? false);
  return new Map([...named].filter((entry): entry is [string, Given] => entry[1] !== undefined));
}

function extraTokens(folder: string, settings: JsonObject): Given[] {
  const key = "extra_special_tokens" in settings ? "extra_special_tokens" : "additional_special_tokens";
  const listed = settings[key] ?? [];
  if (!Array.isArray(listed)) throw badToken(`${folder}: ${key}`, "a list of tokens", listed);
  return listed.map((token) => given(`${folder}: ${key}`, token));
}

/** Listed tokens by id, those of tokenizer.json too: they take on the flags of the list; then named and extra ones that are missing. */
function tokensToAdd(
  inFile: readonly ListedToken[],
  listed: ReadonlyMap<number, Given>,
  named: readonly Given[],
  extra: readonly Given[],
): AddedToken[] {
  const tokens = [...listed].sort(([a], [b]) => a - b).map(([, token]) => token);
  const known = new Set([...inFile.map(({ token }) => token.content), ...tokens.map(textOf)]);
  const missing = new Map<string, Given>();
  for (const token of [...named, ...extra]) {
    const key = JSON.stringify(typeof token === "string" ? token : added(token));
    if (!known.has(textOf(token)) && !missing.has(key)) missing.set(key, token);
  }
  tokens.push(...missing.values());
  const namedTexts = new Set(named.map(textOf));
  // A text alone is the text of a special token, and so is every token with a name.
  return tokens.map((token) => added(token, typeof token === "string" || namedTexts.has(textOf(token))));
}

function added(token: Given, special = false): AddedToken {
  if (typeof token === "string") return addedToken(token, { special });
  return addedToken(token.content, special ? { ...token, special } : token);
}

/** Undefined for what is no token. */
export function contentOf(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  return isJsonObject(value) && typeof value.content === "string" ? value.content : undefined;
}

function textOf(token: Given): string {
  return typeof token === "string" ? token : token.content;
}

function given(where: string, value: unknown): Given {
  if (contentOf(value) === undefined) throw badToken(where, "a token, a string or an object with content", value);
  return value as Given;
}

function badToken(where: string, expected: string, found: unknown): GrpoError {
  return new GrpoError("BAD_TOKENIZER", `${where} must be ${expected}; found ${JSON.stringify(found)?.slice(0, 80)}`);
}
