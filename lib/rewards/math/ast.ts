// The tree that the two parsers build and the comparison reads. It keeps the order and the grouping of what was written
// (2+1 stays a sum), because several of the comparison's rules look at form and not at value.

import * as Q from "./rational.js";

export type RelationOperator = "=" | "!=" | "<" | "<=" | ">" | ">=";
export type NumberSet = "naturals" | "integers" | "rationals" | "reals" | "complexes" | "empty";
export type ConstantName = "pi" | "e" | "i" | "gamma" | "infinity" | "undefined";

export interface NumberNode {
  readonly kind: "number";
  readonly value: Q.Rational;
  /** Written with a decimal point: compared after rounding. */
  readonly float: boolean;
}
export interface SymbolNode {
  readonly kind: "symbol";
  readonly name: string;
  /** False in a formula that speaks of complex numbers; such a symbol differs from the real one of the same name. */
  readonly real: boolean;
}
export interface RelationNode {
  readonly kind: "relation";
  readonly operator: RelationOperator;
  readonly left: MathNode;
  readonly right: MathNode;
}
/** A chain: a < b < c is (a < b) and (b < c). */
export interface AndNode {
  readonly kind: "and";
  readonly args: readonly RelationNode[];
}
export interface IntervalNode {
  readonly kind: "interval";
  readonly start: MathNode;
  readonly end: MathNode;
  readonly leftOpen: boolean;
  readonly rightOpen: boolean;
}
export interface MatrixNode {
  readonly kind: "matrix";
  readonly rows: readonly (readonly MathNode[])[];
}
export interface PowNode {
  readonly kind: "pow";
  readonly base: MathNode;
  readonly exponent: MathNode;
}
export interface IteratedNode {
  readonly kind: "sum" | "product" | "integral";
  readonly body: MathNode;
  readonly variable: MathNode;
  /** Both absent in an indefinite integral. */
  readonly from?: MathNode;
  readonly to?: MathNode;
}
export interface LimitNode {
  readonly kind: "limit";
  readonly body: MathNode;
  readonly variable: SymbolNode;
  readonly point: MathNode;
  readonly direction: 1 | -1;
}
export interface CallNode {
  readonly kind: "call";
  readonly name: string;
  readonly args: readonly MathNode[];
  /** False for a function that has only a name, like f in f(x). */
  readonly known: boolean;
}

/** A formula that was read, as a tree. */
export type MathNode =
  | NumberNode
  | SymbolNode
  | RelationNode
  | AndNode
  | IntervalNode
  | MatrixNode
  | IteratedNode
  | LimitNode
  | CallNode
  | { readonly kind: "constant"; readonly name: ConstantName }
  /** The 1/100 of a percentage, which the comparison may leave out. */
  | { readonly kind: "hundredth" }
  | { readonly kind: "add" | "mul"; readonly args: readonly MathNode[] }
  | PowNode
  | { readonly kind: "derivative"; readonly body: MathNode; readonly variable: SymbolNode }
  | { readonly kind: "set" | "tuple"; readonly args: readonly MathNode[] }
  | { readonly kind: "union" | "intersection" | "complement"; readonly left: MathNode; readonly right: MathNode }
  | { readonly kind: "numberSet"; readonly name: NumberSet }
  /** Grammatical but without a meaning here; fails the whole formula. */
  | { readonly kind: "invalid" };

export const INVALID: MathNode = { kind: "invalid" };
export const HUNDREDTH: MathNode = { kind: "hundredth" };
export const PI: MathNode = { kind: "constant", name: "pi" };
export const EULER: MathNode = { kind: "constant", name: "e" };
export const INFINITY: MathNode = { kind: "constant", name: "infinity" };

export function number(value: Q.Rational, float = false): NumberNode {
  return { kind: "number", value, float };
}

export const MINUS_ONE = number(Q.integer(-1));

export function call(name: string, args: readonly MathNode[], known = true): CallNode {
  return { kind: "call", name, args, known };
}

export function pow(base: MathNode, exponent: MathNode): MathNode {
  return { kind: "pow", base, exponent };
}

/** A product or sum, into which products or sums that are its parts are merged. */
export function flat(kind: "add" | "mul", nodes: readonly MathNode[]): MathNode {
  const [only] = nodes;
  if (nodes.length === 1 && only) return only;
  return { kind, args: nodes.flatMap((node) => (node.kind === kind ? node.args : [node])) };
}

