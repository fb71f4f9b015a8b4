// The patterns of tokenizer.json and how texts are cut at their matches. They are written for the Oniguruma engine;
// oniguruma-to-es turns them into regular expressions of JavaScript with the same matches.

import { toRegExp } from "oniguruma-to-es";
import { isJsonObject } from "../../json.js";
import type { AlignedText } from "./aligned-text.js";
import { unsupported } from "./config.js";

export const SPLIT_BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"] as const;
export type SplitBehavior = (typeof SPLIT_BEHAVIORS)[number];

/** [start, end, is a match], covering the whole text in order. */
export type Segment = readonly [start: number, end: number, match: boolean];

/** A pattern part of tokenizer.json: { String } or { Regex }. */
export function readPattern(pattern: unknown, part: string): RegExp {
  const source = isJsonObject(pattern) ? (pattern.String ?? pattern.Regex) : pattern;
  if (typeof source !== "string") return unsupported(part, `pattern ${JSON.stringify(pattern)}`);
  if (!isJsonObject(pattern) || pattern.String !== undefined) return new RegExp(escapeRegExp(source), "gu");
  try {
    return toRegExp(source, { global: true });
  } catch (cause) {
    return unsupported(part, `regular expression ${JSON.stringify(source)}`, cause);
  }
}

export function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
}

/** `expression` must be global. An empty match right behind another match does not count, as in Oniguruma's bindings. */
export function findSegments(text: string, expression: RegExp): Segment[] {
  const segments: Segment[] = [];
  let done = 0;
  let lastMatchEnd = -1;
  expression.lastIndex = 0;
  for (let match = expression.exec(text); match !== null; match = expression.exec(text)) {
    const start = match.index;
    const end = start + match[0].length;
    if (start === end) {
      expression.lastIndex = end + ((text.codePointAt(end) ?? 0) > 0xffff ? 2 : 1);
      if (end === lastMatchEnd) continue;
    }
    if (done < start) segments.push([done, start, false]);
    segments.push([start, end, true]);
    done = end;
    lastMatchEnd = end;
  }
  if (done < text.length) segments.push([done, text.length, false]);
  return segments;
}

export function split(piece: AlignedText, expression: RegExp, behavior: SplitBehavior, invert = false): AlignedText[] {
  const found = findSegments(piece.text, expression);
  const segments = invert ? found.map(([start, end, match]): Segment => [start, end, !match]) : found;
  const pieces: AlignedText[] = [];
  for (const [start, end, removed] of arrange(segments, behavior)) {
    if (!removed && start < end) pieces.push(piece.slice(start, end));
  }
  return pieces;
}

/** The segments as `behavior` has them; the flag of each says whether it is left out. */
function arrange(segments: readonly Segment[], behavior: SplitBehavior): readonly Segment[] {
  switch (behavior) {
    case "Removed":
      return segments;
    case "Isolated":
      return segments.map(([start, end]) => [start, end, false]);
    case "Contiguous":
      return join(segments, (match, previous) => match === previous);
    case "MergedWithPrevious":
      return join(segments, (match, previous) => match && !previous);
    case "MergedWithNext": {
      // The mirror image: a match joins what follows it unless that is a match too.
      const mirrored = segments.map(([start, end, match]): Segment => [-end, -start, match]).reverse();
      const joined = join(mirrored, (match, previous) => match && !previous);
      return joined.map(([start, end]): Segment => [-end, -start, false]).reverse();
    }
  }
}

function join(segments: readonly Segment[], joins: (match: boolean, previous: boolean) => boolean): Segment[] {
  const joined: [number, number, false][] = [];
  let previous = false;
  for (const [start, end, match] of segments) {
    const last = joined.at(-1);
    if (last && joins(match, previous)) last[1] = end;
    else joined.push([start, end, false]);
    previous = match;
  }
  return joined;
}
