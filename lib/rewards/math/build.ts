// Rules by which what was read becomes a tree: numbers, fractions, mixed numbers, signs, sets and intervals.

import {
  type AndNode,
  call,
  EULER,
  flat,
  HUNDREDTH,
  INVALID,
  type MathNode,
  MINUS_ONE,
  type NumberNode,
  number,
  pow,
  type RelationNode,
  type RelationOperator,
} from "./ast.js";
import * as C from "./complex.js";
import { evaluate } from "./evaluate.js";
import { parseFailure } from "./lexer.js";
import { type Budget, MAX_DIGITS } from "./limits.js";
import * as Q from "./rational.js";

export const UNDEFINED: MathNode = { kind: "constant", name: "undefined" };

/** A numeral: 12, 1,234, 0.5, .5 or 3E-5. */
export function numeral(text: string): NumberNode {
  const [digits = "", exponent = ""] = text.replaceAll(",", "").split("E");
  const size = Number(exponent.replace("−", "-"));
  if (digits.length > MAX_DIGITS || Math.abs(size) > MAX_DIGITS) throw parseFailure;
  return number(Q.parseDecimal(digits, size), digits.includes(".") || exponent !== "");
}

export function percentage(value: MathNode): MathNode {
  return { kind: "mul", args: [value, HUNDREDTH] };
}

const isWhole = (node: MathNode): node is NumberNode =>
  node.kind === "number" && !node.float && Q.isInteger(node.value);

export function quotient(top: MathNode, bottom: MathNode): MathNode {
  if (isWhole(top) && isWhole(bottom)) {
    return bottom.value.p === 0n ? UNDEFINED : number(Q.rational(top.value.p, bottom.value.p));
  }
  return { kind: "mul", args: [top, pow(bottom, MINUS_ONE)] };
}

/**
 * Factors side by side. They are joined from the right, and an integer before a positive fraction is a mixed number:
 * 2 1/2 is 5/2, and 2 3 4 is 2 + (3 + 4).
 */
export function juxtaposed(factors: readonly MathNode[]): MathNode {
  const backwards: MathNode[] = [];
  for (const factor of [...factors].reverse()) {
    const [last] = backwards;
    if (backwards.length === 1 && isWhole(factor) && last?.kind === "number" && !last.float && last.value.p > 0n) {
      backwards[0] = number(Q.add(factor.value, factor.value.p < 0n ? Q.negate(last.value) : last.value));
    } else {
      backwards.push(factor);
    }
  }
  return flat("mul", backwards.reverse());
}

export function relation(operator: RelationOperator, left: MathNode, right: MathNode): RelationNode {
  return { kind: "relation", operator, left, right };
}

/** Longer chains of relations are none. */
const MAX_CHAIN = 200;

/** a < b joined with < c: a chain goes on from its last side. */
export function chained(left: MathNode, operator: RelationOperator, right: MathNode): MathNode {
  if (left.kind === "and") {
    const last = left.args.at(-1);
    return last && left.args.length < MAX_CHAIN
      ? { ...left, args: [...left.args, relation(operator, last.right, right)] }
      : INVALID;
  }
  if (left.kind === "relation") {
    return { kind: "and", args: [left, relation(operator, left.right, right)] } satisfies AndNode;
  }
  return relation(operator, left, right);
}

/** The order of two constants; undefined where there are symbols, or no order. */
export function orderOf(a: MathNode, b: MathNode, budget: Budget): number | undefined {
  const infinite = (node: MathNode): number => {
    if (node.kind === "constant" && node.name === "infinity") return 1;
    const [sign, inner] = node.kind === "mul" && node.args.length === 2 ? node.args : [];
    return inner && sign?.kind === "number" ? Math.sign(Q.toNumber(sign.value)) * infinite(inner) : 0;
  };
  const sides = infinite(a) - infinite(b);
  if (sides !== 0 || infinite(a) !== 0) return Math.sign(sides);
  const point = { symbols: new Map(), budget };
  const [x, y] = [evaluate(a, point), evaluate(b, point)];
  if (!x || !y || !C.isReal(x) || !C.isReal(y)) return undefined;
  if (C.agree(x, y, 1e-13)) return 0;
  const difference = C.subtract(x, y);
  return difference && Math.sign(C.re(difference));
}

export const isInfinite = (node: MathNode): boolean =>
  (node.kind === "constant" && node.name === "infinity") ||
  (node.kind === "mul" &&
    node.args.length === 2 &&
    node.args[0]?.kind === "number" &&
    node.args[1] !== undefined &&
    isInfinite(node.args[1]));

/** An interval; written with its ends the wrong way round, it is a pair. */
export function interval(
  start: MathNode,
  end: MathNode,
  open: { left: boolean; right: boolean },
  context: { budget: Budget; real: boolean },
): MathNode {
  const order = orderOf(end, start, context.budget);
  if (order !== undefined) {
    if (open.left && open.right && order <= 0) return { kind: "tuple", args: [start, end] };
    if (!open.left && !open.right && order < 0) return { kind: "tuple", args: [start, end] };
    if (order < 0 || (order === 0 && (open.left || open.right))) return { kind: "numberSet", name: "empty" };
    if (order === 0) return finiteSet([start]);
  }
  return {
    kind: "interval",
    start,
    end,
    leftOpen: open.left || isInfinite(start),
    rightOpen: open.right || isInfinite(end),
  };
}

export function finiteSet(args: readonly MathNode[]): MathNode {
  return args.length === 0 ? { kind: "numberSet", name: "empty" } : { kind: "set", args };
}

/** "1, 2; 3": one element is itself, several are a set, groups of several are a set of tuples. */
export function elements(groups: readonly (readonly MathNode[])[]): MathNode {
  const [first = []] = groups;
  if (groups.length === 1) return first.length === 1 && first[0] ? first[0] : finiteSet(first);
  if (groups.every((group) => group.length === 1)) return finiteSet(groups.flat());
  return finiteSet(groups.map((args) => ({ kind: "tuple", args })));
}

export function setOperation(kind: "union" | "intersection", left: MathNode, right: MathNode): MathNode {
  const asSet = (node: MathNode) => (node.kind === "tuple" ? finiteSet(node.args) : node);
  return { kind, left: asSet(left), right: asSet(right) };
}

/** e to a power, where e to the first is e. */
export function exponential(exponent: MathNode): MathNode {
  return isWhole(exponent) && exponent.value.p === 1n ? EULER : pow(EULER, exponent);
}

export function binomial(n: MathNode, k: MathNode): MathNode {
  return call("binomial", [n, k]);
}
