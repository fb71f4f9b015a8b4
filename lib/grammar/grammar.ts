// A grammar over the tokens of a model: which may come next, completion by completion.

import { GrpoError } from "../errors.js";
import type { TokenConstraint } from "../model/token-constraint.js";
import { Automaton, type GrammarState } from "./automaton.js";
import type { Expression } from "./expression.js";
import type { TokenTrie } from "./token-trie.js";

/** Places that may be looked at for one mask; ordinary grammars need a few thousand. */
const MOST_WORK = 4_000_000;

export class Grammar {
  readonly #automaton: Automaton;
  readonly #tokens: TokenTrie;

  /** Throws BAD_INPUT as Automaton does. */
  constructor(expression: Expression, tokens: TokenTrie) {
    this.#automaton = new Automaton(expression);
    this.#tokens = tokens;
  }

  /** For one completion; `endIds` end it, where the grammar may end and nowhere else. */
  constraint(endIds: readonly number[]): TokenConstraint {
    const known = endIds.filter((id) => id < this.#tokens.vocabSize);
    return new GrammarConstraint(this.#automaton, this.#tokens, new Set(known));
  }
}

class GrammarConstraint implements TokenConstraint {
  readonly #automaton: Automaton;
  readonly #tokens: TokenTrie;
  readonly #endIds: ReadonlySet<number>;
  #state: GrammarState;

  constructor(automaton: Automaton, tokens: TokenTrie, endIds: ReadonlySet<number>) {
    this.#automaton = automaton;
    this.#tokens = tokens;
    this.#endIds = endIds;
    this.#state = automaton.start;
  }

  get isComplete(): boolean {
    return this.#state.isComplete;
  }

  fill(mask: Int32Array): boolean {
    mask.fill(0);
    // A tokenizer may have more tokens than the model.
    mask.set(this.#textMask().subarray(0, mask.length));
    for (const id of this.#automaton.tokensOf(this.#state)) setBit(mask, id, true);
    for (const id of this.#endIds) setBit(mask, id, this.isComplete);
    if (mask.every((word) => word === 0)) throw noToken();
    return true;
  }

  accept(id: number): void {
    if (this.#endIds.has(id) && this.isComplete) return;
    const bytes = this.#tokens.bytesOf(id);
    let next: GrammarState | null = this.#state;
    if (bytes.length === 0) next = this.#automaton.afterToken(next, id);
    for (const byte of bytes) next = next && this.#automaton.afterByte(next, byte);
    if (next === null) throw new GrpoError("BAD_INPUT", `the token ${id} cannot come here by the grammar`);
    this.#state = next;
  }

  #textMask(): Int32Array {
    const automaton = this.#automaton;
    const most = automaton.work + MOST_WORK;
    return this.#tokens.mask(this.#state, (state, byte) => {
      if (automaton.work > most) throw tooMuchWork();
      return automaton.afterByte(state, byte);
    });
  }
}

function setBit(mask: Int32Array, id: number, on: boolean): void {
  const word = mask[id >> 5] as number;
  mask[id >> 5] = on ? word | (1 << (id & 31)) : word & ~(1 << (id & 31));
}

function noToken(): GrpoError {
  return new GrpoError("BAD_INPUT", "no token of the vocabulary goes on with the text as its grammar asks");
}

function tooMuchWork(): GrpoError {
  return new GrpoError("BAD_INPUT", "the grammar takes too long to follow", {
    hint: "write it so that few rules fit the same beginning",
  });
}
