// Which model tokenizer.json asks for.

import type { JsonObject } from "../../json.js";
import { createBpe } from "./bpe.js";
import { type TokenizerJson, unsupported } from "./config.js";
import { MODEL_PART, type Model, readVocabulary } from "./model.js";
import { createUnigram } from "./unigram.js";
import { createWordLevel, createWordPiece } from "./word-piece.js";

export function createModel(config: TokenizerJson["model"]): Model {
  switch (config.type ?? guessType(config)) {
    case "BPE":
      return createBpe(config, readVocabulary(config));
    case "Unigram":
      return createUnigram(config);
    case "WordPiece":
      return createWordPiece(config, readVocabulary(config));
    case "WordLevel":
      return createWordLevel(config, readVocabulary(config));
    default:
      return unsupported(MODEL_PART, `type "${config.type}"`);
  }
}

/** Files of before the type was written. */
function guessType(config: JsonObject): string {
  if (Array.isArray(config.merges)) return "BPE";
  if (Array.isArray(config.vocab)) return "Unigram";
  return "continuing_subword_prefix" in config ? "WordPiece" : "WordLevel";
}
