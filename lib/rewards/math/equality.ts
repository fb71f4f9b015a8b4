// Whether two expressions have the same value: exactly where both are fractions, otherwise at sample points. Two formulas
// in symbols are equal if they agree at every sample point at which both have a value, and at five of them at least;
// the points have both signs. A missing value (a pole, an overflow, a NaN) never agrees with anything.

import { at } from "../../at.js";
import { isMatrix, type MathNode, type NumberNode, type SymbolNode, someNode, symbolsOf, treeKey } from "./ast.js";
import * as C from "./complex.js";
import { evaluate, evaluateMatrix, hashText } from "./evaluate.js";
import type { Budget } from "./limits.js";
import * as Q from "./rational.js";

export interface Comparison {
  readonly rounding: number;
  readonly precision: number;
  readonly strict: boolean;
  readonly setRelation: boolean;
  readonly budget: Budget;
}

const POINTS = 9;
const ENOUGH_POINTS = 5;
/** Numerators over 7, away from the small integers and halves at which different formulas may meet. */
const SAMPLES = [5, 11, 18, 23, 9, 31, 13, 26, 37, 45, 17, 52];
const NO_SYMBOLS: ReadonlyMap<string, C.Num> = new Map();

/** Sums and products whose bounds hold symbols have values at integers only. */
function needsIntegers(node: MathNode): boolean {
  return someNode(node, ({ kind }) => kind === "sum" || kind === "product");
}

/** Values of the symbols at one point: all positive at the first, all negative at the second, then mixed. */
function samplePoint(symbols: ReadonlyMap<string, SymbolNode>, index: number, whole: boolean): Map<string, C.Num> {
  const values = new Map<string, C.Num>();
  for (const [key, symbol] of symbols) {
    const hash = hashText(key, 2654435761);
    const negative = index === 0 ? false : index === 1 ? true : ((hash >>> index) & 1) === 1;
    const size = at(SAMPLES, (hash + index * 5) % SAMPLES.length);
    const value = Q.rational(BigInt(negative ? -size : size), whole ? 1n : 7n);
    // A symbol that is known not to be real gets a value off the real line.
    values.set(key, symbol.real ? C.exact(value) : { exact: false, re: Q.toNumber(value), im: 0.6 + (hash % 7) / 10 });
  }
  return values;
}

export function constantValue(node: MathNode, budget: Budget): C.Maybe {
  return evaluate(node, { symbols: NO_SYMBOLS, budget });
}

/** Slack for numbers computed in doubles, from the number of significant digits asked for. */
const slackOf = (comparison: Comparison) => 10 ** (3 - Math.min(comparison.precision, 15));

export function sameTree(a: MathNode, b: MathNode): boolean {
  if (a.kind !== b.kind || treeKey(a) !== treeKey(b)) return false;
  return !someNode(a, (node) => node.kind === "constant" && node.name === "undefined");
}

export function sampledEqual(a: MathNode, b: MathNode, comparison: Comparison): boolean {
  if (isMatrix(a) || isMatrix(b)) return false;
  const symbols = symbolsOf(b, symbolsOf(a));
  if (symbols.size === 0) return constantsEqual(a, b, comparison);
  const whole = needsIntegers(a) || needsIntegers(b);
  let agreeing = 0;
  for (let index = 0; index < POINTS; index++) {
    const point = { symbols: samplePoint(symbols, index, whole), budget: comparison.budget };
    const left = evaluate(a, point);
    const right = left && evaluate(b, point);
    if (!left || !right) continue;
    if (!C.agree(left, right, 1e-9)) return false;
    agreeing++;
  }
  return agreeing >= ENOUGH_POINTS;
}

function constantsEqual(a: MathNode, b: MathNode, comparison: Comparison): boolean {
  const left = constantValue(a, comparison.budget);
  const right = left && constantValue(b, comparison.budget);
  return left !== undefined && right !== undefined && C.agree(left, right, slackOf(comparison));
}

