// What is served: a model under its names, how text becomes ids and back, and how requests become work for the engine, within what the
// model and the limits allow.

import type { ChatFormat } from "../chat/chat-format.js";
import type { Grammar } from "../grammar/grammar.js";
import type { JsonObject } from "../json.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import type { TokenIds } from "../types.js";
import { textFormOf } from "./answer-form.js";
import { ApiError, badField } from "./api-error.js";
import type { DrawingFields } from "./fields.js";
import type { GenerationRequest, Generator, Sampling } from "./generator.js";
import type { Grammars } from "./grammars.js";
import type { EndpointLimits } from "./limits.js";

/** A name that requests may give as `model`. */
export interface ServedModel {
  readonly name: string;
  /** The same under another name, not listed. */
  readonly alias?: string;
  /** See GenerationRequest. */
  readonly adapter: string | null | undefined;
}

/** How tokens are drawn where a request does not say. */
export interface SamplingDefaults extends Omit<Sampling, "minNewTokens" | "badWords"> {
  readonly maxNewTokens: number | undefined;
}

export interface Served {
  /** The first is meant where a request names none. */
  readonly models: readonly ServedModel[];
  readonly generator: Generator;
  readonly tokenizer: Tokenizer;
  readonly format: ChatFormat;
  readonly grammars: Grammars;
  readonly defaults: SamplingDefaults;
  /** Variables of the chat template where a request does not say otherwise. */
  readonly variables: JsonObject;
  readonly limits: EndpointLimits;
  /** Seconds since 1970. */
  readonly createdAt: number;
  /** Ids for calls of tools that no other call has. */
  readonly newCallId: () => string;
  /** Told of each field of a request that means nothing here, once. */
  readonly notice: (path: string) => (field: string) => void;
}

/** The model of a request. Throws 404. */
export function modelOf({ models }: Served, name: string | null | undefined): ServedModel {
  const found = models.find((model) => name == null || name === "" || model.name === name || model.alias === name);
  if (found) return found;
  const names = models.map((model) => model.name).join(", ");
  const message = `there is no model ${JSON.stringify(name)} here; there ${models.length === 1 ? "is" : "are"} ${names}`;
  throw new ApiError(404, "model_not_found", message, { param: "model" });
}

/** What a protocol adds to the fields of a request. */
export interface Asked {
  readonly ids: TokenIds;
  readonly model: ServedModel;
  /** See GenerationRequest. */
  readonly owner: object;
  readonly signal: AbortSignal;
  /** Ids that end a completion beside those of the request. */
  readonly endIds: readonly number[];
  readonly logprobs: boolean;
  readonly topLogprobs: number;
  /** What the whole completion must be; undefined: any text. */
  readonly grammar: Grammar | undefined;
}

/** The work that a request is. Throws 400. */
export function toGeneration(served: Served, fields: DrawingFields, asked: Asked): GenerationRequest {
  const { ids, model, owner, signal, endIds, logprobs, topLogprobs, grammar } = asked;
  checkIds(served, ids);
  if (grammar !== undefined) checkUnforced(fields);
  const ends = [...served.tokenizer.eosTokenIds, ...endIds];
  return {
    ids,
    count: countOf(served, fields, 1),
    maxNewTokens: maxNewTokensOf(served, fields, ids.length),
    // A grammar says itself what may come, and when its end may.
    sampling: { ...samplingOf(served, fields), ...(grammar && { minNewTokens: 0 }) },
    stopIds: [...new Set([...endIds, ...(fields.stop_token_ids ?? [])])],
    stopStrings: stopStringsOf(fields),
    seed: fields.seed == null ? undefined : Math.abs(fields.seed),
    logprobs,
    topLogprobs,
    constraint: grammar && (() => grammar.constraint(ends)),
    owner,
    adapter: model.adapter,
    signal,
  };
}

/** The grammar of a completion that is a text alone, where the fields ask for a form. Throws 400. */
export function textGrammar({ grammars }: Served, fields: DrawingFields): Grammar | undefined {
  const form = textFormOf(fields);
  return form && grammars.get(form.key, form.write);
}

