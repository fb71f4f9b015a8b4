// Splits a formula into tokens: at every position the longest text that the vocabulary knows. One unknown character
// makes the formula unparseable, as it does in math_verify.

import type { Budget } from "./limits.js";
import { ACCENTS, latexCommands, phrases, singleCharacters, type TokenType, words } from "./tokens.js";

export interface Token {
  readonly type: TokenType;
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

/** Thrown for text outside the grammar; caught where a formula is tried. */
export class ParseFailure extends Error {
  override readonly name = "ParseFailure";
}

// One instance: tries that fail are ordinary here, and stack traces are not.
export const parseFailure = new ParseFailure("not a formula");

const isSpace = (char: string) => char === " " || char === "\t" || char === "\r" || char === "\n";
const isDigit = (char: string) => char >= "0" && char <= "9" && char.length === 1;
const isLetter = (char: string) => /^[a-zA-Z]$/.test(char);

function letterRun(text: string, from: number): number {
  let i = from;
  for (; i < text.length; i++) {
    const code = text.charCodeAt(i) | 32;
    if (code < 97 || code > 122) break;
  }
  return i;
}

function digitRun(text: string, from: number): number {
  let i = from;
  while (i < text.length && isDigit(text.charAt(i))) i++;
  return i;
}

export function tokenize(text: string, budget: Budget): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  while (at < text.length) {
    budget.spend();
    const char = text.charAt(at);
    if (isSpace(char)) {
      at++;
      continue;
    }
    const token = phrase(text, at) ?? (char === "\\" ? command(text, at) : plain(text, at, char));
    if (token.type !== "skip") tokens.push(token as Token);
    at = token.end;
  }
  tokens.push({ type: "end", text: "", start: text.length, end: text.length });
  return tokens;
}

type Found = Omit<Token, "type"> & { readonly type: TokenType | "skip" };

function found(type: TokenType | "skip", text: string, start: number, end: number): Found {
  return { type, text: text.slice(start, end), start, end };
}

function phrase(text: string, at: number): Found | undefined {
  const char = text.charAt(at);
  if (!"\\^<>!=~".includes(char)) return undefined;
  for (const [words, type] of phrases) {
    if (text.startsWith(words, at)) {
      // "\infty" and longer commands must not be cut short by a phrase, nor must "\notin".
      return found(type, text, at, at + words.length);
    }
  }
  return undefined;
}

function command(text: string, at: number): Found {
  const end = letterRun(text, at + 1);
  if (end === at + 1) {
    const type = latexCommands.get(text.charAt(at + 1));
    if (type) return found(type, text, at, at + 2);
    throw parseFailure;
  }
  const run = text.slice(at + 1, end);
  if (run === "begin" || run === "end") return environment(text, at);
  if (ACCENTS.has(run)) {
    const accent = accentEnd(text, end);
    if (accent !== undefined) return found("accent", text, at, accent);
  }
  for (let length = run.length; length > 0; length--) {
    const type = latexCommands.get(run.slice(0, length));
    if (!type) continue;
    let stop = at + 1 + length;
    const spaced = text.charAt(stop) === " ";
    // A Greek letter takes one space with it, and with the space \gamma is the letter and not the function.
    if (type === "gamma" && spaced) return found("greek", text, at, stop + 1);
    if ((type === "greek" || type === "symbol") && spaced) stop++;
    return found(type, text, at, stop);
  }
  throw parseFailure;
}

function environment(text: string, at: number): Found {
  const match = /^\\(begin|end)\{(p|b|v)?(matrix|array)\}/.exec(text.slice(at, at + 20));
  if (!match) throw parseFailure;
  const [whole, side, sort, name] = match;
  const end = at + whole.length;
  if (name === "array") {
    if (sort) throw parseFailure;
    if (side === "end") return found("arrayEnd", text, at, end);
    const columns = text.indexOf("}", end);
    if (columns < 0 || columns > end + 200 || !/^\{[clr]*$/.test(text.slice(end, columns))) throw parseFailure;
    return found("arrayStart", text, at, columns + 1);
  }
  if (sort === "v") return found(side === "end" ? "detEnd" : "detStart", text, at, end);
  return found(side === "end" ? "matrixEnd" : "matrixStart", text, at, end);
}

/** End of "{…}" after an accent: the first } that is not escaped, or the last one there is. */
function accentEnd(text: string, from: number): number | undefined {
  let i = isSpace(text.charAt(from)) ? from + 1 : from;
  if (text.charAt(i) !== "{") return undefined;
  let escaped: number | undefined;
  for (i++; i < text.length; i++) {
    if (text.charAt(i) !== "}") continue;
    if (text.charAt(i - 1) !== "\\") return i + 1;
    escaped = i + 1;
  }
  return escaped;
}

function plain(text: string, at: number, char: string): Found {
  if (isDigit(char) || (char === "." && isDigit(text.charAt(at + 1)))) return numeral(text, at);
  if (isLetter(char)) return letter(text, at, char);
  const type = singleCharacters.get(char);
  if (!type) throw parseFailure;
  const end = type === "greek" && text.charAt(at + 1) === " " ? at + 2 : at + 1;
  return found(type, text, at, end);
}

function numeral(text: string, at: number): Found {
  let end = digitRun(text, at);
  if (text.charAt(end) === "." && isDigit(text.charAt(end + 1))) end = digitRun(text, end + 1);
  if (text.charAt(end) === "E") {
    const sign = text.charAt(end + 1);
    const digits = sign === "+" || sign === "-" || sign === "−" ? end + 2 : end + 1;
    const stop = digitRun(text, digits);
    if (stop > digits) return found("scientific", text, at, stop);
  }
  const mark = isSpace(text.charAt(end)) ? end + 1 : end;
  for (const start of [end, mark]) {
    if (text.charAt(start) === "%") return found("percentNumber", text, at, start + 1);
    if (text.startsWith("\\%", start)) return found("percentNumber", text, at, start + 2);
  }
  return found("number", text, at, end);
}

function letter(text: string, at: number, char: string): Found {
  const differential = char === "d" ? differentialEnd(text, at) : undefined;
  for (const [word, type] of words) {
    if (word.charAt(0) === char && text.startsWith(word, at) && at + word.length >= (differential ?? 0)) {
      return found(type, text, at, at + word.length);
    }
  }
  if (differential !== undefined) return found("differential", text, at, differential);
  if (char === "e" || char === "E") return found(char, text, at, at + 1);
  return found("letter", text, at, at + 1);
}

/** "dx", "d x" or "d\theta": a d before any letter or command. */
function differentialEnd(text: string, at: number): number | undefined {
  let i = at + 1;
  while (i < text.length && isSpace(text.charAt(i))) i++;
  if (isLetter(text.charAt(i))) return i + 1;
  if (text.charAt(i) !== "\\") return undefined;
  const end = letterRun(text, i + 1);
  return end > i + 1 ? end : undefined;
}
