// JSON as text: values that are known, strings, and any value. White space is what models write, a space or a new line with its
// indentation, and never without end. Numbers have as many digits as a reader keeps apart.

import { isJsonObject } from "../json.js";
import { type CodeRanges, charactersOf, codeRanges, complement, contains, subtract } from "./code-ranges.js";
import {
  chars,
  choice,
  type Expression,
  optional,
  partsOf,
  Rule,
  repeat,
  ruleOf,
  separated,
  sequence,
  text,
} from "./expression.js";

/** What may stand between the parts of a value. */
export const SPACE: Expression = optional(
  choice(
    repeat(text(" "), 1, 2),
    sequence(optional(text("\r")), text("\n"), repeat(chars(charactersOf(" \t")), 0, 40)),
  ),
);

export const COMMA: Expression = sequence(SPACE, text(","), SPACE);

const QUOTE = text('"');
const HEX = codeRanges([
  [0x30, 0x39],
  [0x41, 0x46],
  [0x61, 0x66],
]);
const CONTROLS = codeRanges([[0, 0x1f]]);
const ESCAPED: ReadonlyMap<number, string> = new Map(
  Object.entries({ '"': '"', "\\": "\\", "\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t" }).map(
    ([char, letter]) => [char.charCodeAt(0), letter],
  ),
);
/** What a string holds as it is. */
const PLAIN = complement(codeRanges([...CONTROLS, ...charactersOf('"\\')]));
const hex = (from = HEX) => chars(from);
const NOT_D = subtract(HEX, charactersOf("Dd"));

/** One character of a string. Halves of pairs are no characters, so that lengths count what validators count. */
const CHARACTER: Expression = choice(
  chars(PLAIN),
  sequence(text("\\"), chars(charactersOf('"\\/bfnrt'))),
  sequence(text("\\u"), hex(NOT_D), hex(), hex(), hex()),
  sequence(text("\\u"), chars(charactersOf("Dd")), chars(charactersOf("01234567")), hex(), hex()),
  sequence(
    sequence(text("\\u"), chars(charactersOf("Dd")), chars(charactersOf("89ABab")), hex(), hex()),
    sequence(
      text("\\u"),
      chars(charactersOf("Dd")),
      chars(
        codeRanges([
          [0x43, 0x46],
          [0x63, 0x66],
        ]),
      ),
      hex(),
      hex(),
    ),
  ),
);

export function quoted(content: Expression): Expression {
  return sequence(QUOTE, content, QUOTE);
}

/** A string of so many characters. */
export function stringOf(min = 0, max = Number.POSITIVE_INFINITY): Expression {
  return quoted(repeat(CHARACTER, min, max));
}

/** An expression over a string's characters as the characters that JSON writes for them. */
export function escaped(expression: Expression): Expression {
  if (expression.kind === "chars") return escapedChars(expression.ranges);
  if (expression.kind === "sequence") return sequence(...expression.parts.map(escaped));
  if (expression.kind === "repeat") return repeat(escaped(expression.part), expression.min, expression.max);
  return choice(...partsOf(expression).map(escaped));
}

function escapedChars(ranges: CodeRanges): Expression {
  const plain = subtract(ranges, complement(PLAIN));
  const others = [...Array.from({ length: 0x20 }, (_, code) => code), 0x22, 0x5c].filter((code) =>
    contains(ranges, code),
  );
  return choice(...(plain.length > 0 ? [chars(plain)] : []), ...others.map((code) => text(escapeOf(code))));
}

function escapeOf(code: number): string {
  const letter = ESCAPED.get(code);
  return letter === undefined ? `\\u${code.toString(16).padStart(4, "0")}` : `\\${letter}`;
}

/** A string that is none of these; its characters are written as they are, so that none is spelled in another way. */
export function stringExcept(names: readonly string[]): Expression {
  return quoted(textExcept(names.map((name) => [...name])));
}

function textExcept(names: readonly (readonly string[])[]): Expression {
  const firsts = new Set(names.flatMap(([first]) => (first === undefined ? [] : [first])));
  const other = sequence(chars(subtract(PLAIN, charactersOf([...firsts].join("")))), repeat(chars(PLAIN), 0));
  const behind = [...firsts].map((first) => {
    const rest = names.filter((name) => name[0] === first).map((name) => name.slice(1));
    return sequence(escaped(text(first)), textExcept(rest));
  });
  const may = choice(other, ...behind);
  return names.some((name) => name.length === 0) ? may : optional(may);
}

const DIGIT = chars(codeRanges([[0x30, 0x39]]));
const NATURAL = choice(text("0"), sequence(chars(codeRanges([[0x31, 0x39]])), repeat(DIGIT, 0, 19)));

/** Ids of nineteen digits among them. */
export const INTEGER: Expression = sequence(optional(text("-")), NATURAL);

export const NUMBER: Expression = sequence(
  INTEGER,
  optional(sequence(text("."), repeat(DIGIT, 1, 20))),
  optional(sequence(chars(charactersOf("eE")), optional(chars(charactersOf("+-"))), repeat(DIGIT, 1, 2))),
);

export const BOOLEAN: Expression = choice(text("true"), text("false"));

/** Any value. */
export const VALUE: Expression = anyValue();

function anyValue(): Expression {
  const value = new Rule("value");
  const item = ruleOf(value);
  const string = stringOf();
  value.body = choice(string, NUMBER, BOOLEAN, text("null"), arrayOf(item, 0), objectOf(member(string, item), 0));
  return item;
}

/** Any object. */
export const OBJECT: Expression = objectOf(member(stringOf(), VALUE), 0);

export function member(key: Expression, value: Expression): Expression {
  return sequence(key, SPACE, text(":"), SPACE, value);
}

export function braces(content: Expression): Expression {
  return sequence(text("{"), SPACE, content, text("}"));
}

/** Members between braces, with white space behind the last. */
export function objectOf(one: Expression, min: number, max = Number.POSITIVE_INFINITY): Expression {
  return braces(separatedWithSpace(one, min, max));
}

export function arrayOf(item: Expression, min: number, max = Number.POSITIVE_INFINITY): Expression {
  return sequence(text("["), SPACE, separatedWithSpace(item, min, max), text("]"));
}

/** White space behind the last is there only where there is a last: before the first it was already. */
function separatedWithSpace(item: Expression, min: number, max: number): Expression {
  if (max < min) return choice();
  if (max === 0) return sequence();
  const some = sequence(separated(item, COMMA, Math.max(1, min), max), SPACE);
  return min === 0 ? optional(some) : some;
}

/** A value that is known, with white space as it may be. */
export function literalValue(value: unknown): Expression {
  if (Array.isArray(value)) return listBetween("[", value.map(literalValue), "]");
  if (!isJsonObject(value)) return text(JSON.stringify(value));
  const members = Object.entries(value).map(([key, item]) => member(text(JSON.stringify(key)), literalValue(item)));
  return listBetween("{", members, "}");
}

/** All of them, in their order. */
export function listBetween(open: string, items: readonly Expression[], close: string): Expression {
  const content = items.flatMap((item, i) => (i === 0 ? [item] : [COMMA, item]));
  return sequence(text(open), SPACE, ...content, ...(items.length > 0 ? [SPACE] : []), text(close));
}
