// Regular expressions as grammars: what JavaScript, Python and Rust write alike. What a grammar cannot follow, such as looking ahead,
// is refused by name.

import { GrpoError } from "../errors.js";
import { ANY_CHARACTER, type CodeRanges, charactersOf, codeRanges, complement, type Range } from "./code-ranges.js";
import { chars, choice, type Expression, repeat, sequence } from "./expression.js";

/** One of several alternatives, and at which of its ends it says that the text ends there too. */
export interface Alternative {
  readonly expression: Expression;
  readonly fromStart: boolean;
  readonly toEnd: boolean;
}

/** The whole text fits the pattern; ^ and $ at its ends say nothing more. Throws BAD_INPUT. */
export function regexExpression(pattern: string): Expression {
  return choice(...regexAlternatives(pattern).map(({ expression }) => expression));
}

/** The alternatives of a pattern, for uses that look for it in a text. Throws BAD_INPUT. */
export function regexAlternatives(pattern: string): readonly Alternative[] {
  const reader = new RegexReader(pattern);
  const alternatives = reader.alternatives(0);
  reader.expectEnd();
  return alternatives;
}

const DIGITS = codeRanges([[0x30, 0x39]]);
const WORD = codeRanges([
  [0x30, 0x39],
  [0x41, 0x5a],
  [0x5f, 0x5f],
  [0x61, 0x7a],
]);
const SPACE = charactersOf(" \t\n\r\f\v");
const CLASSES: ReadonlyMap<string, CodeRanges> = new Map([
  ["d", DIGITS],
  ["w", WORD],
  ["s", SPACE],
  ["D", complement(DIGITS)],
  ["W", complement(WORD)],
  ["S", complement(SPACE)],
]);
const CONTROLS: ReadonlyMap<string, number> = new Map([
  ["n", 0x0a],
  ["t", 0x09],
  ["r", 0x0d],
  ["f", 0x0c],
  ["v", 0x0b],
  ["0", 0x00],
]);
/** In no dialect part of a line. */
const DOT = complement(charactersOf("\n\r\u2028\u2029"));
/** Groups in one another; deeper ones would end the stack. */
const MOST_LEVELS = 100;
/** Of a counted repetition. */
const MOST_TIMES = 1_000_000;

class RegexReader {
  readonly #chars: readonly string[];
  #at = 0;

  constructor(readonly pattern: string) {
    this.#chars = [...pattern];
  }

