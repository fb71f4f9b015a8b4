// The value of a tree: exact where it can be, complex doubles elsewhere, undefined where there is none. Symbols take the
// values of a sample point; a function known only by name gets a value made from its name and its arguments, so that
// f(x) agrees with f(x) and with nothing else.

import {
  type CallNode,
  type IteratedNode,
  isMatrix,
  type LimitNode,
  type MathNode,
  type SymbolNode,
  symbolKey,
} from "./ast.js";
import * as C from "./complex.js";
import { derivative } from "./derivative.js";
import { functions } from "./functions.js";
import { type Budget, MAX_TERMS } from "./limits.js";
import * as M from "./matrix.js";
import * as Q from "./rational.js";

export interface Point {
  /** Values by symbolKey. */
  readonly symbols: ReadonlyMap<string, C.Num>;
  readonly budget: Budget;
}

const EULER_GAMMA = 0.5772156649015329;
const ZERO: MathNode = { kind: "number", value: Q.ZERO, float: false };
const I: C.Num = { exact: false, re: 0, im: 1 };

export function evaluate(node: MathNode, point: Point): C.Maybe {
  point.budget.spend();
  switch (node.kind) {
    case "number":
      return C.exact(node.value);
    case "hundredth":
      return C.exact(Q.rational(1n, 100n));
    case "symbol":
      return point.symbols.get(symbolKey(node));
    case "constant":
      return constant(node.name);
    case "add":
      return fold(node.args, C.add, point);
    case "mul":
      return fold(node.args, C.multiply, point);
    case "pow":
      return evaluatePower(node.base, node.exponent, point);
    case "call":
      return evaluateCall(node, point);
    case "sum":
    case "product":
      return evaluateIterated(node, point);
    case "integral":
      // An integral without bounds is the antiderivative that is 0 at 0.
      return integrate(node, node.from ?? ZERO, node.to ?? node.variable, point);
    case "derivative":
      return evaluateDerivative(node.body, node.variable, point);
    case "limit":
      return evaluateLimit(node, point);
    default:
      return undefined;
  }
}

function constant(name: string): C.Maybe {
  switch (name) {
    case "pi":
      return C.inexact(Math.PI);
    case "e":
      return C.inexact(Math.E);
    case "i":
      return I;
    case "gamma":
      return C.inexact(EULER_GAMMA);
    default:
      return undefined;
  }
}

/** Products of long integers cost about the product of their lengths, and fractions the search for common factors. */
function charge(value: C.Maybe, budget: Budget): void {
  if (!value?.exact) return;
  const [p, q] = [Q.bitLength(value.value.p) / 64, Q.bitLength(value.value.q) / 64];
  if (p + q < 8) return;
  const common = Math.min(p, q);
  budget.spend(Math.ceil((p + q) ** 2 / 64 + common ** 2 / 4 + common * 20));
}

function fold(args: readonly MathNode[], combine: (a: C.Num, b: C.Num) => C.Maybe, point: Point): C.Maybe {
  let result: C.Maybe;
  for (const [index, arg] of args.entries()) {
    const value = evaluate(arg, point);
    if (!value) return undefined;
    result = index === 0 ? value : result && combine(result, value);
    if (!result) return undefined;
    charge(result, point.budget);
  }
  return result;
}

function evaluatePower(base: MathNode, exponent: MathNode, point: Point): C.Maybe {
  const b = evaluate(base, point);
  const e = b && evaluate(exponent, point);
  if (!b || !e) return undefined;
  const result = C.power(b, e);
  charge(result, point.budget);
  return result;
}

function evaluateCall(node: CallNode, point: Point): C.Maybe {
  if (node.name === "determinant") {
    const matrix = node.args[0] && evaluateMatrix(node.args[0], point);
    return matrix && M.determinant(matrix, point.budget);
  }
  const fn = node.known ? functions[node.name] : undefined;
  if (!fn) return opaque(node.name, node.args, point);
  const args: C.Num[] = [];
  for (const arg of node.args) {
    const value = evaluate(arg, point);
    if (!value) return undefined;
    args.push(value);
  }
  const result = fn(args, point.budget);
  charge(result, point.budget);
  return result;
}

