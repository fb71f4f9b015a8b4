// Expressions of the LaTeX grammar: sums, products, powers, brackets and atoms. The rules follow the grammar of
// math_verify's parser (latex2sympy2_extended), whose ambiguities are all settled in favour of the first rule that fits.

import { call, EULER, flat, INVALID, type MathNode, negated, pow, type SymbolNode } from "./ast.js";
import * as build from "./build.js";
import { atom, subscript, superscript } from "./latex-atoms.js";
import {
  bigOperator,
  fraction,
  functionCall,
  integral,
  limit,
  multiFunctionCall,
  namedFunction,
  root,
} from "./latex-functions.js";
import type { TokenStream } from "./stream.js";
import type { TokenType } from "./tokens.js";

/** An operator such as d/dx that waits for what follows it. */
export interface Operator {
  readonly kind: "operator";
  readonly variable: SymbolNode;
}
export type Factor = MathNode | Operator;

export function expression(s: TokenStream): MathNode {
  return s.once("expression", () => s.nested(() => sum(s)));
}

export function sum(s: TokenStream): MathNode {
  const terms = [product(s, false)];
  while (s.next === "+" || s.next === "-") {
    const plus = s.take().type === "+";
    const term = product(s, false);
    terms.push(plus ? term : negated(term));
  }
  return flat("add", terms);
}

/** `bare`: the argument of a function without brackets, in which further functions end the argument. */
export function product(s: TokenStream, bare: boolean): MathNode {
  let factors = [unary(s, bare)];
  for (;;) {
    const { next } = s;
    if (next === "*") {
      s.take();
      factors.push(unary(s, bare));
    } else if (next === "/" || next === ":") {
      s.take();
      factors = [build.quotient(flat("mul", factors), unary(s, bare))];
    } else if (next === "\\mod") {
      s.take();
      factors = [call("mod", [flat("mul", factors), unary(s, bare)])];
    } else {
      return flat("mul", factors);
    }
    s.context.budget.spend();
  }
}

function unary(s: TokenStream, bare: boolean): MathNode {
  let sign = 1;
  while (s.next === "+" || s.next === "-") if (s.take().type === "-") sign = -sign;
  const factors: Factor[] = [postfix(s, true)];
  while (startsFactor(s, bare)) {
    s.context.budget.spend();
    factors.push(postfix(s, !bare));
  }
  const value = multiplied(factors);
  return sign < 0 ? negated(value) : value;
}

/** An operator such as d/dx takes all that follows it. */
function multiplied(factors: readonly Factor[]): MathNode {
  const index = factors.findIndex((factor) => factor.kind === "operator");
  if (index < 0) return build.juxtaposed(factors as MathNode[]);
  const operator = factors[index] as Operator;
  const rest = factors.slice(index + 1);
  const body = rest.length === 0 ? INVALID : multiplied(rest);
  const derivative: MathNode = { kind: "derivative", body, variable: operator.variable };
  return build.juxtaposed([...(factors.slice(0, index) as MathNode[]), derivative]);
}

const BRACKETS: ReadonlyMap<TokenType, TokenType> = new Map([
  ["(", ")"],
  ["\\lgroup", "\\rgroup"],
  ["{", "}"],
  ["[", "]"],
  ["\\{", "\\}"],
  ["\\lbrace", "\\rbrace"],
  ["\\lbrack", "\\rbrack"],
  ["\\lvert", "\\rvert"],
  ["\\langle", "\\rangle"],
  ["\\lfloor", "\\rfloor"],
  ["\\llcorner", "\\lrcorner"],
  ["\\lceil", "\\rceil"],
  ["\\ulcorner", "\\urcorner"],
]);
const BARS: ReadonlySet<TokenType> = new Set(["|", "\\vert", "\\|"]);
const ATOMS: ReadonlySet<TokenType> = new Set([
  "letter",
  "greek",
  "symbol",
  "accent",
  "infinity",
  "partial",
  "number",
  "percentNumber",
  "scientific",
  "E",
  "differential",
  "gamma",
  "frac",
  "binom",
  "matrixStart",
  "arrayStart",
  "detStart",
  "\\phantom",
  "\\boxed",
]);
const FUNCTION_STARTS: ReadonlySet<TokenType> = new Set([
  "function",
  "multiFunction",
  "\\operatorname",
  "\\int",
  "\\sqrt",
  "\\sum",
  "\\prod",
  "\\lim",
  "e",
  "gamma",
]);

function startsFactor(s: TokenStream, bare: boolean): boolean {
  const { next } = s;
  if (next === "differential" && s.inIntegral) return false;
  if (ATOMS.has(next) || BRACKETS.has(next)) return true;
  if (BARS.has(next)) return s.barOpens();
  return !bare && FUNCTION_STARTS.has(next);
}

