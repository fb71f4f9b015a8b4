// Values as models write them: JSON, and Python's literals. Whole numbers with a fraction (2.0) keep it, and long ones all their digits,
// because a chat template would write other numbers: ids of messages and users have nineteen digits.

import { isJsonObject, type JsonObject } from "../json.js";
import { Float, floatText } from "../tokenizer/jinja/values.js";

/**
 * A value that JSON can hold, with a Float for each whole number that was written with a fraction, and a bigint for each that a number
 * cannot hold.
 */
export type Literal =
  | string
  | number
  | boolean
  | null
  | Float
  | bigint
  | readonly Literal[]
  | { readonly [key: string]: Literal };

export type LiteralObject = { readonly [key: string]: Literal };

/** Undefined for what is no JSON. */
export function readJson(text: string): Literal | undefined {
  try {
    JSON.parse(text);
    return new LiteralReader(text, JSON_WORDS).whole();
  } catch {
    return undefined;
  }
}

export function isLiteralObject(value: Literal | undefined): value is LiteralObject {
  return isJsonObject(value) && !(value instanceof Float);
}

/** With ordinary numbers, as JSON.parse has them. */
function plainValue(value: Literal): unknown {
  if (value instanceof Float) return value.value;
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value)) return value.map(plainValue);
  return isLiteralObject(value) ? plainObject(value) : value;
}

export function plainObject(value: LiteralObject): JsonObject {
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plainValue(item)]));
}

/** JSON on one line, as Python writes it. */
export function literalJson(value: Literal): string {
  if (value instanceof Float) return floatText(value.value);
  if (typeof value === "number" && !Number.isInteger(value)) return floatText(value);
  if (typeof value === "bigint") return String(value);
  if (Array.isArray(value)) return `[${value.map(literalJson).join(", ")}]`;
  if (!isLiteralObject(value)) return JSON.stringify(value);
  return `{${Object.entries(value)
    .map(([key, item]) => `${JSON.stringify(key)}: ${literalJson(item)}`)
    .join(", ")}}`;
}

/** A number as JSON writes it. */
function readNumber(text: string): number | Float | bigint {
  if (!/[.eE]/.test(text)) return wholeNumber(text);
  const value = Number(text);
  if (!Number.isFinite(value)) throw new NotALiteral("too large a number");
  return Number.isInteger(value) ? new Float(value) : value;
}

/** Of digits with a sign or none. */
export function wholeNumber(text: string): number | bigint {
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : BigInt(text);
}

const JSON_WORDS: ReadonlyMap<string, Literal> = new Map<string, Literal>([
  ["true", true],
  ["false", false],
  ["null", null],
]);
const PYTHON_WORDS: ReadonlyMap<string, Literal> = new Map<string, Literal>([
  ...JSON_WORDS,
  ["True", true],
  ["False", false],
  ["None", null],
]);

const ESCAPES: ReadonlyMap<string, string> = new Map([
  ["b", "\b"],
  ["f", "\f"],
  ["n", "\n"],
  ["r", "\r"],
  ["t", "\t"],
  ...["\\", "/", '"', "'"].map((char): [string, string] => [char, char]),
]);
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const NAME = /[A-Za-z_][A-Za-z0-9_]*(?:[-.][A-Za-z0-9_]+)*/y;
const SPACE = /[ \t\n\r]*/y;
/** Lists and objects in one another; deeper ones would end the stack. */
const MAX_DEPTH = 100;

/** Why a text is no literal; never leaves this folder. */
export class NotALiteral extends Error {}

/** Reads a text from its start. Strings may have either quote and line ends in them. */
export class LiteralReader {
  #at = 0;

  constructor(
    private readonly text: string,
    private readonly words: ReadonlyMap<string, Literal> = PYTHON_WORDS,
  ) {}

  /** The one value that the text is. */
  whole(): Literal {
    const value = this.value(0);
    this.end();
    return value;
  }

  end(): void {
    this.#skipSpace();
    if (this.#at < this.text.length) throw new NotALiteral("text behind the value");
  }

  /** Whether the next character is this one; then it is passed. */
  takes(char: string): boolean {
    this.#skipSpace();
    if (this.text[this.#at] !== char) return false;
    this.#at++;
    return true;
  }

  expect(char: string): void {
    if (!this.takes(char)) throw new NotALiteral(`expected ${char} at ${this.#at}`);
  }

  name(): string {
    this.#skipSpace();
    return this.#match(NAME) ?? this.#fail("a name");
  }

  /** Items between commas up to the closing character. */
  items(close: string, item: () => void): void {
    if (this.takes(close)) return;
    for (;;) {
      item();
      if (this.takes(close)) return;
      this.expect(",");
    }
  }

  /** `name`, `mark`, value, with no name twice. */
  entries(close: string, mark: string, name: () => string, depth: number): LiteralObject {
    const found = new Map<string, Literal>();
    this.items(close, () => {
      const key = name();
      if (found.has(key) && mark === "=") throw new NotALiteral(`${key} is there twice`);
      this.expect(mark);
      found.set(key, this.value(depth));
    });
    return Object.fromEntries(found);
  }

  value(depth: number): Literal {
    if (depth > MAX_DEPTH) throw new NotALiteral("too deep");
    this.#skipSpace();
    const char = this.text[this.#at];
    if (char === '"' || char === "'") return this.#string();
    if (this.takes("{")) return this.entries("}", ":", () => this.#string(), depth + 1);
    if (this.takes("[")) {
      const list: Literal[] = [];
      this.items("]", () => list.push(this.value(depth + 1)));
      return list;
    }
    const number = this.#match(NUMBER);
    if (number !== undefined) return readNumber(number);
    const word = this.words.get(this.#match(NAME) ?? "");
    return word === undefined ? this.#fail("a value") : word;
  }

  #string(): string {
    this.#skipSpace();
    const quote = this.text[this.#at];
    if (quote !== '"' && quote !== "'") return this.#fail("a string");
    const start = ++this.#at;
    while (this.text[this.#at] !== quote) {
      if (this.#at >= this.text.length) this.#fail("the end of a string");
      this.#at += this.text[this.#at] === "\\" ? 2 : 1;
    }
    const body = this.text.slice(start, this.#at++);
    return body.replace(/\\(?:u([0-9a-fA-F]{4})|([\s\S]))/g, (_, code: string | undefined, char: string) => {
      return code === undefined ? (ESCAPES.get(char) ?? `\\${char}`) : String.fromCharCode(Number.parseInt(code, 16));
    });
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.text)?.[0];
    if (found === undefined || found === "") return undefined;
    this.#at += found.length;
    return found;
  }

  #skipSpace(): void {
    this.#match(SPACE);
  }

  #fail(expected: string): never {
    throw new NotALiteral(`expected ${expected} at ${this.#at}`);
  }
}
