// What a formula may be as a whole: elements in a row, sets, intervals, tuples, relations and set operations.

import { call, INVALID, type MathNode, type NumberSet, negated } from "./ast.js";
import * as build from "./build.js";
import { symbol } from "./latex-atoms.js";
import { expression } from "./latex-expression.js";
import type { TokenStream } from "./stream.js";
import { BLACKBOARD, type TokenType } from "./tokens.js";

/** `relations`: whether an element may be an equation; if so, "x = 1, y = 2" is two of them. */
type Rule = (s: TokenStream) => MathNode[];

export function formula(s: TokenStream): MathNode {
  const whole = (rule: () => MathNode) =>
    s.attempt(() => {
      const node = rule();
      s.expect("end");
      return node;
    });
  return (
    whole(() => namedElements(s)) ??
    whole(() => build.elements(groups(s, element))) ??
    whole(() => setRelation(s)) ??
    s.fail()
  );
}

/** x = 1, 2 or (x, y) ∈ …: names before what they are equal to. */
function namedElements(s: TokenStream): MathNode {
  const names = nameList(s);
  if (s.next !== "=" && s.next !== "\\in") return s.fail();
  s.take();
  return build.relation("=", names, build.elements(groups(s, elementWithoutRelation)));
}

function nameList(s: TokenStream): MathNode {
  if (!s.accept("(")) return symbol(s);
  const names = [symbol(s)];
  while (s.accept(",")) names.push(symbol(s));
  s.expect(")");
  const [only] = names;
  return names.length === 1 && only ? only : { kind: "tuple", args: names };
}

function groups(s: TokenStream, rule: Rule): MathNode[][] {
  return s.nested(() => {
    const list = [commaGroup(s, rule)];
    while (s.accept(";")) list.push(commaGroup(s, rule));
    return list;
  });
}

function commaGroup(s: TokenStream, rule: Rule): MathNode[] {
  const group = rule(s);
  while (s.accept(",")) {
    s.context.budget.spend();
    group.push(...rule(s));
  }
  return group;
}

const CLOSERS: ReadonlySet<TokenType> = new Set([",", ";", ")", "]", "}", "\\}", "\\)", "end"]);

function element(s: TokenStream): MathNode[] {
  return s.once("element", () => plusMinus(s) ?? setElement(s) ?? [relation(s)]).slice();
}

function elementWithoutRelation(s: TokenStream): MathNode[] {
  return plusMinus(s) ?? setElement(s) ?? [expression(s)];
}

/** a ± b stands for both values. */
function plusMinus(s: TokenStream): MathNode[] | undefined {
  return s.attempt(() => {
    if (s.accept("pm")) {
      const value = expression(s);
      return [negated(value), value];
    }
    const left = expression(s);
    s.expect("pm");
    const right = expression(s);
    return [
      { kind: "add", args: [left, right] },
      { kind: "add", args: [left, negated(right)] },
    ];
  });
}

function setElement(s: TokenStream): MathNode[] | undefined {
  return s.attempt(() => {
    const node = setAtom(s);
    return CLOSERS.has(s.next) ? [node] : s.fail();
  });
}

function relation(s: TokenStream): MathNode {
  let left: MathNode = expression(s);
  for (;;) {
    const { next } = s;
    switch (next) {
      case "<":
      case "<=":
      case ">":
      case ">=":
      case "!=":
        s.take();
        left = build.chained(left, next, expression(s));
        break;
      case "=":
      case "==":
        s.take();
        left = build.chained(left, "=", expression(s));
        break;
      case "approx": {
        s.take();
        const right = expression(s);
        // An approximation adds nothing to a value, and is the value of a name.
        if (isNames(left)) left = right;
        break;
      }
      case "\\in":
        s.take();
        expression(s);
        left = INVALID;
        break;
      default:
        return left;
    }
  }
}

/** Whether an expression is made of names only, as in f(x), x + y or A/S. */
export function isNames(node: MathNode): boolean {
  switch (node.kind) {
    case "symbol":
      return true;
    case "pow": {
      const { base, exponent } = node;
      const inverted = exponent.kind === "number" && exponent.value.p === -1n && exponent.value.q === 1n;
      return inverted ? isNames(base) : isNames(base) && isNames(exponent);
    }
    case "add":
    case "mul":
    case "tuple":
    case "set":
    case "call":
      return node.args.length > 0 && node.args.every(isNames);
    case "relation":
      return isNames(node.left) && isNames(node.right);
    case "and":
      return node.args.every(isNames);
    default:
      return false;
  }
}

