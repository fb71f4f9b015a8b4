// Sampling options: defaults, checks, and their form for the engine; finished groups on their way back.

import { at } from "../at.js";
import { checkBoolean, checkNumber, checkOptionNames, namesOf, show } from "../checks.js";
import { GrpoError } from "../errors.js";
import type { NativeGroup, NativeSampleRequest } from "../native/native.js";
import { asBadConfig, type OwnGeneration, ownNumber, refuseUnsupported } from "./generation-config.js";
import { MAX_ROWS } from "./memory.js";
import { flattenIds, splitFloats } from "./ragged.js";
import type { SampledCompletion, SampledGroup, SampleOptions, TokenRules } from "./sampled.js";
import { nativeRules } from "./token-rules.js";

/** What a model says about itself that sampling depends on. */
export interface SamplingModel {
  readonly vocabSize: number;
  readonly maxPositions: number;
  readonly eosTokenIds: readonly number[];
  readonly ownGeneration: OwnGeneration;
}

/** The byte string of every token id: bytes[offsets[id] .. offsets[id + 1]]. */
export interface TokenBytes {
  readonly bytes: Uint8Array;
  readonly offsets: Int32Array; // [V + 1]
}

/** Texts that end a completion, wherever in a token they end; they need the tokenizer that spells the tokens. */
export interface StopStringOptions {
  /** Texts that end a completion as soon as it has one. Default: generation_config.json's, else none. */
  readonly stopStrings?: readonly string[];
  /** The tokenizer of the model, which stop strings need. Default: none. */
  readonly tokenizer?: {
    /** The bytes that each token stands for. */
    tokenBytes(): TokenBytes;
  };
}

/** A token as it is drawn. */
export interface DrawnToken {
  /** Index of the prompt, and of the completion among the prompt's. */
  readonly prompt: number;
  readonly sample: number;
  readonly id: number;
}

/** Which adapter computes. */
export interface AdapterChoice {
  /** The name of an adapter, for this call alone; null: the model without one. Default: the active one. */
  readonly adapter?: string | null;
}

export interface ModelSampleOptions extends SampleOptions, StopStringOptions, TokenRules, AdapterChoice {
  /** Called with every token as it is drawn, in the order of a completion. */
  readonly onToken?: (token: DrawnToken) => void;
  /** Completions decoded together at most; memory only. Default 256. */
  readonly maxRows?: number;
}

/** How the next token is drawn, which `sample` and `generate` are both told. */
const DRAWING = {
  doSample: true,
  temperature: true,
  topP: true,
  topK: true,
  minP: true,
  repetitionPenalty: true,
  minNewTokens: true,
  noRepeatNgramSize: true,
  badWordsIds: true,
  suppressTokens: true,
  beginSuppressTokens: true,
  forcedEosTokenId: true,
} as const;

const SAMPLE_OPTIONS = namesOf<ModelSampleOptions>({
  groupSize: true,
  maxNewTokens: true,
  contextLength: true,
  ...DRAWING,
  stopIds: true,
  seed: true,
  step: true,
  promptKeys: true,
  signal: true,
  onGroup: true,
  constraint: true,
  maxRows: true,
  stopStrings: true,
  tokenizer: true,
  onToken: true,
  graphCapture: true,
  adapter: true,
});

