// Functions of the LaTeX grammar: named and unnamed functions, fractions, roots, integrals, sums, products and limits.

import { call, INVALID, type MathNode, number, pow, type SymbolNode } from "./ast.js";
import * as build from "./build.js";
import { parseLatexPart } from "./latex.js";
import { differentialVariable, letterName, subscript, superscript, symbol } from "./latex-atoms.js";
import { closed, expression, type Factor, product, sum } from "./latex-expression.js";
import * as Q from "./rational.js";
import type { TokenStream } from "./stream.js";
import { namedSymbol } from "./symbols.js";

const TEN = number(Q.integer(10));
const HALF = number(Q.rational(1n, 2n));

/** arcsin and arsinh are known by their short names. */
function shortName(name: string): string {
  return name
    .replace(/^arc/, "a")
    .replace(/^ar(?=(?:sin|cos|tan)h$)/, "a")
    .replace(/^ceil$/, "ceiling");
}

interface Scripts {
  readonly below: MathNode | undefined;
  readonly above: MathNode | undefined;
}

function scripts(s: TokenStream): Scripts {
  let [below, above]: (MathNode | undefined)[] = [];
  for (let n = 0; n < 2; n++) {
    if (s.next === "_" && !below) below = subscript(s).value;
    else if (s.next === "^" && !above) above = superscript(s);
  }
  return { below, above };
}

/** The argument in brackets if it has them, otherwise the product that follows. */
function argument(s: TokenStream): MathNode {
  const inBrackets =
    s.next === "("
      ? s.attempt(() => {
          s.take();
          return closed(s, ")");
        })
      : undefined;
  return inBrackets ?? s.nested(() => product(s, true));
}

export function functionCall(s: TokenStream): MathNode {
  const name = s.take().text.slice(1);
  const { below, above } = scripts(s);
  return applied(name, argument(s), below, above);
}

function applied(name: string, arg: MathNode, below?: MathNode, above?: MathNode): MathNode {
  const inverted =
    above?.kind === "number" &&
    Q.equal(above.value, Q.integer(-1)) &&
    /^(?:sin|cos|tan|csc|sec|cot|sinh|cosh|tanh)$/.test(name);
  const value = inverted ? call(`a${name}`, [arg]) : single(name, arg, below);
  return above && !inverted ? pow(value, above) : value;
}

function single(name: string, arg: MathNode, below: MathNode | undefined): MathNode {
  switch (name) {
    case "log":
      return call("log", [arg, below ?? TEN]);
    case "ln":
      return below ? call("log", [arg, below]) : call("log", [arg]);
    case "Gamma":
      return call("gamma", [arg]);
    case "det":
      return arg.kind === "matrix" ? call("determinant", [arg]) : INVALID;
    default:
      return call(shortName(name), [arg]);
  }
}

/** \gcd(a, b), \max(a, b) and \operatorname{…}(…). */
export function multiFunctionCall(s: TokenStream): MathNode {
  let name = s.take().text.slice(1);
  let several = true;
  if (name === "operatorname") {
    s.expect("{");
    if (s.next !== "name" && s.next !== "multiName") return s.fail();
    several = s.next === "multiName";
    name = s.take().text;
    s.expect("}");
  }
  const { below, above } = scripts(s);
  if (!several) {
    const arg = argument(s);
    const known = /^(?:floor|ceil|arc?(?:sin|cos|tan)h)$/.test(name);
    return known ? applied(name, arg, below, above) : INVALID;
  }
  if (s.next !== "(") {
    product(s, true);
    return INVALID;
  }
  const value = call(
    name,
    textArguments(s, () => commaList(s, ")")),
  );
  return above ? pow(value, above) : value;
}

function commaList(s: TokenStream, close: "(" | ")" | "]"): void {
  s.take();
  expression(s);
  while (s.accept(",")) expression(s);
  s.expect(close);
}

/** Arguments are cut at every comma of their text, whatever its brackets, and each is read as a formula of its own. */
function textArguments(s: TokenStream, read: () => void): MathNode[] {
  const from = s.position + 1;
  read();
  const parts = s.textBetween(from, s.position - 1).split(",");
  if (parts.length > 1 && parts.at(-1) === "") parts.pop();
  return parts.map((part) => parseLatexPart(part, s.context, s.depth));
}

/** f(x), f_1^2(x, y): a letter before brackets that hold one atom, or several expressions. */
export function namedFunction(s: TokenStream): MathNode {
  const from = s.position;
  letterName(s);
  if (s.next === "_") subscript(s);
  const name = s.textBetween(from, s.position);
  const above = s.next === "^" ? superscript(s) : undefined;
  const braced = s.next === "{" && (s.peek(1) === "(" || s.peek(1) === "[");
  if (braced) s.take();
  if (s.next !== "(" && s.next !== "[") return s.fail();
  const args = textArguments(s, () => namedArguments(s));
  if (braced) s.expect("}");
  const value = call(name, args, false);
  return above ? pow(value, above) : value;
}

