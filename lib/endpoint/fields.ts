// The fields of requests: checked, refused by name where they would change the answer and cannot be done, and named once where
// they mean nothing here. Protocols share the names of what is drawn and how.

import type * as Zod from "zod";
import { isJsonObject, type JsonObject } from "../json.js";
import type { ZodModule } from "../zod.js";
import { formFields } from "./answer-form.js";
import { ApiError, unsupportedField } from "./api-error.js";

/** Distinct names that are told of; a stranger can make up any number. */
const NOTICES = 100;

/** The value as the schema gives it. Throws 400, naming the field. Fields that the schema does not have go to `notice`. */
export function readFields<Shape extends Zod.ZodRawShape>(
  schema: Zod.ZodObject<Shape>,
  body: JsonObject,
  notice: (field: string) => void,
): Zod.output<Zod.ZodObject<Shape>> {
  refuseUnsupported(body);
  const result = schema.safeParse(body);
  if (!result.success) throw invalid(result.error);
  for (const [name, value] of Object.entries(body)) {
    if (value !== null && !(name in schema.shape) && !(name in UNSUPPORTED) && !LABELS.has(name)) notice(name);
  }
  return result.data;
}

function invalid(error: Zod.ZodError): ApiError {
  const issue = deepest(error.issues);
  const param = issue.path.map(String).join(".");
  const message = `${param === "" ? "the request" : param}: ${issue.message}`;
  return new ApiError(400, "invalid_value", message, param === "" ? {} : { param });
}

type Issue = Zod.ZodError["issues"][number];

/** Of a union's members the one that came furthest says the most. */
function deepest(issues: readonly Issue[]): Issue {
  const [first] = issues;
  if (first === undefined) throw new ApiError(400, "invalid_value", "the request is not valid");
  if (first.code !== "invalid_union") return first;
  const inner = first.errors.filter((list) => list.length > 0).map(deepest);
  const best = inner.sort((a, b) => b.path.length - a.path.length)[0];
  return best === undefined || best.path.length === 0 ? first : { ...best, path: [...first.path, ...best.path] };
}

/** Tells of each name once. */
export function noticeOnce(tell: (text: string) => void): (path: string) => (field: string) => void {
  const told = new Set<string>();
  return (path) => (field) => {
    const text = `${path}: the field ${field.slice(0, 80)} means nothing here`;
    if (told.has(text) || told.size >= NOTICES) return;
    told.add(text);
    tell(text);
  };
}

/** Who asks, and what for: no part of the answer. */
const LABELS: ReadonlySet<string> = new Set([
  "user",
  "metadata",
  "store",
  "service_tier",
  "safety_identifier",
  "prompt_cache_key",
  "prompt_cache_retention",
  "spaces_between_special_tokens",
  "detokenize",
  "output_kind",
  "request_id",
  "cache_salt",
  "priority",
]);

interface Unsupported {
  /** Values that ask for nothing. */
  readonly neutral: (value: unknown) => boolean;
  readonly why: string;
}

const isZero = (value: unknown) => value === 0;
const isFalse = (value: unknown) => value === false;
const isEmpty = (value: unknown) => isJsonObject(value) && Object.keys(value).length === 0;
const isEmptyList = (value: unknown) => Array.isArray(value) && value.length === 0;
const never = () => false;

const PENALTY = "only repetition_penalty is";

const UNSUPPORTED: Readonly<Record<string, Unsupported>> = {
  frequency_penalty: { neutral: isZero, why: PENALTY },
  presence_penalty: { neutral: isZero, why: PENALTY },
  logit_bias: { neutral: isEmpty, why: "leave it out" },
  allowed_token_ids: { neutral: never, why: "give structured_outputs" },
  ignore_eos: { neutral: isFalse, why: "give min_tokens" },
  use_beam_search: { neutral: isFalse, why: "there is no beam search" },
  length_penalty: { neutral: (value) => value === 1, why: "there is no beam search" },
  best_of: { neutral: (value) => value === 1, why: "give n, and choose" },
  suffix: { neutral: (value) => value === "", why: "leave it out" },
  truncate_prompt_tokens: { neutral: never, why: "cut the prompt" },
  prompt_logprobs: { neutral: never, why: "give echo and logprobs to /v1/completions" },
  guided_decoding_backend: { neutral: (value) => value === "auto", why: "there is one way" },
  guided_whitespace_pattern: { neutral: never, why: "white space is a space or a new line with its indentation" },
  functions: { neutral: isEmptyList, why: "give tools" },
  function_call: { neutral: never, why: "give tools and tool_choice" },
  modalities: { neutral: (value) => JSON.stringify(value) === '["text"]', why: "answers are text" },
  audio: { neutral: never, why: "answers are text" },
  prediction: { neutral: never, why: "leave it out" },
  web_search_options: { neutral: never, why: "there is no search" },
  chat_template: { neutral: never, why: "set the tokenizer's" },
  continue_final_message: { neutral: isFalse, why: "give the text as a prompt to /v1/completions" },
  background: { neutral: isFalse, why: "wait for the answer, or stream it" },
  conversation: { neutral: never, why: "give previous_response_id" },
  features: { neutral: isEmpty, why: "prompts are text" },
  content_parts: { neutral: isEmptyList, why: "prompts are text" },
};

function refuseUnsupported(body: JsonObject): void {
  for (const [name, { neutral, why }] of Object.entries(UNSUPPORTED)) {
    const value = body[name];
    if (value !== undefined && value !== null && !neutral(value)) throw unsupportedField(name, why);
  }
}

/** How tokens are drawn, in OpenAI's names and vLLM's. */
export const drawingFields = (z: ZodModule) => ({
  temperature: z.number().min(0).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  /** -1 and 0: off. */
  top_k: z.int().min(-1).nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  repetition_penalty: z.number().positive().nullish(),
  min_tokens: z.int().min(0).nullish(),
  max_tokens: z.int().min(0).nullish(),
  seed: z.int().nullish(),
  n: z.int().min(1).nullish(),
  stop: z.union([z.string(), z.array(z.string().max(MAX_STOP_LENGTH)).max(MAX_STOPS)]).nullish(),
  stop_token_ids: z.array(z.int().min(0)).max(MAX_STOPS).nullish(),
  include_stop_str_in_output: z.boolean().nullish(),
  bad_words: z.array(z.string().min(1).max(MAX_STOP_LENGTH)).max(MAX_BAD_WORDS).nullish(),
  ...formFields(z),
});

export type DrawingFields = Partial<Zod.output<Zod.ZodObject<ReturnType<typeof drawingFields>>>>;

const MAX_STOPS = 64;
const MAX_STOP_LENGTH = 1000;
const MAX_BAD_WORDS = 1000;

/** What every streaming protocol of chat and completions takes. */
export const streamFields = (z: ZodModule) => ({
  model: z.string().nullish(),
  stream: z.boolean().nullish(),
  stream_options: z.looseObject({ include_usage: z.boolean().nullish() }).nullish(),
  return_token_ids: z.boolean().nullish(),
  return_tokens_as_token_ids: z.boolean().nullish(),
});

/** The likeliest tokens that can be asked for at each place. */
export const MAX_TOP_LOGPROBS = 20;
