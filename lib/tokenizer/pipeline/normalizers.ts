// The normalizers of tokenizer.json: what happens to a text before it is cut into pieces. Names and rules are those of
// the Rust library.

import type { JsonObject } from "../../json.js";
import { isWhiteSpace, trimText } from "../../text.js";
import type { AlignedText, Change } from "./aligned-text.js";
import { byteCharacterSources, toByteCharacters } from "./byte-level.js";
import { flagOf, listOf, textOf, typeOf, unsupported } from "./config.js";
import { findSegments, readPattern } from "./patterns.js";
import { readCharsmap } from "./precompiled-charsmap.js";
import { NORMALIZATION_FORMS, normalizeUnicode } from "./unicode-normalization.js";

export type Normalizer = (piece: AlignedText) => AlignedText;

const PART = "the normalizer";

/** Undefined where tokenizer.json has none. */
export function createNormalizer(json: unknown): Normalizer | undefined {
  const type = typeOf(json, PART);
  if (type === undefined) return undefined;
  const config = json as JsonObject;
  const form = NORMALIZATION_FORMS.find((name) => name === type);
  if (form !== undefined) return (piece) => normalizeUnicode(piece, form);
  switch (type) {
    case "Sequence": {
      const steps = listOf(config, "normalizers", PART).map((step) => createNormalizer(step));
      return (piece) => steps.reduce((current, step) => step?.(current) ?? current, piece);
    }
    case "Prepend": {
      const prefix = textOf(config, "prepend", PART);
      return (piece) => (piece.text === "" ? piece : piece.prepend(prefix));
    }
    case "Replace": {
      const pattern = readPattern(config.pattern, PART);
      const content = textOf(config, "content", PART);
      return (piece) => replaceMatches(piece, pattern, content);
    }
    case "Strip":
      return strip(flagOf(config, "strip_left", true), flagOf(config, "strip_right", true));
    case "Lowercase":
      return lowercase;
    case "StripAccents":
      return (piece) => piece.filter((char) => !/\p{M}/u.test(char));
    case "ByteLevel":
      return byteLevel;
    case "Nmt":
      return nmt;
    case "Precompiled":
      return readCharsmap(textOf(config, "precompiled_charsmap", PART));
    case "BertNormalizer":
      return bert(config);
    default:
      return unsupported(PART, `type "${type}"`);
  }
}

export function byteLevel(piece: AlignedText): AlignedText {
  const text = toByteCharacters(piece.text);
  return text === piece.text ? piece : piece.rewrite(text, () => byteCharacterSources(piece.text));
}

/** What replaces a match takes the origin of the match's last character. */
export function replaceMatches(piece: AlignedText, pattern: RegExp, content: string): AlignedText {
  const segments = findSegments(piece.text, pattern);
  if (!segments.some(([, , match]) => match)) return piece;
  const text = segments.map(([start, end, match]) => (match ? content : piece.text.slice(start, end))).join("");
  return piece.rewrite(text, () => {
    const sources: number[] = [];
    for (const [start, end, match] of segments) {
      if (match) for (let i = 0; i < content.length; i++) sources.push(end - 1);
      else for (let i = start; i < end; i++) sources.push(i);
    }
    return sources;
  });
}

function strip(left: boolean, right: boolean): Normalizer {
  return (piece) => {
    const { text } = piece;
    const rest = left ? trimText(text, isWhiteSpace, "start") : text;
    const kept = right ? trimText(rest, isWhiteSpace, "end") : rest;
    if (kept === text) return piece;
    const start = text.length - rest.length;
    return piece.rewrite(kept, () => Array.from({ length: kept.length }, (_, i) => start + i));
  };
}

function lowercase(piece: AlignedText): AlignedText {
  const changes: Change[] = [];
  for (const char of piece.text) {
    let change = 0;
    // Character by character: the whole text would give a final sigma its other form.
    for (const lower of char.toLowerCase()) {
      changes.push([lower, change]);
      change = 1;
    }
  }
  return piece.transform(changes);
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters that it removes
const NMT_REMOVED = /[\x01-\x08\x0b\x0e-\x1f\x7f\x8f\x9f]/;
const NMT_SPACE = /[\t\n\f\r\u1680\u200b-\u200f\u2028\u2029\u2581\ufeff\ufffd]/;

function nmt(piece: AlignedText): AlignedText {
  return piece.filter((char) => !NMT_REMOVED.test(char)).map((char) => (NMT_SPACE.test(char) ? " " : char));
}

const CJK =
  /[\u4e00-\u9fff\u3400-\u4dbf\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\uf900-\ufaff\u{2f800}-\u{2fa1f}]/u;

function bert(config: JsonObject): Normalizer {
  const lower = flagOf(config, "lowercase", true);
  const accents = flagOf(config, "strip_accents", lower);
  const steps: Normalizer[] = [];
  if (flagOf(config, "clean_text", true)) steps.push(bertClean);
  if (flagOf(config, "handle_chinese_chars", true)) steps.push(bertSpaces);
  if (accents) steps.push((piece) => normalizeUnicode(piece, "NFD").filter((char) => !/\p{Mn}/u.test(char)));
  if (lower) steps.push(lowercase);
  return (piece) => steps.reduce((current, step) => step(current), piece);
}

function bertClean(piece: AlignedText): AlignedText {
  return piece
    .filter((char) => /[\t\n\r]/.test(char) || !/[\p{Cc}\p{Cf}\p{Co}\p{Cs}\ufffd]/u.test(char))
    .map((char) => (/\p{White_Space}/u.test(char) ? " " : char));
}

function bertSpaces(piece: AlignedText): AlignedText {
  if (!CJK.test(piece.text)) return piece;
  const changes: Change[] = [];
  for (const char of piece.text) {
    if (CJK.test(char)) changes.push([" ", 0], [char, 1], [" ", 1]);
    else changes.push([char, 0]);
  }
  return piece.transform(changes);
}
