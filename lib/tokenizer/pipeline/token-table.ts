// All tokens by id and by spelling: the model's vocabulary and the tokens added to it.

import type { AddedVocabulary } from "./added-vocabulary.js";

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

export function createTokenTable(vocabulary: ReadonlyMap<string, number>, added: AddedVocabulary): TokenTable {
  const ids = new Map(vocabulary);
  const spelling: (string | undefined)[] = [];
  for (const [token, id] of vocabulary) spelling[id] = token;
  const decoded = spelling.slice();
  for (const [id, { content }] of added.tokens) {
    ids.set(content, id);
    spelling[id] = content;
    decoded[id] = added.normalizedForm(id);
  }
  let size = 0;
  // Holes of the sparse array are skipped.
  spelling.forEach(() => {
    size++;
  });
  return { size, ids, spelling, decoded, special: added.special };
}
