// Atoms of the LaTeX grammar: numbers, letters with their scripts, and what counts as one letter.

import { INFINITY, INVALID, type MathNode, pow } from "./ast.js";
import * as build from "./build.js";
import { closed, expression, withoutIntegral } from "./latex-expression.js";
import type { TokenStream } from "./stream.js";
import { accentName, namedSymbol, subscripted } from "./symbols.js";

/** "^2" or "^{…}". */
export function superscript(s: TokenStream): MathNode {
  s.expect("^");
  return s.accept("{") ? closed(s, "}") : atom(s);
}

/** "_1" or "_{…}": its text, and its value where it has one. */
export function subscript(s: TokenStream): { text: string; value: MathNode } {
  s.expect("_");
  const braced = s.accept("{");
  const from = s.position;
  let value = braced ? withoutIntegral(s, () => expression(s)) : atom(s);
  while (braced && s.accept(",")) {
    expression(s);
    value = INVALID;
  }
  const text = s.textBetween(from, s.position).trim();
  if (braced) s.expect("}");
  return { text, value };
}

export function atom(s: TokenStream): MathNode {
  const { next } = s;
  switch (next) {
    case "letter":
    case "greek":
    case "symbol":
    case "accent":
      return symbol(s);
    case "infinity":
      s.take();
      return INFINITY;
    case "partial":
      s.take();
      return INVALID;
    case "number": {
      const value = build.numeral(s.take().text);
      // The base of a number, as in 204_5, does not count.
      if (s.next === "_") s.attempt(() => subscript(s));
      return value;
    }
    case "scientific":
      return build.numeral(s.take().text);
    case "percentNumber":
      return build.percentage(build.numeral(s.take().text.replace(/\s*\\?%$/, "")));
    case "E":
      s.take();
      return { kind: "symbol", name: "e", real: s.context.real };
    case "differential":
      return { kind: "symbol", name: `d${differentialVariable(s.take().text)}`, real: s.context.real };
    case "gamma":
      return namedSymbol(s.take().text, s.context.real);
    default:
      return s.fail();
  }
}

export function differentialVariable(text: string): string {
  return text.slice(1).trimStart().replace(/^\\/, "");
}

/** The spelling of a letter, without its scripts. */
export function letterName(s: TokenStream): string {
  const token = s.take();
  return token.type === "accent" ? accentName(token.text) : token.text.trim();
}

/** A letter with its scripts, in either order. */
export function symbol(s: TokenStream): MathNode {
  const { next } = s;
  if (next !== "letter" && next !== "greek" && next !== "symbol" && next !== "accent") return s.fail();
  const imaginary = next === "letter" && s.token.text === "I";
  let name = letterName(s);
  let power: MathNode | undefined;
  let below: string | undefined;
  for (let scripts = 0; scripts < 2; scripts++) {
    if (s.next === "_" && below === undefined) below = s.attempt(() => subscript(s))?.text;
    else if (s.next === "^" && !power) power = s.attempt(() => superscript(s));
  }
  if (imaginary) return { kind: "constant", name: "i" };
  if (below !== undefined) name = subscripted(name, below);
  const value = namedSymbol(name, s.context.real);
  return power ? pow(value, power) : value;
}