  expectEnd(): void {
    if (this.#at < this.#chars.length) this.#refuse(") without a (");
  }

  alternatives(level: number): Alternative[] {
    if (level > MOST_LEVELS) this.#refuse("groups in one another this deep");
    const alternatives = [this.#alternative(level)];
    while (this.#takes("|")) alternatives.push(this.#alternative(level));
    return alternatives;
  }

  #alternative(level: number): Alternative {
    const parts: Expression[] = [];
    let fromStart = false;
    while (this.#takes("^") || this.#takesText("\\A")) fromStart = true;
    let toEnd = false;
    while (this.#at < this.#chars.length && this.#next !== "|" && this.#next !== ")") {
      if (this.#takes("$") || this.#takesText("\\z") || this.#takesText("\\Z")) toEnd = true;
      else if (toEnd) this.#refuse("$ before the end");
      else parts.push(this.#quantified(this.#atom(level)));
    }
    return { expression: sequence(...parts), fromStart, toEnd };
  }

  #quantified(atom: Expression): Expression {
    let result = atom;
    for (;;) {
      const times = this.#times();
      if (times === undefined) return result;
      // Which of several ways a text is read in says nothing of which texts fit.
      if (!this.#takes("?")) this.#takes("+");
      result = repeat(result, ...times);
    }
  }

  #times(): [min: number, max: number] | undefined {
    if (this.#takes("*")) return [0, Number.POSITIVE_INFINITY];
    if (this.#takes("+")) return [1, Number.POSITIVE_INFINITY];
    if (this.#takes("?")) return [0, 1];
    const counted = /^\{(\d*)(,?)(\d*)\}/.exec(this.#rest(24));
    if (counted === null || counted[0] === "{}" || counted[0] === "{,}") return undefined;
    this.#at += counted[0].length;
    const [, low = "", comma, high = ""] = counted;
    const min = Number(low);
    const max = comma === "" ? min : high === "" ? Number.POSITIVE_INFINITY : Number(high);
    if (min > MOST_TIMES || (max !== Number.POSITIVE_INFINITY && max > MOST_TIMES) || max < min) {
      this.#refuse(`the repetition ${counted[0]}`);
    }
    return [min, max];
  }

  #atom(level: number): Expression {
    const char = this.#take();
    if (char === "(") return this.#group(level);
    if (char === "[") return chars(this.#set());
    if (char === ".") return chars(DOT);
    if (char === "\\") return chars(this.#escape());
    if (char === "^") return this.#refuse("^ behind the start");
    if (char === "*" || char === "+" || char === "?") return this.#refuse(`${char} with nothing before it`);
    return chars(charactersOf(char));
  }

  #group(level: number): Expression {
    if (this.#takes("?")) {
      const kind = /^(?:[:>]|P?<[A-Za-z_][A-Za-z0-9_]*>)/.exec(this.#rest(80));
      if (kind === null) this.#refuse(`the group (?${this.#rest(2)}`);
      else this.#at += kind[0].length;
    }
    const alternatives = this.alternatives(level + 1);
    if (!this.#takes(")")) this.#refuse("( without a )");
    if (alternatives.some(({ fromStart, toEnd }) => fromStart || toEnd)) this.#refuse("^ or $ inside of a group");
    return choice(...alternatives.map(({ expression }) => expression));
  }

  #set(): CodeRanges {
    const negated = this.#takes("^");
    const ranges: Range[] = [];
    for (let first = true; first || this.#next !== "]"; first = false) {
      const low = this.#member();
      const dash = this.#next === "-" && this.#chars[this.#at + 1] !== "]" && this.#chars[this.#at + 1] !== undefined;
      if (!dash) {
        ranges.push(...low);
        continue;
      }
      this.#at++;
      const [from, to] = [single(low), single(this.#member())];
      if (from === undefined || to === undefined || from > to)
        return this.#refuse("a range of characters without an order");
      ranges.push([from, to]);
    }
    this.#at++;
    return negated ? complement(codeRanges(ranges)) : codeRanges(ranges);
  }

  #member(): CodeRanges {
    const char = this.#take();
    if (char === "[" && this.#next === ":") this.#refuse("the class [:…:]");
    if (char !== "\\") return charactersOf(char);
    return this.#takes("b") ? charactersOf("\b") : this.#escape();
  }

  #escape(): CodeRanges {
    const char = this.#take();
    const known = CLASSES.get(char);
    if (known) return known;
    const control = CONTROLS.get(char);
    if (control !== undefined) return codeRanges([[control, control]]);
    const hex = /^(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|u\{([0-9a-fA-F]{1,6})\}|U([0-9a-fA-F]{8}))/.exec(
      char + this.#rest(9),
    );
    if (hex !== null) {
      this.#at += hex[0].length - 1;
      const code = Number.parseInt(hex[1] ?? hex[2] ?? hex[3] ?? hex[4] ?? "", 16);
      return codeRanges([[code, code]]);
    }
    if (/[A-Za-z1-9]/.test(char)) this.#refuse(`\\${char}`);
    return charactersOf(char);
  }

  get #next(): string | undefined {
    return this.#chars[this.#at];
  }

  #rest(length: number): string {
    return this.#chars.slice(this.#at, this.#at + length).join("");
  }

  #take(): string {
    const char = this.#chars[this.#at++];
    return char ?? this.#refuse("an end in the middle");
  }

  #takes(char: string): boolean {
    if (this.#next !== char) return false;
    this.#at++;
    return true;
  }

  #takesText(text: string): boolean {
    if (this.#rest(text.length) !== text) return false;
    this.#at += text.length;
    return true;
  }

  #refuse(what: string): never {
    const shown = this.pattern.length > 80 ? `${this.pattern.slice(0, 80)}…` : this.pattern;
    throw new GrpoError("BAD_INPUT", `the regular expression ${shown} has ${what}, which no grammar follows`);
  }
}

function single(ranges: CodeRanges): number | undefined {
  const [range] = ranges;
  return range && ranges.length === 1 && range[0] === range[1] ? range[0] : undefined;
}

/** Any text. */
export const ANY_TEXT: Expression = repeat(chars(ANY_CHARACTER), 0);
