// From LaTeX to a tree. What math_verify's grammar does not accept is not accepted here either.

import { INVALID, type MathNode, number, someNode } from "./ast.js";
import * as build from "./build.js";
import { formula } from "./latex-sets.js";
import { ParseFailure, tokenize } from "./lexer.js";
import { type Budget, MAX_FORMULA } from "./limits.js";
import * as Q from "./rational.js";
import { type ParseContext, TokenStream } from "./stream.js";
import { looksComplex } from "./symbols.js";

/** The formula's tree, or undefined if it is none. A chain of equations that does not parse counts by its last side. */
export function parseLatex(latex: string, budget: Budget): MathNode | undefined {
  const whole = tryParse(latex, budget);
  if (whole) return whole;
  const last = lastSide(latex);
  return last === latex ? undefined : tryParse(last, budget);
}

function tryParse(latex: string, budget: Budget): MathNode | undefined {
  if (latex.length > MAX_FORMULA) return undefined;
  try {
    const node = read(latex, { budget, real: !looksComplex(latex), depth: 0 });
    return someNode(node, (part) => part.kind === "invalid") ? undefined : node;
  } catch (error) {
    if (error instanceof ParseFailure) return undefined;
    throw error;
  }
}

/** A part of a formula that is read on its own; throws ParseFailure. */
export function parseLatexPart(latex: string, context: ParseContext, depth: number): MathNode {
  return read(latex, { ...context, depth: depth + 1 });
}

const THOUSANDS = /^\s*-?\d{1,3}(?:,\d{3})+(?:\.\d+)?\s*$/;

function read(latex: string, context: ParseContext): MathNode {
  const stream = new TokenStream(latex, tokenize(latex, context.budget), context);
  const node = stream.readAll(() => formula(stream));
  if (node.kind !== "set" || !THOUSANDS.test(latex)) return node;
  return commaNumber(latex.trim()) ?? INVALID;
}

/** 1,234 is a number and not two; 0,111 has a decimal comma. */
function commaNumber(text: string): MathNode | undefined {
  const plain = text.startsWith("0") ? text.replaceAll(",", ".") : text.replaceAll(",", "");
  if (!/^-?\d+(?:\.\d+)?$/.test(plain)) return undefined;
  const value = build.numeral(plain.replace("-", ""));
  return plain.startsWith("-") ? number(Q.negate(value.value), value.float) : value;
}

/** The part after the last "=" of a chain of at least two, if no comma or semicolon makes it a list. */
function lastSide(latex: string): string {
  if (/[,;]/.test(latex)) return latex;
  const parts = latex.split(/(?<![\\<!>])=/);
  return parts.length > 2 ? (parts.at(-1) ?? latex) : latex;
}
