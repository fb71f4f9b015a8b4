// Objects of JSON schemas: the named properties in their order, then the others where the schema speaks of them.

import { isJsonObject, type JsonObject } from "../json.js";
import { choice, type Expression, NEVER, optional, Rule, repeat, ruleOf, sequence } from "./expression.js";
import { braces, COMMA, literalValue, member, objectOf, SPACE, stringExcept, stringOf } from "./json-text.js";
import { cannot, count, type ReadSchema } from "./schema-keywords.js";

/** A part that may come once, at its place. */
export interface Property {
  readonly member: Expression;
  readonly required: boolean;
}

export function objectExpression(schema: JsonObject, where: string, read: ReadSchema): Expression {
  const named = namedProperties(schema, where);
  const others = otherValues(schema, named);
  const required = new Set(requiredOf(schema, where));
  const names = Object.keys(named);
  checkCounts(schema, { names, required, isOpen: others !== false }, where);
  const properties = names.map((name, i): Property => {
    const rule = new Rule(`${where}/properties/${name}`);
    rule.body = member(literalValue(name), read(named[name], `${where}/properties/${names[i]}`));
    return { member: ruleOf(rule), required: required.has(name) };
  });
  if (others === false) return braces(spaced(properties));
  const value = read(others, `${where}/additionalProperties`);
  const key = keyOf(schema, names, where, read);
  if (properties.length > 0) return braces(spaced(properties, member(key, value)));
  const most = count(schema, "maxProperties", Number.POSITIVE_INFINITY, where);
  return objectOf(member(key, value), count(schema, "minProperties", 0, where), most);
}

/** With those that are required and not described, and those that propertyNames lists. */
function namedProperties(schema: JsonObject, where: string): JsonObject {
  const properties = schema.properties ?? {};
  if (!isJsonObject(properties)) throw cannot(where, "has properties that are no object");
  const other = schema.additionalProperties ?? schema.unevaluatedProperties ?? true;
  const more = [...listedNames(schema), ...requiredOf(schema, where)].filter(
    (name) => !Object.hasOwn(properties, name),
  );
  return { ...properties, ...Object.fromEntries(more.map((name) => [name, other])) };
}

function requiredOf({ required = [] }: JsonObject, where: string): readonly string[] {
  if (Array.isArray(required) && required.every((name) => typeof name === "string")) return required;
  throw cannot(where, "has a required that is no list of names");
}

/** Names that are all there may be. */
function listedNames({ propertyNames: names }: JsonObject): readonly string[] {
  if (!isJsonObject(names)) return [];
  const listed = "const" in names ? [names.const] : names.enum;
  return Array.isArray(listed) ? listed.filter((name) => typeof name === "string") : [];
}

/** The schema of properties that have no name; false: there are none. Unwritten, there are some where nothing is said of names either. */
function otherValues(schema: JsonObject, named: JsonObject): unknown {
  const { additionalProperties, unevaluatedProperties, propertyNames } = schema;
  if (propertyNames === false || listedNames(schema).length > 0) return false;
  const isOpen = schema.properties === undefined && Object.keys(named).length === 0;
  return additionalProperties ?? unevaluatedProperties ?? isOpen;
}

function keyOf(schema: JsonObject, names: readonly string[], where: string, read: ReadSchema): Expression {
  const { propertyNames } = schema;
  const isOpen = !isJsonObject(propertyNames) || Object.keys(propertyNames).every((key) => key === "type");
  if (isOpen) return names.length > 0 ? stringExcept(names) : stringOf();
  if (names.length > 0) throw cannot(where, "has propertyNames beside properties");
  return read({ type: "string", ...propertyNames }, `${where}/propertyNames`);
}

/** Counts that hold whatever is written, or that are of an object without named properties. */
function checkCounts(
  schema: JsonObject,
  { names, required, isOpen }: { names: readonly string[]; required: ReadonlySet<string>; isOpen: boolean },
  where: string,
): void {
  const min = count(schema, "minProperties", 0, where);
  const max = count(schema, "maxProperties", Number.POSITIVE_INFINITY, where);
  const counted = names.length === 0 && isOpen;
  // A name that is written twice counts once.
  if (min > required.size && !(counted && min === 1)) throw cannot(where, "has minProperties");
  if (max < names.length || (isOpen && !counted && max !== Number.POSITIVE_INFINITY)) {
    throw cannot(where, "has maxProperties");
  }
}

/** With white space behind the last; where there is none, that before the first is enough. */
function spaced(properties: readonly Property[], other: Expression = NEVER): Expression {
  const list = sequence(someOf(properties, COMMA, other), SPACE);
  return properties.some(({ required }) => required) ? list : optional(list);
}

/** Properties in their order, those that are not required or not; none at all where none is. */
export function inOrder(properties: readonly Property[], separator: Expression): Expression {
  const some = someOf(properties, separator, NEVER);
  return properties.some(({ required }) => required) ? some : optional(some);
}

/** At least one property, and behind them any number of others. */
function someOf(properties: readonly Property[], separator: Expression, other: Expression): Expression {
  // At least one from each place on, by the one after it: so that nothing is written out twice.
  let some = sequence(other, repeat(sequence(separator, other), 0));
  let isRequired = false;
  for (const [i, { member: own, required }] of [...properties.entries()].reverse()) {
    const behind = sequence(separator, some);
    const withOwn = sequence(own, isRequired ? behind : optional(behind));
    const rule = new Rule(`properties from ${i} on`);
    rule.body = required ? withOwn : choice(withOwn, some);
    some = ruleOf(rule);
    isRequired ||= required;
  }
  return some;
}
