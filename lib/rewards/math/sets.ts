// Comparison of sets, tuples and intervals. A single value is a set of one; an open interval (1, 2) may be meant as a pair.

import { type IntervalNode, type MathNode, treeKey } from "./ast.js";
import * as C from "./complex.js";
import { type Comparison, constantValue, sameTree, sampledEqual } from "./equality.js";
import { piecesOf, samePieces } from "./real-sets.js";
import type { Equal } from "./relations.js";

const KINDS: ReadonlySet<string> = new Set([
  "set",
  "tuple",
  "interval",
  "union",
  "intersection",
  "complement",
  "numberSet",
]);

export const isSetLike = (node: MathNode): boolean => KINDS.has(node.kind);

const asSet = (node: MathNode): MathNode => (isSetLike(node) ? node : { kind: "set", args: [node] });

export function setsEqual(goldNode: MathNode, answerNode: MathNode, comparison: Comparison, equal: Equal): boolean {
  const [gold, answer] = [asSet(goldNode), asSet(answerNode)];
  if (gold.kind === "interval" && answer.kind === "interval") return intervalsEqual(gold, answer, comparison, equal);
  if (sameTree(gold, answer)) return true;
  if (gold.kind !== "tuple" && answer.kind !== "tuple") {
    const [a, b] = [piecesOf(gold, comparison.budget), piecesOf(answer, comparison.budget)];
    if (a && b && samePieces(a, b)) return true;
    if (gold.kind === "set" && answer.kind === "set") {
      // In a set a name may also be written as an expression that comes to it, which alone it may not.
      const same: Equal = (one, other) => equal(one, other, comparison) || sampledEqual(one, other, comparison);
      return unorderedEqual(distinct(gold.args, comparison), distinct(answer.args, comparison), comparison, same);
    }
    if (gold.kind === "union" && answer.kind === "union") return unionsEqual(gold, answer, comparison, equal);
  }
  const [golds, answers] = [pairOf(gold), pairOf(answer)];
  if (!golds || !answers || (gold.kind === "interval" && answer.kind === "interval")) return false;
  return gold.kind === "set"
    ? unorderedEqual(golds, answers, comparison, equal)
    : orderedEqual(golds, answers, comparison, equal);
}

function intervalsEqual(a: IntervalNode, b: IntervalNode, comparison: Comparison, equal: Equal): boolean {
  return (
    a.leftOpen === b.leftOpen &&
    a.rightOpen === b.rightOpen &&
    equal(a.start, b.start, comparison) &&
    equal(a.end, b.end, comparison)
  );
}

/** Elements of a finite set or tuple, or the ends of an open interval. */
function pairOf(node: MathNode): readonly MathNode[] | undefined {
  if (node.kind === "tuple") return node.args;
  // A set written with repetitions has one of each.
  if (node.kind === "set") return [...new Map(node.args.map((arg) => [treeKey(arg), arg])).values()];
  return node.kind === "interval" && node.leftOpen && node.rightOpen ? [node.start, node.end] : undefined;
}

function distinct(args: readonly MathNode[], comparison: Comparison): MathNode[] {
  const seen: { node: MathNode; value: C.Maybe }[] = [];
  for (const node of args) {
    comparison.budget.spend(seen.length + 1);
    const value = constantValue(node, comparison.budget);
    const known = seen.some((one) =>
      value && one.value
        ? C.agree(value, one.value, 1e-12)
        : sampledEqual(node, one.node, comparison) || sameTree(node, one.node),
    );
    if (!known) seen.push({ node, value });
  }
  return seen.map(({ node }) => node);
}

function orderedEqual(a: readonly MathNode[], b: readonly MathNode[], comparison: Comparison, equal: Equal): boolean {
  return a.length === b.length && a.every((node, i) => b[i] !== undefined && equal(node, b[i], comparison));
}

function unorderedEqual(a: readonly MathNode[], b: readonly MathNode[], comparison: Comparison, equal: Equal): boolean {
  if (a.length !== b.length) return false;
  const left = [...b];
  for (const node of a) {
    const found = left.findIndex((other) => equal(node, other, comparison));
    if (found < 0) return false;
    left.splice(found, 1);
  }
  return true;
}

function unionParts(node: MathNode): MathNode[] {
  return node.kind === "union" ? [...unionParts(node.left), ...unionParts(node.right)] : [node];
}

function unionsEqual(a: MathNode, b: MathNode, comparison: Comparison, equal: Equal): boolean {
  return unorderedEqual(unionParts(a), unionParts(b), comparison, equal);
}