/** Throws BAD_INPUT for prompts, UNKNOWN_OPTION or BAD_OPTION for options, BAD_CONFIG for what the model's own file asks for. */
export function sampleRequest(
  prompts: readonly (readonly number[])[],
  options: ModelSampleOptions,
  model: SamplingModel,
): NativeSampleRequest {
  const where = "sample";
  checkOptionNames(where, options, SAMPLE_OPTIONS);
  const number = (
    key: keyof ModelSampleOptions,
    fallback: number | undefined,
    range: Parameters<typeof checkNumber>[3],
  ) => checkNumber(where, key, options[key] ?? fallback, range);
  const doSample = checkBoolean(where, "doSample", options.doSample ?? true);
  const maxNewTokens = number("maxNewTokens", undefined, { min: 1, integer: true });
  const { vocabSize, ownGeneration: own } = model;
  const { ids, offsets } = flattenIds("prompt", prompts, vocabSize);
  checkLengths(offsets, maxNewTokens, model.maxPositions);
  refuseUnsupported(own, doSample);
  const stops = stopIds(options.stopIds, model);
  return {
    promptIds: ids,
    promptOffsets: offsets,
    promptKeys: promptKeys(options.promptKeys, prompts.length),
    groupSize: number("groupSize", undefined, { min: 1, integer: true }),
    maxNewTokens,
    doSample,
    temperature: temperature(number("temperature", 1, { min: 0, open: doSample })),
    topP: number("topP", 1, { min: Number.MIN_VALUE, max: 1 }),
    topK: number("topK", 0, { min: 0, integer: true }),
    minP: number("minP", doSample && options.minP === undefined ? (ownNumber(own, "min_p", SHARE) ?? 0) : 0, SHARE),
    repetitionPenalty: number("repetitionPenalty", 1, { min: 0, open: true }),
    stopIds: stops,
    ...nativeRules(options, own, { vocabSize, stopIds: stops, longest: longestOf(prompts) }),
    ...stopStrings(options, model),
    seed: number("seed", 0, { min: 0, integer: true }),
    step: number("step", 0, { min: 0, integer: true }),
    maxRows: number("maxRows", MAX_ROWS, { min: 1, integer: true }),
    ...(options.contextLength === undefined
      ? {}
      : { contextLength: number("contextLength", undefined, { min: 1, integer: true }) }),
    ...(options.constraint === undefined ? {} : { constrained: true }),
    ...(checkBoolean(where, "graphCapture", options.graphCapture ?? false) ? { graphCapture: true } : {}),
  };
}

const SHARE = { min: 0, max: 1 };

/** Greedy decoding has none: there, 0 says as much as 1. */
function temperature(value: number): number {
  return value === 0 ? 1 : value;
}

function longestOf(prompts: readonly (readonly number[])[]): number {
  return Array.isArray(prompts) ? prompts.reduce((longest, prompt) => Math.max(longest, prompt?.length ?? 0), 0) : 0;
}

function checkLengths(offsets: Int32Array, maxNewTokens: number, maxPositions: number): void {
  for (let i = 0; i + 1 < offsets.length; i++) {
    const length = at(offsets, i + 1) - at(offsets, i);
    if (length === 0) throw new GrpoError("BAD_INPUT", `prompt ${i} is empty; the first token needs a context`);
    if (length + maxNewTokens <= maxPositions) continue;
    throw new GrpoError(
      "BAD_INPUT",
      `prompt ${i} has ${length} tokens; with ${maxNewTokens} new ones it exceeds the model's ${maxPositions} positions`,
      { hint: "shorten the prompt or lower maxNewTokens" },
    );
  }
}

function promptKeys(keys: readonly number[] | undefined, count: number): Int32Array {
  if (keys === undefined) return Int32Array.from({ length: count }, (_, i) => i);
  const good = keys.length === count && keys.every((key) => Number.isInteger(key) && key === (key | 0));
  if (good) return Int32Array.from(keys);
  throw new GrpoError("BAD_OPTION", `sample: promptKeys must be ${count} 32-bit whole numbers, found ${show(keys)}`);
}

/** A tokenizer may have tokens that the model has no row for, and that therefore never come. */
function stopIds(extra: readonly number[] = [], { vocabSize, eosTokenIds }: SamplingModel): Int32Array {
  const { ids } = flattenIds("stopIds", [extra], 2 ** 31);
  return Int32Array.from(new Set([...eosTokenIds, ...ids])).filter((id) => id < vocabSize);
}

type NativeStopStrings = Pick<NativeSampleRequest, "stopStrings" | "tokenBytes" | "tokenOffsets">;

function stopStrings(options: StopStringOptions, { vocabSize, ownGeneration: own }: SamplingModel): NativeStopStrings {
  const { stopStrings: given, tokenizer } = options;
  if (given !== undefined) return nativeStopStrings("stopStrings", given, tokenizer, vocabSize);
  const stored = own.values.stop_strings ?? [];
  const texts = typeof stored === "string" ? [stored] : stored;
  return asBadConfig(() => nativeStopStrings(`${own.file}: stop_strings`, texts, tokenizer, vocabSize));
}

