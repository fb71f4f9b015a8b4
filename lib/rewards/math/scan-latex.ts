// Finds LaTeX in a text: $…$, $$…$$, \(…\), \[…\], " […] ", a bare \frac, and boxes. Up to six formulas joined by commas,
// "and" or "or" are one match. Inline formulas do not span lines.

import type { LatexExtractionConfig } from "./options.js";
import { allMatches, type Match, type Scanner } from "./scanner.js";

export interface Formula {
  readonly latex: string;
  readonly percent: boolean;
  /** From "\boxed{" to the last brace of the text. */
  readonly wholeBox: boolean;
}
export type Formulas = readonly Formula[];

interface Found {
  readonly latex: string;
  readonly end: number;
}

const SIMPLE_FRACTION = /-?\\frac\{-?\d+(?:[.,]\d+)?\}\{-?\d+(?:[.,]\d+)?\}/y;

/** The environment that opens at `at`; `boxed`: only one with a box inside. */
function environment(s: Scanner, at: number, boxed: boolean): Found | undefined {
  const { text } = s;
  const char = text.charAt(at);
  const escaped = text.charAt(at - 1) === "\\";
  if (char === "$") return escaped ? undefined : dollars(s, at, boxed);
  if (char === "\\") {
    const next = text.charAt(at + 1);
    if (next === "[" && !escaped) return between(s, at + 2, s.next("bracketClose", at + 2), 2, boxed);
    if (next === "(" && !escaped) return between(s, at + 2, s.next("parenEnd", at + 2), 2, boxed);
    return boxed || next !== "f" ? undefined : fraction(text, at);
  }
  if (char === "-") return boxed || text.charAt(at + 1) !== "\\" ? undefined : fraction(text, at);
  if (text.charAt(at + 1) !== "[" || !s.isSpaceAt(at)) return undefined;
  const end = s.next("squareEnd", at + 2);
  if (text.charAt(end) !== "]" || end === at + 2 || !s.isSpaceAt(end + 1)) return undefined;
  return boxed && !holdsBox(s, at + 2, end) ? undefined : { latex: text.slice(at + 2, end), end: end + 2 };
}

function dollars(s: Scanner, at: number, boxed: boolean): Found | undefined {
  if (s.text.charAt(at + 1) === "$") return between(s, at + 2, s.next("doubleDollar", at + 2), 2, boxed);
  return s.isDigitAt(at - 1) ? undefined : between(s, at + 1, s.next("inlineEnd", at + 1), 1, boxed);
}

/** Content up to a closing mark of so many characters, which must be there, not escaped, and after something. */
function between(s: Scanner, from: number, close: number, length: number, boxed: boolean): Found | undefined {
  const { text } = s;
  if (close >= text.length || close === from || text.charAt(close) === "\n") return undefined;
  if (text.charAt(close - 1) === "\\") return undefined;
  if (boxed && !holdsBox(s, from, close)) return undefined;
  return { latex: text.slice(from, close), end: close + length };
}

function holdsBox(s: Scanner, from: number, end: number): boolean {
  const box = s.next("box", from);
  return box < end && s.next("brace", box + 8) < end;
}

function fraction(text: string, at: number): Found | undefined {
  SIMPLE_FRACTION.lastIndex = at;
  return SIMPLE_FRACTION.test(text)
    ? { latex: text.slice(at, SIMPLE_FRACTION.lastIndex), end: SIMPLE_FRACTION.lastIndex }
    : undefined;
}

/** A formula after optional white space, one of which " [" needs for itself. */
function afterSpaces(s: Scanner, from: number, boxed: boolean): Found | undefined {
  const at = s.next("nonSpace", from);
  const found = environment(s, at, boxed);
  return found ?? (at > from && s.text.charAt(at) === "[" ? environment(s, at - 1, boxed) : undefined);
}

const PERCENT_SIGN = /\\?%|[Pp]ercent|[Pp]ct/y;
const LONG_PERCENT_SIGN = /\\?%|[Pp]ercent(?:age)?|[Pp]ct/y;

/** White space and a percent sign after a formula. */
function withPercent(s: Scanner, found: Found, long: boolean): { formula: Formula; end: number } {
  const at = s.next("nonSpace", found.end);
  const sign = long ? LONG_PERCENT_SIGN : PERCENT_SIGN;
  sign.lastIndex = at;
  const percent = sign.test(s.text);
  return { formula: { latex: found.latex, percent, wholeBox: false }, end: percent ? sign.lastIndex : at };
}

const MOST_JOINED = 6;

