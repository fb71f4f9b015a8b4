// Values of matrix expressions: sums, products, powers, transposes and scalar multiples of matrices of numbers.

import type { MathNode } from "./ast.js";
import * as C from "./complex.js";
import { evaluate, type Point } from "./evaluate.js";

export type MatrixValue = readonly (readonly C.Num[])[];

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

export function evaluateMatrix(node: MathNode, point: Point): MatrixValue | undefined {
  point.budget.spend();
  switch (node.kind) {
    case "matrix":
      return complete(node.rows.map((row) => row.map((entry) => evaluate(entry, point))));
    case "add":
      return node.args.map((arg) => evaluateMatrix(arg, point)).reduce((a, b) => a && b && zip(a, b));
    case "mul":
      return productOf(node.args, point);
    case "pow":
      return powerOf(node.base, node.exponent, point);
    case "call": {
      const inner = node.name === "transpose" && node.args[0] ? evaluateMatrix(node.args[0], point) : undefined;
      return inner?.[0]?.map((_, j) => inner.map((row) => row[j] as C.Num));
    }
    default:
      return undefined;
  }
}

function complete(rows: readonly (readonly C.Maybe[])[]): MatrixValue | undefined {
  return rows.every((row) => row.every((entry) => entry !== undefined)) ? (rows as MatrixValue) : undefined;
}

function zip(a: MatrixValue, b: MatrixValue): MatrixValue | undefined {
  if (a.length !== b.length || a[0]?.length !== b[0]?.length) return undefined;
  return complete(a.map((row, i) => row.map((entry, j) => b[i]?.[j] && C.add(entry, b[i]?.[j] as C.Num))));
}

function times(a: MatrixValue, b: MatrixValue, point: Point): MatrixValue | undefined {
  if (a[0]?.length !== b.length) return undefined;
  point.budget.spend(a.length * b.length * (b[0]?.length ?? 0));
  return complete(
    a.map((row) =>
      (b[0] ?? []).map((_, j) =>
        row.reduce<C.Maybe>((sum, entry, k) => {
          const product = b[k]?.[j] && C.multiply(entry, b[k]?.[j] as C.Num);
          return sum && product && C.add(sum, product);
        }, C.exactInteger(0)),
      ),
    ),
  );
}

function productOf(args: readonly MathNode[], point: Point): MatrixValue | undefined {
  let matrix: MatrixValue | undefined;
  let scalar: C.Maybe = C.exactInteger(1);
  for (const arg of args) {
    if (isMatrix(arg)) {
      const value = evaluateMatrix(arg, point);
      matrix = value && (matrix ? times(matrix, value, point) : value);
      if (!matrix) return undefined;
    } else {
      const value = evaluate(arg, point);
      scalar = scalar && value && C.multiply(scalar, value);
    }
  }
  return matrix && complete(matrix.map((row) => row.map((entry) => scalar && C.multiply(scalar, entry))));
}

function powerOf(base: MathNode, exponent: MathNode, point: Point): MatrixValue | undefined {
  const [matrix, value] = [evaluateMatrix(base, point), evaluate(exponent, point)];
  const n = value && C.asInteger(value);
  if (!matrix || n === undefined || n > 64n || n < -64n || matrix.length !== matrix[0]?.length) return undefined;
  let factor: MatrixValue | undefined = n < 0n ? inverse(matrix, point) : matrix;
  let result: MatrixValue | undefined = matrix.map((row, i) => row.map((_, j) => C.exactInteger(i === j ? 1 : 0)));
  for (let k = n < 0n ? -n : n; k > 0n && factor && result; k >>= 1n) {
    if (k & 1n) result = times(result, factor, point);
    factor = times(factor, factor, point);
  }
  return result;
}

/** Gauss–Jordan. */
function inverse(matrix: MatrixValue, point: Point): MatrixValue | undefined {
  const n = matrix.length;
  const rows = matrix.map((row, i) => [...row, ...row.map((_, j) => C.exactInteger(i === j ? 1 : 0))]);
  for (let k = 0; k < n; k++) {
    point.budget.spend(n * n);
    const found = rows.findIndex((row, i) => i >= k && row[k] !== undefined && !C.isZero(row[k] as C.Num));
    if (found < 0) return undefined;
    [rows[k], rows[found]] = [rows[found] ?? [], rows[k] ?? []];
    const pivot = C.reciprocal(rows[k]?.[k] as C.Num);
    const top = complete([(rows[k] ?? []).map((entry) => pivot && C.multiply(entry, pivot))])?.[0];
    if (!top) return undefined;
    for (const [i, row] of rows.entries()) {
      if (i === k) continue;
      const factor = row[k] as C.Num;
      const reduced = complete([
        row.map((entry, j) => {
          const product = C.multiply(factor, top[j] as C.Num);
          return product && C.subtract(entry, product);
        }),
      ])?.[0];
      if (!reduced) return undefined;
      rows[i] = [...reduced];
    }
    rows[k] = [...top];
  }
  return rows.map((row) => row.slice(n));
}