export function negated(node: MathNode): MathNode {
  return node.kind === "number" ? number(Q.negate(node.value), node.float) : flat("mul", [MINUS_ONE, node]);
}

export function difference(left: MathNode, right: MathNode): MathNode {
  return flat("add", [left, negated(right)]);
}

/** Whether a node stands for a matrix and not for a number. */
export function isMatrix(node: MathNode): boolean {
  switch (node.kind) {
    case "matrix":
      return true;
    case "add":
    case "mul":
      return node.args.some(isMatrix);
    case "pow":
      return isMatrix(node.base);
    case "call":
      return node.name === "transpose" && node.args.some(isMatrix);
    default:
      return false;
  }
}

/** Direct parts of a node, whatever their role. */
export function childrenOf(node: MathNode): readonly MathNode[] {
  switch (node.kind) {
    case "add":
    case "mul":
    case "set":
    case "tuple":
    case "and":
    case "call":
      return node.args;
    case "pow":
      return [node.base, node.exponent];
    case "relation":
    case "union":
    case "intersection":
    case "complement":
      return [node.left, node.right];
    case "interval":
      return [node.start, node.end];
    case "matrix":
      return node.rows.flat();
    case "sum":
    case "product":
    case "integral":
      return [node.body, node.variable, ...(node.from ? [node.from] : []), ...(node.to ? [node.to] : [])];
    case "limit":
      return [node.body, node.variable, node.point];
    case "derivative":
      return [node.body, node.variable];
    default:
      return [];
  }
}

/** Whether any node of the tree satisfies the test. */
export function someNode(node: MathNode, test: (node: MathNode) => boolean): boolean {
  return test(node) || childrenOf(node).some((child) => someNode(child, test));
}

/** Free symbols, keyed so that a real and a complex symbol of one name differ. */
export function symbolsOf(node: MathNode, found: Map<string, SymbolNode> = new Map()): Map<string, SymbolNode> {
  if (node.kind === "symbol") found.set(symbolKey(node), node);
  for (const child of childrenOf(node)) symbolsOf(child, found);
  return found;
}

export function symbolKey(symbol: SymbolNode): string {
  return symbol.real ? symbol.name : `${symbol.name}\u0000`;
}

/** The same tree with other leaves: every symbol is passed through `replace`. */
export function mapSymbols(node: MathNode, replace: (symbol: SymbolNode) => MathNode): MathNode {
  if (node.kind === "symbol") return replace(node);
  const go = (child: MathNode) => mapSymbols(child, replace);
  switch (node.kind) {
    case "matrix":
      return { ...node, rows: node.rows.map((row) => row.map(go)) };
    case "and":
      return { ...node, args: node.args.map((arg) => go(arg) as RelationNode) };
    default: {
      const copy: Record<string, unknown> = { ...node };
      for (const [key, value] of Object.entries(copy)) {
        if (Array.isArray(value)) copy[key] = value.map(go);
        else if (typeof value === "object" && value !== null && "kind" in value) copy[key] = go(value as MathNode);
      }
      return copy as unknown as MathNode;
    }
  }
}

/** One text per tree: two trees have the same key exactly when they are written alike. */
export function treeKey(node: MathNode): string {
  switch (node.kind) {
    case "number":
      return `${node.value.p}/${node.value.q}${node.float ? "f" : ""}`;
    case "symbol":
      return `$${symbolKey(node)}$`;
    case "constant":
    case "numberSet":
      return `@${node.name}`;
    case "relation":
      return `(${treeKey(node.left)}${node.operator}${treeKey(node.right)})`;
    case "interval":
      return `interval${node.leftOpen ? "(" : "["}${treeKey(node.start)},${treeKey(node.end)}${node.rightOpen ? ")" : "]"}`;
    case "matrix":
      return `matrix[${node.rows.map((row) => row.map(treeKey).join(",")).join(";")}]`;
    case "call":
      return `${node.known ? "" : "?"}${node.name}(${node.args.map(treeKey).join(",")})`;
    case "set":
      return `{${[...new Set(node.args.map(treeKey))].sort().join(",")}}`;
    default:
      return `${node.kind}(${childrenOf(node).map(treeKey).join(",")})`;
  }
}
