// Python's own ways with text and numbers, where they differ from JavaScript's and a score depends on them.

// JavaScript's \s has the byte order mark and lacks the information separators and the next-line control.
const SPACE = "[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]";
const OUTER_SPACE = new RegExp(`^${SPACE}+|${SPACE}+$`, "g");

/** str.strip() */
export function strip(text: string): string {
  return text.replace(OUTER_SPACE, "");
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
  if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(number)) return undefined;
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