function nativeStopStrings(
  name: string,
  texts: unknown,
  tokenizer: StopStringOptions["tokenizer"],
  vocabSize: number,
): NativeStopStrings {
  if (!Array.isArray(texts) || !texts.every((text) => typeof text === "string" && text !== "")) {
    throw new GrpoError("BAD_OPTION", `${name} must be texts that are not empty, found ${show(texts)}`);
  }
  if (texts.length === 0) return {};
  if (tokenizer === undefined) {
    throw new GrpoError("BAD_OPTION", `${name} need the option tokenizer, to know how tokens are spelled`);
  }
  const { bytes, offsets } = tokenizer.tokenBytes();
  const encoder = new TextEncoder();
  // Embeddings may have more rows than the tokenizer has ids, or fewer; a row without a spelling has no bytes.
  const tokenOffsets = Int32Array.from({ length: vocabSize + 1 }, (_, id) =>
    at(offsets, Math.min(id, offsets.length - 1)),
  );
  return {
    stopStrings: texts.map((text) => encoder.encode(text)),
    tokenBytes: bytes.subarray(0, tokenOffsets[vocabSize]),
    tokenOffsets,
  };
}

/** By the numbers of the engine. */
export const FINISH_REASONS = ["eos", "length", "stop"] as const;

export function sampledGroup(group: NativeGroup): SampledGroup {
  const logprobs = splitFloats(group.logprobs, group.offsets);
  const completions = logprobs.map((values, i): SampledCompletion => {
    const ids = Array.from(group.ids.subarray(group.offsets[i], group.offsets[i + 1]));
    return { ids, logprobs: values, finishReason: at(FINISH_REASONS, at(group.finish, i)) };
  });
  return { prompt: group.prompt, completions };
}

/**
 * How `generate` samples. Greedy, unless an option or the model's generation_config.json asks for sampling; what is left open is as
 * that file says.
 */
export interface GenerateOptions extends StopStringOptions, TokenRules, AdapterChoice {
  /**
   * Default: generation_config.json's, or what its max_length leaves after the longest prompt; else 256. Never more than fits
   * after the longest prompt.
   */
  readonly maxNewTokens?: number;
  /** false: greedy. Default: true if a sampling option is given, else generation_config.json's, else false. */
  readonly doSample?: boolean;
  /** Divides the logits. Default: generation_config.json's, else 1. */
  readonly temperature?: number;
  /** Draws from the likeliest tokens whose probabilities reach it together. Default: generation_config.json's, else 1: off. */
  readonly topP?: number;
  /** Draws from so many of the likeliest tokens. Default: generation_config.json's, else 0: off. */
  readonly topK?: number;
  /** Draws only tokens of at least this share of the likeliest token's probability. Default: generation_config.json's, else 0: off. */
  readonly minP?: number;
  /** Divides the positive logits of tokens that occurred, and multiplies the negative ones. Default: generation_config.json's, else 1: off. */
  readonly repetitionPenalty?: number;
  /** Completions per prompt. Default 1. */
  readonly numReturnSequences?: number;
  /** The same seed gives the same completions, whatever else is in the batch. Default 0. */
  readonly seed?: number;
  /** Token ids that end a completion, beside the model's own end-of-text ids. */
  readonly stop?: readonly number[];
  /** Called with every token as it is drawn: for streaming. */
  readonly onToken?: (token: DrawnToken) => void;
  /** What each completion may be; see `completionConstraint`. Default: anything. */
  readonly constraint?: SampleOptions["constraint"];
  /** Aborting it ends the call with the error CANCELLED. */
  readonly signal?: AbortSignal;
}

const GENERATE_OPTIONS = namesOf<GenerateOptions>({
  maxNewTokens: true,
  ...DRAWING,
  numReturnSequences: true,
  seed: true,
  stop: true,
  stopStrings: true,
  tokenizer: true,
  onToken: true,
  constraint: true,
  signal: true,
  adapter: true,
});

