// Python's own ways with text and numbers, where they differ from JavaScript's and a score depends on them.

import { isPythonSpace, trimText } from "../../text.js";

/** str.strip() */
export function strip(text: string): string {
  return trimText(text, isPythonSpace);
}

/** str.splitlines() */
export function splitLines(text: string): string[] {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: Python ends lines at them.
  const lines = text.split(/\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]/);
  if (lines.at(-1) === "") lines.pop();
  return lines;
}

/** float(text); undefined where Python raises, and for numbers that no reward can be. */
export function parseFloatStrictly(text: string): number | undefined {
  const number = strip(text).replace(/(?<=\d)_(?=\d)/g, "");
  if (!/^[+-]?(\d+(?:\.\d*)?|\.\d+)(e[+-]?\d+)?$/i.test(number)) return undefined;
  return Number.isFinite(Number(number)) ? Number(number) : undefined;
}

/** round(value, digits): the decimal nearest to what the double exactly is, the even one of two. */
export function round(value: number, digits: number): number {
  const up = Number(value.toFixed(digits));
  // Sixty places show a tie exactly: it is a sum of at most `digits` + 1 negative powers of two.
  const tie = /^50*$/.test(value.toFixed(60).slice(digits - 60));
  if (!tie) return up;
  const even = Math.abs(Math.round(up * 10 ** digits)) % 2 === 0;
  return even ? up : Number((up - Math.sign(value) * 10 ** -digits).toFixed(digits));
}
