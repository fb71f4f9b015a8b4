// Strings of JSON schemas: lengths, patterns and formats. A format that is not known here says nothing, as JSON Schema has it.

import type { JsonObject } from "../json.js";
import { ANY_CHARACTER } from "./code-ranges.js";
import { chars, choice, type Expression, NEVER, repeat, sequence } from "./expression.js";
import { escaped, quoted, stringOf } from "./json-text.js";
import { regexAlternatives, regexExpression } from "./regex.js";
import { cannot, count } from "./schema-keywords.js";

/** What validators agree on; lengths are within what each format allows at most. */
const DATE = "\\d{4}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)";
const TIME = "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,6})?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)";
const LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,20}[A-Za-z0-9])?";
const BYTE = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
const PATH = "[A-Za-z0-9._~!$&'()*+,;=:@-]{0,100}";
const FORMATS: ReadonlyMap<unknown, string> = new Map([
  ["date", DATE],
  ["time", TIME],
  ["date-time", `${DATE}T${TIME}`],
  ["duration", "P(?:\\d{1,4}[DWMY]|T\\d{1,4}[HMS]|\\d{1,4}DT\\d{1,4}H)"],
  ["email", `[A-Za-z0-9_+-]{1,20}(?:\\.[A-Za-z0-9_+-]{1,20}){0,2}@(?:${LABEL}\\.){1,4}[A-Za-z]{2,10}`],
  ["hostname", `(?:${LABEL}\\.){0,6}${LABEL}`],
  ["ipv4", `${BYTE}(?:\\.${BYTE}){3}`],
  ["ipv6", "(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}"],
  [
    "uri",
    `[A-Za-z][A-Za-z0-9+.-]{1,15}://(?:${LABEL}\\.){0,4}${LABEL}(?::\\d{1,4})?(?:/${PATH}){0,20}(?:\\?${PATH})?(?:#${PATH})?`,
  ],
  ["uuid", "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[1-8][0-9A-Fa-f]{3}-[89ABab][0-9A-Fa-f]{3}-[0-9A-Fa-f]{12}"],
]);

export function stringExpression(schema: JsonObject, where: string): Expression {
  const min = count(schema, "minLength", 0, where);
  const max = count(schema, "maxLength", Number.POSITIVE_INFINITY, where);
  if (max < min) return NEVER;
  const content = contentOf(schema, where);
  if (content === undefined) return stringOf(min, max);
  const narrowed = withLength(content, min, max);
  if (narrowed === undefined) throw cannot(where, "has a pattern or a format beside a length");
  return quoted(escaped(narrowed));
}

function contentOf({ pattern, format }: JsonObject, where: string): Expression | undefined {
  const known = FORMATS.get(format);
  if (pattern === undefined) return known === undefined ? undefined : regexExpression(known);
  if (typeof pattern !== "string") throw cannot(where, "has a pattern that is no text");
  try {
    return searched(pattern);
  } catch (error) {
    // Libraries write the pattern of a format beside it, some of which look ahead.
    if (known === undefined) throw error;
    return regexExpression(known);
  }
}

/** Texts in which the pattern is found. */
function searched(pattern: string): Expression {
  const any = repeat(chars(ANY_CHARACTER), 0);
  const alternatives = regexAlternatives(pattern).map(({ expression, fromStart, toEnd }) => {
    return sequence(...(fromStart ? [] : [any]), expression, ...(toEnd ? [] : [any]));
  });
  return choice(...alternatives);
}

/** The same with so many characters; undefined where that takes more than another count of one repetition. */
function withLength(expression: Expression, min: number, max: number): Expression | undefined {
  const [least, most] = lengthOf(expression);
  if (least >= min && most <= max) return expression;
  if (expression.kind === "choice") {
    const options = expression.options.map((option) => withLength(option, min, max));
    return options.every((option) => option !== undefined) ? choice(...options) : undefined;
  }
  const parts = expression.kind === "sequence" ? expression.parts : [expression];
  const open = parts.filter((part) => lengthOf(part)[0] !== lengthOf(part)[1]);
  const [only] = open;
  if (only === undefined) return NEVER;
  if (open.length > 1) return undefined;
  const fixed = least - lengthOf(only)[0];
  const narrowed = narrowedRepeat(only, min - fixed, max - fixed);
  return narrowed && sequence(...parts.map((part) => (part === only ? narrowed : part)));
}

function narrowedRepeat(part: Expression, min: number, max: number): Expression | undefined {
  if (part.kind !== "repeat") return withLength(part, Math.max(0, min), max);
  const [size, most] = lengthOf(part.part);
  if (size !== most || size === 0) return undefined;
  const [least, last] = [Math.max(part.min, Math.ceil(min / size)), Math.min(part.max, Math.floor(max / size))];
  return last < least ? NEVER : repeat(part.part, least, last);
}

/** Characters at least and at most. */
function lengthOf(expression: Expression): [min: number, max: number] {
  switch (expression.kind) {
    case "sequence":
      return expression.parts.map(lengthOf).reduce((sum, [min, max]) => [sum[0] + min, sum[1] + max], [0, 0]);
    case "choice": {
      const lengths = expression.options.map(lengthOf);
      return [Math.min(...lengths.map(([min]) => min)), Math.max(...lengths.map(([, max]) => max))];
    }
    case "repeat": {
      const [min, max] = lengthOf(expression.part);
      return [min * expression.min, max === 0 || expression.max === 0 ? 0 : max * expression.max];
    }
    case "chars":
      return [1, 1];
    default:
      return [0, Number.POSITIVE_INFINITY];
  }
}
