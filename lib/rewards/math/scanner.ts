// A text to be scanned from left to right, with searches that remember: each search for the next something costs the
// length of the text once, however many places ask for it.

import { isDigit, isSpace, skipSpaces } from "./text.js";

type Search = (text: string, from: number) => number;

/** The next place from `from` on, remembered for every start between the two. */
class NextPlace {
  #from = 0;
  #found = -1;
  constructor(readonly search: Search) {}

  find(text: string, from: number): number {
    if (from < this.#from || from > this.#found) {
      this.#from = from;
      this.#found = this.search(text, from);
    }
    return this.#found;
  }
}

/** Searches that find nothing give the length of the text. */
const searches = {
  nonSpace: skipSpaces,
  /** Where a formula may open. */
  opening: (text: string, from: number) => {
    let i = from;
    for (; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code === 36 || code === 92 || code === 45 || (code === 91 && i > from && isSpace(text.charCodeAt(i - 1))))
        break;
    }
    return code91(text, i, from);
  },
  /** White space or "=", which a number follows. */
  numberPrefix: (text: string, from: number) => {
    let i = from;
    while (i < text.length && text.charCodeAt(i) !== 61 && !isSpace(text.charCodeAt(i))) i++;
    return i;
  },
  doubleDollar: (text: string, from: number) => indexOr(text, "$$", from),
  bracketClose: (text: string, from: number) => indexOr(text, "\\]", from),
  box: (text: string, from: number) => indexOr(text, "\\boxed{", from),
  brace: (text: string, from: number) => indexOr(text, "}", from),
  /** The dollar that ends inline math, or the line. */
  inlineEnd: (text: string, from: number) => {
    let i = from;
    for (; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code === 10 || (code === 36 && text.charCodeAt(i - 1) !== 92)) break;
    }
    return i;
  },
  parenEnd: (text: string, from: number) => {
    let i = from;
    for (; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code === 10 || (code === 92 && text.charCodeAt(i + 1) === 41)) break;
    }
    return i;
  },
  squareEnd: (text: string, from: number) => {
    let i = from;
    for (; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code === 10 || code === 91 || code === 93) break;
    }
    return i;
  },
  /** End of a run of digits, operators, points and white space. */
  arithmeticEnd: (text: string, from: number) => {
    let i = from;
    while (i < text.length && isArithmetic(text.charCodeAt(i))) i++;
    return i;
  },
  operator: (text: string, from: number) => {
    let i = from;
    while (i < text.length && !isOperator(text.charCodeAt(i))) i++;
    return i;
  },
} satisfies Record<string, Search>;

/** The white space before a square bracket is part of its opening. */
function code91(text: string, at: number, from: number): number {
  return text.charCodeAt(at) === 91 && at > from ? at - 1 : at;
}

function indexOr(text: string, words: string, from: number): number {
  const found = text.indexOf(words, from);
  return found < 0 ? text.length : found;
}

const OPERATORS = new Set([..."+-*/^()×÷"].map((char) => char.charCodeAt(0)));

export function isOperator(code: number): boolean {
  return OPERATORS.has(code);
}

function isArithmetic(code: number): boolean {
  return isDigit(code) || code === 46 || isOperator(code) || isSpace(code);
}

export class Scanner {
  readonly #places = new Map<string, NextPlace>();
  readonly #lower: { value?: string } = {};

  constructor(readonly text: string) {}

  next(what: keyof typeof searches, from: number): number {
    let place = this.#places.get(what);
    if (!place) {
      place = new NextPlace(searches[what]);
      this.#places.set(what, place);
    }
    return place.find(this.text, from);
  }

  isSpaceAt(at: number): boolean {
    return at >= 0 && at < this.text.length && isSpace(this.text.charCodeAt(at));
  }

  isDigitAt(at: number): boolean {
    return at >= 0 && at < this.text.length && isDigit(this.text.charCodeAt(at));
  }

  /** Next occurrence of a lower-case word, in any case; -1 if there is none. */
  wordAt(word: string, from: number): number {
    this.#lower.value ??= asciiLower(this.text);
    return this.#lower.value.indexOf(word, from);
  }
}

/** Lower case that keeps every position, which toLowerCase does not for a few characters. */
function asciiLower(text: string): string {
  const lower = text.toLowerCase();
  return lower.length === text.length ? lower : text.replace(/[A-Z]/g, (char) => char.toLowerCase());
}

/** One place in the text that may hold the answer. */
export interface Match<Payload> {
  readonly start: number;
  readonly end: number;
  readonly payload: Payload;
}

/** All matches of a rule that is tried at the places given by `nextStart`; matches do not overlap. */
export function allMatches<Payload>(
  nextStart: (from: number) => number,
  matchAt: (start: number) => Match<Payload> | undefined,
): Match<Payload>[] {
  const found: Match<Payload>[] = [];
  for (let start = nextStart(0); start >= 0; ) {
    const match = matchAt(start);
    if (match) found.push(match);
    start = nextStart(match ? match.end : start + 1);
  }
  return found;
}
