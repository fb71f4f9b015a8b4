// What the models of tokenizer.json have in common: from a word to token ids, the vocabulary, tokens for single bytes,
// and a cache of words.

import { isJsonObject, type JsonObject } from "../../json.js";
import { unsupported } from "./config.js";

/** `spans` holds start and end of each token in the word, one after the other. */
export interface ModelTokens {
  readonly ids: readonly number[];
  readonly spans: readonly number[];
}

export interface Model {
  readonly vocabulary: ReadonlyMap<string, number>;
  /** Entries of the vocabulary as its file has it; one of Unigram may name a piece twice. */
  readonly size: number;
  tokenize(word: string): ModelTokens;
}

export const MODEL_PART = "the model";

export function readVocabulary(config: JsonObject): Map<string, number> {
  const { vocab } = config;
  if (!isJsonObject(vocab)) return unsupported(MODEL_PART, "vocabulary (expected an object of token and id)");
  const vocabulary = new Map<string, number>();
  for (const token in vocab) {
    const id = vocab[token];
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0) {
      return unsupported(MODEL_PART, `id ${JSON.stringify(id)} of the token ${JSON.stringify(token)}`);
    }
    vocabulary.set(token, id);
  }
  return vocabulary;
}

/** The ids of <0x00> … <0xFF> for the UTF-8 bytes of a text, if the vocabulary has all that it takes. */
export function byteTokenIds(text: string, vocabulary: ReadonlyMap<string, number>): number[] | undefined {
  const ids: number[] = [];
  for (const byte of Buffer.from(text, "utf8")) {
    const id = vocabulary.get(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
    if (id === undefined) return undefined;
    ids.push(id);
  }
  return ids;
}

const MAX_WORDS = 50_000;
const MAX_WORD_LENGTH = 256;

/** Words come again and again. A full cache starts anew, which costs less than knowing what was used last. */
export function cached(tokenize: (word: string) => ModelTokens): (word: string) => ModelTokens {
  const words = new Map<string, ModelTokens>();
  return (word) => {
    const known = words.get(word);
    if (known !== undefined) return known;
    const tokens = tokenize(word);
    if (word.length <= MAX_WORD_LENGTH) {
      if (words.size >= MAX_WORDS) words.clear();
      words.set(word, tokens);
    }
    return tokens;
  };
}
