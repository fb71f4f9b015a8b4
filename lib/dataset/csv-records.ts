// Text to records of CSV as pandas' C parser reads it, which no library of JavaScript does: a quote counts only where a field
// begins, all of \n, \r\n and \r end a line, blank lines and such of white space are none. It knows nothing of names and types.

import type { CsvDialect } from "./csv-options.js";

export interface CsvRecord {
  readonly values: readonly string[];
  /** Lines of the text before it. */
  readonly line: number;
}

export interface CsvText {
  readonly records: readonly CsvRecord[];
  /** Where in the text the first record begins that is not whole, and how many lines are before it. */
  readonly end: number;
  readonly lines: number;
  /** Whether the text ends between quotes. */
  readonly openQuote: boolean;
}

/**
 * The records after the first `skip` lines. `whole`: no text follows; otherwise records may go on behind its end, and the last one is left
 * to whoever has more of it.
 */
export function csvRecords(text: string, dialect: CsvDialect, whole: boolean, skip = 0): CsvText {
  const reader = new RecordReader(text, dialect, whole);
  const records: CsvRecord[] = [];
  for (let i = 0; i < skip; i++)
    if (!reader.skipLine()) return { records, end: 0, lines: 0, openQuote: reader.openQuote };
  for (let record = reader.next(); record !== undefined; record = reader.next()) records.push(record);
  return { records, end: reader.end, lines: reader.lines, openQuote: reader.openQuote };
}

const LF = 10;
const CR = 13;
const SPACE = 32;
const TAB = 9;

class RecordReader {
  end = 0;
  lines = 0;
  openQuote = false;
  readonly #text: string;
  readonly #dialect: CsvDialect;
  readonly #whole: boolean;
  readonly #delimiter: number;
  readonly #quote: number;
  readonly #escape: number;
  readonly #comment: number;
  #at = 0;
  #line = 0;

  constructor(text: string, dialect: CsvDialect, whole: boolean) {
    this.#text = text;
    this.#dialect = dialect;
    this.#whole = whole;
    // Of an empty text NaN, which no character is equal to.
    this.#delimiter = dialect.delimiter.charCodeAt(0);
    this.#quote = dialect.quote.charCodeAt(0);
    this.#escape = dialect.escape.charCodeAt(0);
    this.#comment = dialect.comment.charCodeAt(0);
  }

  /** The next whole record; undefined after the last. */
  next(): CsvRecord | undefined {
    for (;;) {
      this.end = Math.min(this.#at, this.#text.length);
      this.lines = this.#line;
      if (this.#at >= this.#text.length) return undefined;
      const line = this.#line;
      if (this.#isNoRecord()) {
        this.#toLineEnd();
        if (!this.#passLineEnd()) return undefined;
        continue;
      }
      const values = this.#fields();
      if (values === undefined || !this.#passLineEnd()) return undefined;
      return { values, line };
    }
  }

  /** Passes over a line, or a record of several, whatever is in it. */
  skipLine(): boolean {
    return this.#at >= this.#text.length ? this.#whole : this.#fields() !== undefined && this.#passLineEnd();
  }

  /** A comment, or a blank line where these are left out. */
  #isNoRecord(): boolean {
    const first = this.#text.charCodeAt(this.#at);
    if (first === this.#comment) return true;
    if (!this.#dialect.skipBlankLines) return false;
    for (let i = this.#at; i < this.#text.length; i++) {
      const c = this.#text.charCodeAt(i);
      if (c === LF || c === CR) return true;
      if ((c !== SPACE && c !== TAB) || c === this.#delimiter) return false;
    }
    return true;
  }

  #toLineEnd(): void {
    while (this.#at < this.#text.length && !this.#atLineEnd()) this.#at++;
  }

  #atLineEnd(): boolean {
    const c = this.#text.charCodeAt(this.#at);
    return c === LF || c === CR;
  }

  /** Whether the line is known to end here. */
  #passLineEnd(): boolean {
    const c = this.#text.charCodeAt(this.#at);
    const isLast = this.#at + (c === CR ? 1 : 0) >= this.#text.length;
    if (isLast && !this.#whole) return false;
    this.#at += c === CR && this.#text.charCodeAt(this.#at + 1) === LF ? 2 : 1;
    this.#line++;
    return true;
  }

  /** The fields up to the end of the line; undefined where quotes do not end. */
  #fields(): string[] | undefined {
    const values: string[] = [];
    if (this.#atLineEnd()) return values;
    for (;;) {
      const value = this.#field();
      if (value === undefined) return undefined;
      values.push(value);
      const c = this.#text.charCodeAt(this.#at);
      if (c === this.#comment) this.#toLineEnd();
      if (c !== this.#delimiter) return values;
      this.#at++;
    }
  }

  #field(): string | undefined {
    const text = this.#text;
    if (this.#dialect.skipInitialSpace) while (text.charCodeAt(this.#at) === SPACE) this.#at++;
    if (text.charCodeAt(this.#at) !== this.#quote) return this.#unquoted();
    const quoted = this.#quoted();
    return quoted === undefined ? undefined : quoted + this.#unquoted();
  }

  /** What is between quotes. A character right behind them is text, whatever it is. */
  #quoted(): string | undefined {
    const text = this.#text;
    let value = "";
    let from = ++this.#at;
    for (; this.#at < text.length; this.#at++) {
      const c = text.charCodeAt(this.#at);
      if (c === LF || (c === CR && text.charCodeAt(this.#at + 1) !== LF)) this.#line++;
      if (c === this.#escape) {
        value += text.slice(from, this.#at);
        from = ++this.#at;
      } else if (c === this.#quote) {
        value += text.slice(from, this.#at++);
        if (!this.#dialect.doubleQuote || this.#atFieldEnd()) return value;
        from = this.#at;
        if (text.charCodeAt(this.#at) !== this.#quote) return value + text.slice(from, ++this.#at);
      }
    }
    this.openQuote = true;
    return undefined;
  }

  #atFieldEnd(): boolean {
    return this.#at >= this.#text.length || this.#atLineEnd() || this.#text.charCodeAt(this.#at) === this.#delimiter;
  }

  /** Up to the end of the field; quotes are text. */
  #unquoted(): string {
    const text = this.#text;
    const delimiter = this.#delimiter;
    const escaping = this.#escape;
    const comment = this.#comment;
    let value = "";
    let from = this.#at;
    let at = from;
    for (; at < text.length; at++) {
      const c = text.charCodeAt(at);
      if (c === delimiter || c === LF || c === CR || c === comment) break;
      if (c !== escaping) continue;
      value += text.slice(from, at);
      from = ++at;
    }
    this.#at = at;
    return value + text.slice(from, at);
  }
}
