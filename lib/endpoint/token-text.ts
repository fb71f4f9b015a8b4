// Text of tokens as they come: special tokens left out or shown, cut before a stop string, and nothing sent that a stop string may
// still take back.

import type { Tokenizer } from "../tokenizer/tokenizer.js";
import type { DecodeStream } from "../tokenizer/tokenizer-backend.js";

export interface TokenTextOptions {
  readonly skipSpecialTokens: boolean;
  readonly stopStrings: readonly string[];
  /** Ids that end a completion: they are not part of its text. */
  readonly endIds: ReadonlySet<number>;
  /** Leaves what ended the text in it. */
  readonly keepStop: boolean;
}

export class TokenText {
  readonly #decoder: DecodeStream;
  readonly #options: TokenTextOptions;
  /** Held back: it may be the beginning of a stop string. */
  #held = "";
  #cut = false;

  constructor(tokenizer: Tokenizer, options: TokenTextOptions) {
    this.#decoder = tokenizer.decodeStream({ skipSpecialTokens: options.skipSpecialTokens });
    this.#options = options;
  }

  /** The text that is certain with this token. */
  push(id: number): string {
    if (this.#options.endIds.has(id) && !this.#options.keepStop) return "";
    return this.#take(this.#decoder.push([id]));
  }

  /** The rest. */
  end(): string {
    const rest = this.#take(this.#decoder.end()) + this.#held;
    this.#held = "";
    return rest;
  }

  #take(text: string): string {
    if (this.#cut) return "";
    const whole = this.#held + text;
    const { stopStrings, keepStop } = this.#options;
    const found = firstStop(whole, stopStrings);
    if (found !== undefined) {
      this.#cut = true;
      this.#held = "";
      return whole.slice(0, keepStop ? found.end : found.start);
    }
    const keep = longestOverlap(whole, stopStrings);
    this.#held = whole.slice(whole.length - keep);
    return whole.slice(0, whole.length - keep);
  }
}

/** The one that ends first; of two that end together the longer. */
function firstStop(
  text: string,
  stops: readonly string[],
): { readonly start: number; readonly end: number } | undefined {
  const found = stops.map((stop) => ({ start: text.indexOf(stop), end: text.indexOf(stop) + stop.length }));
  return found.filter(({ start }) => start >= 0).sort((a, b) => a.end - b.end || a.start - b.start)[0];
}

/** Characters at the end of a text that are the beginning of a stop string. */
function longestOverlap(text: string, stops: readonly string[]): number {
  let longest = 0;
  for (const stop of stops) {
    for (let length = Math.min(stop.length - 1, text.length); length > longest; length--) {
      if (text.endsWith(stop.slice(0, length))) longest = length;
    }
  }
  return longest;
}