/** The number of a number or of a percentage of a number. */
function numberIn(node: MathNode): NumberNode | undefined {
  if (node.kind === "number") return node;
  if (node.kind !== "mul" || node.args.length !== 2 || node.args[1]?.kind !== "hundredth") return undefined;
  return node.args[0]?.kind === "number" ? node.args[0] : undefined;
}

function rounded(value: C.Num, decimals: number): string {
  if (value.exact) return String(Q.roundTo(value.value, decimals));
  const scale = 10 ** decimals;
  const part = (x: number) => String(Math.round(x * scale) || 0);
  return C.isReal(value) ? part(value.re) : `${part(value.re)},${part(value.im)}`;
}

const isWhole = (node: MathNode, value: C.Num) =>
  C.asInteger(value) !== undefined && !someNode(node, (part) => part.kind === "number" && part.float);

/** Numbers are compared as rounded decimals if either is a decimal; percentages of integers also as the bare integers. */
function numbersEqual(a: MathNode, b: MathNode, comparison: Comparison): boolean {
  const [left, right] = [numberIn(a), numberIn(b)];
  if (left?.float || right?.float) {
    const x = constantValue(a, comparison.budget);
    const y = x && constantValue(b, comparison.budget);
    if (!x || !y) return false;
    // An integer is not a decimal that rounds to it; whether the two are equal is for exact comparison.
    if (isWhole(a, x) || isWhole(b, y)) return false;
    return rounded(x, comparison.rounding) === rounded(y, comparison.rounding);
  }
  if (left && right && Q.isInteger(left.value) && Q.isInteger(right.value)) return Q.equal(left.value, right.value);
  return false;
}

export function valuesEqual(a: MathNode, b: MathNode, comparison: Comparison): boolean {
  if (isMatrix(a) && isMatrix(b)) return matricesEqual(a, b, comparison);
  if ((numberIn(a) || numberIn(b)) && numbersEqual(a, b, comparison)) return true;
  return sampledEqual(a, b, comparison);
}

function matricesEqual(a: MathNode, b: MathNode, comparison: Comparison): boolean {
  if (a.kind === "matrix" && b.kind === "matrix") {
    const sameShape = a.rows.length === b.rows.length && a.rows[0]?.length === b.rows[0]?.length;
    const entries = b.rows.flat();
    return sameShape && a.rows.flat().every((entry, i) => entries[i] && valuesEqual(entry, entries[i], comparison));
  }
  const symbols = symbolsOf(b, symbolsOf(a));
  let agreeing = 0;
  for (let index = 0; index < POINTS; index++) {
    const point = { symbols: samplePoint(symbols, index, false), budget: comparison.budget };
    const [left, right] = [evaluateMatrix(a, point), evaluateMatrix(b, point)];
    if (!left || !right) continue;
    if (left.length !== right.length || left[0]?.length !== right[0]?.length) return false;
    const others = right.flat();
    if (!left.flat().every((value, i) => others[i] && C.agree(value, others[i], 1e-9))) return false;
    if (++agreeing === 1 && symbols.size === 0) return true;
  }
  return agreeing >= ENOUGH_POINTS;
}

/** Whether one is a constant multiple of the other: the same equation, written with another factor. */
export function proportional(a: MathNode, b: MathNode, comparison: Comparison): boolean {
  const symbols = symbolsOf(b, symbolsOf(a));
  let ratio: C.Maybe;
  let agreeing = 0;
  for (let index = 0; index < POINTS; index++) {
    const point = { symbols: samplePoint(symbols, index, false), budget: comparison.budget };
    const [left, right] = [evaluate(a, point), evaluate(b, point)];
    if (!left || !right || C.isZero(left) || C.isZero(right)) continue;
    const here = C.divide(left, right);
    if (!here || (ratio && !C.agree(ratio, here, 1e-9))) return false;
    ratio = here;
    agreeing++;
  }
  return agreeing >= ENOUGH_POINTS;
}
