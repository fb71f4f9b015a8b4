// All tokens by id and by spelling: the model's vocabulary and the tokens added to it.

import type { AddedToken } from "./config.js";

export interface TokenTable {
  /** Number of tokens. */
  readonly size: number;
  readonly ids: ReadonlyMap<string, number>;
  readonly spelling: readonly (string | undefined)[];
  /** What the decoder sees of a token: the normalized form of added tokens that are looked for in normalized text. */
  readonly decoded: readonly (string | undefined)[];
  /** Spellings of special tokens. */
  readonly special: ReadonlySet<string>;
}

export function createTokenTable(
  vocabulary: ReadonlyMap<string, number>,
  addedTokens: readonly AddedToken[],
  normalized: (token: AddedToken) => string,
): TokenTable {
  const ids = new Map(vocabulary);
  const spelling: string[] = [];
  for (const [token, id] of vocabulary) spelling[id] = token;
  for (const { content, id } of addedTokens) {
    ids.set(content, id);
    spelling[id] = content;
  }
  const decoded = spelling.slice();
  for (const token of addedTokens) decoded[token.id] = normalized(token);
  const special = new Set(addedTokens.filter((token) => token.special).map((token) => token.content));
  let size = 0;
  // Holes of the sparse array are skipped.
  spelling.forEach(() => {
    size++;
  });
  return { size, ids, spelling, decoded, special };
}
