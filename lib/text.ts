// The ends of texts, in one pass. A regular expression such as / +$/ tries every space of a text and runs to the end of its row from
// each: the time is the square of the row's length, and whoever writes the text decides how long that is.

/** What Python's str.strip() and \s take for white space, as the content of a character class. */
export const PYTHON_SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";

const PYTHON_SPACE_CHARACTER = new RegExp(`[${PYTHON_SPACE}]`);

export function isPythonSpace(char: string): boolean {
  return PYTHON_SPACE_CHARACTER.test(char);
}

/** Unicode's White_Space, which is what the Rust library of tokenizers takes for white space. */
export function isWhiteSpace(char: string): boolean {
  return /\p{White_Space}/u.test(char);
}

/** Which ends. */
export type Ends = "both" | "start" | "end";

/** A text without the characters at its ends for which `goes` holds. */
export function trimText(text: string, goes: (char: string) => boolean, ends: Ends = "both"): string {
  let start = 0;
  let end = text.length;
  if (ends !== "end") {
    for (let char = characterAt(text, start); start < end && goes(char); char = characterAt(text, start)) {
      start += char.length;
    }
  }
  if (ends !== "start") {
    for (let char = characterBefore(text, end); start < end && goes(char); char = characterBefore(text, end)) {
      end -= char.length;
    }
  }
  return text.slice(start, end);
}

/** A character is a pair of surrogates where there is one. */
function characterAt(text: string, at: number): string {
  const code = text.codePointAt(at);
  return code === undefined ? "" : String.fromCodePoint(code);
}

function characterBefore(text: string, end: number): string {
  const pair = end >= 2 ? characterAt(text, end - 2) : "";
  return pair.length === 2 ? pair : text.slice(Math.max(0, end - 1), end);
}
