// The two models that look words up: WordLevel takes a word as it is, WordPiece cuts it into the longest pieces that the
// vocabulary has.

import type { JsonObject } from "../../json.js";
import { countOf, textOf, unsupported } from "./config.js";
import { MODEL_PART, type Model, type ModelTokens } from "./model.js";

export function createWordLevel(config: JsonObject, vocabulary: ReadonlyMap<string, number>): Model {
  const unknown = unknownToken(config, vocabulary, "<unk>");
  return {
    vocabulary,
    size: vocabulary.size,
    tokenize: (word) => ({ ids: [vocabulary.get(word) ?? unknown()], spans: [0, word.length] }),
  };
}

/** Longest match first; a word with a rest that nothing matches is unknown as a whole. */
export function createWordPiece(config: JsonObject, vocabulary: ReadonlyMap<string, number>): Model {
  const unknown = unknownToken(config, vocabulary, "[UNK]");
  const prefix = textOf(config, "continuing_subword_prefix", MODEL_PART, "##");
  const maxLength = countOf(config, "max_input_chars_per_word", MODEL_PART, 100);
  const tokenize = (word: string): ModelTokens => {
    const ids: number[] = [];
    const spans: number[] = [];
    let start = Array.from(word).length > maxLength ? -1 : 0;
    while (start >= 0 && start < word.length) {
      let end = word.length;
      let id: number | undefined;
      for (; end > start; end--) {
        id = vocabulary.get((start > 0 ? prefix : "") + word.slice(start, end));
        if (id !== undefined) break;
      }
      if (id !== undefined) {
        ids.push(id);
        spans.push(start, end);
      }
      start = id === undefined ? -1 : end;
    }
    return start < 0 ? { ids: [unknown()], spans: [0, word.length] } : { ids, spans };
  };
  return { vocabulary, size: vocabulary.size, tokenize };
}

/** Only a text that needs the token makes its absence an error. */
function unknownToken(config: JsonObject, vocabulary: ReadonlyMap<string, number>, fallback: string): () => number {
  const token = textOf(config, "unk_token", MODEL_PART, fallback);
  const id = vocabulary.get(token);
  return () => id ?? unsupported(MODEL_PART, `unk_token ${JSON.stringify(token)} (not in the vocabulary)`);
}
