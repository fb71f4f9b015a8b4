// Which of many texts stands at a place of another text. The time for a place grows with the number of their lengths, not with
// their number.

export interface Match<T> {
  /** In UTF-16 units. */
  readonly length: number;
  readonly value: T;
}

/** The longest of the texts that begins at a place, if any does; of two that are equal the first counts. */
export function longestMatch<T>(
  texts: Iterable<readonly [text: string, value: T]>,
): (text: string, at: number) => Match<T> | undefined {
  const values = new Map<string, T>();
  const lengths = new Map<number, Set<number>>();
  for (const [text, value] of texts) {
    if (text === "" || values.has(text)) continue;
    values.set(text, value);
    const first = text.charCodeAt(0);
    const known = lengths.get(first);
    if (known === undefined) lengths.set(first, new Set([text.length]));
    else known.add(text.length);
  }
  const descending = new Map(Array.from(lengths, ([first, set]) => [first, [...set].sort((a, b) => b - a)]));
  return (text, at) => {
    for (const length of descending.get(text.charCodeAt(at)) ?? []) {
      // At the end of the text this may be shorter.
      const part = text.slice(at, at + length);
      const value = values.get(part);
      if (value !== undefined) return { length: part.length, value };
    }
    return undefined;
  };
}
