// The pre-tokenizers of tokenizer.json: how a normalized text is cut into the words that the model sees one by one.
// Names and rules are those of the Rust library.

import type { JsonObject } from "../../json.js";
import { type AlignedText, widthAt } from "./aligned-text.js";
import { choiceOf, countOf, flagOf, listOf, textOf, typeOf, unsupported } from "./config.js";
import { byteLevel, replaceMatches } from "./normalizers.js";
import { escapeRegExp, readPattern, SPLIT_BEHAVIORS, split } from "./patterns.js";

export type PreTokenizer = (pieces: readonly AlignedText[]) => readonly AlignedText[];

const PART = "the pre-tokenizer";
const GPT2_WORDS =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;
const SPACE = /\p{White_Space}/gu;
const PUNCTUATION = /[\p{P}\x21-\x2F\x3A-\x40\x5B-\x60\x7B-\x7E]/gu;
const WORD = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}";
const WORDS_AND_SYMBOLS = new RegExp(`[${WORD}]+|[^${WORD}\\p{White_Space}]+`, "gu");
const DIGIT = /\p{N}/gu;

/** Undefined where tokenizer.json has none. */
export function createPreTokenizer(json: unknown): PreTokenizer | undefined {
  const type = typeOf(json, PART);
  if (type === undefined) return undefined;
  const config = json as JsonObject;
  const each =
    (cut: (piece: AlignedText) => readonly AlignedText[]): PreTokenizer =>
    (pieces) =>
      pieces.length === 1 ? cut(pieces[0] as AlignedText) : pieces.flatMap((piece) => cut(piece));
  switch (type) {
    case "Sequence":
      return sequence(listOf(config, "pretokenizers", PART).map((step) => createPreTokenizer(step)));
    case "Split": {
      const pattern = readPattern(config.pattern, PART);
      const behavior = choiceOf(config.behavior, SPLIT_BEHAVIORS, PART);
      const invert = flagOf(config, "invert", false);
      return each((piece) => split(piece, pattern, behavior, invert));
    }
    case "ByteLevel":
      return byteLevelWords(config);
    case "Metaspace":
      return each(metaspace(config));
    case "Digits":
      return flagOf(config, "individual_digits", false)
        ? each((piece) => split(piece, DIGIT, "Isolated"))
        : each((piece) => split(piece, DIGIT, "Contiguous"));
    case "Whitespace":
      return each((piece) => split(piece, WORDS_AND_SYMBOLS, "Removed", true));
    case "WhitespaceSplit":
      return each((piece) => split(piece, SPACE, "Removed"));
    case "Punctuation": {
      const behavior = choiceOf(config.behavior, SPLIT_BEHAVIORS, PART, "Isolated");
      return each((piece) => split(piece, PUNCTUATION, behavior));
    }
    case "BertPreTokenizer":
      return each((piece) => split(piece, SPACE, "Removed").flatMap((word) => split(word, PUNCTUATION, "Isolated")));
    case "CharDelimiterSplit": {
      const delimiter = new RegExp(escapeRegExp(textOf(config, "delimiter", PART)), "gu");
      return each((piece) => split(piece, delimiter, "Removed"));
    }
    case "FixedLength":
      return each(fixedLength(countOf(config, "length", PART, 5)));
    default:
      return unsupported(PART, `type "${type}"`);
  }
}

/** Whether a pre-tokenizer asks where in the text a piece stands, so that positions must be kept. */
export function needsOrigins(json: unknown): boolean {
  return JSON.stringify(json ?? null).includes('"first"');
}

function sequence(steps: readonly (PreTokenizer | undefined)[]): PreTokenizer {
  return (pieces) => steps.reduce((current, step) => step?.(current) ?? current, pieces);
}

function byteLevelWords(config: JsonObject): PreTokenizer {
  const addPrefixSpace = flagOf(config, "add_prefix_space", true);
  const useRegex = flagOf(config, "use_regex", true);
  return (pieces) => {
    const out: AlignedText[] = [];
    for (const piece of pieces) {
      const spaced = addPrefixSpace && !piece.text.startsWith(" ") ? piece.prepend(" ") : piece;
      const words = useRegex ? split(spaced, GPT2_WORDS, "Isolated") : [spaced];
      for (const word of words) out.push(byteLevel(word));
    }
    return out;
  };
}

function metaspace(config: JsonObject): (piece: AlignedText) => readonly AlignedText[] {
  const replacement = textOf(config, "replacement", PART, "▁");
  const scheme = prependScheme(config);
  const cut = flagOf(config, "split", true);
  const mark = new RegExp(escapeRegExp(replacement), "gu");
  return (piece) => {
    let text = replaceMatches(piece, / /g, replacement);
    const wanted = scheme === "always" || (scheme === "first" && text.origin === 0);
    if (wanted && !text.text.startsWith(replacement)) text = text.prepend(replacement);
    return cut ? split(text, mark, "MergedWithNext") : [text];
  };
}

/** Older files say `add_prefix_space` only. */
export function prependScheme(config: JsonObject): "always" | "first" | "never" {
  if (config.add_prefix_space === false) return "never";
  return choiceOf(config.prepend_scheme, ["always", "first", "never"], PART, "always");
}

function fixedLength(length: number): (piece: AlignedText) => readonly AlignedText[] {
  return (piece) => {
    const pieces: AlignedText[] = [];
    let start = 0;
    let count = 0;
    for (let at = 0; at < piece.text.length; ) {
      at += widthAt(piece.text, at);
      if (++count % length !== 0 && at < piece.text.length) continue;
      pieces.push(piece.slice(start, at));
      start = at;
    }
    return pieces;
  };
}
