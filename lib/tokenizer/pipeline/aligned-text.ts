// A text on its way through the tokenizer, and where each piece of it comes from in the text that was given. The rules
// are those of the Rust library's NormalizedString: every character that a step writes takes the origin of one
// character before the step. Positions are UTF-16 units, so that they index JavaScript strings.

/** Positions [start, end) in the text that was given. */
export type Offsets = readonly [start: number, end: number];

/**
 * A character that a step writes, and what it does to those before the step: 0 replaces the next one, n > 0 inserts,
 * n < 0 replaces the next one and removes -n more.
 */
export type Change = readonly [char: string, change: number];

export class AlignedText {
  readonly text: string;
  /** Start of this piece in the given text. */
  readonly origin: number;
  readonly #tracked: boolean;
  /** Per unit of `text`; absent while the piece equals the given text. */
  readonly #starts: readonly number[] | undefined;
  readonly #ends: readonly number[] | undefined;

  private constructor(
    text: string,
    origin: number,
    tracked: boolean,
    starts?: readonly number[],
    ends?: readonly number[],
  ) {
    this.text = text;
    this.origin = origin;
    this.#tracked = tracked;
    this.#starts = starts;
    this.#ends = ends;
  }

  /** Untracked text skips the bookkeeping; its offsets mean nothing once a step has changed it. */
  static of(text: string, tracked: boolean): AlignedText {
    return new AlignedText(text, 0, tracked);
  }

  offsets(start: number, end: number): Offsets {
    if (start === end || this.#starts === undefined || this.#ends === undefined) {
      return [this.origin + start, this.origin + end];
    }
    return [this.#starts[start] as number, this.#ends[end - 1] as number];
  }

  slice(start: number, end: number): AlignedText {
    if (start === 0 && end === this.text.length) return this;
    const text = this.text.slice(start, end);
    const [origin] = this.offsets(start, end);
    return new AlignedText(text, origin, this.#tracked, this.#starts?.slice(start, end), this.#ends?.slice(start, end));
  }

  /** `sources()` gives for every unit of the new text the unit of this one whose origin it takes; -1 for none. */
  rewrite(text: string, sources: () => readonly number[]): AlignedText {
    if (!this.#tracked) return new AlignedText(text, this.origin, false);
    const starts: number[] = [];
    const ends: number[] = [];
    for (const source of sources()) {
      const [start, end] = source < 0 ? [this.origin, this.origin] : this.#characterOffsets(source);
      starts.push(start);
      ends.push(end);
    }
    return new AlignedText(text, this.origin, true, starts, ends);
  }

  /** `removed` characters go at the beginning, before the first change. */
  transform(changes: readonly Change[], removed = 0): AlignedText {
    const text = changes.map(([char]) => char).join("");
    return this.rewrite(text, () => {
      const sources: number[] = [];
      let at = 0;
      const skip = (count: number) => {
        for (let i = 0; i < count; i++) at += widthAt(this.text, at);
      };
      skip(removed);
      for (const [char, change] of changes) {
        const source = change > 0 ? at - 1 : at;
        for (let i = 0; i < char.length; i++) sources.push(source);
        if (change <= 0) skip(1 - change);
      }
      return sources;
    });
  }

  prepend(prefix: string): AlignedText {
    return this.rewrite(prefix + this.text, () => [
      ...Array.from(prefix, () => 0),
      ...Array.from({ length: this.text.length }, (_, i) => i),
    ]);
  }

  filter(keep: (char: string) => boolean): AlignedText {
    const changes: [string, number][] = [];
    let leading = 0;
    for (const char of this.text) {
      const last = changes.at(-1);
      if (keep(char)) changes.push([char, 0]);
      else if (last) last[1]--;
      else leading++;
    }
    return this.transform(changes, leading);
  }

  map(convert: (char: string) => string): AlignedText {
    return this.transform(Array.from(this.text, (char) => [convert(char), 0]));
  }

  #characterOffsets(unit: number): Offsets {
    if (this.#starts !== undefined && this.#ends !== undefined) {
      return [this.#starts[unit] as number, this.#ends[unit] as number];
    }
    const start = unit > 0 && isLowSurrogate(this.text.charCodeAt(unit)) ? unit - 1 : unit;
    return [this.origin + start, this.origin + start + widthAt(this.text, start)];
  }
}

/** Half of a surrogate pair, which is no character, becomes U+FFFD. */
export function wellFormed(text: string): string {
  return text.replace(/\p{Cs}/gu, "\uFFFD");
}

/** Units of the character that begins here; 0 at the end. */
export function widthAt(text: string, index: number): number {
  if (index >= text.length) return 0;
  return (text.codePointAt(index) as number) > 0xffff ? 2 : 1;
}

function isLowSurrogate(unit: number): boolean {
  return unit >= 0xdc00 && unit <= 0xdfff;
}