function postfix(s: TokenStream, functions: boolean): Factor {
  let value = exponentiated(s, functions);
  for (;;) {
    const { next } = s;
    const at = next === "|" && !s.bars.includes("|") ? evaluationPoint(s) : undefined;
    if (at) {
      if (value.kind === "operator") return s.fail();
      value = at(value);
    } else if (next === "!") {
      s.take();
      value = value.kind === "operator" ? INVALID : call("factorial", [value]);
    } else if (next === "transpose") {
      s.take();
      if (value.kind !== "operator" && value.kind !== "number" && value.kind !== "symbol") {
        value = call("transpose", [value]);
      }
    } else if (next === "degree") {
      s.take();
    } else {
      return value;
    }
  }
}

/** "|_{x=1}^{…}": evaluated at a point, which is read and, but for one point, not carried out. */
function evaluationPoint(s: TokenStream): ((value: MathNode) => MathNode) | undefined {
  const [script, brace] = [s.peek(1), s.peek(2)];
  if ((script !== "_" && script !== "^") || brace !== "{") return undefined;
  return s.attempt(() => {
    s.take();
    while ((s.next === "_" || s.next === "^") && s.peek(1) === "{") {
      s.take();
      s.take();
      expression(s);
      if (s.accept("=")) expression(s);
      s.expect("}");
    }
    return () => INVALID;
  });
}

function exponentiated(s: TokenStream, functions: boolean): Factor {
  let base = component(s, functions);
  while (s.next === "^") {
    const exponent = s.attempt(() => {
      s.take();
      const value = s.accept("{") ? closed(s, "}") : atom(s);
      if (s.next === "_") subscript(s);
      return value;
    });
    if (!exponent) return base;
    base = base.kind === "operator" ? INVALID : pow(base, exponent);
  }
  return base;
}

/** An expression and the bracket after it. */
export function closed(s: TokenStream, close: TokenType): MathNode {
  const value = withoutIntegral(s, () => expression(s));
  s.expect(close);
  return value;
}

/** Inside brackets a differential belongs to no integral outside. */
export function withoutIntegral<T>(s: TokenStream, rule: () => T): T {
  const outer = s.inIntegral;
  s.inIntegral = false;
  const result = rule();
  s.inIntegral = outer;
  return result;
}

function component(s: TokenStream, functions: boolean): Factor {
  const { next } = s;
  if (next === "{") {
    // {n \choose k} starts like a group.
    return s.attempt(() => group(s)) ?? chosen(s);
  }
  if (BRACKETS.has(next)) return group(s);
  if (BARS.has(next)) return barGroup(s);
  if (functions) {
    const value = s.attempt(() => functionComponent(s));
    if (value) return value;
  }
  switch (next) {
    case "\\phantom":
    case "\\boxed":
      s.take();
      s.expect("{");
      return closed(s, "}");
    case "frac":
      return fraction(s);
    case "binom": {
      s.take();
      s.expect("{");
      const n = closed(s, "}");
      s.expect("{");
      return build.binomial(n, closed(s, "}"));
    }
    case "matrixStart":
      return matrix(s, "matrixEnd");
    case "arrayStart":
      return matrix(s, "arrayEnd");
    case "detStart":
      return call("determinant", [matrix(s, "detEnd")]);
    default:
      return atom(s);
  }
}

function group(s: TokenStream): MathNode {
  const { type } = s.take();
  const value = closed(s, BRACKETS.get(type) ?? "end");
  switch (type) {
    case "\\lvert":
      return call("abs", [value]);
    case "\\lfloor":
    case "\\llcorner":
      return call("floor", [value]);
    case "\\lceil":
    case "\\ulcorner":
      return call("ceiling", [value]);
    case "\\langle":
      return INVALID;
    default:
      return value;
  }
}

function chosen(s: TokenStream): MathNode {
  s.expect("{");
  const n = expression(s);
  s.expect("\\choose");
  return build.binomial(n, closed(s, "}"));
}

function barGroup(s: TokenStream): MathNode {
  const { type } = s.take();
  s.bars.push(type);
  const value = withoutIntegral(s, () => expression(s));
  s.expect(type);
  s.bars.pop();
  return type === "\\|" ? call("norm", [value]) : call("abs", [value]);
}

function matrix(s: TokenStream, close: TokenType): MathNode {
  s.take();
  const rows: MathNode[][] = [];
  do {
    const row = [expression(s)];
    while (s.accept("&")) row.push(expression(s));
    rows.push(row);
  } while (s.accept("\\\\") && s.next !== close);
  s.expect(close);
  if (s.next === "arrow") return s.fail();
  return rows.every((row) => row.length === rows[0]?.length) ? { kind: "matrix", rows } : INVALID;
}

function functionComponent(s: TokenStream): Factor {
  switch (s.next) {
    case "function":
    case "gamma":
      return functionCall(s);
    case "multiFunction":
    case "\\operatorname":
      return multiFunctionCall(s);
    case "letter":
    case "greek":
    case "symbol":
    case "accent":
      return namedFunction(s);
    case "\\int":
      return integral(s);
    case "\\sqrt":
      return root(s);
    case "\\sum":
    case "\\prod":
      return bigOperator(s);
    case "\\lim":
      return limit(s);
    case "e": {
      s.take();
      const exponent = s.at("^") ? s.attempt(() => superscript(s)) : undefined;
      return exponent ? build.exponential(exponent) : EULER;
    }
    default:
      return s.fail();
  }
}
