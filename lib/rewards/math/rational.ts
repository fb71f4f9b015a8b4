// Exact fractions of BigInt, always in lowest terms with a positive denominator.

import { MAX_BITS } from "./limits.js";

export interface Rational {
  readonly p: bigint;
  readonly q: bigint;
}

export const ZERO: Rational = { p: 0n, q: 1n };
export const ONE: Rational = { p: 1n, q: 1n };

function gcdSmall(a: number, b: number): number {
  while (b !== 0) [a, b] = [b, a % b];
  return a;
}

const SAFE = BigInt(Number.MAX_SAFE_INTEGER);

export function gcd(a: bigint, b: bigint): bigint {
  a = a < 0n ? -a : a;
  b = b < 0n ? -b : b;
  while (b !== 0n) {
    // Most numbers in answers are small, and plain numbers are many times faster than BigInt.
    if (a <= SAFE && b <= SAFE) return BigInt(gcdSmall(Number(a), Number(b)));
    [a, b] = [b, a % b];
  }
  return a;
}

export function integer(value: number | bigint): Rational {
  return { p: BigInt(value), q: 1n };
}

/** p / q; the caller has made sure that q is not 0. */
export function rational(p: bigint, q: bigint): Rational {
  if (q === 1n) return { p, q };
  const divisor = gcd(p, q);
  const sign = q < 0n ? -1n : 1n;
  return { p: (sign * p) / divisor, q: (sign * q) / divisor };
}

/** A decimal numeral such as 12, 0.50 or .5, with an optional power of ten. */
export function parseDecimal(text: string, exponent = 0): Rational {
  const [whole = "", fraction = ""] = text.split(".");
  const digits = BigInt(`${whole}${fraction}` || "0");
  const scale = exponent - fraction.length;
  return scale >= 0 ? integer(digits * 10n ** BigInt(scale)) : rational(digits, 10n ** BigInt(-scale));
}

export const add = (a: Rational, b: Rational): Rational =>
  a.q === b.q ? rational(a.p + b.p, a.q) : rational(a.p * b.q + b.p * a.q, a.q * b.q);
export const negate = (a: Rational): Rational => ({ p: -a.p, q: a.q });
export const multiply = (a: Rational, b: Rational): Rational => rational(a.p * b.p, a.q * b.q);
export const isInteger = (a: Rational): boolean => a.q === 1n;
export const compare = (a: Rational, b: Rational): number => {
  const difference = a.p * b.q - b.p * a.q;
  return difference < 0n ? -1 : difference > 0n ? 1 : 0;
};
export const equal = (a: Rational, b: Rational): boolean => a.p === b.p && a.q === b.q;

export function bitLength(value: bigint): number {
  const size = value < 0n ? -value : value;
  return size <= SAFE ? Math.floor(Math.log2(Number(size) || 1)) + 1 : size.toString(16).length * 4;
}

export function toNumber(value: Rational): number {
  const [a, b] = [Number(value.p), Number(value.q)];
  if (Number.isFinite(a) && Number.isFinite(b)) return a / b;
  // Both too large for a double: drop the same number of low bits.
  const shift = BigInt(Math.max(0, Math.min(bitLength(value.p), bitLength(value.q)) - 64));
  return Number(value.p >> shift) / Number(value.q >> shift);
}

/** base^exponent, or undefined where the result would pass MAX_BITS. */
export function power(base: Rational, exponent: bigint): Rational | undefined {
  const size = exponent < 0n ? -exponent : exponent;
  if (size > 1n << 32n) {
    const trivial = base.q === 1n && (base.p === 0n || base.p === 1n || base.p === -1n);
    if (!trivial) return undefined;
  } else if (
    Math.max(bitLength(base.p), bitLength(base.q)) * Number(size) > MAX_BITS &&
    base.p !== 1n &&
    base.p !== -1n
  )
    return undefined;
  if (base.q === 1n && (base.p === 1n || base.p === -1n)) return base.p === 1n || size % 2n === 0n ? ONE : base;
  if (base.p === 0n) return exponent > 0n ? ZERO : exponent === 0n ? ONE : undefined;
  if (Math.max(bitLength(base.p), bitLength(base.q)) * Number(size) > MAX_BITS) return undefined;
  const raised = { p: base.p ** size, q: base.q ** size };
  if (exponent >= 0n) return raised;
  return raised.p < 0n ? { p: -raised.q, q: -raised.p } : { p: raised.q, q: raised.p };
}

/** The exact n-th root of a non-negative integer, or undefined. */
export function exactRoot(value: bigint, n: number): bigint | undefined {
  if (value < 2n) return value;
  if (n > 1024 || bitLength(value) > 2048) return undefined;
  const degree = BigInt(n);
  let x = BigInt(Math.round(Number(value) ** (1 / n)) || 1);
  if (!Number.isFinite(Number(value))) x = 1n << BigInt(Math.ceil(bitLength(value) / n));
  for (let i = 0; i < 200; i++) {
    const next = ((degree - 1n) * x + value / x ** (degree - 1n)) / degree;
    if (next === x || next === x + 1n || next === x - 1n) {
      for (const candidate of [x - 1n, x, x + 1n, next]) if (candidate ** degree === value) return candidate;
      return undefined;
    }
    x = next;
  }
  return undefined;
}

/** Rounds to so many decimals (halves away from zero) and returns the numerator over 10^decimals. */
export function roundTo(value: Rational, decimals: number): bigint {
  const scaled = value.p * 10n ** BigInt(decimals) * 2n;
  const negative = scaled < 0n;
  const size = negative ? -scaled : scaled;
  const rounded = (size + value.q) / (2n * value.q);
  return negative ? -rounded : rounded;
}