/** Throws 400 for what could forbid the only tokens that a grammar allows. */
function checkUnforced({ min_tokens: least, bad_words: bad }: DrawingFields): void {
  if (least) throw badField("min_tokens", "an answer that has a form ends when the form does");
  if (bad?.length) throw badField("bad_words", "an answer that has a form may need any word");
}

/** Completions of each of so many prompts. Throws 400 where they are more than one request may have. */
export function countOf({ limits }: Served, { n }: DrawingFields, prompts: number): number {
  const count = n ?? 1;
  if (count * prompts <= limits.maxRowsPerRequest) return count;
  throw badField("n", `a request may ask for ${limits.maxRowsPerRequest} completions, found ${count * prompts}`);
}

export function stopStringsOf({ stop }: DrawingFields): readonly string[] {
  const given = stop == null ? [] : typeof stop === "string" ? [stop] : stop;
  return given.filter((text) => text !== "");
}

function samplingOf({ defaults, tokenizer }: Served, fields: DrawingFields): Sampling {
  const topP = fields.top_p ?? defaults.topP;
  return {
    temperature: fields.temperature ?? defaults.temperature,
    // 0 leaves the likeliest token.
    topP: Math.max(Number.MIN_VALUE, topP),
    topK: Math.max(0, fields.top_k ?? defaults.topK),
    minP: fields.min_p ?? defaults.minP,
    repetitionPenalty: fields.repetition_penalty ?? defaults.repetitionPenalty,
    minNewTokens: fields.min_tokens ?? undefined,
    badWords: fields.bad_words?.length ? fields.bad_words.flatMap((word) => spellings(tokenizer, word)) : undefined,
  };
}

/** A word by itself, and behind a space where that is one other token for it, as in vLLM. */
function spellings(tokenizer: Tokenizer, word: string): TokenIds[] {
  const [bare, spaced] = ["", " "].map((space) =>
    tokenizer.encode(space + word.trimStart(), { addSpecialTokens: false }),
  );
  if (bare === undefined || spaced === undefined) return [];
  const isOther = spaced[0] !== bare[0] && spaced.length === bare.length;
  return [bare, ...(isOther ? [spaced] : [])].filter((ids) => ids.length > 0);
}

function maxNewTokensOf({ generator, defaults, limits }: Served, { max_tokens: asked }: DrawingFields, length: number) {
  const room = generator.maxPositions - length;
  if (room < 1) throw tooLong(generator, `the prompt has ${length}`);
  if (asked == null) return Math.min(defaults.maxNewTokens ?? room, room, limits.maxTokens);
  if (asked > limits.maxTokens) throw badField("max_tokens", `at most ${limits.maxTokens} are allowed, found ${asked}`);
  if (asked > room) throw tooLong(generator, `the prompt has ${length}, and ${asked} new ones are asked for`);
  return asked;
}

function tooLong({ maxPositions }: Generator, found: string): ApiError {
  const message = `this model's context is of ${maxPositions} tokens; ${found}`;
  return new ApiError(400, "context_length_exceeded", message, { param: "max_tokens" });
}

/** Throws 400 for ids that the model has no row for, and where there is none. */
export function checkIds({ generator }: Served, ids: TokenIds): void {
  if (ids.length === 0) throw badField("prompt", "it is empty; the first token needs a context");
  const strange = ids.find((id) => id >= generator.vocabSize);
  if (strange !== undefined) throw badField("prompt", `the model has ${generator.vocabSize} ids, found ${strange}`);
}

/** Throws 400 for a text that cannot fit whatever it tokenizes to, since to find out would take time by its length. */
export function checkTextLength({ generator }: Served, texts: unknown): void {
  const length = textLength(texts);
  if (length <= generator.maxPositions * LONGEST_TOKEN) return;
  throw tooLong(generator, `a text of ${length} characters has more`);
}

/** Characters of all texts in it. */
function textLength(value: unknown): number {
  if (typeof value === "string") return value.length;
  if (typeof value !== "object" || value === null) return 0;
  return Object.values(value).reduce((sum: number, part: unknown) => sum + textLength(part), 0);
}

/** Characters; vocabularies have runs of spaces of about this length. */
const LONGEST_TOKEN = 512;
