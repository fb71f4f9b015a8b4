// Numbers between bounds, digit by digit, as JSON writes them without an exponent.

import { charactersOf } from "./code-ranges.js";
import { chars, choice, EMPTY, type Expression, NEVER, optional, repeat, sequence, text } from "./expression.js";

/** A bound as decimal digits: sign, whole part, fraction without zeros at its end. */
export interface Decimal {
  readonly negative: boolean;
  readonly whole: bigint;
  readonly fraction: string;
}

export interface NumberBounds {
  readonly min: Decimal | undefined;
  readonly max: Decimal | undefined;
  readonly openMin: boolean;
  readonly openMax: boolean;
}

/** Digits that no reader rounds to another number. */
const SAFE_DIGITS = 15;
/** Of a whole part that has no bound. */
const MOST_DIGITS = 20;

/** Undefined for a number that is not written in digits alone. */
export function decimalOf(value: number): Decimal | undefined {
  const parts = /^(-?)(\d+)(?:\.(\d+))?$/.exec(Number.isInteger(value) ? BigInt(value).toString() : String(value));
  if (parts === null) return undefined;
  return { negative: parts[1] === "-", whole: BigInt(parts[2] as string), fraction: parts[3] ?? "" };
}

/** Whole numbers, or with a fraction. Of a number that is 0, "0" alone. */
export function numberBetween({ min, max, openMin, openMax }: NumberBounds, integer: boolean): Expression {
  const options: Expression[] = [];
  const low = min && !min.negative ? { bound: min, open: openMin } : undefined;
  const high = max && !max.negative ? { bound: max, open: openMax } : undefined;
  if (!(max?.negative && !isZero(max))) options.push(magnitudes(low, high, integer));
  // Of negative numbers the bounds change places; minus nothing is no number of its own.
  if (!(min && (!min.negative || isZero(min)))) {
    const least = max?.negative ? { bound: max, open: openMax } : { bound: ZERO, open: true };
    const most = min?.negative ? { bound: min, open: openMin } : undefined;
    options.push(sequence(text("-"), magnitudes(least, most, integer)));
  }
  return choice(...options);
}

const ZERO: Decimal = { negative: false, whole: 0n, fraction: "" };

function isZero({ whole, fraction }: Decimal): boolean {
  return whole === 0n && /^0*$/.test(fraction);
}

interface Bound {
  readonly bound: Decimal;
  readonly open: boolean;
}

/** Numbers without a sign. */
function magnitudes(low: Bound | undefined, high: Bound | undefined, integer: boolean): Expression {
  const from = low?.bound.whole ?? 0n;
  const to = high?.bound.whole;
  if (integer) return wholeBetween(low ? from + (excludesWhole(low) ? 1n : 0n) : 0n, high && lastWhole(high));
  if (to === undefined)
    return choice(withFraction(from, low, undefined), sequence(wholeBetween(from + 1n, undefined), anyFraction(from)));
  if (to < from) return NEVER;
  if (to === from) return withFraction(from, low, high);
  const inner = sequence(wholeBetween(from + 1n, to - 1n), anyFraction(to));
  return choice(withFraction(from, low, undefined), inner, withFraction(to, undefined, high));
}

/** Whether the whole number of a lower bound is below it. */
function excludesWhole({ bound, open }: Bound): boolean {
  return open || /[1-9]/.test(bound.fraction);
}

function lastWhole({ bound, open }: Bound): bigint {
  return open && !/[1-9]/.test(bound.fraction) ? bound.whole - 1n : bound.whole;
}

/** A whole part with the fractions that its bounds leave it. */
function withFraction(whole: bigint, low: Bound | undefined, high: Bound | undefined): Expression {
  const size = fractionDigits(whole);
  const digits = (bound: Bound | undefined) => bound?.bound.fraction.padEnd(size, "0").slice(0, size);
  const [lowDigits, highDigits] = [digits(low), digits(high)];
  const options: Expression[] = [];
  const zero = "0".repeat(size);
  const above = lowDigits === undefined || zero > lowDigits || (zero === lowDigits && !low?.open);
  const below = highDigits === undefined || zero < highDigits || (zero === highDigits && !high?.open);
  if (above && below) options.push(EMPTY);
  if (size > 0) {
    const least = lowDigits === undefined ? undefined : { digits: lowDigits, open: low?.open === true };
    const most = highDigits === undefined ? undefined : { digits: highDigits, open: high?.open === true };
    options.push(sequence(text("."), fractions(least, most, size)));
  }
  return sequence(text(String(whole)), choice(...options));
}

