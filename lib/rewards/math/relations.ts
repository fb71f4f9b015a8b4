// Comparison of equations and inequalities: by the difference of their sides, the same way round or turned over; equations
// in several unknowns also up to a factor.

import {
  type AndNode,
  type CallNode,
  difference,
  type MathNode,
  negated,
  number,
  type RelationNode,
  symbolsOf,
} from "./ast.js";
import * as build from "./build.js";
import * as C from "./complex.js";
import { type Comparison, constantValue, proportional } from "./equality.js";
import { solutionPieces } from "./inequality.js";
import type { Budget } from "./limits.js";
import { close, type Piece } from "./real-sets.js";

export type Equal = (gold: MathNode, answer: MathNode, comparison: Comparison) => boolean;

const INVERSE = { "=": "=", "<": ">", ">": "<", "<=": ">=", ">=": "<=", "!=": undefined } as const;

const partsOf = (node: RelationNode | AndNode) => (node.kind === "and" ? node.args : [node]);

export function relationsEqual(
  gold: RelationNode | AndNode,
  answer: RelationNode | AndNode,
  comparison: Comparison,
  equal: Equal,
): boolean {
  if (gold.kind !== answer.kind) return false;
  const [golds, answers] = [partsOf(gold), partsOf(answer)];
  return (
    golds.length === answers.length &&
    golds.every((part, i) => answers[i] !== undefined && relationEqual(part, answers[i], comparison, equal))
  );
}

/** Left side minus right side; a side that is zero adds nothing, so that a name stays a name. */
function sides(left: MathNode, right: MathNode): MathNode {
  const isZero = (node: MathNode) => node.kind === "number" && node.value.p === 0n;
  return isZero(right) ? left : difference(left, right);
}

function relationEqual(gold: RelationNode, answer: RelationNode, comparison: Comparison, equal: Equal): boolean {
  const difference = sides(gold.left, gold.right);
  // What a name equals by its letters alone it does not equal as a part of a larger expression.
  const same = (a: MathNode, b: MathNode) => (a.kind === "symbol") === (b.kind === "symbol") && equal(a, b, comparison);
  if (gold.operator === answer.operator) {
    if (same(gold.left, answer.left) && same(gold.right, answer.right)) return true;
    if (equal(difference, sides(answer.left, answer.right), comparison)) return true;
  }
  if (INVERSE[gold.operator] === answer.operator && equal(difference, sides(answer.right, answer.left), comparison)) {
    return true;
  }
  return gold.operator === "=" && answer.operator === "=" && sameSolutions(gold, answer, comparison);
}

function sameSolutions(gold: RelationNode, answer: RelationNode, comparison: Comparison): boolean {
  const [a, b] = [difference(gold.left, gold.right), difference(answer.left, answer.right)];
  const [first, second] = [symbolsOf(a), symbolsOf(b)];
  if (first.size < 2 || [...first.keys()].sort().join() !== [...second.keys()].sort().join()) return false;
  return proportional(a, b, comparison);
}

/** f(x) < 3 is about one unknown, f(x). */
function withoutCalls(node: MathNode): MathNode {
  const go = (child: MathNode): MathNode =>
    child.kind === "call" && !child.known
      ? { kind: "symbol", name: `${(child as CallNode).name}()`, real: true }
      : child.kind === "relation"
        ? { ...child, left: go(child.left), right: go(child.right) }
        : child;
  return go(node);
}

/** The set of real numbers that satisfy relations in one unknown, as a tree. */
export function solutionSet(node: RelationNode | AndNode, budget: Budget): MathNode | undefined {
  const relations = partsOf(node).map((part) => withoutCalls(part) as RelationNode);
  const symbols = new Map(relations.flatMap((part) => [...symbolsOf(part)]));
  const [symbol] = symbols.values();
  if (symbols.size !== 1 || !symbol) return undefined;
  const pieces = solutionPieces(relations, symbol, budget);
  return pieces && piecesNode(pieces, relations, budget);
}

/** Pieces as a tree whose ends are, where one of the relations names them, the ends as written. */
function piecesNode(pieces: readonly Piece[], relations: readonly RelationNode[], budget: Budget): MathNode {
  const written = relations
    .flatMap(({ left, right }) => [left, right])
    .map((node) => ({ node, value: constantValue(node, budget) }));
  const end = (x: number): MathNode => {
    if (x === Number.POSITIVE_INFINITY) return { kind: "constant", name: "infinity" };
    if (x === Number.NEGATIVE_INFINITY) return negated({ kind: "constant", name: "infinity" });
    const known = written.find(({ value }) => value && C.isReal(value) && close(C.re(value), x));
    return known?.node ?? approximate(x);
  };
  const nodes = pieces.map((piece): MathNode => {
    if (piece.low === piece.high) return { kind: "set", args: [end(piece.low)] };
    const { lowOpen: leftOpen, highOpen: rightOpen } = piece;
    return { kind: "interval", start: end(piece.low), end: end(piece.high), leftOpen, rightOpen };
  });
  const [first, ...rest] = nodes;
  if (!first) return { kind: "numberSet", name: "empty" };
  return rest.reduce((left, right) => ({ kind: "union", left, right }), first);
}

/** A double as the fraction with a small denominator that it is, if it is one. */
function approximate(x: number): MathNode {
  for (let q = 1; q <= 1000; q++) {
    const p = Math.round(x * q);
    if (close(p / q, x)) return number({ p: BigInt(p), q: BigInt(q) });
  }
  return build.numeral(x.toFixed(12));
}

/**
 * Whether the numbers in a chain of equations can all be the same. 8 = 4 is no answer for 4, though its last side is.
 * A decimal may be rounded; an angle may change from degrees to radians, and a share to a percentage.
 */
export function consistent(node: RelationNode | AndNode, comparison: Comparison): boolean {
  const parts = partsOf(node);
  const chain = [...(parts[0] ? [parts[0].left] : []), ...parts.map((part) => part.right)];
  const values = chain.map((side) => constantValue(side, comparison.budget)).filter((value) => value !== undefined);
  // What a name is said to be may be corrected along the way: x = 7 = 11 is x = 11.
  const first = chain[0] && constantValue(chain[0], comparison.budget);
  return first === undefined || values.every((value) => nearlySame(first, value));
}

function nearlySame(a: C.Num, b: C.Num): boolean {
  if (C.agree(a, b, 1e-9)) return true;
  const ratios = [Math.PI / 180, 180 / Math.PI, 100, 0.01];
  if (ratios.some((ratio) => C.agree(C.multiply(a, C.inexact(ratio) ?? a) ?? a, b, 1e-9))) return true;
  const decimal = (value: C.Num) => value.exact && value.value.q > 1n && 10n ** 12n % value.value.q === 0n;
  const [x, y] = [C.re(a), C.re(b)];
  return (
    (decimal(a) || decimal(b)) && Math.abs(x - y) <= 0.01 * Math.max(Math.abs(x), Math.abs(y)) && C.im(a) === C.im(b)
  );
}