const OPENERS: ReadonlyMap<TokenType, boolean> = new Map([
  ["(", true],
  ["\\(", true],
  ["\\lgroup", true],
  ["[", false],
  ["\\lbrack", false],
]);
const ENDERS: ReadonlyMap<TokenType, boolean> = new Map([
  [")", true],
  ["\\)", true],
  ["\\rgroup", true],
  ["]", false],
  ["\\rbrack", false],
]);

function setAtom(s: TokenStream): MathNode {
  return s.once("set", () => s.nested(() => intervalAtom(s) ?? literalSet(s) ?? tuple(s) ?? braces(s)));
}

function intervalAtom(s: TokenStream): MathNode | undefined {
  const left = OPENERS.get(s.next);
  if (left === undefined) return undefined;
  return s.attempt(() => {
    s.take();
    const start = expression(s);
    s.expect(",");
    const end = expression(s);
    const right = ENDERS.get(s.next);
    if (right === undefined) return s.fail();
    s.take();
    return build.interval(start, end, { left, right }, s.context);
  });
}

const LITERAL_SETS = new Map<string, NumberSet>([
  ["ℕ", "naturals"],
  ["ℤ", "integers"],
  ["ℚ", "rationals"],
  ["ℝ", "reals"],
  ["ℂ", "complexes"],
]);

function literalSet(s: TokenStream): MathNode | undefined {
  if (s.next === "numberSet") {
    const { text } = s.take();
    const letter = /^\\mathbb\{(.)\}$/.exec(text)?.[1];
    const name = letter
      ? (BLACKBOARD.get(letter) ?? "")
      : (LITERAL_SETS.get(text) ?? (text === "ℙ" ? "primes" : "empty"));
    return name === "primes" ? INVALID : { kind: "numberSet", name: name as NumberSet };
  }
  if (s.next !== "{" || s.peek(1) !== "}") return undefined;
  s.position += 2;
  return { kind: "numberSet", name: "empty" };
}

function tuple(s: TokenStream): MathNode | undefined {
  const close = ({ "(": ")", "\\(": "\\)", "[": "]" } as Partial<Record<TokenType, TokenType>>)[s.next];
  if (!close) return undefined;
  return s.attempt(() => {
    s.take();
    const list = groups(s, element);
    s.expect(close);
    const args = list.flat();
    const [only] = args;
    return list.length === 1 && args.length === 1 && only ? only : { kind: "tuple", args };
  });
}

function braces(s: TokenStream): MathNode {
  const boxed = s.accept("\\boxed");
  const open = s.next;
  if (open !== "{" && (boxed || open !== "\\{")) return s.fail();
  s.take();
  const list = groups(s, element);
  s.expect(open === "{" ? "}" : "\\}");
  return boxed ? build.elements(list) : build.finiteSet(list.flat());
}

function setRelation(s: TokenStream): MathNode {
  const left = s.attempt(() => membership(s)) ?? difference(s);
  if (s.next !== "subseteq" && s.next !== "supseteq") return left;
  s.take();
  setRelation(s);
  // True or false, which is no answer to compare.
  return INVALID;
}

function membership(s: TokenStream): MathNode {
  const names = nameList(s);
  const { type } = s.take();
  if (type !== "\\in" && type !== "notin" && type !== "=") return s.fail();
  const equation = build.relation("=", names, setRelation(s));
  return type === "notin" ? call("not", [equation], false) : equation;
}

function difference(s: TokenStream): MathNode {
  let left = union(s);
  while (s.accept("setminus")) left = { kind: "complement", left, right: union(s) };
  return left;
}

function union(s: TokenStream): MathNode {
  let left = intersection(s);
  while (s.accept("cup")) left = build.setOperation("union", left, intersection(s));
  return left;
}

function intersection(s: TokenStream): MathNode {
  let left = setGroup(s);
  while (s.accept("cap")) left = build.setOperation("intersection", left, setGroup(s));
  return left;
}

function setGroup(s: TokenStream): MathNode {
  const inner =
    s.next === "("
      ? s.attempt(() =>
          s.nested(() => {
            s.take();
            const node = difference(s);
            s.expect(")");
            return node;
          }),
        )
      : undefined;
  return inner ?? setAtom(s);
}
