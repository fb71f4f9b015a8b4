// The tokens of a Jinja template, with the settings of transformers' environment: trim_blocks and lstrip_blocks on, the
// last line end of the source dropped. White space follows Python's rules.

import { isPythonSpace, PYTHON_SPACE, trimText } from "../../text.js";
import { TemplateSyntaxError } from "./errors.js";

export type TokenType = "data" | "name" | "string" | "integer" | "float" | "operator" | "variable" | "block" | "end";

export interface Token {
  readonly type: TokenType;
  /** "begin" or "end" for `variable` and `block`; the text without quotes for a string; for the others as it is written. */
  readonly value: string;
  readonly line: number;
}

const OPENING = /\{\{|\{%|\{#/g;
const RAW_BEGIN = new RegExp(`\\{%([-+]?)[${PYTHON_SPACE}]*raw[${PYTHON_SPACE}]*(?:-%\\}[${PYTHON_SPACE}]*|%\\})`, "y");
const RAW_END = new RegExp(
  `\\{%([-+]?)[${PYTHON_SPACE}]*endraw[${PYTHON_SPACE}]*(?:\\+%\\}|-%\\}[${PYTHON_SPACE}]*|%\\}\\n?)`,
  "g",
);
const BLOCK_END = new RegExp(`\\+%\\}|-%\\}[${PYTHON_SPACE}]*|%\\}\\n?`, "y");
const VARIABLE_END = new RegExp(`-\\}\\}[${PYTHON_SPACE}]*|\\}\\}`, "y");
const COMMENT_END = new RegExp(`\\+#\\}|-#\\}[${PYTHON_SPACE}]*|#\\}\\n?`, "g");
const ONLY_SPACE = new RegExp(`^[${PYTHON_SPACE}]*$`);

const SPACE = new RegExp(`[${PYTHON_SPACE}]+`, "y");
const FLOAT = /(?:\d+_)*\d+(?:\.(?:\d+_)*\d+(?:[eE][+-]?(?:\d+_)*\d+)?|[eE][+-]?(?:\d+_)*\d+)/y;
const INTEGER = /0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|0[xX](?:_?[\da-fA-F])+|[1-9](?:_?\d)*|0(?:_?0)*/y;
const NAME = /[\p{L}\p{Nl}_][\p{L}\p{Nl}\p{Mn}\p{Mc}\p{Nd}\p{Pc}]*/uy;
const STRING = /'(?:[^'\\]|\\[\s\S])*'|"(?:[^"\\]|\\[\s\S])*"/y;
const OPERATOR = /\*\*|\/\/|==|!=|>=|<=|[-+*/%~[\](){}<>=.:|,;]/y;

export function tokenize(template: string): Token[] {
  // Python's jinja2 reads every kind of line end as \n.
  return new Lexer(template.replace(/\r\n?/g, "\n").replace(/\n$/, "")).run();
}

class Lexer {
  readonly #source: string;
  readonly #tokens: Token[] = [];
  #at = 0;
  #line = 1;
  /** Whether what comes next stands at the beginning of a line. */
  #lineStarting = true;

  constructor(source: string) {
    this.#source = source;
  }

  run(): Token[] {
    while (this.#at < this.#source.length) {
      OPENING.lastIndex = this.#at;
      const opening = OPENING.exec(this.#source);
      if (opening === null) {
        this.#data(this.#source.slice(this.#at));
        break;
      }
      this.#open(opening[0], opening.index);
    }
    this.#push("end", "");
    return this.#tokens;
  }

  #open(mark: string, at: number): void {
    const sign = this.#source[at + 2];
    const text = this.#source.slice(this.#at, at);
    this.#data(this.#control(text, mark, sign));
    this.#at = at;
    RAW_BEGIN.lastIndex = at;
    const raw = mark === "{%" ? RAW_BEGIN.exec(this.#source) : null;
    const start = at + 2 + (sign === "-" || sign === "+" ? 1 : 0);
    if (raw) this.#raw(at + raw[0].length);
    else if (mark === "{#") this.#comment(start);
    else {
      const kind = mark === "{{" ? "variable" : "block";
      this.#push(kind, "begin");
      this.#at = start;
      this.#inside(kind);
    }
  }

  /** White space before a tag: `-` takes all of it, else a block takes what precedes it on its line. */
  #control(text: string, mark: string, sign: string | undefined): string {
    // The lines of what is dropped count too.
    const kept = this.#controlled(text, mark, sign);
    this.#line += countLines(text.slice(kept.length));
    return kept;
  }

  #controlled(text: string, mark: string, sign: string | undefined): string {
    if (sign === "-") return trimText(text, isPythonSpace, "end");
    if (sign === "+" || mark === "{{") return text;
    const lineStart = text.lastIndexOf("\n") + 1;
    const strips = (lineStart > 0 || this.#lineStarting) && ONLY_SPACE.test(text.slice(lineStart));
    return strips ? text.slice(0, lineStart) : text;
  }

  #raw(from: number): void {
    RAW_END.lastIndex = from;
    const end = RAW_END.exec(this.#source);
    if (end === null) throw new TemplateSyntaxError("Missing end of raw directive", this.#line);
    this.#lineStarting = this.#source[from - 1] === "\n";
    this.#data(this.#control(this.#source.slice(from, end.index), "{%", end[1] || undefined));
    this.#leave(end.index + end[0].length);
  }

  #comment(from: number): void {
    COMMENT_END.lastIndex = from;
    const end = COMMENT_END.exec(this.#source);
    if (end === null) throw new TemplateSyntaxError("Missing end of comment tag", this.#line);
    this.#line += countLines(this.#source.slice(from, end.index));
    this.#leave(end.index + end[0].length);
  }

  #inside(kind: "variable" | "block"): void {
    const closing = kind === "variable" ? VARIABLE_END : BLOCK_END;
    let depth = 0;
    for (;;) {
      const end = depth === 0 ? this.#match(closing) : undefined;
      if (end !== undefined) {
        this.#push(kind, "end");
        this.#leave(this.#at + end.length);
        return;
      }
      if (this.#at >= this.#source.length) throw new TemplateSyntaxError("unexpected end of template", this.#line);
      const operator = this.#one();
      if (operator && "([{".includes(operator)) depth++;
      if (operator && ")]}".includes(operator)) depth--;
      if (depth < 0) throw new TemplateSyntaxError(`unexpected '${operator}'`, this.#line);
    }
  }

  /** Takes one token, and returns it if it is an operator. */
  #one(): string | undefined {
    const take = (expression: RegExp, type: TokenType | undefined, convert = (text: string) => text): boolean => {
      const found = this.#match(expression);
      if (found === undefined) return false;
      if (type) this.#push(type, convert(found));
      this.#line += countLines(found);
      this.#at += found.length;
      return true;
    };
    if (take(SPACE, undefined) || take(FLOAT, "float", plainNumber) || take(INTEGER, "integer", plainNumber)) return;
    if (take(NAME, "name") || take(STRING, "string", unquote)) return;
    const operator = this.#match(OPERATOR);
    if (operator === undefined) {
      throw new TemplateSyntaxError(`unexpected char ${JSON.stringify(this.#source[this.#at])}`, this.#line);
    }
    this.#push("operator", operator);
    this.#at += operator.length;
    return operator;
  }

  #match(expression: RegExp): string | undefined {
    expression.lastIndex = this.#at;
    return expression.exec(this.#source)?.[0];
  }

  #leave(at: number): void {
    this.#line += countLines(this.#source.slice(this.#at, at));
    this.#at = at;
    this.#lineStarting = this.#source[at - 1] === "\n";
  }

  #data(text: string): void {
    if (text !== "") this.#push("data", text);
    this.#line += countLines(text);
  }

  #push(type: TokenType, value: string): void {
    this.#tokens.push({ type, value, line: this.#line });
  }
}

function countLines(text: string): number {
  return text.split("\n").length - 1;
}

function plainNumber(text: string): string {
  return text.replaceAll("_", "");
}

const ESCAPES: Readonly<Record<string, string>> = {
  "\n": "",
  "\\": "\\",
  "'": "'",
  '"': '"',
  a: "\x07",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
};

/** The content of a string literal, decoded as by Python's "unicode-escape": what is no escape keeps its backslash. */
function unquote(quoted: string): string {
  const pattern = /\\(?:x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|([0-7]{1,3})|([\s\S]))/g;
  return quoted.slice(1, -1).replace(pattern, (whole, x, u, U, octal, other) => {
    const hex: string | undefined = x ?? u ?? U;
    if (hex !== undefined) return String.fromCodePoint(Number.parseInt(hex, 16));
    if (octal !== undefined) return String.fromCodePoint(Number.parseInt(octal, 8));
    return ESCAPES[other] ?? whole;
  });
}
