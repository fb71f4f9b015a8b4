// What stands in the boxes of a text: \boxed{…} or \fbox{…}, read from the last one backwards.

import { isSpace, strip } from "./text.js";

const SEPARATOR = /\b(?:and|or)\b|,|;/;

/** Position of the brace that closes the one at `open`, before `limit`. */
function closingBrace(text: string, open: number, limit: number): number | undefined {
  let depth = 1;
  for (let i = open + 1; i < limit; i++) {
    const code = text.charCodeAt(i);
    if (code === 123) depth++;
    else if (code === 125 && --depth === 0) return i;
  }
  return undefined;
}

/** Whether a box belongs with the one after it: close by, or different and joined by a comma, "and" or "or". */
function belongs(between: string, content: string, following: string): boolean {
  if (between.length < 10) return true;
  return following !== content && between.length < 70 && SEPARATOR.test(between);
}

/** Contents of the boxes, joined by commas; `last` stops at the first box that does not belong with those after it. */
export function boxedContent(text: string, mode: "last" | "all"): string {
  const results: string[] = [];
  let limit = text.length;
  let following: number | undefined;
  let box = text.lastIndexOf("\\boxed");
  let frame = text.lastIndexOf("\\fbox");
  while (box >= 0 || frame >= 0) {
    const start = Math.max(box, frame);
    let open = start + (box > frame ? 6 : 5);
    while (open < limit && isSpace(text.charCodeAt(open))) open++;
    if (open >= limit) break;
    const close = text.charAt(open) === "{" ? closingBrace(text, open, limit) : undefined;
    if (close === undefined) {
      // A box without an end counts, with all that follows it, if it is the last.
      if (results.length === 0) results.push(text.slice(open));
      break;
    }
    const content = strip(text.slice(open + 1, close));
    const previous = results.at(-1);
    if (
      mode === "last" &&
      following !== undefined &&
      !belongs(text.slice(close + 1, following), content, previous ?? "")
    ) {
      break;
    }
    if (previous !== content) results.push(content);
    following = start;
    limit = start;
    if (start === 0) break;
    if (start === box) box = text.lastIndexOf("\\boxed", start - 1);
    else frame = text.lastIndexOf("\\fbox", start - 1);
  }
  return results.length === 0 ? text : results.reverse().join(",");
}