function sequence(s: Scanner, first: Found | undefined, boxed: boolean, long = false): Match<Formulas> | undefined {
  if (!first) return undefined;
  let { formula, end } = withPercent(s, first, long);
  const formulas = [formula];
  while (formulas.length < MOST_JOINED) {
    const next = joined(s, s.next("nonSpace", end), boxed);
    if (!next) break;
    ({ formula, end } = withPercent(s, next, long));
    formulas.push(formula);
  }
  return { start: 0, end, payload: formulas };
}

function joined(s: Scanner, at: number, boxed: boolean): Found | undefined {
  const comma = s.text.charAt(at) === ",";
  const word = comma ? at + 1 : at;
  for (const joiner of ["and", "or"]) {
    const found = s.text.startsWith(joiner, word) ? afterSpaces(s, word + joiner.length, boxed) : undefined;
    if (found) return found;
  }
  return comma ? afterSpaces(s, at + 1, boxed) : undefined;
}

const withStart = (start: number, match: Match<Formulas> | undefined) => match && { ...match, start };

/** "final answer is $…$. I hope" */
function hopedFor(s: Scanner): Match<Formulas>[] {
  const phrase = "final answer is";
  const hope = /\.?\s?I hope/y;
  return allMatches(
    (from) => s.wordAt(phrase, from),
    (start) => {
      const at = start + phrase.length;
      const match = sequence(s, afterSpaces(s, s.text.charAt(at) === ":" ? at + 1 : at, false), false, true);
      if (!match) return undefined;
      // The white space after the formula may be the one before "I hope".
      hope.lastIndex = match.end;
      return hope.test(s.text) ? { ...match, start, end: hope.lastIndex } : undefined;
    },
  );
}

/** "final answer … is $…$" */
function finalAnswer(s: Scanner): Match<Formulas>[] {
  const phrase = "final answer";
  return allMatches(
    (from) => s.wordAt(phrase, from),
    (start) => {
      for (let gap = 0; gap <= 100; gap++) {
        const space = start + phrase.length + gap;
        if (!s.isSpaceAt(space)) continue;
        const word = s.next("nonSpace", space);
        if (!s.text.startsWith("is", word)) continue;
        const at = s.text.charAt(word + 2) === ":" ? word + 3 : word + 2;
        const match = sequence(s, afterSpaces(s, at, false), false);
        if (match) return withStart(start, match);
      }
      return undefined;
    },
  );
}

/** "answer: … $…$" and "answer … $…$", at most 50 characters between. */
function afterAnswer(s: Scanner, phrase: "answer:" | "answer"): Match<Formulas>[] {
  return allMatches(
    (from) => s.wordAt(phrase, from),
    (start) => {
      const from = start + phrase.length;
      for (let at = s.next("opening", from); at <= from + 50; at = s.next("opening", at + 1)) {
        if (at >= s.text.length) return undefined;
        const match = sequence(s, environment(s, at, false), false);
        if (match) return withStart(start, match);
      }
      return undefined;
    },
  );
}

const OPENING = /[$\\]|-\\frac|\s\[/g;

function anywhere(s: Scanner, boxed: boolean): Match<Formulas>[] {
  return allMatches(
    (from) => {
      OPENING.lastIndex = from;
      return OPENING.exec(s.text)?.index ?? -1;
    },
    (start) => withStart(start, sequence(s, environment(s, start, boxed), boxed)),
  );
}

/** The first box, up to the last brace of the text: what belongs to it is settled when its content is read. */
function wholeBox(s: Scanner): Match<Formulas>[] {
  const start = s.next("box", 0);
  const end = s.text.lastIndexOf("}");
  if (end < start + 8) return [];
  return [{ start, end: end + 1, payload: [{ latex: s.text.slice(start, end + 1), percent: false, wholeBox: true }] }];
}

/** Ways to find LaTeX, by priority. */
export function latexRules(config: LatexExtractionConfig): [number, (s: Scanner) => Match<Formulas>[]][] {
  const rules: [number, (s: Scanner) => Match<Formulas>[]][] = [
    [0, hopedFor],
    [50, finalAnswer],
    [100, (s) => afterAnswer(s, "answer:")],
    [200, (s) => afterAnswer(s, "answer")],
  ];
  if (config.tryExtractWithoutAnchor) rules.push([300, (s) => anywhere(s, false)]);
  if (config.boxedMatchPriority >= 0) {
    rules.push([config.boxedMatchPriority, (s) => anywhere(s, true)], [config.boxedMatchPriority, wholeBox]);
  }
  return rules;
}
