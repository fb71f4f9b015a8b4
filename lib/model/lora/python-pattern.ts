// Patterns of Python's re, as PEFT's configurations have them, on JavaScript's RegExp. They come out of downloaded files, and
// both engines backtrack: length and time are therefore limited. What the two spell differently is translated, what only
// Python has is refused.

import vm from "node:vm";
import { show } from "../../checks.js";
import { GrpoError, reasonOf } from "../../errors.js";

const MAX_LENGTH = 10_000;
const TIME_LIMIT_MS = 1000;

/** How a pattern is applied to a name. */
const FRAMES = {
  /** re.fullmatch(pattern, name) */
  whole: { before: "^(?:", after: ")$" },
  /** re.match(rf"(.*\.)?({pattern})$", name), the groups being counted as there. */
  end: { before: "^(.*\\.)?(", after: ")$" },
  /** re.match(rf"(?:^|.*?\.){pattern}\.(\d+)\.", name): the pattern names a list of layers. */
  layers: { before: "^(?:|.*?\\.)(?:", after: ")\\.\\d+\\." },
} as const;

/**
 * For every pattern, whether it matches each of the names. Throws BAD_OPTION, naming the option, for a pattern that is too
 * long, takes too long, or cannot be read.
 */
export function matchPatterns(
  option: string,
  frame: keyof typeof FRAMES,
  patterns: readonly string[],
  names: readonly string[],
): boolean[][] {
  const expressions = patterns.map((pattern) => compile(option, pattern, frame));
  if (expressions.length === 0) return [];
  const results: boolean[][] = [];
  const run = (index: number, matches: boolean[]) => {
    results[index] = [...matches];
  };
  // A RegExp cannot be stopped, a script of the vm module can: V8 looks for its time limit while it backtracks.
  const script = new vm.Script("expressions.forEach((e, i) => done(i, names.map((name) => e.test(name))))");
  try {
    script.runInContext(vm.createContext({ expressions, names, done: run }), { timeout: TIME_LIMIT_MS });
  } catch (cause) {
    const pattern = patterns[results.length] ?? "";
    const timedOut = isObject(cause) && cause.code === "ERR_SCRIPT_EXECUTION_TIMEOUT";
    throw unusable(option, pattern, timedOut ? "it takes too long to match" : reasonOf(cause));
  }
  return results;
}

function compile(option: string, pattern: string, frame: keyof typeof FRAMES): RegExp {
  if (pattern.length > MAX_LENGTH) throw unusable(option, pattern, `it has more than ${MAX_LENGTH} characters`);
  const { before, after } = FRAMES[frame];
  const flags = frame === "whole" ? /^\(\?([ais]+)\)/.exec(pattern) : null;
  const body = flags === null ? pattern : pattern.slice(flags[0].length);
  try {
    return new RegExp(`${before}${translate(body)}${after}`, flags?.[1]?.includes("i") ? "i" : "");
  } catch (cause) {
    throw unusable(option, pattern, reasonOf(cause));
  }
}

/** An escape, a character class, or one of the spellings that differ. */
const SPELLING = /\\([\s\S])|\[(\^?)(\]?)((?:\\[\s\S]|[^\]\\])*\]?)|\(\?P<|\(\?P=(\w+)\)|\{,(\d+)\}/g;

function translate(pattern: string): string {
  return pattern.replace(SPELLING, (part, escaped, caret, bracket, members, name, limit) => {
    if (escaped === "A") return "^";
    if (escaped === "Z") return "$";
    // RegExp takes an unknown escape for the letter itself; Python refuses it, or means a character by it.
    if (escaped !== undefined && /[A-Za-z]/.test(escaped) && !/[BDSWbdfnrstuvwx]/.test(escaped)) {
      throw new SyntaxError(`bad escape ${part}`);
    }
    // A bracket that comes first in a class is one of its members.
    if (members !== undefined) return `[${caret}${bracket === "" ? "" : "\\]"}${members}`;
    if (part === "(?P<") return "(?<";
    if (name !== undefined) return `\\k<${name}>`;
    return limit === undefined ? part : `{0,${limit}}`;
  });
}

function unusable(option: string, pattern: string, why: string): GrpoError {
  return new GrpoError(
    "BAD_OPTION",
    `LoraConfig: ${option} ${show(pattern)} is not a regular expression that can be used here: ${why}`,
  );
}

function isObject(value: unknown): value is { readonly code?: unknown } {
  return typeof value === "object" && value !== null;
}
