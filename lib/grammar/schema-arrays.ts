// Arrays of JSON schemas. Those that begin with items of their own have all of these, and no more than the schema speaks of.

import type { JsonObject } from "../json.js";
import { type Expression, NEVER, repeat, sequence, text } from "./expression.js";
import { arrayOf, COMMA, SPACE } from "./json-text.js";
import { cannot, count, type ReadSchema } from "./schema-keywords.js";

export function arrayExpression(schema: JsonObject, where: string, read: ReadSchema): Expression {
  const min = count(schema, "minItems", 0, where);
  const max = count(schema, "maxItems", Number.POSITIVE_INFINITY, where);
  if (schema.uniqueItems === true && max > 1) throw cannot(where, "has uniqueItems");
  // Before 2020 the first items stood in `items`, and the others in `additionalItems`.
  const isOld = Array.isArray(schema.items);
  const first: readonly unknown[] = isOld
    ? (schema.items as unknown[])
    : Array.isArray(schema.prefixItems)
      ? schema.prefixItems
      : [];
  const rest = isOld ? schema.additionalItems : schema.items;
  if (max < min) return NEVER;
  if (first.length === 0)
    return arrayOf(rest === undefined ? read(true, where) : read(rest, `${where}/items`), min, max);
  const own = first.slice(0, max).map((item, i) => read(item, `${where}/prefixItems/${i}`));
  const more = Math.max(0, min - own.length);
  const most = rest === undefined || rest === false ? more : max - own.length;
  if (rest === false && more > 0) return NEVER;
  const other = sequence(COMMA, most === 0 ? NEVER : read(rest ?? true, `${where}/items`));
  const items = own.flatMap((item, i) => (i === 0 ? [item] : [COMMA, item]));
  if (items.length === 0) return text("[]");
  return sequence(text("["), SPACE, ...items, repeat(other, more, most), SPACE, text("]"));
}
