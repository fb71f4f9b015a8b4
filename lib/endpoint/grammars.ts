// The grammars of answers, kept for requests that ask for the same again; all over one tree of the model's tokens, which is made when
// the first is asked for.

import type { Expression } from "../grammar/expression.js";
import { Grammar } from "../grammar/grammar.js";
import { TokenTrie } from "../grammar/token-trie.js";
import { LruCache } from "../lru-cache.js";
import type { TokenBytes } from "../model/sampling.js";

/** About what a grammar takes that has been followed for long. */
const GRAMMAR_BYTES = 16 * 2 ** 20;
const MOST_BYTES = 256 * 2 ** 20;

export class Grammars {
  readonly #spelling: () => TokenBytes;
  readonly #vocabSize: number;
  readonly #known = new LruCache<string, Grammar>(MOST_BYTES);
  #tokens: TokenTrie | undefined;

  /** `spelling`: the bytes of the tokens, of which the model has those below `vocabSize`. */
  constructor(spelling: () => TokenBytes, vocabSize: number) {
    this.#spelling = spelling;
    this.#vocabSize = vocabSize;
  }

  /** The grammar called `key`; `write` writes it where it is not known. Throws what that does, and BAD_INPUT as Grammar does. */
  get(key: string, write: () => Expression): Grammar {
    const known = this.#known.get(key);
    if (known) return known;
    this.#tokens ??= new TokenTrie(this.#spelling(), this.#vocabSize);
    const grammar = new Grammar(write(), this.#tokens);
    this.#known.set(key, grammar, GRAMMAR_BYTES + 2 * key.length);
    return grammar;
  }
}
