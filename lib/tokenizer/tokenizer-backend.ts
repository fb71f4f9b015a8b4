// Token ids from text and back: @huggingface/tokenizers set up so that it gives what the Rust library gives for the same
// tokenizer.json. It knows nothing of folders, templates or which token ends a sequence.

import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import { GrpoError, reasonOf } from "../errors.js";
import { isJsonObject, type JsonObject } from "../json.js";

const PUNCTUATION = "[\\p{P}\\x21-\\x2F\\x3A-\\x40\\x5B-\\x60\\x7B-\\x7E]";

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

/** What is used of the library; its own declarations do not resolve under TypeScript's NodeNext rules. */
interface LibraryTokenizer {
  readonly model: { readonly vocab: readonly string[] } | null;
  readonly decoder: LibraryDecoder | null;
  encode(text: string, options: { readonly add_special_tokens: boolean }): { readonly ids: number[] };
  decode(ids: readonly number[], options: { readonly skip_special_tokens: boolean }): string;
  token_to_id(token: string): number | undefined;
  id_to_token(id: number): string | undefined;
}

interface LibraryDecoder {
  readonly config: { readonly type: string };
  /** Those of a sequence. */
  readonly decoders?: readonly LibraryDecoder[];
  decode_chain(tokens: string[]): string[];
}

export interface TokenizerBackend {
  /** Number of tokens, added ones included. */
  readonly size: number;
  encode(text: string, addSpecialTokens: boolean): number[];
  decode(ids: readonly number[], skipSpecialTokens: boolean): string;
  tokenToId(token: string): number | undefined;
  idToToken(id: number): string | undefined;
}

/** `cleanUp` joins punctuation to the word before it after decoding; `unigramEos` is needed by Unigram models only. */
export function createBackend(
  json: TokenizerJson,
  addedTokens: readonly AddedToken[],
  options: { readonly cleanUp: boolean; readonly unigramEos: string | undefined },
): TokenizerBackend {
  const tokenizer = construct(json, addedTokens, options);
  const { model } = tokenizer;
  if (!model) throw new GrpoError("BAD_TOKENIZER", "tokenizer.json describes no model.");
  replaceByteFallback(tokenizer.decoder);
  let size = 0;
  // The vocabulary is a sparse array when ids have gaps; forEach skips the holes.
  model.vocab.forEach(() => {
    size++;
  });
  return {
    size,
    encode: (text, addSpecialTokens) => tokenizer.encode(text, { add_special_tokens: addSpecialTokens }).ids,
    decode: (ids, skipSpecialTokens) => {
      // A model's output layer is often longer than the vocabulary; ids without a token decode to nothing.
      const known = ids.filter((id) => model.vocab[id] !== undefined);
      return known.length === 0 ? "" : tokenizer.decode(known, { skip_special_tokens: skipSpecialTokens });
    },
    tokenToId: (token) => tokenizer.token_to_id(token),
    idToToken: (id) => tokenizer.id_to_token(id),
  };
}

function construct(
  json: TokenizerJson,
  addedTokens: readonly AddedToken[],
  options: { readonly cleanUp: boolean; readonly unigramEos: string | undefined },
): LibraryTokenizer {
  const parts = { normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null };
  const config = { clean_up_tokenization_spaces: options.cleanUp, eos_token: options.unigramEos };
  try {
    const exact = { pre_tokenizer: exactPreTokenizer(json.pre_tokenizer) };
    return new HuggingFaceTokenizer({ ...parts, ...json, ...exact, added_tokens: addedTokens }, config);
  } catch (thrown) {
    throw new GrpoError("BAD_TOKENIZER", `tokenizer.json cannot be used: ${reasonOf(thrown)}`, { cause: thrown });
  }
}

/**
 * Pre-tokenizers in which the library differs from the Rust one, as regular expressions that agree with it: there a digit
 * is any number of Unicode (also ² and Ⅷ), a word is not ASCII only, and punctuation is split mark by mark.
 */
function exactPreTokenizer(config: unknown): unknown {
  if (!isJsonObject(config)) return config ?? null;
  const split = (Regex: string, rest: JsonObject) => ({ type: "Split", pattern: { Regex }, ...rest });
  const isolated = { behavior: "Isolated", invert: false };
  switch (config.type) {
    case "Sequence":
      return Array.isArray(config.pretokenizers)
        ? { ...config, pretokenizers: config.pretokenizers.map(exactPreTokenizer) }
        : config;
    case "Digits":
      return split(config.individual_digits ? "\\p{N}" : "\\p{N}+", isolated);
    case "Whitespace":
      return split("\\w+|[^\\w\\s]+", { behavior: "Removed", invert: true });
    case "Punctuation":
      return (config.behavior ?? "Isolated") === "Isolated" ? split(PUNCTUATION, isolated) : config;
    default:
      return config;
  }
}

function replaceByteFallback(decoder: LibraryDecoder | null): void {
  if (decoder?.config.type === "ByteFallback") decoder.decode_chain = decodeByteTokens;
  decoder?.decoders?.forEach(replaceByteFallback);
}

/**
 * Joins runs of byte tokens like <0x41> into text. As in the Rust library a run that is not valid UTF-8 becomes one
 * replacement character per byte; TextDecoder alone would keep the valid part of the run and drop a byte order mark.
 */
function decodeByteTokens(tokens: string[]): string[] {
  const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const out: string[] = [];
  let bytes: number[] = [];
  const flush = () => {
    if (bytes.length === 0) return;
    try {
      out.push(strict.decode(Uint8Array.from(bytes)));
    } catch {
      out.push("\uFFFD".repeat(bytes.length));
    }
    bytes = [];
  };
  for (const token of tokens) {
    const hex = /^<0x([0-9A-Fa-f]{2})>$/.exec(token)?.[1];
    if (hex !== undefined) {
      bytes.push(Number.parseInt(hex, 16));
      continue;
    }
    flush();
    out.push(token);
  }
  flush();
  return out;
}
