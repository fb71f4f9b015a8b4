// The token cursor of the LaTeX parser. The grammar is read by ordered choice: `attempt` tries a rule and steps back if it
// does not fit. A rule tried twice at one place is remembered, so that nested brackets cost no more than their length.
// A bar that may both open and close (|x|y|z|) is decided by trying the opening first, then, if the whole formula does not
// fit, the closing: the only choice that looks beyond its own rule.

import type { MathNode } from "./ast.js";
import { ParseFailure, parseFailure, type Token } from "./lexer.js";
import { type Budget, MAX_DEPTH } from "./limits.js";
import type { TokenType } from "./tokens.js";

/** Parses of one formula that differ in the reading of its bars. */
const MAX_BAR_READINGS = 24;
const END: Token = { type: "end", text: "", start: 0, end: 0 };

export interface ParseContext {
  readonly budget: Budget;
  /** Symbols stand for real numbers; false in formulas that look complex. */
  readonly real: boolean;
  readonly depth: number;
}

interface Remembered {
  readonly result: unknown;
  readonly end: number;
}

export class TokenStream {
  position = 0;
  /** Bars opened and not yet closed, innermost last. */
  readonly bars: TokenType[] = [];
  /** Inside an integral, whose differential ends the integrand. */
  inIntegral = false;
  #depth: number;
  readonly #memo = new Map<string, Remembered | null>();
  readonly #readings = new Map<number, "open" | "close">();

  constructor(
    readonly text: string,
    readonly tokens: readonly Token[],
    readonly context: ParseContext,
  ) {
    this.#depth = context.depth;
  }

  get depth(): number {
    return this.#depth;
  }

  get next(): TokenType {
    return (this.tokens[this.position] ?? END).type;
  }

  at(type: TokenType): boolean {
    return this.next === type;
  }

  get token(): Token {
    return this.tokens[this.position] ?? END;
  }

  peek(offset: number): TokenType {
    return (this.tokens[this.position + offset] ?? END).type;
  }

  take(): Token {
    const token = this.token;
    this.position++;
    return token;
  }

  expect(type: TokenType): Token {
    if (this.next !== type) throw parseFailure;
    return this.take();
  }

  accept(type: TokenType): boolean {
    if (this.next !== type) return false;
    this.position++;
    return true;
  }

  fail(): never {
    throw parseFailure;
  }

  /** The rule's result, or undefined with the cursor where it was. */
  attempt<T>(rule: () => T): T | undefined {
    const [position, bars, depth, integral] = [this.position, this.bars.length, this.#depth, this.inIntegral];
    try {
      return rule();
    } catch (error) {
      if (!(error instanceof ParseFailure)) throw error;
      this.position = position;
      this.bars.length = bars;
      this.#depth = depth;
      this.inIntegral = integral;
      return undefined;
    }
  }

  /** Runs a rule once per place and state. */
  once<T>(rule: string, run: () => T): T {
    const key = `${rule}${this.position},${this.bars.length},${this.inIntegral}`;
    const known = this.#memo.get(key);
    if (known === null) throw parseFailure;
    if (known) {
      this.position = known.end;
      return known.result as T;
    }
    this.context.budget.spend();
    this.#memo.set(key, null);
    const result = run();
    this.#memo.set(key, { result, end: this.position });
    return result;
  }

  /** Counts one level of nesting while the rule runs. */
  nested<T>(rule: () => T): T {
    if (this.#depth >= MAX_DEPTH) throw parseFailure;
    this.#depth++;
    const result = rule();
    this.#depth--;
    return result;
  }

  /** Whether the bar at the cursor opens a new pair. */
  barOpens(): boolean {
    if (this.bars.at(-1) !== this.next) return true;
    const reading = this.#readings.get(this.position);
    if (reading) return reading === "open";
    this.#readings.set(this.position, "open");
    return true;
  }

  /** Reads the whole formula, over again for every reading of its bars. */
  readAll(rule: () => MathNode): MathNode {
    for (let reading = 0; ; reading++) {
      this.position = 0;
      this.bars.length = 0;
      this.#depth = this.context.depth;
      this.inIntegral = false;
      this.#memo.clear();
      const node = this.attempt(rule);
      if (node) return node;
      const last = [...this.#readings].filter(([, side]) => side === "open").at(-1)?.[0];
      if (last === undefined || reading >= MAX_BAR_READINGS) throw parseFailure;
      // Forget what was decided after the last bar read as opening, and read that one as closing.
      const order = [...this.#readings.keys()];
      for (const later of order.slice(order.indexOf(last) + 1)) this.#readings.delete(later);
      this.#readings.set(last, "close");
    }
  }

  /** The tokens' texts without the space between them. */
  textBetween(from: number, to: number): string {
    return this.tokens
      .slice(from, to)
      .map((token) => token.text)
      .join("");
  }

  /** The formula as written, from one token to another. */
  sourceBetween(from: number, to: number): string {
    return this.text.slice(this.tokens[from]?.start ?? 0, this.tokens[to - 1]?.end ?? 0);
  }
}
