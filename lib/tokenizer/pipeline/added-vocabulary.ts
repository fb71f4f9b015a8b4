// The tokens on top of a model's vocabulary and their ids, by the rules of the Rust library: a token whose text the
// vocabulary has gets the id from there, any other one the next free id, whatever ids a file gives.

import type { AddedToken } from "./config.js";
import type { Model } from "./model.js";

export class AddedVocabulary {
  readonly #model: Model;
  readonly #normalize: (text: string) => string;
  readonly #tokens = new Map<number, AddedToken>();
  readonly #ids = new Map<string, number>();
  readonly #special = new Set<string>();
  readonly #normalized = new Map<number, string>();

  constructor(model: Model, normalize: (text: string) => string) {
    this.#model = model;
    this.#normalize = normalize;
  }

  /** By id. */
  get tokens(): ReadonlyMap<number, AddedToken> {
    return this.#tokens;
  }

  /** Texts of the tokens that were added as special at least once. */
  get special(): ReadonlySet<string> {
    return this.#special;
  }

  /** A token that is there already changes its flags and keeps its id. */
  add(tokens: readonly AddedToken[]): void {
    let next = this.#nextId();
    for (const token of tokens) {
      const { content } = token;
      if (content === "") continue;
      const id = this.#ids.get(content) ?? this.#model.vocabulary.get(content) ?? next++;
      this.#ids.set(content, id);
      this.#tokens.set(id, token);
      if (token.special) this.#special.add(content);
      if (token.normalized) this.#normalized.set(id, this.#normalize(content));
    }
  }

  /** How a token looks after the normalizer, if it was ever added as one to be looked for there: what a decoder sees. */
  normalizedForm(id: number): string | undefined {
    return this.#normalized.get(id) ?? this.#tokens.get(id)?.content;
  }

  #nextId(): number {
    let next = this.#model.size;
    for (const id of this.#tokens.keys()) next = Math.max(next, id + 1);
    return next;
  }
}
