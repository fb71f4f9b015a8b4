// Matrices of numbers: sums, products, powers, inverses and determinants.

import { at } from "../../at.js";
import * as C from "./complex.js";
import type { Budget } from "./limits.js";

export type MatrixValue = readonly (readonly C.Num[])[];

/** The matrix, if every entry has a value. */
export function complete(rows: readonly (readonly C.Maybe[])[]): MatrixValue | undefined {
  return rows.every((row) => row.every((entry) => entry !== undefined)) ? (rows as MatrixValue) : undefined;
}

/** Entry by entry; undefined for other shapes. */
export function add(a: MatrixValue, b: MatrixValue): MatrixValue | undefined {
  if (a.length !== b.length || a[0]?.length !== b[0]?.length) return undefined;
  return complete(a.map((row, i) => row.map((entry, j) => b[i]?.[j] && C.add(entry, b[i]?.[j] as C.Num))));
}

export function times(a: MatrixValue, b: MatrixValue, budget: Budget): MatrixValue | undefined {
  if (a[0]?.length !== b.length) return undefined;
  budget.spend(a.length * b.length * (b[0]?.length ?? 0));
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

/** The n-th power of a square matrix. */
export function power(matrix: MatrixValue, n: bigint, budget: Budget): MatrixValue | undefined {
  if (n > 64n || n < -64n || matrix.length !== matrix[0]?.length) return undefined;
  let factor: MatrixValue | undefined = n < 0n ? inverse(matrix, budget) : matrix;
  let result: MatrixValue | undefined = matrix.map((row, i) => row.map((_, j) => C.exactInteger(i === j ? 1 : 0)));
  for (let k = n < 0n ? -n : n; k > 0n && factor && result; k >>= 1n) {
    if (k & 1n) result = times(result, factor, budget);
    factor = times(factor, factor, budget);
  }
  return result;
}

/** Gauss–Jordan. */
function inverse(matrix: MatrixValue, budget: Budget): MatrixValue | undefined {
  const n = matrix.length;
  const rows = matrix.map((row, i) => [...row, ...row.map((_, j) => C.exactInteger(i === j ? 1 : 0))]);
  for (let k = 0; k < n; k++) {
    budget.spend(n * n);
    const found = rows.findIndex((row, i) => i >= k && row[k] !== undefined && !C.isZero(row[k] as C.Num));
    if (found < 0) return undefined;
    [rows[k], rows[found]] = [at(rows, found), at(rows, k)];
    const pivot = C.reciprocal(at(at(rows, k), k));
    const top = complete([at(rows, k).map((entry) => pivot && C.multiply(entry, pivot))])?.[0];
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

/** Gaussian elimination; exact on exact entries. */
export function determinant(matrix: MatrixValue, budget: Budget): C.Maybe {
  const rows = matrix.map((row) => [...row]);
  let result: C.Maybe = C.exactInteger(1);
  for (let k = 0; k < rows.length && result; k++) {
    budget.spend(rows.length * rows.length);
    const found = rows.findIndex((row, i) => i >= k && row[k] !== undefined && !C.isZero(row[k] as C.Num));
    if (found < 0) return C.exactInteger(0);
    if (found !== k) {
      [rows[k], rows[found]] = [at(rows, found), at(rows, k)];
      result = C.negate(result);
    }
    const [top, pivot] = [at(rows, k), rows[k]?.[k]];
    if (!pivot) return undefined;
    result = C.multiply(result, pivot);
    for (const row of rows.slice(k + 1)) {
      const factor: C.Maybe = row[k] && C.divide(row[k] as C.Num, pivot);
      for (let j = k; j < rows.length; j++) {
        const product: C.Maybe = factor && top[j] && C.multiply(factor, top[j] as C.Num);
        const next = product && row[j] && C.subtract(row[j] as C.Num, product);
        if (!next) return undefined;
        row[j] = next;
      }
    }
  }
  return result;
}
