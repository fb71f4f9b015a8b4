// Rewrites what models write into what the grammar reads: spellings of one command, units, malformed fractions and roots.
// The steps and their order are those of latex2sympy2_extended's normalize_latex, on linear scanners.

import { boxedContent } from "./boxed.js";
import { fixedOperators } from "./malformed.js";
import type { NormalizationConfig } from "./options.js";
import { isLetter, isSpace, skipSpaces, strip } from "./text.js";
import { withoutUnits } from "./units.js";

const LEFT =
  /\\m?left(\\\{|\{|\\\||\||\[|\(|\\rbracl|\\lgroup|\\lbrace|\\lbrack|\\vert|\\lvert|\\lceil|\\lfloor|\\langle|\\llcorner|\\ulcorner)/g;
const RIGHT =
  /\\m?right(\\\}|\}|\\\||\||\]|\)|\\rbrack|\\rgroup|\\rbrace|\\vert|\\rvert|\\rceil|\\rfloor|\\rangle|\\lrcorner|\\urcorner)/g;
const PERMUTATION = /\(([a-zA-Z0-9+\-*/\\ ]+?)\)_\{([a-zA-Z0-9+\-*/\\ ]+?)\}/g;
const REMOVED = /\\mathrm\{th\}|\\!\s*|\\text\s*\{\s*\}|\\\$|\$|(?<!\\)["']|\\displaystyle/g;

/** Replacements that start with a fixed text, by that text's first character; the first that fits is taken. */
const FIXED: readonly (readonly [RegExp, string])[] = [
  [/\\math(?:rm|it|bf)/y, "\\text"],
  [/\\text(?:normal|bf|it|rm)/y, "\\text"],
  [/\\[dtc]frac/y, "\\frac"],
];
const LATER: readonly (readonly [RegExp, string])[] = [
  [/infinity/y, "\\infty"],
  [/,?\\ldots/y, " "],
];
const PERCENT_TEXTS: readonly (readonly [string, string])[] = [
  ["\\text{percentage}", "%"],
  ["\\text{percent}", "%"],
  ["\\text{pct}", "%"],
];

interface Replacement {
  readonly text: string;
  readonly end: number;
}

function matchAt(patterns: readonly (readonly [RegExp, string])[], text: string, at: number): Replacement | undefined {
  for (const [pattern, replacement] of patterns) {
    pattern.lastIndex = at;
    if (pattern.test(text)) return { text: replacement, end: pattern.lastIndex };
  }
  return undefined;
}

const WORD_CHARACTER = /[\p{L}\p{N}_]/u;

function isWord(text: string, at: number): boolean {
  return at >= 0 && at < text.length && WORD_CHARACTER.test(text.charAt(at));
}

/** and, or, with white space and a comma before: a comma. Not inside a word. */
function conjunction(text: string, at: number, spaces: number): Replacement | undefined {
  if (isLetter(text.charCodeAt(at - 1))) return undefined;
  for (const word of ["and", "or"]) {
    const end = spaces + word.length;
    if (text.startsWith(word, spaces) && !isLetter(text.charCodeAt(end))) return { text: ",", end };
  }
  return undefined;
}

const CONJUNCTION_TEXT = /\\text\{\s*(?:and|or)\s*\}/y;

function percentWord(text: string, spaces: number): Replacement | undefined {
  for (const word of ["percentage", "percent", "pct"]) {
    if (!text.startsWith(word, spaces)) continue;
    if (isWord(text, spaces - 1) || isWord(text, spaces + word.length)) continue;
    return { text: "\\%", end: spaces + word.length };
  }
  return undefined;
}

/** {,} between digits. */
function bracedComma(text: string, spaces: number): Replacement | undefined {
  if (text.charAt(spaces) !== "{") return undefined;
  const comma = skipSpaces(text, spaces + 1);
  if (text.charAt(comma) !== ",") return undefined;
  const close = skipSpaces(text, comma + 1);
  return text.charAt(close) === "}" ? { text: ",", end: close + 1 } : undefined;
}

/** What replaces the text at `at`. `spaces`: the first place from there that is no white space. */
function replacementAt(text: string, at: number, spaces: number): Replacement | undefined {
  const char = text.charAt(at);
  const afterComma = char === "," ? skipSpaces(text, at + 1) : spaces;
  const special =
    (char === "\\" ? matchAt(FIXED, text, at) : undefined) ??
    (spaces === at + 1 && text.charAt(spaces) === "." ? { text: " 0.", end: spaces + 1 } : undefined) ??
    (text.startsWith("{.", at) ? { text: "{0.", end: at + 2 } : undefined) ??
    (text.startsWith("~=", at) ? { text: "\\approx", end: at + 2 } : undefined) ??
    bracedComma(text, spaces) ??
    conjunction(text, at, afterComma);
  if (special) return special;
  CONJUNCTION_TEXT.lastIndex = afterComma;
  if (CONJUNCTION_TEXT.test(text)) return { text: ",", end: CONJUNCTION_TEXT.lastIndex };
  if (char === "\\" && text.charAt(at - 1) !== "\\" && isSpace(text.charCodeAt(at + 1)))
    return { text: " ", end: at + 2 };
  const percent = percentWord(text, spaces);
  return matchAt(LATER, text, at) ?? percent ?? percentText(text, at) ?? infinityOrRoot(text, at);
}

function percentText(text: string, at: number): Replacement | undefined {
  for (const [word, replacement] of PERCENT_TEXTS) {
    if (text.startsWith(word, at)) return { text: replacement, end: at + word.length };
  }
  return undefined;
}

function infinityOrRoot(text: string, at: number): Replacement | undefined {
  if (text.startsWith("inf", at) && text.charAt(at - 1) !== "\\") return { text: "\\infty", end: at + 3 };
  return text.startsWith(" sqrt", at) ? { text: "\\sqrt", end: at + 5 } : undefined;
}

/** Characters at which some replacement may start. */
const STARTS = new Set("\\{,~aopi p");

export function replaceInLatex(text: string): string {
  let result = "";
  let kept = 0;
  let spaces = -1;
  for (let at = 0; at < text.length; ) {
    const blank = isSpace(text.charCodeAt(at));
    if (!blank && !STARTS.has(text.charAt(at))) {
      at++;
      continue;
    }
    // A run of white space is skipped over once, not once from each of its characters.
    if (!blank) spaces = at;
    else if (spaces <= at) spaces = skipSpaces(text, at);
    const found = replacementAt(text, at, spaces);
    if (!found) {
      at++;
      continue;
    }
    result += text.slice(kept, at) + found.text;
    kept = found.end;
    at = found.end;
    spaces = -1;
  }
  return result + text.slice(kept);
}

function basicLatex(text: string): string {
  let result = text
    .replaceAll("\\mathrm{T}", "T")
    .replaceAll("\\mathrm{d}", "d")
    .replaceAll("{\\rm d}", "d")
    .replaceAll("\\left[\\begin{matrix}", "\\begin{bmatrix}")
    .replaceAll("\\end{matrix}\\right]", "\\end{bmatrix}")
    .replace(LEFT, "$1")
    .replace(RIGHT, "$1")
    .replace(PERMUTATION, (_, n, k) => `\\frac{(${n})!}{((${n})-(${k}))!}`)
    .replace(REMOVED, "");
  result = replaceInLatex(result).replaceAll("\n", " ").replaceAll("\t", " ");
  return result.includes("matrix") ? result : result.replace(/\\\\(?=[a-zA-Z])/g, "\\");
}

export function normaliseLatex(latex: string, config: NormalizationConfig, boxed = config.boxed): string {
  if (strip(latex) === "") return "";
  let text = boxed === "none" ? latex : boxedContent(latex, boxed);
  if (config.basicLatex) text = basicLatex(text);
  if (config.units) text = withoutUnits(text);
  if (config.nits) {
    if (text.startsWith(".")) text = `0${text}`;
    if (text === "0.5") text = "\\frac{1}{2}";
  }
  if (config.malformedOperators) text = fixedOperators(text);
  return strip(text);
}
