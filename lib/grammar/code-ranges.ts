// Sets of characters, as ranges of code points, and their form in UTF-8: a range of bytes behind one another.

/** Both ends belong to it. */
export type Range = readonly [low: number, high: number];

/** In order, apart from one another. */
export type CodeRanges = readonly Range[];

const LAST = 0x10ffff;
/** Halves of pairs are no characters. */
const SURROGATES: Range = [0xd800, 0xdfff];

/** In order, what touches joined, halves of pairs left out. */
export function codeRanges(ranges: readonly Range[]): CodeRanges {
  const joined: [number, number][] = [];
  for (const [low, high] of [...ranges].sort((a, b) => a[0] - b[0])) {
    const last = joined.at(-1);
    if (last && low <= last[1] + 1) last[1] = Math.max(last[1], high);
    else joined.push([low, high]);
  }
  return subtract(joined, [SURROGATES]);
}

export const ANY_CHARACTER: CodeRanges = codeRanges([[0, LAST]]);

/** All characters but these. */
export function complement(ranges: CodeRanges): CodeRanges {
  return subtract(ANY_CHARACTER, ranges);
}

/** Those of the first that are not of the second; both in order. */
export function subtract(ranges: readonly Range[], taken: readonly Range[]): CodeRanges {
  const rest: Range[] = [];
  for (const [low, high] of ranges) {
    let start = low;
    for (const [from, to] of taken) {
      if (to < start || from > high) continue;
      if (from > start) rest.push([start, from - 1]);
      start = to + 1;
    }
    if (start <= high) rest.push([start, high]);
  }
  return rest;
}

/** The characters of a text. */
export function charactersOf(text: string): CodeRanges {
  return codeRanges([...text].map((char) => [char.codePointAt(0) as number, char.codePointAt(0) as number]));
}

export function contains(ranges: CodeRanges, code: number): boolean {
  return ranges.some(([low, high]) => low <= code && code <= high);
}

/** Where UTF-8 takes one byte more, or begins with another kind of byte. */
const LENGTHS: readonly Range[] = [
  [0, 0x7f],
  [0x80, 0x7ff],
  [0x800, 0xffff],
  [0x10000, LAST],
];

/** The same characters in UTF-8: any of these sequences of byte ranges. */
export function utf8Sequences(ranges: CodeRanges): (readonly Range[])[] {
  return ranges.flatMap(([low, high]) =>
    LENGTHS.flatMap(([from, to]) => {
      const [start, end] = [Math.max(low, from), Math.min(high, to)];
      return start <= end ? split(start, end) : [];
    }),
  );
}

/** Of one length: cut until each byte takes all values between those of the two ends. */
function split(low: number, high: number): (readonly Range[])[] {
  for (const bits of [6, 12, 18]) {
    const rest = 2 ** bits - 1;
    if (low > 0x7f && (low & ~rest) !== (high & ~rest)) {
      if ((low & rest) !== 0) return [...split(low, low | rest), ...split((low | rest) + 1, high)];
      if ((high & rest) !== rest) return [...split(low, (high & ~rest) - 1), ...split(high & ~rest, high)];
    }
  }
  const [first, last] = [utf8(low), utf8(high)];
  return [first.map((byte, i): Range => [byte, last[i] as number])];
}

function utf8(code: number): number[] {
  return [...Buffer.from(String.fromCodePoint(code))];
}
