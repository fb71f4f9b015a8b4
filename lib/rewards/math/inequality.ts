// Where one unknown satisfies relations whose sides are polynomials, or absolute values of polynomials.

import { at } from "../../at.js";
import {
  childrenOf,
  difference,
  type MathNode,
  negated,
  type RelationNode,
  type SymbolNode,
  symbolKey,
} from "./ast.js";
import * as build from "./build.js";
import * as C from "./complex.js";
import { evaluate } from "./evaluate.js";
import type { Budget } from "./limits.js";
import { polynomialIn, realRoots } from "./polynomial.js";
import { endOf, intersection, joined, LINE, type Piece, point } from "./real-sets.js";

/** The pieces of the line on which all the relations hold, or undefined if that cannot be told. */
export function solutionPieces(
  relations: readonly RelationNode[],
  symbol: SymbolNode,
  budget: Budget,
): Piece[] | undefined {
  let result: Piece[] = [LINE];
  for (const relation of relations) {
    const pieces = solved(relation, symbol, budget);
    if (!pieces) return undefined;
    result = intersection(result, pieces);
  }
  return result;
}

function solved(relation: RelationNode, symbol: SymbolNode, budget: Budget): Piece[] | undefined {
  if (build.isInfinite(relation.left) || build.isInfinite(relation.right)) return [LINE];
  const side = difference(relation.left, relation.right);
  const edges = edgesOf(side, symbol, budget) ?? edgeOfName(relation, symbol, budget);
  if (!edges) return undefined;
  const holds = (x: number): boolean => {
    const value = C.re(evaluate(side, pointAt(x, symbol, budget)) ?? C.exactInteger(0));
    const sign = edges.includes(x) && Math.abs(value) < 1e-9 * (1 + Math.abs(x)) ? 0 : Math.sign(value);
    return { "=": sign === 0, "!=": sign !== 0, "<": sign < 0, "<=": sign <= 0, ">": sign > 0, ">=": sign >= 0 }[
      relation.operator
    ];
  };
  const pieces = edges.filter(holds).map(point);
  const ends = [LINE.low, ...edges, LINE.high];
  for (let k = 0; k + 1 < ends.length; k++) {
    const [low, high] = [at(ends, k), at(ends, k + 1)];
    if (holds(inside(low, high))) pieces.push({ low, high, lowOpen: true, highOpen: true });
  }
  return joined(pieces);
}

const pointAt = (x: number, symbol: SymbolNode, budget: Budget) => {
  const value: C.Num = Number.isInteger(x) ? C.exactInteger(x) : { exact: false, re: x, im: 0 };
  return { symbols: new Map([[symbolKey(symbol), value]]), budget };
};

function inside(low: number, high: number): number {
  if (Number.isFinite(low)) return Number.isFinite(high) ? (low + high) / 2 : low + 1;
  return Number.isFinite(high) ? high - 1 : 0;
}

function absolutes(node: MathNode, found: MathNode[] = []): MathNode[] {
  if (node.kind === "call" && node.name === "abs" && node.args[0]) found.push(node.args[0]);
  for (const child of childrenOf(node)) absolutes(child, found);
  return found;
}

/** Places where the side may change its sign, in order: between them every absolute value has one sign. */
function edgesOf(side: MathNode, symbol: SymbolNode, budget: Budget): number[] | undefined {
  const turns: number[] = [];
  for (const inner of absolutes(side)) {
    const polynomial = polynomialIn(inner, symbol, budget);
    if (!polynomial) return undefined;
    turns.push(...realRoots(polynomial));
  }
  const ends = [LINE.low, ...[...new Set(turns)].sort((a, b) => a - b), LINE.high];
  const edges = new Set(turns);
  for (let k = 0; k + 1 < ends.length; k++) {
    const [low, high] = [at(ends, k), at(ends, k + 1)];
    const polynomial = polynomialIn(withoutAbsolutes(side, inside(low, high), symbol, budget), symbol, budget);
    if (!polynomial) return undefined;
    for (const root of realRoots(polynomial)) if (root > low && root < high) edges.add(root);
  }
  return [...edges].sort((a, b) => a - b);
}

/** The side with every |u| as u or −u, by the sign that u has at x. */
function withoutAbsolutes(node: MathNode, x: number, symbol: SymbolNode, budget: Budget): MathNode {
  const go = (child: MathNode) => withoutAbsolutes(child, x, symbol, budget);
  if (node.kind === "call" && node.name === "abs" && node.args[0]) {
    const value = evaluate(node.args[0], pointAt(x, symbol, budget));
    const inner = go(node.args[0]);
    return value && C.re(value) < 0 ? negated(inner) : inner;
  }
  if (node.kind === "add" || node.kind === "mul" || node.kind === "call") return { ...node, args: node.args.map(go) };
  return node.kind === "pow" ? { ...node, base: go(node.base) } : node;
}

/** x against a constant that is no fraction, such as x < √2. */
function edgeOfName({ left, right }: RelationNode, symbol: SymbolNode, budget: Budget): number[] | undefined {
  const isName = (node: MathNode) => node.kind === "symbol" && symbolKey(node) === symbolKey(symbol);
  const edge = isName(left) ? endOf(right, budget) : isName(right) ? endOf(left, budget) : undefined;
  return edge === undefined ? undefined : [edge];
}