/** Arguments of transformers' generate, and what to write here. */
const FOREIGN: Readonly<Record<string, string>> = {
  maxLength: "write maxNewTokens: it counts what is new",
  minLength: "write minNewTokens: it counts what is new",
  eosTokenId: "write stop: [id]",
  padTokenId: "leave it out: nothing is padded",
  attentionMask: "leave it out: nothing is padded",
  inputIds: "give a list of prompts as the first argument",
  stoppingCriteria: "write stop, stopStrings or onToken",
  streamer: "write onToken",
  numBeams: "leave it out: there is no beam search",
  useCache: "leave it out: sampling always uses a key-value cache",
  generationConfig: "write its values as options",
};

/** Options of generate() as options of sample(). What is not given comes from generation_config.json, as in transformers. */
export function generateToSample(
  prompts: readonly (readonly number[])[],
  options: GenerateOptions,
  model: SamplingModel,
): ModelSampleOptions {
  checkOptionNames("generate", options, GENERATE_OPTIONS, { names: FOREIGN });
  const { stop, numReturnSequences, maxNewTokens, ...rest } = options;
  if (stop !== undefined && !(Array.isArray(stop) && stop.every(Number.isInteger))) {
    throw new GrpoError("BAD_OPTION", `generate: stop must be a list of token ids, found ${show(stop)}`, {
      hint: "encode the stop token with the tokenizer",
    });
  }
  const { ownGeneration: own } = model;
  const asked = [options.temperature, options.topP, options.topK, options.minP].some((value) => value !== undefined);
  const doSample = options.doSample ?? (asked || own.values.do_sample === true);
  const completions = numReturnSequences ?? ownNumber(own, "num_return_sequences", POSITIVE) ?? 1;
  return {
    ...rest,
    doSample,
    ...(doSample ? shapeOf(options, own) : {}),
    repetitionPenalty: options.repetitionPenalty ?? ownNumber(own, "repetition_penalty", ABOVE_ZERO) ?? 1,
    groupSize: checkNumber("generate", "numReturnSequences", completions, POSITIVE),
    maxNewTokens: maxNewTokens ?? ownLength(own, longestOf(prompts), model.maxPositions),
    stopIds: stop ?? [],
  };
}

const POSITIVE = { min: 1, integer: true };
const NOT_NEGATIVE = { min: 0, integer: true };
const ABOVE_ZERO = { min: 0, open: true };

/** What a model's own file says of how it is sampled. Throws BAD_CONFIG. */
export function ownSampling(own: OwnGeneration) {
  return {
    ...shapeOf({}, own),
    minP: ownNumber(own, "min_p", SHARE) ?? 0,
    repetitionPenalty: ownNumber(own, "repetition_penalty", ABOVE_ZERO) ?? 1,
    maxNewTokens: ownNumber(own, "max_new_tokens", POSITIVE),
  };
}

/** What shapes the distribution that is drawn from; greedy decoding looks at none of it. */
function shapeOf(
  options: GenerateOptions,
  own: OwnGeneration,
): Required<Pick<SampleOptions, "temperature" | "topP" | "topK">> {
  return {
    temperature: options.temperature ?? ownNumber(own, "temperature", ABOVE_ZERO) ?? 1,
    topP: options.topP ?? ownTopP(own),
    topK: options.topK ?? ownNumber(own, "top_k", NOT_NEGATIVE) ?? 0,
  };
}

/** transformers leaves the likeliest token at 0, and all at 1 or more. */
function ownTopP(own: OwnGeneration): number {
  return Math.min(1, Math.max(Number.MIN_VALUE, ownNumber(own, "top_p", { min: 0 }) ?? 1));
}

/** Tokens of a completion, of which no more are asked for than the model has positions after the longest prompt. */
function ownLength(own: OwnGeneration, longest: number, maxPositions: number): number {
  const room = Math.max(1, maxPositions - longest);
  const most = ownNumber(own, "max_new_tokens", POSITIVE);
  const total = ownNumber(own, "max_length", POSITIVE);
  if (most !== undefined || total === undefined) return Math.min(most ?? 256, room);
  if (total > longest) return Math.min(total - longest, room);
  throw new GrpoError(
    "BAD_INPUT",
    `${own.file}: max_length is ${total}, but the longest prompt has ${longest} tokens`,
    {
      hint: "give maxNewTokens, or a shorter prompt",
    },
  );
}
