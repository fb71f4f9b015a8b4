// Plain arithmetic as Python reads it: + - * / // ** and brackets, "^" for "**". No implied multiplication.

import { call, flat, type MathNode, MINUS_ONE, negated, number, pow } from "./ast.js";
import { ParseFailure, parseFailure } from "./lexer.js";
import { type Budget, MAX_DEPTH, MAX_DIGITS, MAX_FORMULA } from "./limits.js";
import * as Q from "./rational.js";

const TOKEN_PATTERN = /\s*(\d+\.?\d*|\.\d+|\*\*|\/\/|[-+*/()])/y;

class Reader {
  position = 0;
  depth = 0;
  readonly tokens: string[] = [];

  constructor(
    text: string,
    readonly budget: Budget,
  ) {
    TOKEN_PATTERN.lastIndex = 0;
    const source = text.trimEnd();
    for (let at = 0; at < source.length; at = TOKEN_PATTERN.lastIndex) {
      budget.spend();
      const match = TOKEN_PATTERN.exec(source);
      if (!match?.[1]) throw parseFailure;
      this.tokens.push(match[1]);
    }
  }

  get next(): string {
    return this.tokens[this.position] ?? "";
  }

  take(): string {
    this.budget.spend();
    return this.tokens[this.position++] ?? "";
  }
}

/** The tree of a piece of arithmetic, or undefined. */
export function parseArithmetic(text: string, budget: Budget): MathNode | undefined {
  if (text.length > MAX_FORMULA) return undefined;
  try {
    const reader = new Reader(text.replaceAll("\n", " ").replaceAll("^", "**"), budget);
    const node = sum(reader);
    return reader.position === reader.tokens.length ? node : undefined;
  } catch (error) {
    if (error instanceof ParseFailure) return undefined;
    throw error;
  }
}

function sum(r: Reader): MathNode {
  const terms = [product(r)];
  while (r.next === "+" || r.next === "-") {
    const plus = r.take() === "+";
    const term = product(r);
    terms.push(plus ? term : negated(term));
  }
  return flat("add", terms);
}

function product(r: Reader): MathNode {
  let factors = [unary(r)];
  for (;;) {
    if (r.next === "*") {
      r.take();
      factors.push(unary(r));
    } else if (r.next === "/" || r.next === "//") {
      const whole = r.take() === "//";
      const quotient: MathNode = { kind: "mul", args: [flat("mul", factors), pow(unary(r), MINUS_ONE)] };
      factors = [whole ? call("floor", [quotient]) : quotient];
    } else {
      return flat("mul", factors);
    }
  }
}

function unary(r: Reader): MathNode {
  let negative = false;
  while (r.next === "+" || r.next === "-") if (r.take() === "-") negative = !negative;
  const value = powered(r);
  return negative ? negated(value) : value;
}

function powered(r: Reader): MathNode {
  const base = atom(r);
  if (r.next !== "**") return base;
  r.take();
  if (++r.depth > MAX_DEPTH) throw parseFailure;
  const exponent = unary(r);
  r.depth--;
  return pow(base, exponent);
}

function atom(r: Reader): MathNode {
  const token = r.take();
  if (token === "(") {
    if (++r.depth > MAX_DEPTH) throw parseFailure;
    const inner = sum(r);
    r.depth--;
    if (r.take() !== ")" || r.next === "(") throw parseFailure;
    return inner;
  }
  if (!/^[\d.]/.test(token) || token.length > MAX_DIGITS || r.next === "(" || /^[\d.]/.test(r.next)) throw parseFailure;
  // Python has no integers with leading zeros.
  if (/^0\d*$/.test(token) && /[1-9]/.test(token)) throw parseFailure;
  return number(Q.parseDecimal(token), token.includes("."));
}
