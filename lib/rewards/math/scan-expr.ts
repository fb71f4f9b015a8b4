// Finds plain numbers and arithmetic in a text: 42, -1,234.5, $18, 1 000, .5, 30 %, 3/4, 2^10 + 1. A number follows the
// start of the text, white space or "="; arithmetic must also end before white space or punctuation.

import type { ExprExtractionConfig } from "./options.js";
import { allMatches, isOperator, type Match, type Scanner } from "./scanner.js";
import { skipDigits } from "./text.js";

export type Plain =
  | { readonly kind: "number"; readonly integer: string; readonly decimal: string; readonly percent: boolean }
  | { readonly kind: "expression"; readonly text: string };

type Accept = (end: number) => boolean;
const always: Accept = () => true;

const CURRENCIES = new Set("$€£¥₹₽₪₩₫฿₡₢₣₤₥₦₧₨₭₮₯₰₱₲₳₴₵₶₷₸₺₻₼₾₿");

/** Places right after the start of the text, white space or "=", and optional asterisks. */
function bodies(s: Scanner, at: number): number[] {
  const starts = at === 0 ? [0] : [];
  if (s.isSpaceAt(at) || s.text.charAt(at) === "=") starts.push(at + 1);
  return starts.flatMap((start) => (s.text.startsWith("**", start) ? [start + 2, start] : [start]));
}

/** End of what must follow arithmetic, or -1. */
function suffixEnd(s: Scanner, at: number): number {
  const { text } = s;
  const closes = (i: number) => {
    if (i >= text.length) return i;
    if (s.isSpaceAt(i) || ".,:)$".includes(text.charAt(i))) return i + 1;
    return -1;
  };
  if (text.startsWith("**", at)) {
    const end = closes(at + 2);
    if (end >= 0) return end;
  }
  return closes(at);
}

function expressionAt(s: Scanner, body: number, accept: Accept): Match<Plain> | undefined {
  const { text } = s;
  let digit = body;
  if (text.charAt(digit) === "-") digit++;
  if (text.charAt(digit) === "(") digit++;
  if (text.charAt(digit) === "-") digit++;
  if (!s.isDigitAt(digit)) return undefined;
  const runEnd = s.next("arithmeticEnd", digit + 1);
  const operator = s.next("operator", digit + 1);
  for (let end = runEnd; end >= operator + 2; end--) {
    // Inside a run of digits and operators nothing can end it.
    const code = text.charCodeAt(end);
    if (end < runEnd && code !== 42 && (s.isDigitAt(end) || (isOperator(code) && code !== 41))) continue;
    const after = suffixEnd(s, end);
    if (after >= 0 && accept(after)) {
      return { start: body, end: after, payload: { kind: "expression", text: text.slice(body, end) } };
    }
  }
  return undefined;
}

const PERCENT_SIGN = /\s*(?:%|[Pp]ercent|[Pp]ct)/y;

interface Numeral {
  readonly integer: string;
  readonly decimal: string;
  readonly end: number;
}

const GROUPED = /-?[1-9]\d{0,2}(?:[ ,]\d{3})+/y;

/** Readings of the numeral at `at`, the preferred ones first; shorter ones count when what follows rules out the longer. */
function numerals(s: Scanner, at: number): Numeral[] {
  const { text } = s;
  const found: Numeral[] = [];
  const cut = (from: number, middle: number, end: number) =>
    found.push({ integer: text.slice(from, middle), decimal: text.slice(middle, end), end });
  GROUPED.lastIndex = at;
  if (GROUPED.test(text)) {
    const middle = GROUPED.lastIndex;
    const end = text.charAt(middle) === "." ? skipDigits(text, middle + 1) : middle;
    if (end > middle + 1) cut(at, middle, end);
    if (end > middle + 2) cut(at, middle, end - 1);
    cut(at, middle, middle);
    if (!/[ ,]/.test(text.charAt(middle - 8)) && middle - 4 <= at + 4) return found.concat(plainNumerals(s, at));
    cut(at, middle - 4, middle - 4);
  }
  return found.concat(plainNumerals(s, at));
}

function plainNumerals(s: Scanner, at: number): Numeral[] {
  const { text } = s;
  const found: Numeral[] = [];
  const cut = (middle: number, end: number) =>
    found.push({ integer: text.slice(at, middle), decimal: text.slice(middle, end), end });
  const digits = text.charAt(at) === "-" ? at + 1 : at;
  const whole = skipDigits(text, digits);
  const point = text.charAt(whole);
  const decimals = point === "." || point === "," ? skipDigits(text, whole + 1) : whole;
  if (whole > digits) {
    if (decimals > whole + 1) cut(whole, decimals);
    if (decimals > whole + 2) cut(whole, decimals - 1);
    cut(whole, whole);
    if (whole > digits + 1) cut(whole - 1, whole - 1);
  } else if (digits === at && point === "." && decimals > whole + 1) {
    cut(whole, decimals);
    if (decimals > whole + 2) cut(whole, decimals - 1);
  }
  return found;
}

