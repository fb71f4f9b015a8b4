// What a text may be: expressions over characters, with rules that may name themselves. Regular expressions, JSON schemas and grammars
// all become these; what makes masks of them knows no other form.

import { GrpoError } from "../errors.js";
import { type CodeRanges, charactersOf } from "./code-ranges.js";

export type Expression =
  /** One character of a set. */
  | { readonly kind: "chars"; readonly ranges: CodeRanges }
  /** One token that is no text, such as the mark of a call. */
  | { readonly kind: "token"; readonly id: number }
  /** Any text up to and with its first `end`, without one of `never`. */
  | { readonly kind: "until"; readonly end: string; readonly never: readonly string[] }
  | { readonly kind: "sequence"; readonly parts: readonly Expression[] }
  /** Of no options: nothing fits. */
  | { readonly kind: "choice"; readonly options: readonly Expression[] }
  /** `max` may be Infinity. */
  | { readonly kind: "repeat"; readonly part: Expression; readonly min: number; readonly max: number }
  | { readonly kind: "rule"; readonly rule: Rule };

/** An expression under a name, which may be part of itself. */
export class Rule {
  #body: Expression | undefined;

  constructor(readonly name: string) {}

  get body(): Expression {
    if (this.#body === undefined) throw new GrpoError("BAD_INPUT", `the rule ${this.name} is used and not defined`);
    return this.#body;
  }

  set body(body: Expression) {
    this.#body = body;
  }

  get isDefined(): boolean {
    return this.#body !== undefined;
  }
}

export const chars = (ranges: CodeRanges): Expression => ({ kind: "chars", ranges });
export const sequence = (...parts: readonly Expression[]): Expression => ({ kind: "sequence", parts });
export const choice = (...options: readonly Expression[]): Expression =>
  options.length === 1 ? (options[0] as Expression) : { kind: "choice", options };
export const repeat = (part: Expression, min: number, max = Number.POSITIVE_INFINITY): Expression => ({
  kind: "repeat",
  part,
  min,
  max,
});
export const optional = (part: Expression): Expression => repeat(part, 0, 1);
export const ruleOf = (rule: Rule): Expression => ({ kind: "rule", rule });
export const until = (end: string, never: readonly string[] = []): Expression => ({ kind: "until", end, never });
export const token = (id: number): Expression => ({ kind: "token", id });

/** This text. */
export function text(literal: string): Expression {
  return sequence(...[...literal].map((char) => chars(charactersOf(char))));
}

/** Nothing fits. */
export const NEVER: Expression = choice();
/** The text of no characters. */
export const EMPTY: Expression = sequence();

/** Parts with a separator between two: from `min` to `max` of them. */
export function separated(part: Expression, separator: Expression, min: number, max: number): Expression {
  if (max < Math.max(1, min)) return min === 0 ? EMPTY : NEVER;
  const some = sequence(part, repeat(sequence(separator, part), Math.max(0, min - 1), max - 1));
  return min === 0 ? optional(some) : some;
}

/** Expressions directly inside of one, rules not followed. */
export function partsOf(expression: Expression): readonly Expression[] {
  if (expression.kind === "sequence") return expression.parts;
  if (expression.kind === "choice") return expression.options;
  return expression.kind === "repeat" ? [expression.part] : [];
}
