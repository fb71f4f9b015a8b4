// Constraints of completions that an engine draws: tells it before each draw what is allowed, and the constraint what was drawn. The
// engine computes the next step meanwhile, and waits at its draw.

import type { NativeEngine } from "../native/native.js";
import { maskWords, type TokenConstraint } from "./token-constraint.js";

const ANYTHING = new Int32Array();

export class ConstraintFeed {
  readonly #engine: NativeEngine;
  readonly #vocabSize: number;
  /** By prompt, as the engine calls it, and completion. */
  readonly #constraints = new Map<number, Map<number, TokenConstraint>>();

  constructor(engine: NativeEngine, vocabSize: number) {
    this.#engine = engine;
    this.#vocabSize = vocabSize;
  }

  /** Allows the first tokens of a prompt's completions. Throws what a constraint throws. */
  begin(prompt: number, constraints: readonly TokenConstraint[]): void {
    if (constraints.length === 0) return;
    this.#constraints.set(prompt, new Map(constraints.entries()));
    for (const [sample, constraint] of constraints.entries()) this.#allow(prompt, sample, constraint);
  }

  /** After a draw; the engine is told of the next one unless it was the last. */
  take(prompt: number, sample: number, id: number, isLast: boolean): void {
    const constraint = this.#constraints.get(prompt)?.get(sample);
    if (constraint === undefined) return;
    constraint.accept(id);
    if (!isLast) this.#allow(prompt, sample, constraint);
  }

  forget(prompt: number): void {
    this.#constraints.delete(prompt);
  }

  #allow(prompt: number, sample: number, constraint: TokenConstraint): void {
    const mask = new Int32Array(maskWords(this.#vocabSize));
    this.#engine.allowTokens(prompt, sample, constraint.fill(mask) ? mask : ANYTHING);
  }
}