function namedArguments(s: TokenStream): void {
  const close = s.take().type === "(" ? ")" : "]";
  const start = s.position;
  const one = s.attempt(() => {
    atomOnly(s);
    s.expect(close);
    return true;
  });
  if (one) return;
  s.position = start;
  expression(s);
  s.expect(",");
  if (s.accept(close)) return;
  expression(s);
  while (s.accept(",")) expression(s);
  s.expect(close);
}

function atomOnly(s: TokenStream): void {
  switch (s.next) {
    case "letter":
    case "greek":
    case "symbol":
    case "accent":
      symbol(s);
      return;
    case "number":
      s.take();
      if (s.at("_")) subscript(s);
      return;
    case "infinity":
    case "partial":
    case "scientific":
    case "percentNumber":
    case "E":
    case "differential":
    case "gamma":
      s.take();
      return;
    default:
      s.fail();
  }
}

export function root(s: TokenStream): MathNode {
  s.take();
  const degree = s.accept("[") ? closed(s, "]") : undefined;
  s.expect("{");
  const base = closed(s, "}");
  return pow(base, degree ? build.quotient(number(Q.ONE), degree) : HALF);
}

/** \frac, which with d's or ∂'s in it is a derivative. */
export function fraction(s: TokenStream): Factor {
  s.take();
  s.expect("{");
  const upper = s.position;
  const top = closed(s, "}");
  const upperEnd = s.position - 1;
  s.expect("{");
  const lower = s.position;
  const bottom = closed(s, "}");
  const lowerEnd = s.position - 1;
  const variable = differentiated(s, lower, lowerEnd);
  if (!variable) return build.quotient(top, bottom);
  const mark = variable.mark;
  const first = s.tokens[upper];
  if (upperEnd === upper + 1 && (first?.type === "partial" || first?.text === "d")) {
    return (first.type === "partial") === (mark === "\\partial")
      ? { kind: "operator", variable: variable.symbol }
      : build.quotient(top, bottom);
  }
  const text = s.sourceBetween(upper, upperEnd);
  if (!text.startsWith(mark)) return build.quotient(top, bottom);
  return {
    kind: "derivative",
    body: parseLatexPart(text.slice(mark.length), s.context, s.depth),
    variable: variable.symbol,
  };
}

function differentiated(s: TokenStream, from: number, to: number): { symbol: SymbolNode; mark: string } | undefined {
  const [first, second] = [s.tokens[from], s.tokens[from + 1]];
  const named = (name: string): SymbolNode => ({ kind: "symbol", name, real: s.context.real });
  if (to === from + 1 && first?.type === "differential")
    return { symbol: named(differentialVariable(first.text)), mark: "d" };
  if (to === from + 2 && first?.type === "partial" && second?.type === "letter") {
    return { symbol: named(second.text), mark: "\\partial" };
  }
  return undefined;
}

export function integral(s: TokenStream): MathNode {
  s.take();
  const { from, to } = bounds(s);
  const outer = s.inIntegral;
  s.inIntegral = true;
  const body = s.next === "differential" ? number(Q.ONE) : s.nested(() => sum(s));
  s.inIntegral = outer;
  const found = s.next === "differential" ? differentialVariable(s.take().text) : undefined;
  return { kind: "integral", ...within(body, found ?? "x", s), ...(from && to ? { from, to } : {}) };
}

/** ∫ dx/x holds its differential inside a fraction, where it counts as 1. */
function within(body: MathNode, name: string, s: TokenStream): { body: MathNode; variable: SymbolNode } {
  return { body, variable: { kind: "symbol", name, real: s.context.real } };
}

function bounds(s: TokenStream): { from?: MathNode; to?: MathNode } {
  if (s.next !== "_" && s.next !== "^") return {};
  const { below, above } = scripts(s);
  return below && above ? { from: below, to: above } : s.fail();
}

export function bigOperator(s: TokenStream): MathNode {
  const kind = s.take().type === "\\sum" ? "sum" : "product";
  let to = s.next === "^" ? superscript(s) : undefined;
  s.expect("_");
  s.expect("{");
  const variable = expression(s);
  if (s.next !== "=" && s.next !== "==") return s.fail();
  s.take();
  const from = closed(s, "}");
  to ??= superscript(s);
  return { kind, body: s.nested(() => product(s, false)), variable, from, to };
}

export function limit(s: TokenStream): MathNode {
  s.take();
  s.expect("_");
  s.expect("{");
  if (s.next !== "letter" && s.next !== "greek" && s.next !== "symbol") return s.fail();
  const token = s.take();
  const name = token.type === "letter" ? token.text : undefined;
  const variable = name
    ? ({ kind: "symbol", name, real: s.context.real } as const)
    : namedSymbol(token.text, s.context.real, false);
  s.expect("to");
  const point = expression(s);
  let direction: 1 | -1 = 1;
  if (s.accept("^")) {
    s.expect("{");
    direction = s.at("-") ? -1 : 1;
    if (!s.accept("-")) s.expect("+");
    s.expect("}");
  }
  s.expect("}");
  const body = s.nested(() => product(s, false));
  return variable.kind === "symbol" ? { kind: "limit", body, variable, point, direction } : INVALID;
}