/** Sums, products, powers, transposes and scalar multiples of matrices of numbers. */
export function evaluateMatrix(node: MathNode, point: Point): M.MatrixValue | undefined {
  point.budget.spend();
  switch (node.kind) {
    case "matrix":
      return M.complete(node.rows.map((row) => row.map((entry) => evaluate(entry, point))));
    case "add":
      return node.args.map((arg) => evaluateMatrix(arg, point)).reduce((a, b) => a && b && M.add(a, b));
    case "mul":
      return evaluateMatrixProduct(node.args, point);
    case "pow": {
      const [matrix, value] = [evaluateMatrix(node.base, point), evaluate(node.exponent, point)];
      const n = value && C.asInteger(value);
      return matrix && n !== undefined ? M.power(matrix, n, point.budget) : undefined;
    }
    case "call": {
      const inner = node.name === "transpose" && node.args[0] ? evaluateMatrix(node.args[0], point) : undefined;
      return inner?.[0]?.map((_, j) => inner.map((row) => row[j] as C.Num));
    }
    default:
      return undefined;
  }
}

function evaluateMatrixProduct(args: readonly MathNode[], point: Point): M.MatrixValue | undefined {
  let matrix: M.MatrixValue | undefined;
  let scalar: C.Maybe = C.exactInteger(1);
  for (const arg of args) {
    if (isMatrix(arg)) {
      const value = evaluateMatrix(arg, point);
      matrix = value && (matrix ? M.times(matrix, value, point.budget) : value);
      if (!matrix) return undefined;
    } else {
      const value = evaluate(arg, point);
      scalar = scalar && value && C.multiply(scalar, value);
    }
  }
  return matrix && M.complete(matrix.map((row) => row.map((entry) => scalar && C.multiply(scalar, entry))));
}

/** A value that only the same name and equal arguments give: a hash of both, in (1, 2). */
function opaque(name: string, args: readonly MathNode[], point: Point): C.Maybe {
  let hash = hashText(name, 2166136261);
  for (const arg of args) {
    const value = evaluate(arg, point);
    if (!value) return undefined;
    // Ten digits: equal arguments that were computed in two ways must give the same value.
    hash = hashText(`${C.re(value).toPrecision(10)},${C.im(value).toPrecision(10)}`, hash);
  }
  return C.inexact(1 + hash / 4294967296);
}

export function hashText(text: string, seed: number): number {
  let hash = seed >>> 0;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 16777619) >>> 0;
  return hash;
}

function evaluateDerivative(body: MathNode, variable: SymbolNode, point: Point): C.Maybe {
  const result = derivative(body, variable);
  return result ? evaluate(result, point) : opaque("derivative", [body, variable], point);
}

function withValue(point: Point, variable: MathNode, value: C.Num): Point {
  if (variable.kind !== "symbol") return point;
  const symbols = new Map(point.symbols);
  symbols.set(symbolKey(variable), value);
  return { ...point, symbols };
}

function evaluateIterated(node: IteratedNode, point: Point): C.Maybe {
  const from = node.from && evaluate(node.from, point);
  if (!from || node.variable.kind !== "symbol") return undefined;
  if (node.to?.kind === "constant" && node.to.name === "infinity") return infiniteSum(node, from, point);
  const to = node.to && evaluate(node.to, point);
  const [first, last] = [C.asInteger(from), to && C.asInteger(to)];
  if (first === undefined || last === undefined) return undefined;
  // Bounds the wrong way round count back: from a to b is minus (or one over) from b + 1 to a − 1.
  if (last >= first - 1n) return iterated(node, first, last, point);
  const back = iterated(node, last + 1n, first - 1n, point);
  return back && (node.kind === "sum" ? C.negate(back) : C.reciprocal(back));
}

