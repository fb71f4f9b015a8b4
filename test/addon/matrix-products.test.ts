// The CPU's kernels for products of matrices against sums in double precision: sizes that do and do not fill tiles, panels and
// blocks, every order in which the operands may lie in memory, both dtypes of the second, alone and on several threads.

import { describe, expect, it } from "vitest";
import { loadCore } from "../../lib/native/native-loader.js";

interface Case {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly aTransposed?: boolean;
  readonly bTransposed?: boolean;
  readonly narrow?: boolean;
  readonly generic?: boolean;
  readonly scale?: number;
  readonly add?: boolean;
  /** How b is given: as numbers, or packed as a weight, for its product and for that of its transpose. */
  readonly form?: "matrix" | "panels" | "turned";
}

const GAP = 3; // between the rows of each matrix
const UNTOUCHED = 77;

/** Multiples of 1/64 below 2: exact in bfloat16, and no two rows alike. */
function matrix(rows: number, columns: number, transposed: boolean, seed: number) {
  const [lines, line] = transposed ? [columns, rows + GAP] : [rows, columns + GAP];
  const strides = transposed ? [1, line] : [line, 1];
  const values = Float32Array.from({ length: lines * line }, (_, i) => ((((i + seed) * 7919) % 255) - 127) / 64);
  const at = (i: number, j: number) => values[i * (strides[0] ?? 0) + j * (strides[1] ?? 0)] ?? Number.NaN;
  return { values, strides: Int32Array.from(strides), at };
}

function run({ m, n, k, ...options }: Case) {
  const a = matrix(m, k, options.aTransposed ?? false, 1);
  const b = matrix(k, n, options.bTransposed ?? false, 5);
  const [scale, add] = [options.scale ?? 1, options.add ?? false];
  const c = new Float32Array(m * (n + GAP)).fill(UNTOUCHED);
  const operands = { a: a.values, aStrides: a.strides, b: b.values, bStrides: b.strides, c, cStride: n + GAP };
  const { narrow = false, generic = false, form = "matrix" } = options;
  const result = loadCore().multiplyMatrices({ m, n, k, ...operands, scale, add, narrow, generic, form });
  return { a, b, c: result, before: add ? UNTOUCHED : 0, scale };
}

/** Every element of small products, some hundred of large ones; and what lies between the rows of c. */
function expectProduct(options: Case) {
  const { m, n, k } = options;
  const { a, b, c, before, scale } = run(options);
  const step = Math.max(1, Math.floor((m * n) / 997));
  // Rounding of a sum of k terms up to 4, and of what is added.
  const bound = Math.abs(scale) * (4 * k + 1) * 2 ** -24 * Math.sqrt(k) + UNTOUCHED * 2 ** -23;
  let worst = 0;
  for (let index = 0; index < m * n; index += step) {
    const [i, j] = [Math.floor(index / n), index % n];
    let sum = 0;
    for (let l = 0; l < k; l++) sum += a.at(i, l) * b.at(l, j);
    const error = Math.abs((c[i * (n + GAP) + j] ?? Number.NaN) - (before + scale * sum));
    worst = Math.max(error, worst);
  }
  expect(worst).toBeLessThan(bound);
  const between = c.filter((_, index) => index % (n + GAP) >= n);
  expect(between.every((value) => value === UNTOUCHED)).toBe(true);
}

describe.each([false, true])("kernels of the processor (generic: %s)", (generic) => {
  it.each(Array.from({ length: 20 }, (_, i) => i + 1))("multiply %i rows", (m) => {
    for (const narrow of [false, true]) {
      for (const bTransposed of [false, true]) {
        expectProduct({ m, n: 37, k: 29, bTransposed, narrow, generic });
        expectProduct({ m, n: m, k: 403, bTransposed, narrow, generic });
      }
    }
  });

  it.each([1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 47, 48, 49, 193, 385])("multiply into %i columns", (n) => {
    for (const aTransposed of [false, true]) {
      for (const bTransposed of [false, true]) {
        expectProduct({ m: 13, n, k: 33, aTransposed, bTransposed, generic });
        expectProduct({ m: 98, n, k: 5, aTransposed, bTransposed, narrow: true, generic });
      }
    }
  });

  it.each([1, 2, 3, 383, 384, 385, 769])("sum %i products", (k) => {
    for (const scale of [1, -0.5]) {
      for (const add of [false, true]) expectProduct({ m: 7, n: 19, k, scale, add, bTransposed: true, generic });
    }
  });

  it.each([1, 5, 31, 32, 33, 95, 130])("multiply packed weights of %i outputs", (n) => {
    for (const form of ["panels", "turned"] as const) {
      for (const narrow of [false, true]) {
        for (const [m, k] of [
          [1, 1],
          [2, 33],
          [13, 64],
          [60, 95],
          [401, 7],
        ] as const) {
          for (const add of [false, true]) expectProduct({ m, n, k, form, narrow, add, generic });
        }
      }
    }
  });

  it("give a packed weight's product the bits of the numbers' own", () => {
    for (const narrow of [false, true]) {
      const bits = (form: Case["form"]) => run({ m: 45, n: 100, k: 1500, form, narrow, generic }).c;
      expect(bits("panels")).toEqual(bits("matrix"));
      expect(bits("turned")).toEqual(bits("matrix"));
    }
  });

  it("share large products among threads, by rows, by columns and by both", () => {
    for (const [m, n, k] of [
      [2100, 8, 400],
      [20, 1000, 400],
      [300, 200, 100],
    ] as const) {
      expectProduct({ m, n, k, bTransposed: true, narrow: true, generic });
      expectProduct({ m, n, k, aTransposed: true, add: true, generic });
    }
  });

  it("give a row the same bits whatever other rows there are", () => {
    const [many, few] = [run({ m: 300, n: 200, k: 900, generic }), run({ m: 5, n: 200, k: 900, generic })];
    expect(many.c.slice(0, few.c.length)).toEqual(few.c);
  });
});
