// Draws under a constraint as an engine does, from a model that is a random one: whatever a grammar allows comes about.

import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { Tokenizer, tinyModel } from "grpo";
import type { Expression } from "../../lib/grammar/expression.js";
import { Grammar } from "../../lib/grammar/grammar.js";
import { TokenTrie } from "../../lib/grammar/token-trie.js";
import { maskWords } from "../../lib/model/token-constraint.js";

export const tokenizer = await Tokenizer.fromPretrained(tinyModel);
export const END = tokenizer.eosTokenId as number;
export const VOCABULARY = 512;
export const tokens = new TokenTrie(tokenizer.tokenBytes(), VOCABULARY);

export interface Drawn {
  readonly ids: readonly number[];
  readonly text: string;
  /** Whether the end token came; else the limit did. */
  readonly ended: boolean;
}

/** Numbers from 0 to 1 that repeat with their seed. */
export function randomFrom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Ids that a mask allows. */
export function allowedIds(mask: Int32Array): number[] {
  return Array.from({ length: VOCABULARY }, (_, id) => id).filter(
    (id) => ((mask[id >> 5] as number) >>> (id & 31)) & 1,
  );
}

/**
 * A completion of at most `most` tokens, each with the same chance among those allowed, but the end with this one where it may come.
 */
export function draw(grammar: Grammar, random: () => number, { most = 400, endChance = 0.3 } = {}): Drawn {
  const constraint = grammar.constraint([END]);
  const mask = new Int32Array(maskWords(VOCABULARY));
  const ids: number[] = [];
  while (ids.length < most) {
    constraint.fill(mask);
    const allowed = allowedIds(mask);
    if (allowed.includes(END) !== constraint.isComplete)
      throw new Error("the end may come where the grammar may not end");
    if (allowed.length === 0) throw new Error("nothing may come");
    if (constraint.isComplete && (allowed.length === 1 || random() < endChance))
      return { ids, text: tokenizer.decode(ids), ended: true };
    const others = allowed.filter((id) => id !== END);
    const id = others[Math.floor(random() * others.length)] as number;
    constraint.accept(id);
    ids.push(id);
  }
  return { ids, text: tokenizer.decode(ids), ended: false };
}

export function grammarOf(expression: Expression): Grammar {
  return new Grammar(expression, tokens);
}

/** Whether a whole text fits. */
export function fits(grammar: Grammar, text: string): boolean {
  const constraint = grammar.constraint([END]);
  const mask = new Int32Array(maskWords(VOCABULARY));
  for (const id of tokenizer.encode(text, { addSpecialTokens: false })) {
    constraint.fill(mask);
    if (!allowedIds(mask).includes(id)) return false;
    constraint.accept(id);
  }
  return constraint.isComplete;
}

/** Independent of what is tested. */
export const ajv = new Ajv2020({ strict: false, allErrors: true });
(addFormats as unknown as (ajv: Ajv2020) => void)(ajv);
