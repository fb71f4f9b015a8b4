// Tokens on top of the model's vocabulary. They are found in the text before anything else happens to it, or after
// normalization for those with `normalized`, and go past the pre-tokenizer and the model.

import { isWhiteSpace } from "../../text.js";
import type { AddedVocabulary } from "./added-vocabulary.js";
import type { AlignedText } from "./aligned-text.js";
import type { AddedToken } from "./config.js";
import { longestMatch } from "./longest-match.js";
import type { Normalizer } from "./normalizers.js";

/** A piece of the text; one with an id is an added token. */
export interface Piece {
  readonly text: AlignedText;
  readonly id?: number;
}

interface Entry {
  readonly id: number;
  readonly token: AddedToken;
}

const WORD_AT_START = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;
const WORD_AT_END = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]$/u;

/** Which added tokens are found in a text; the others are read as the characters that they are made of. */
export type AddedTokenUse = "all" | "not special" | "none";

export function createAddedTokens(
  added: AddedVocabulary,
  normalizer: Normalizer | undefined,
): (text: AlignedText, use: AddedTokenUse) => Piece[] {
  const entries = Array.from(added.tokens, ([id, token]): Entry => ({ id, token }));
  // Of two that look the same after the normalizer one is found: a special one, else the one that was added first.
  entries.sort((a, b) => Number(added.special.has(b.token.content)) - Number(added.special.has(a.token.content)));
  const [late, raw] = [true, false].map((normalized) =>
    createFinder(
      entries
        .filter(({ token }) => token.normalized === normalized)
        .map((entry) => [(normalized && added.normalizedForm(entry.id)) || entry.token.content, entry]),
    ),
  ) as [Finder, Finder];
  const ignores: Readonly<Record<AddedTokenUse, (token: AddedToken) => boolean>> = {
    all: () => false,
    "not special": ({ content }) => added.special.has(content),
    none: () => true,
  };
  return (text, use) => {
    const pieces: Piece[] = [];
    for (const piece of raw(text, ignores[use])) {
      if (piece.id !== undefined) pieces.push(piece);
      else pieces.push(...late(normalizer?.(piece.text) ?? piece.text, ignores[use]));
    }
    return pieces;
  };
}

type Finder = (text: AlignedText, ignores: (token: AddedToken) => boolean) => Piece[];

/** Cuts a text at its added tokens; of several that begin at one place the longest counts. Empty pieces are left out. */
function createFinder(patterns: Iterable<readonly [pattern: string, entry: Entry]>): Finder {
  const match = longestMatch(patterns);
  return (text, ignores) => {
    const pieces: Piece[] = [];
    const push = (start: number, end: number, id?: number) => {
      if (start < end)
        pieces.push(id === undefined ? { text: text.slice(start, end) } : { text: text.slice(start, end), id });
    };
    let done = 0;
    let spaceEnd = 0;
    for (let at = 0; at < text.text.length; ) {
      const found = match(text.text, at);
      if (found === undefined) {
        at++;
        continue;
      }
      const { id, token } = found.value;
      const start = at;
      at += found.length;
      if (ignores(token) || !standsAlone(text.text, start, at, token)) continue;
      // White space that the token before has taken is not there any more: a token that is made of it goes with it.
      const [left, right] = widen(text.text, start, at, token, done, spaceEnd);
      if (token.rstrip) spaceEnd = right;
      push(done, left);
      push(left, right, id);
      done = Math.max(left, right);
    }
    push(done, text.text.length);
    return pieces;
  };
}

/** Whether a token is a word of its own, where it has to be one. */
function standsAlone(text: string, start: number, end: number, token: AddedToken): boolean {
  if (!token.single_word) return true;
  // Two units are enough for the character beside the token.
  return !WORD_AT_END.test(text.slice(Math.max(0, start - 2), start)) && !WORD_AT_START.test(text.slice(end, end + 2));
}

/**
 * The match with the white space that the token takes along, as far as no token before it has. A run of white space that ends at
 * `spaceEnd` is known already.
 */
function widen(
  text: string,
  start: number,
  end: number,
  token: AddedToken,
  done: number,
  spaceEnd: number,
): [number, number] {
  let left = start;
  if (token.lstrip) {
    while (left > done && isWhiteSpace(text.charAt(left - 1))) left--;
    left = Math.max(left, done);
  }
  let right = token.rstrip ? Math.max(end, spaceEnd) : end;
  if (token.rstrip) while (right < text.length && isWhiteSpace(text.charAt(right))) right++;
  return [left, right];
}
