// The post-processors of tokenizer.json: special tokens around the text, and offsets without the spaces of a token.

import { isJsonObject, type JsonObject } from "../../json.js";
import { isWhiteSpace, trimText } from "../../text.js";
import type { Offsets } from "./aligned-text.js";
import { BYTE_SPACE } from "./byte-level.js";
import { flagOf, listOf, typeOf, unsupported } from "./config.js";

export interface Token {
  readonly id: number;
  readonly offsets: Offsets;
  /** The text of an added token, with the white space that it took along. */
  readonly text?: string;
}

/** `text` is the one that offsets point into. */
export type PostProcessor = (tokens: readonly Token[], addSpecialTokens: boolean, text: string) => readonly Token[];

const PART = "the post-processor";

/** `spelling` gives the token of an id. Undefined where tokenizer.json has no post-processor. */
export function createPostProcessor(
  json: unknown,
  spelling: (id: number) => string | undefined,
): PostProcessor | undefined {
  const type = typeOf(json, PART);
  if (type === undefined) return undefined;
  const config = json as JsonObject;
  switch (type) {
    case "Sequence": {
      const steps = listOf(config, "processors", PART).map((step) => createPostProcessor(step, spelling));
      return (tokens, special, text) =>
        steps.reduce((current, step) => step?.(current, special, text) ?? current, tokens);
    }
    case "ByteLevel":
      return trimmer(config, spelling);
    case "TemplateProcessing":
      return template(config);
    case "BertProcessing":
      return between(config);
    case "RobertaProcessing": {
      const trim = trimmer(config, spelling);
      const enclose = between(config);
      return (tokens, special, text) => enclose(trim(tokens, special, text), special, text);
    }
    default:
      return unsupported(PART, `type "${type}"`);
  }
}

function template(config: JsonObject): PostProcessor {
  const table = isJsonObject(config.special_tokens) ? config.special_tokens : {};
  const parts = listOf(config, "single", PART).map((piece): readonly Token[] | "text" => {
    if (isJsonObject(piece) && isJsonObject(piece.Sequence)) return "text";
    const name = isJsonObject(piece) && isJsonObject(piece.SpecialToken) ? String(piece.SpecialToken.id) : "";
    const entry = table[name];
    if (!isJsonObject(entry)) return unsupported(PART, `piece ${JSON.stringify(piece)}`);
    return listOf(entry, "ids", PART).map((id) => special(id));
  });
  return (tokens, addSpecialTokens) =>
    parts.flatMap((part) => (part === "text" ? tokens : addSpecialTokens ? part : []));
}

/** [CLS] … [SEP] */
function between(config: JsonObject): PostProcessor {
  const [start, end] = ["cls", "sep"].map((key) => special(listOf(config, key, PART)[1]));
  if (start === undefined || end === undefined) return unsupported(PART, "form");
  return (tokens, addSpecialTokens) => (addSpecialTokens ? [start, ...tokens, end] : tokens);
}

function special(id: unknown): Token {
  if (typeof id !== "number") return unsupported(PART, `token id ${JSON.stringify(id)}`);
  return { id, offsets: [0, 0] };
}

/** Offsets shrink by the white space that a token begins and ends with, but for a prefix space that was never there. */
function trimmer(config: JsonObject, spelling: (id: number) => string | undefined): PostProcessor {
  if (!flagOf(config, "trim_offsets", true)) return (tokens) => tokens;
  const addPrefixSpace = flagOf(config, "add_prefix_space", true);
  const goes = (char: string): boolean => isWhiteSpace(char) || char === BYTE_SPACE;
  return (tokens, _, text) =>
    tokens.map((token, index) => {
      const written = token.text ?? spelling(token.id) ?? "";
      // A token of white space alone has it on both sides.
      let leading = written.length - trimText(written, goes, "start").length;
      const trailing = written.length - trimText(written, goes, "end").length;
      let [start, end] = token.offsets;
      if (leading > 0) {
        if ((index === 0 || start === 0) && addPrefixSpace && leading === 1) leading = 0;
        start = Math.min(move(text, start, leading), end);
      }
      if (trailing > 0 && end >= trailing) end = Math.max(move(text, end, -trailing), start);
      return { ...token, offsets: [start, end] };
    });
}

/** Offsets move by whole characters; a token's space may stand for the character behind it, a pair of surrogates. */
function move(text: string, from: number, characters: number): number {
  const step = Math.sign(characters);
  let at = from;
  for (let i = 0; i !== characters; i += step) {
    at += step;
    const unit = text.charCodeAt(at);
    if (unit >= 0xdc00 && unit <= 0xdfff) at += step;
  }
  return at;
}
