// A difference of two sides as a polynomial in one symbol, found by exact interpolation, and its real roots.

import { at } from "../../at.js";
import { type MathNode, type SymbolNode, symbolKey } from "./ast.js";
import { evaluate } from "./evaluate.js";
import type { Budget } from "./limits.js";
import * as Q from "./rational.js";

const MAX_DEGREE = 8;
const CHECKS = 3;

/** Coefficients, lowest first, without leading zeros; undefined if it is no polynomial with fractions as coefficients. */
export function polynomialIn(node: MathNode, symbol: SymbolNode, budget: Budget): Q.Rational[] | undefined {
  const values: Q.Rational[] = [];
  for (let k = 0; k <= MAX_DEGREE + CHECKS; k++) {
    const x = Q.rational(BigInt(k % 2 === 0 ? k : -k), 3n);
    const value = evaluate(node, { symbols: new Map([[symbolKey(symbol), { exact: true, value: x }]]), budget });
    if (!value?.exact) return undefined;
    values.push(value.value);
  }
  const points = values.map((_, k) => Q.rational(BigInt(k % 2 === 0 ? k : -k), 3n));
  const divided = dividedDifferences(points, values);
  // Beyond the degree all divided differences are zero, and so are those of the points that only check.
  if (divided.slice(MAX_DEGREE + 1).some((value) => value.p !== 0n)) return undefined;
  return expand(points, divided.slice(0, MAX_DEGREE + 1));
}

function dividedDifferences(points: readonly Q.Rational[], values: readonly Q.Rational[]): Q.Rational[] {
  const table = [...values];
  for (let order = 1; order < table.length; order++) {
    for (let k = table.length - 1; k >= order; k--) {
      const [high, low] = [at(table, k), at(table, k - 1)];
      const width = Q.add(at(points, k), Q.negate(at(points, k - order)));
      const rise = Q.add(high, Q.negate(low));
      table[k] = Q.rational(rise.p * width.q, rise.q * width.p);
    }
  }
  return table;
}

/** Newton's form to powers of x. */
function expand(points: readonly Q.Rational[], divided: readonly Q.Rational[]): Q.Rational[] {
  let coefficients: Q.Rational[] = [];
  for (let k = divided.length - 1; k >= 0; k--) {
    const shifted: Q.Rational[] = [Q.ZERO, ...coefficients];
    const minus = Q.negate(at(points, k));
    coefficients.forEach((value, i) => {
      shifted[i] = Q.add(at(shifted, i), Q.multiply(minus, value));
    });
    shifted[0] = Q.add(at(shifted, 0), at(divided, k));
    coefficients = shifted;
  }
  while (coefficients.length > 0 && coefficients.at(-1)?.p === 0n) coefficients.pop();
  return coefficients;
}

const valueAt = (coefficients: readonly number[], x: number) =>
  coefficients.reduceRight((sum, coefficient) => sum * x + coefficient, 0);

/** Distinct real roots in order. Between the roots of the derivative there is one at most. */
export function realRoots(polynomial: readonly Q.Rational[]): number[] {
  return rootsOf(polynomial.map(Q.toNumber));
}

function rootsOf(coefficients: readonly number[]): number[] {
  const degree = coefficients.length - 1;
  const [c = 0, b = 0, a = 0] = coefficients;
  if (degree < 1) return [];
  if (degree === 1) return [-c / b];
  if (degree === 2) {
    const root = b * b - 4 * a * c;
    if (root < 0) return [];
    if (root === 0) return [-b / (2 * a)];
    const q = -(b + (b < 0 ? -1 : 1) * Math.sqrt(root)) / 2;
    return [q / a, c / q].sort((x, y) => x - y);
  }
  const turning = rootsOf(coefficients.slice(1).map((value, k) => value * (k + 1)));
  const leading = Math.abs(at(coefficients, degree));
  const bound = 1 + Math.max(...coefficients.slice(0, -1).map((value) => Math.abs(value) / leading));
  const edges = [-bound, ...turning, bound];
  const scale = Math.max(...coefficients.map(Math.abs));
  const found = turning.filter(
    (x) => Math.abs(valueAt(coefficients, x)) < 1e-11 * scale * Math.max(1, Math.abs(x)) ** degree,
  );
  for (let k = 0; k + 1 < edges.length; k++) {
    const root = bisect(coefficients, at(edges, k), at(edges, k + 1));
    if (root !== undefined && !found.some((x) => Math.abs(x - root) < 1e-6 * (1 + Math.abs(x)))) found.push(root);
  }
  return found.sort((x, y) => x - y);
}

function bisect(coefficients: readonly number[], from: number, to: number): number | undefined {
  let [low, high] = [from, to];
  const sign = Math.sign(valueAt(coefficients, low));
  if (sign === 0 || sign === Math.sign(valueAt(coefficients, high))) return undefined;
  for (let k = 0; k < 100 && high - low > 0; k++) {
    const middle = (low + high) / 2;
    if (middle === low || middle === high) break;
    if (Math.sign(valueAt(coefficients, middle)) === sign) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}
