// Numbers of the evaluator: exact fractions as long as they can be, otherwise complex doubles on principal branches.
// An undefined result (a pole, an overflow, an unknown function) is `undefined`, never NaN or an infinity.

import * as Q from "./rational.js";

export type Exact = { readonly exact: true; readonly value: Q.Rational };
export type Inexact = { readonly exact: false; readonly re: number; readonly im: number };
export type Num = Exact | Inexact;
export type Maybe = Num | undefined;

export const exact = (value: Q.Rational): Num => ({ exact: true, value });
export const exactInteger = (value: number | bigint): Num => exact(Q.integer(value));

export function inexact(re: number, im = 0): Maybe {
  return Number.isFinite(re) && Number.isFinite(im) ? { exact: false, re, im } : undefined;
}

/** Larger exact numbers go on as doubles, which end as undefined when they overflow. */
const MAX_EXACT = 1n << 70_000n;

function settled(value: Q.Rational): Maybe {
  const size = value.p < 0n ? -value.p : value.p;
  return size > MAX_EXACT || value.q > MAX_EXACT ? inexact(Q.toNumber(value)) : exact(value);
}

export const re = (a: Num): number => (a.exact ? Q.toNumber(a.value) : a.re);
export const im = (a: Num): number => (a.exact ? 0 : a.im);

export function isZero(a: Num): boolean {
  return a.exact ? a.value.p === 0n : a.re === 0 && a.im === 0;
}

/** Real up to rounding. */
export function isReal(a: Num): boolean {
  return a.exact || Math.abs(a.im) <= 1e-12 * (1 + Math.abs(a.re));
}

export function asInteger(a: Num): bigint | undefined {
  return a.exact && Q.isInteger(a.value) ? a.value.p : undefined;
}

export function add(a: Num, b: Num): Maybe {
  if (a.exact && b.exact) return settled(Q.add(a.value, b.value));
  return inexact(re(a) + re(b), im(a) + im(b));
}

export function negate(a: Num): Num {
  return a.exact ? exact(Q.negate(a.value)) : { exact: false, re: -a.re, im: -a.im };
}

export function subtract(a: Num, b: Num): Maybe {
  return add(a, negate(b));
}

export function multiply(a: Num, b: Num): Maybe {
  if (a.exact && b.exact) return settled(Q.multiply(a.value, b.value));
  const [ar, ai, br, bi] = [re(a), im(a), re(b), im(b)];
  return inexact(ar * br - ai * bi, ar * bi + ai * br);
}

export function reciprocal(a: Num): Maybe {
  if (isZero(a)) return undefined;
  if (a.exact) return exact(Q.rational(a.value.q, a.value.p));
  const size = a.re * a.re + a.im * a.im;
  return inexact(a.re / size, -a.im / size);
}

export function divide(a: Num, b: Num): Maybe {
  const inverse = reciprocal(b);
  return inverse && multiply(a, inverse);
}

export function abs(a: Num): Num {
  if (a.exact) return a.value.p < 0n ? negate(a) : a;
  return { exact: false, re: Math.hypot(a.re, a.im), im: 0 };
}

export function log(a: Num): Maybe {
  if (isZero(a)) return undefined;
  if (a.exact && Q.equal(a.value, Q.ONE)) return exact(Q.ZERO);
  if (a.exact && a.value.p > 0n && Q.bitLength(a.value.p) > 1000) {
    const shift = BigInt(Q.bitLength(a.value.p) - 64);
    return inexact(Math.log(Number(a.value.p >> shift)) + Number(shift) * Math.LN2 - Math.log(Number(a.value.q)));
  }
  return inexact(Math.log(Math.hypot(re(a), im(a))), Math.atan2(im(a), re(a)));
}

export function exp(a: Num): Maybe {
  if (isZero(a)) return exactInteger(1);
  const size = Math.exp(re(a));
  return im(a) === 0 ? inexact(size) : inexact(size * Math.cos(im(a)), size * Math.sin(im(a)));
}

function exactPower(base: Q.Rational, exponent: Q.Rational): Maybe {
  if (Q.isInteger(exponent)) {
    const raised = Q.power(base, exponent.p);
    return raised && exact(raised);
  }
  if (base.p < 0n || exponent.q > 64n) return undefined;
  const n = Number(exponent.q);
  const [p, q] = [Q.exactRoot(base.p, n), Q.exactRoot(base.q, n)];
  if (p === undefined || q === undefined) return undefined;
  const raised = Q.power({ p, q }, exponent.p);
  return raised && exact(raised);
}

export function power(base: Num, exponent: Num): Maybe {
  if (isZero(exponent)) return exactInteger(1);
  if (isZero(base)) return re(exponent) > 0 && im(exponent) === 0 ? exactInteger(0) : undefined;
  if (exponent.exact) {
    const result = base.exact ? exactPower(base.value, exponent.value) : undefined;
    if (result) return result;
    const n = exponent.value;
    if (Q.isInteger(n) && !base.exact && n.p >= -64n && n.p <= 64n) return smallPower(base, Number(n.p));
  }
  if (im(base) === 0 && re(base) > 0 && im(exponent) === 0 && Number.isFinite(re(base))) {
    return inexact(re(base) ** re(exponent));
  }
  const logarithm = log(base);
  const product = logarithm && multiply(logarithm, exponent);
  return product && exp(product);
}

function smallPower(base: Num, n: number): Maybe {
  let result: Maybe = exactInteger(1);
  for (let i = 0; i < Math.abs(n) && result; i++) result = multiply(result, base);
  return result && n < 0 ? reciprocal(result) : result;
}

/**
 * Same number up to what doubles can tell. Exact numbers must be equal; the slack is relative to the numbers themselves
 * and to `scale`, the largest number that their computation went through.
 */
export function agree(a: Num, b: Num, slack: number): boolean {
  if (a.exact && b.exact) return Q.equal(a.value, b.value);
  const distance = Math.hypot(re(a) - re(b), im(a) - im(b));
  const size = Math.max(Math.hypot(re(a), im(a)), Math.hypot(re(b), im(b)));
  return distance <= slack * size || distance <= slack * 1e-3;
}