function iterated(node: IteratedNode, first: bigint, last: bigint, point: Point): C.Maybe {
  if (last - first > MAX_TERMS) return undefined;
  let result: C.Maybe = C.exactInteger(node.kind === "sum" ? 0 : 1);
  for (let k = first; k <= last && result; k++) {
    const term = evaluate(node.body, withValue(point, node.variable, C.exactInteger(k)));
    result = term && (node.kind === "sum" ? C.add(result, term) : C.multiply(result, term));
    charge(result, point.budget);
  }
  return result;
}

/** A series that converges fast enough to see: partial sums until the terms no longer count. */
function infiniteSum(node: IteratedNode, from: C.Num, point: Point): C.Maybe {
  const first = C.asInteger(from);
  if (first === undefined || node.kind === "product") return undefined;
  let [real, imaginary] = [0, 0];
  for (let k = 0; k < 2000; k++) {
    const term = evaluate(node.body, withValue(point, node.variable, C.inexact(Number(first) + k) ?? from));
    if (!term) return undefined;
    real += C.re(term);
    imaginary += C.im(term);
    const size = Math.hypot(C.re(term), C.im(term));
    if (k > 30 && size < 1e-17 * (1 + Math.hypot(real, imaginary))) return C.inexact(real, imaginary);
  }
  return undefined;
}

/** Gauss–Legendre, 5 points on each of n panels. */
const NODES: readonly (readonly [number, number])[] = [
  [0, 0.5688888888888889],
  [0.5384693101056831, 0.47862867049936647],
  [-0.5384693101056831, 0.47862867049936647],
  [0.906179845938664, 0.23692688505618908],
  [-0.906179845938664, 0.23692688505618908],
];

function integrate(node: IteratedNode, from: MathNode, to: MathNode, point: Point): C.Maybe {
  const [a, b] = [evaluate(from, point), evaluate(to, point)];
  if (!a || !b || !C.isReal(a) || !C.isReal(b)) return undefined;
  const quadrature = (panels: number): readonly [number, number] | undefined => {
    const width = (C.re(b) - C.re(a)) / panels;
    let [real, imaginary] = [0, 0];
    for (let k = 0; k < panels; k++) {
      for (const [x, weight] of NODES) {
        const at = C.inexact(C.re(a) + width * (k + 0.5 + x / 2));
        const value = at && evaluate(node.body, withValue(point, node.variable, at));
        if (!value) return undefined;
        real += (weight * width * C.re(value)) / 2;
        imaginary += (weight * width * C.im(value)) / 2;
      }
    }
    return [real, imaginary];
  };
  const [coarse, fine] = [quadrature(24), quadrature(40)];
  if (!coarse || !fine) return undefined;
  // Two step sizes that disagree mean a singularity: no value rather than a wrong one.
  const distance = Math.hypot(coarse[0] - fine[0], coarse[1] - fine[1]);
  return distance <= 1e-11 * (1 + Math.hypot(...fine)) ? C.inexact(...fine) : undefined;
}

/** Approaches the point in steps and accepts the limit when the last three values agree. */
function evaluateLimit(node: LimitNode, point: Point): C.Maybe {
  const infinite = node.point.kind === "constant" && node.point.name === "infinity";
  const at = infinite ? undefined : evaluate(node.point, point);
  if (!infinite && !at) return undefined;
  const values: C.Num[] = [];
  for (const step of infinite ? [1e5, 1e6, 1e7] : [1e-5, 1e-6, 1e-7]) {
    const x = C.inexact(at ? C.re(at) + node.direction * step : step, at ? C.im(at) : 0);
    const value = x && evaluate(node.body, withValue(point, node.variable, x));
    if (!value) return undefined;
    values.push(value);
  }
  const [, before, last] = values;
  if (!before || !last || !C.agree(before, last, 1e-4)) return undefined;
  return C.inexact(Number(C.re(last).toPrecision(5)), Number(C.im(last).toPrecision(5)));
}
