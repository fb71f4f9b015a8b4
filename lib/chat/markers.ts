// The marks in a model's text at which something begins or ends, found while the text is still growing.

/** Where a marker is: [start, end). */
export interface Found {
  readonly start: number;
  readonly end: number;
}

export interface Marker {
  /** The texts that it may be; none where it is a pattern. */
  readonly texts: readonly string[];
  /** The first. */
  find(text: string): Found | undefined;
  /** Where the beginning of a marker stands that more text could complete; the text's length where none does. */
  pending(text: string): number;
}

/** The first of several texts. */
export function literal(...texts: readonly string[]): Marker {
  return {
    texts,
    find(text) {
      const found = texts
        .map((mark) => ({ start: text.indexOf(mark), mark }))
        .filter(({ start }) => start >= 0)
        .sort((a, b) => a.start - b.start)[0];
      return found && { start: found.start, end: found.start + found.mark.length };
    },
    pending: (text) => Math.min(text.length, ...texts.map((mark) => partialStart(text, mark))),
  };
}

function partialStart(text: string, mark: string): number {
  for (let start = Math.max(0, text.length - mark.length + 1); start < text.length; start++) {
    if (mark.startsWith(text.slice(start))) return start;
  }
  return text.length;
}

/**
 * What pieces of a regular expression match one behind the other. Each begins with a character that none of the earlier ones can
 * match, so that a text is read once.
 */
export function sequence(...pieces: readonly string[]): Marker {
  const whole = new RegExp(pieces.join(""), "u");
  // The end of the text may come before any of the pieces but the first.
  const partial = new RegExp(
    pieces.reduceRight((rest, piece) => `${piece}(?:$|${rest})`, "$"),
    "u",
  );
  return {
    texts: [],
    find(text) {
      const found = whole.exec(text);
      return found === null ? undefined : { start: found.index, end: found.index + found[0].length };
    },
    pending: (text) => partial.exec(text)?.index ?? text.length,
  };
}
