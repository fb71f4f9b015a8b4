// Tokens on top of the model's vocabulary. They are found in the text before anything else happens to it, or after
// normalization for those with `normalized`, and go past the pre-tokenizer and the model.

import type { AlignedText } from "./aligned-text.js";
import type { AddedToken } from "./config.js";
import type { Normalizer } from "./normalizers.js";

/** A piece of the text; one with an id is an added token. */
export interface Piece {
  readonly text: AlignedText;
  readonly id?: number;
}

interface Entry {
  readonly pattern: string;
  readonly token: AddedToken;
}

const WORD_AT_START = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;
const WORD_AT_END = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]$/u;

/** `normalized(token)` is how a token looks after the normalizer; `ignoreSpecial` leaves special tokens in the text. */
export function createAddedTokens(
  tokens: readonly AddedToken[],
  normalizer: Normalizer | undefined,
  normalized: (token: AddedToken) => string,
  ignoreSpecial: boolean,
): (text: AlignedText) => Piece[] {
  const used = tokens.filter((token) => token.content !== "");
  const raw = createFinder(
    used.filter((token) => !isNormalized(token)).map((token) => ({ pattern: token.content, token })),
    ignoreSpecial,
  );
  const late = createFinder(
    used.filter(isNormalized).map((token) => ({ pattern: normalized(token), token })),
    ignoreSpecial,
  );
  return (text) => {
    const pieces: Piece[] = [];
    for (const piece of raw(text)) {
      if (piece.id !== undefined) pieces.push(piece);
      else pieces.push(...late(normalizer?.(piece.text) ?? piece.text));
    }
    return pieces;
  };
}

/** Whether a token is looked for in normalized text. */
export function isNormalized(token: AddedToken): boolean {
  return token.normalized ?? !token.special;
}

/** Cuts a text at its added tokens; of several that begin at one place the longest counts. Empty pieces are left out. */
function createFinder(entries: readonly Entry[], ignoreSpecial: boolean): (text: AlignedText) => Piece[] {
  const byFirst = new Map<number, Entry[]>();
  for (const entry of entries.filter(({ pattern }) => pattern !== "")) {
    const first = entry.pattern.charCodeAt(0);
    byFirst.set(first, [...(byFirst.get(first) ?? []), entry]);
  }
  for (const list of byFirst.values()) list.sort((a, b) => b.pattern.length - a.pattern.length);
  return (text) => {
    const pieces: Piece[] = [];
    const push = (start: number, end: number, id?: number) => {
      if (start < end)
        pieces.push(id === undefined ? { text: text.slice(start, end) } : { text: text.slice(start, end), id });
    };
    let done = 0;
    for (let at = 0; at < text.text.length; ) {
      const entry = byFirst.get(text.text.charCodeAt(at))?.find(({ pattern }) => text.text.startsWith(pattern, at));
      if (entry === undefined) {
        at++;
        continue;
      }
      const start = at;
      at += entry.pattern.length;
      if (ignoreSpecial && entry.token.special) continue;
      const bounds = widen(text.text, start, at, entry.token, done);
      if (bounds === undefined) continue;
      push(done, bounds[0]);
      push(bounds[0], bounds[1], entry.token.id);
      done = bounds[1];
    }
    push(done, text.text.length);
    return pieces;
  };
}

/** The match with the white space that the token takes along, or undefined if it must be a word of its own and is not. */
function widen(
  text: string,
  start: number,
  end: number,
  token: AddedToken,
  done: number,
): readonly [number, number] | undefined {
  if (token.single_word) {
    // Two units are enough for the character beside the token.
    if (WORD_AT_END.test(text.slice(Math.max(0, start - 2), start))) return undefined;
    if (WORD_AT_START.test(text.slice(end, end + 2))) return undefined;
  }
  let left = start;
  if (token.lstrip) while (left > done && isSpace(text, left - 1)) left--;
  let right = end;
  if (token.rstrip) while (right < text.length && isSpace(text, right)) right++;
  return [left, right];
}

function isSpace(text: string, at: number): boolean {
  return /\p{White_Space}/u.test(text.charAt(at));
}
