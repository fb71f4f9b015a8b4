// Numeric functions of the evaluator, on complex doubles, principal branches. Exact where an exact answer exists.

import { at } from "../../at.js";
import * as C from "./complex.js";
import type { Budget } from "./limits.js";
import { MAX_BITS } from "./limits.js";
import * as Q from "./rational.js";

type Fn = (args: readonly C.Num[], budget: Budget) => C.Maybe;

const ONE = C.exactInteger(1);
const I: C.Num = { exact: false, re: 0, im: 1 };
const chain = (a: C.Maybe, then: (a: C.Num) => C.Maybe): C.Maybe => a && then(a);
const unary =
  (fn: (a: C.Num) => C.Maybe): Fn =>
  ([a]) =>
    a && fn(a);

function sin(a: C.Num): C.Maybe {
  if (C.isZero(a)) return a;
  const [x, y] = [C.re(a), C.im(a)];
  return C.inexact(Math.sin(x) * Math.cosh(y), Math.cos(x) * Math.sinh(y));
}
function cos(a: C.Num): C.Maybe {
  if (C.isZero(a)) return ONE;
  const [x, y] = [C.re(a), C.im(a)];
  return C.inexact(Math.cos(x) * Math.cosh(y), -Math.sin(x) * Math.sinh(y));
}
/** Division in which a rounding error in place of a zero denominator is a pole. */
function ratio(a: C.Maybe, b: C.Maybe): C.Maybe {
  if (!a || !b || Math.hypot(C.re(b), C.im(b)) < 1e-14) return undefined;
  return C.divide(a, b);
}
const sinh = (a: C.Num) => chain(C.multiply(I, a), (ia) => chain(sin(ia), (s) => C.multiply(C.negate(I), s)));
const cosh = (a: C.Num) => chain(C.multiply(I, a), cos);
const sqrt = (a: C.Num) => C.power(a, C.exact(Q.rational(1n, 2n)));

/** asin z = −i ln(iz + √(1 − z²)) */
function asin(a: C.Num): C.Maybe {
  if (C.im(a) === 0 && Math.abs(C.re(a)) <= 1) return C.isZero(a) ? a : C.inexact(Math.asin(C.re(a)));
  const root = chain(C.multiply(a, a), (square) => chain(C.subtract(ONE, square), sqrt));
  const inner = root && chain(C.multiply(I, a), (ia) => C.add(ia, root));
  return chain(inner && C.log(inner), (l) => C.multiply(C.negate(I), l));
}
function acos(a: C.Num): C.Maybe {
  if (C.im(a) === 0 && Math.abs(C.re(a)) <= 1) return C.inexact(Math.acos(C.re(a)));
  return chain(asin(a), (s) => C.inexact(Math.PI / 2 - C.re(s), -C.im(s)));
}
/** atan z = (i/2) (ln(1 − iz) − ln(1 + iz)) */
function atan(a: C.Num): C.Maybe {
  if (C.im(a) === 0) return C.isZero(a) ? a : C.inexact(Math.atan(C.re(a)));
  const product = C.multiply(I, a);
  const left = product && chain(C.subtract(ONE, product), C.log);
  const right = product && chain(C.add(ONE, product), C.log);
  return left && right && chain(C.subtract(left, right), (d) => C.multiply({ exact: false, re: 0, im: 0.5 }, d));
}
const asinh = (a: C.Num) => chain(C.multiply(I, a), (ia) => chain(asin(ia), (s) => C.multiply(C.negate(I), s)));
const atanh = (a: C.Num) => chain(C.multiply(I, a), (ia) => chain(atan(ia), (s) => C.multiply(C.negate(I), s)));
function acosh(a: C.Num): C.Maybe {
  // ln(z + √(z+1) √(z−1))
  const plus = chain(C.add(a, ONE), sqrt);
  const minus = chain(C.subtract(a, ONE), sqrt);
  return plus && minus && chain(C.multiply(plus, minus), (root) => chain(C.add(a, root), C.log));
}

const LANCZOS = [
  0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
  12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
];

/** Γ by Lanczos' approximation (g = 7), reflected for Re z < 1/2. */
function gamma(a: C.Num): C.Maybe {
  const n = C.asInteger(a);
  if (n !== undefined && n <= 0n) return undefined;
  if (C.re(a) < 0.5) {
    const below = chain(C.multiply({ exact: false, re: Math.PI, im: 0 }, a), sin);
    const above = chain(C.subtract(ONE, a), gamma);
    const product = below && above && C.multiply(below, above);
    return ratio({ exact: false, re: Math.PI, im: 0 }, product);
  }
  const z = C.subtract(a, ONE);
  let sum: C.Maybe = C.inexact(at(LANCZOS, 0));
  for (let k = 1; k < 9 && sum && z; k++) {
    const term = chain(C.add(z, C.exactInteger(k)), (d) => C.divide({ exact: false, re: at(LANCZOS, k), im: 0 }, d));
    sum = term && C.add(sum, term);
  }
  const t = z && C.add(z, { exact: false, re: 7.5, im: 0 });
  const exponent = z && C.add(z, { exact: false, re: 0.5, im: 0 });
  const raised = t && exponent && C.power(t, exponent);
  const shrunk = t && C.exp(C.negate(t));
  const product = raised && shrunk && C.multiply(raised, shrunk);
  return (
    sum &&
    chain(product && C.multiply(product, sum), (v) =>
      C.multiply(v, { exact: false, re: Math.sqrt(2 * Math.PI), im: 0 }),
    )
  );
}

