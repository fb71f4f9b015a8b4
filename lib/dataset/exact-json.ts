// JSON as it is written. JSON.parse rounds whole numbers beyond 2^53 and makes Infinity of numbers beyond a double, without a
// word; and it does not know the NaN and Infinity that Python writes.

import { randomUUID } from "node:crypto";
import { GrpoError, reasonOf } from "../errors.js";

const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"?|-?Infinity\b|\bNaN\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
/** Digits in strings match as well: then looking closer costs time, and changes nothing. */
const LARGE_NUMBER = /\d{16}|\d[eE]\+?\d{3}/;
const NAME = /NaN|Infinity/;
/** Before what JSON.parse is given as a string and must not leave as one. */
const MARK = `${randomUUID()}:`;
const [INT64_MIN, INT64_MAX] = [-(2n ** 63n), 2n ** 63n - 1n];

/** With `names`, NaN and Infinity are numbers, as in JSON lines for datasets. */
export function parseJson(text: string, where: string, { names = false } = {}): unknown {
  try {
    const value: unknown = JSON.parse(text);
    if (!LARGE_NUMBER.test(text)) return value;
  } catch (thrown) {
    const exact = names && NAME.test(text) ? attempt(() => parseMarked(text, where)) : undefined;
    if (exact !== undefined) return exact;
    throw new GrpoError("BAD_DATASET", `${where}: not valid JSON: ${reasonOf(thrown)}`, { cause: thrown });
  }
  return parseMarked(text, where);
}

/** The texts of values that follow one another, in lines or not; undefined if one is neither an object nor a list. */
export function splitJson(text: string): string[] | undefined {
  const values: string[] = [];
  let depth = 0;
  let start = 0;
  for (const { 0: token, index } of text.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"?|[{}[\]]/g)) {
    if (token.startsWith('"')) continue;
    depth += token === "{" || token === "[" ? 1 : -1;
    if (depth > 0) continue;
    values.push(text.slice(start, index + 1));
    start = index + 1;
  }
  return text.slice(start).trim() === "" ? values : undefined;
}

function parseMarked(text: string, where: string): unknown {
  const marked = text.replace(TOKEN, (token) => (isExact(token, where) ? token : `"${MARK}${token}"`));
  return JSON.parse(marked, (_, value: unknown) => {
    if (typeof value !== "string" || !value.startsWith(MARK)) return value;
    const token = value.slice(MARK.length);
    return NAME.test(token) ? Number(token) : BigInt(token);
  });
}

/** Whether JSON.parse gives what is written, or, beyond 64 bits, the double that Arrow has for it as well. */
function isExact(token: string, where: string): boolean {
  if (token.startsWith('"')) return true;
  if (NAME.test(token)) return false;
  const value = Number(token);
  if (!Number.isFinite(value)) throw new GrpoError("BAD_DATASET", `${where}: ${token} is too large for a number`);
  if (Number.isSafeInteger(value) || /[.eE]/.test(token)) return true;
  const whole = BigInt(token);
  return whole < INT64_MIN || whole > INT64_MAX;
}

function attempt<T>(run: () => T): T | undefined {
  try {
    return run();
  } catch (thrown) {
    if (thrown instanceof GrpoError) throw thrown;
    return undefined;
  }
}