interface Digits {
  readonly digits: string;
  readonly open: boolean;
}

/** From one to `size` digits d with low ≤ d ≤ high, as fractions; digits that are not there are zeros. */
function fractions(low: Digits | undefined, high: Digits | undefined, size: number): Expression {
  if (size === 0) return NEVER;
  if (low === undefined && high === undefined) return repeat(digit(0, 9), 1, size);
  const first = low === undefined ? 0 : Number(low.digits[0]);
  const last = high === undefined ? 9 : Number(high.digits[0]);
  const options: Expression[] = [];
  for (const value of new Set([first, last])) {
    if (value < first || value > last) continue;
    const rest = (bound: Digits | undefined, at: number) =>
      bound !== undefined && at === value ? { digits: bound.digits.slice(1), open: bound.open } : undefined;
    const [restLow, restHigh] = [rest(low, first), rest(high, last)];
    const ends = endsHere(restLow, restHigh);
    const more = fractions(restLow, restHigh, size - 1);
    options.push(sequence(digit(value, value), ends ? choice(EMPTY, more) : more));
  }
  if (last - first > 1) options.push(sequence(digit(first + 1, last - 1), repeat(digit(0, 9), 0, size - 1)));
  return choice(...options);
}

/** Whether zeros to the end are between the two. */
function endsHere(low: Digits | undefined, high: Digits | undefined): boolean {
  const lowIsZero = low !== undefined && /^0*$/.test(low.digits);
  const highIsZero = high !== undefined && /^0*$/.test(high.digits);
  return (low === undefined || (lowIsZero && !low.open)) && (high === undefined || !highIsZero || !high.open);
}

function fractionDigits(whole: bigint): number {
  return Math.max(0, SAFE_DIGITS - String(whole).length);
}

function anyFraction(largest: bigint): Expression {
  const size = fractionDigits(largest);
  return size === 0 ? EMPTY : optional(sequence(text("."), repeat(digit(0, 9), 1, size)));
}

function digit(from: number, to: number): Expression {
  return chars(charactersOf("0123456789".slice(from, to + 1)));
}

/** Whole numbers without a sign and without zeros before them. */
function wholeBetween(low: bigint, high: bigint | undefined): Expression {
  if (high !== undefined && high < low) return NEVER;
  const options: Expression[] = [];
  const most = high === undefined ? MOST_DIGITS : String(high).length;
  for (let length = Math.max(1, String(low).length); length <= most; length++) {
    const least = length === String(low).length ? String(low) : length === 1 ? "0" : `1${"0".repeat(length - 1)}`;
    const last = high !== undefined && length === most ? String(high) : "9".repeat(length);
    if (least <= last) options.push(digitsBetween(least, last));
  }
  return choice(...options);
}

/** Of one length. */
function digitsBetween(low: string, high: string): Expression {
  if (low === "") return EMPTY;
  const [first, last] = [Number(low[0]), Number(high[0])];
  const size = low.length - 1;
  if (/^0*$/.test(low.slice(1)) && /^9*$/.test(high.slice(1)))
    return sequence(digit(first, last), repeat(digit(0, 9), size, size));
  if (first === last) return sequence(digit(first, first), digitsBetween(low.slice(1), high.slice(1)));
  return choice(
    sequence(digit(first, first), digitsBetween(low.slice(1), "9".repeat(size))),
    ...(last - first > 1 ? [sequence(digit(first + 1, last - 1), repeat(digit(0, 9), size, size))] : []),
    sequence(digit(last, last), digitsBetween("0".repeat(size), high.slice(1))),
  );
}