function numberAt(s: Scanner, body: number, accept: Accept): Match<Plain> | undefined {
  const starts = CURRENCIES.has(s.text.charAt(body)) ? [body + 1] : [body];
  for (const at of starts) {
    if (s.isDigitAt(at - 1)) continue;
    for (const { integer, decimal, end } of numerals(s, at)) {
      PERCENT_SIGN.lastIndex = end;
      const space = s.next("nonSpace", end);
      const percent = "%Pp".includes(s.text.charAt(space) || "?") && PERCENT_SIGN.test(s.text);
      const ends: [boolean, number][] = percent
        ? [
            [true, PERCENT_SIGN.lastIndex],
            [false, end],
          ]
        : [[false, end]];
      for (const [isPercent, stop] of ends) {
        if (!accept(stop)) continue;
        return { start: body, end: stop, payload: { kind: "number", integer, decimal, percent: isPercent } };
      }
    }
  }
  return undefined;
}

/** Arithmetic or a number after its prefix at `at`. */
function plainAt(s: Scanner, at: number, accept: Accept): Match<Plain> | undefined {
  for (const body of bodies(s, at)) {
    const found = expressionAt(s, body, accept);
    if (found) return found;
  }
  for (const body of bodies(s, at)) {
    const found = numberAt(s, body, accept);
    if (found) return found;
  }
  return undefined;
}

/** After optional white space, of which one is the prefix. */
function afterSpaces(s: Scanner, from: number, accept: Accept): Match<Plain> | undefined {
  const at = s.next("nonSpace", from);
  const direct = s.text.charAt(at) === "=" ? plainAt(s, at, accept) : undefined;
  return direct ?? (at > from ? plainAt(s, at - 1, accept) : undefined);
}

const HOPE = /\.?\s?I hope/y;

function hopedFor(s: Scanner): Match<Plain>[] {
  const phrase = "final answer is";
  const hoped = (end: number) => {
    HOPE.lastIndex = end;
    return HOPE.test(s.text);
  };
  return allMatches(
    (from) => s.wordAt(phrase, from),
    (start) => {
      const at = start + phrase.length;
      const match = afterSpaces(s, s.text.charAt(at) === ":" ? at + 1 : at, hoped);
      if (!match) return undefined;
      hoped(match.end);
      return { ...match, start, end: HOPE.lastIndex };
    },
  );
}

function finalAnswer(s: Scanner): Match<Plain>[] {
  const phrase = "final answer";
  return allMatches(
    (from) => s.wordAt(phrase, from),
    (start) => {
      for (let gap = 0; gap <= 100; gap++) {
        const space = start + phrase.length + gap;
        if (s.isSpaceAt(space)) {
          const word = s.next("nonSpace", space);
          const at = s.text.charAt(word + 2) === ":" ? word + 3 : word + 2;
          const match = s.text.startsWith("is", word) ? plainAt(s, at, always) : undefined;
          if (match) return { ...match, start };
        }
        if (s.text.charAt(space) === "\n") return undefined;
      }
      return undefined;
    },
  );
}

/** "answer: …= 5" or "answer … 5"; what comes before a further "=" is not the answer. */
function afterAnswer(s: Scanner, phrase: "answer:" | "answer"): Match<Plain>[] {
  const tried = new Map<number, Match<Plain> | undefined>();
  const notBeforeEquals: Accept = (end) => s.text.charAt(s.next("nonSpace", end)) !== "=";
  const at = (place: number) => {
    if (!tried.has(place)) tried.set(place, plainAt(s, place, notBeforeEquals));
    return tried.get(place);
  };
  return allMatches(
    (from) => s.wordAt(phrase, from),
    (start) => {
      const from = start + phrase.length;
      const line = s.text.indexOf("\n", from);
      const end = Math.min(line < 0 ? s.text.length : line, from + 100);
      for (let equals = s.text.lastIndexOf("=", end); equals >= from; equals = s.text.lastIndexOf("=", equals - 1)) {
        const value = s.next("nonSpace", equals + 1);
        const match =
          (s.text.charAt(value) === "=" ? at(value) : undefined) ?? (value > equals + 1 ? at(value - 1) : undefined);
        if (match) return { ...match, start };
      }
      const last = Math.min(end, from + 50);
      for (let place = s.next("numberPrefix", from); place <= last; place = s.next("numberPrefix", place + 1)) {
        const match = at(place);
        if (match) return { ...match, start };
      }
      return undefined;
    },
  );
}

const PREFIX = /[\s=]/g;

function anywhere(s: Scanner, rule: typeof numberAt): Match<Plain>[] {
  return allMatches(
    (from) => {
      if (from === 0) return 0;
      PREFIX.lastIndex = from;
      return PREFIX.exec(s.text)?.index ?? -1;
    },
    (start) => {
      for (const body of bodies(s, start)) {
        const match = rule(s, body, always);
        if (match) return { ...match, start };
      }
      return undefined;
    },
  );
}

/** Ways to find plain numbers and arithmetic, by priority. */
export function exprRules(config: ExprExtractionConfig): [number, (s: Scanner) => Match<Plain>[]][] {
  const rules: [number, (s: Scanner) => Match<Plain>[]][] = [
    [0, hopedFor],
    [50, finalAnswer],
    [100, (s) => afterAnswer(s, "answer:")],
    [200, (s) => afterAnswer(s, "answer")],
  ];
  if (config.tryExtractWithoutAnchor) {
    rules.push([300, (s) => anywhere(s, expressionAt)], [300, (s) => anywhere(s, numberAt)]);
  }
  return rules;
}