function factorial(a: C.Num, budget: Budget): C.Maybe {
  const n = C.asInteger(a);
  if (n === undefined) return chain(C.add(a, ONE), gamma);
  if (n < 0n || n > 5000n) return undefined;
  budget.spend(Number(n) * 4 + 1);
  let result = 1n;
  for (let k = 2n; k <= n; k++) result *= k;
  return C.exactInteger(result);
}

function binomial(n: C.Num, k: C.Num, budget: Budget): C.Maybe {
  const size = C.asInteger(k);
  if (size === undefined) {
    const parts = [C.add(n, ONE), C.add(k, ONE), chain(C.subtract(n, k), (d) => C.add(d, ONE))].map(
      (z) => z && gamma(z),
    );
    const [top, left, right] = parts;
    return top && left && right && chain(C.multiply(left, right), (bottom) => C.divide(top, bottom));
  }
  if (size < 0n) return C.exactInteger(0);
  const whole = C.asInteger(n);
  const count = whole !== undefined && whole >= size && whole - size < size ? whole - size : size;
  if (count > 5000n) return undefined;
  budget.spend(Number(count) * 8 + 1);
  let result: C.Maybe = ONE;
  for (let j = 0n; j < count && result; j++) {
    const factor: C.Maybe = C.subtract(n, C.exactInteger(j));
    result = factor && chain(C.multiply(result, factor), (v) => C.divide(v, C.exactInteger(j + 1n)));
  }
  return result;
}

/** Rounds down; doubles within rounding error of an integer count as that integer. */
function floor(a: C.Num): C.Maybe {
  if (a.exact) {
    const { p, q } = a.value;
    const quotient = p / q;
    return C.exactInteger(p < 0n && quotient * q !== p ? quotient - 1n : quotient);
  }
  if (!C.isReal(a) || Math.abs(a.re) > 2 ** 53) return undefined;
  const near = Math.round(a.re);
  return C.exactInteger(Math.abs(a.re - near) < 1e-11 * (1 + Math.abs(a.re)) ? near : Math.floor(a.re));
}
const ceiling = (a: C.Num) => chain(floor(C.negate(a)), C.negate);

function extreme(args: readonly C.Num[], sign: 1 | -1): C.Maybe {
  let best: C.Maybe;
  for (const a of args) {
    if (!C.isReal(a)) return undefined;
    const difference: C.Maybe = best && C.subtract(a, best);
    if (!best || (difference && Math.sign(C.re(difference)) === sign)) best = a;
  }
  return best;
}

function common(args: readonly C.Num[], combine: (a: bigint, b: bigint) => bigint): C.Maybe {
  const integers = args.map(C.asInteger);
  let result: bigint | undefined;
  for (const value of integers) {
    if (value === undefined) return undefined;
    result = result === undefined ? (value < 0n ? -value : value) : combine(result, value);
    if (Q.bitLength(result) > MAX_BITS) return undefined;
  }
  return result === undefined ? undefined : C.exactInteger(result);
}

function mod([a, b]: readonly C.Num[]): C.Maybe {
  if (!a || !b) return undefined;
  return chain(ratio(a, b), (q) =>
    chain(floor(q), (f) => chain(C.multiply(f, b), (product) => C.subtract(a, product))),
  );
}

const inverse = (fn: (a: C.Num) => C.Maybe) => unary((a) => chain(C.reciprocal(a), fn));

export const functions: Readonly<Record<string, Fn>> = {
  sin: unary(sin),
  cos: unary(cos),
  tan: unary((a) => ratio(sin(a), cos(a))),
  cot: unary((a) => ratio(cos(a), sin(a))),
  sec: unary((a) => ratio(ONE, cos(a))),
  csc: unary((a) => ratio(ONE, sin(a))),
  asin: unary(asin),
  acos: unary(acos),
  atan: unary(atan),
  acot: unary((a) => (C.isZero(a) ? C.inexact(Math.PI / 2) : chain(C.reciprocal(a), atan))),
  asec: inverse(acos),
  acsc: inverse(asin),
  sinh: unary(sinh),
  cosh: unary(cosh),
  tanh: unary((a) => ratio(sinh(a), cosh(a))),
  asinh: unary(asinh),
  acosh: unary(acosh),
  atanh: unary(atanh),
  exp: unary(C.exp),
  log: ([a, base]) => {
    if (!a) return undefined;
    if (!base) return C.log(a);
    if (a.exact && base.exact) {
      const found = exactLog(a.value, base.value);
      if (found) return found;
    }
    return ratio(C.log(a), C.log(base));
  },
  abs: unary(C.abs),
  floor: unary(floor),
  ceiling: unary(ceiling),
  gamma: ([a], budget) => {
    const n = a && C.asInteger(a);
    return n !== undefined && n > 0n ? factorial(C.exactInteger(n - 1n), budget) : a && gamma(a);
  },
  factorial: ([a], budget) => a && factorial(a, budget),
  binomial: ([n, k], budget) => n && k && binomial(n, k, budget),
  max: (args) => extreme(args, 1),
  min: (args) => extreme(args, -1),
  gcd: (args) => common(args, Q.gcd),
  lcm: (args) => common(args, (a, b) => (a === 0n || b === 0n ? 0n : (a * b) / Q.gcd(a, b)) || 0n),
  mod,
};

/** log of a power of the base, such as log_2 8, as an exact integer. */
function exactLog(a: Q.Rational, base: Q.Rational): C.Maybe {
  if (a.p <= 0n || base.p <= 0n || Q.equal(base, Q.ONE)) return undefined;
  const guess = Math.round(Math.log(Q.toNumber(a)) / Math.log(Q.toNumber(base)));
  if (!Number.isFinite(guess) || Math.abs(guess) > 4096) return undefined;
  const raised = Q.power(base, BigInt(guess));
  return raised && Q.equal(raised, a) ? C.exactInteger(guess) : undefined;
}
