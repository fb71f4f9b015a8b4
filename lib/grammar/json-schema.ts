// JSON schemas as grammars. Every text that fits the grammar fits the schema; some that fit the schema do not fit the grammar:
// properties come in the schema's order, and others only where `additionalProperties` is written. What no grammar of this kind can
// promise is refused by name.

import { isJsonObject, type JsonObject } from "../json.js";
import { choice, type Expression, NEVER, Rule, ruleOf, text } from "./expression.js";
import { BOOLEAN, INTEGER, literalValue, NUMBER, VALUE } from "./json-text.js";
import { type Decimal, decimalOf, numberBetween } from "./number-range.js";
import { arrayExpression } from "./schema-arrays.js";
import { ANNOTATIONS, cannot, checkKeywords, type ReadSchema } from "./schema-keywords.js";
import { mergedSchemas, typesOf } from "./schema-merge.js";
import { objectExpression } from "./schema-objects.js";
import { stringExpression } from "./schema-strings.js";

/**
 * Throws BAD_INPUT, naming the place, for a schema that is none or that a grammar cannot keep. References are into `document`. Default:
 * the schema itself.
 */
export function schemaExpression(schema: unknown, document: unknown = schema): Expression {
  return new SchemaReader(document).read(schema, "");
}

class SchemaReader {
  readonly #root: unknown;
  readonly #rules = new Map<string, Rule>();
  /** Schemas so far, each a place of the document or what several came together as. */
  #count = 0;

  constructor(root: unknown) {
    this.#root = root;
  }

  read: ReadSchema = (schema, where) => {
    if (++this.#count > MOST_SCHEMAS) throw cannot(where, `has more than ${MOST_SCHEMAS} parts`);
    if (schema === true) return VALUE;
    if (schema === false) return NEVER;
    if (!isJsonObject(schema)) throw cannot(where, "is no schema: expected an object or a boolean");
    checkKeywords(schema, where);
    const { $ref: reference, allOf, anyOf, oneOf, ...rest } = schema;
    if (typeof reference === "string") return this.#reference(reference, rest, where);
    if (allOf !== undefined) return this.#all(allOf, { ...rest, ...present({ anyOf, oneOf }) }, where);
    if (anyOf !== undefined) return this.#any(anyOf, { ...rest, ...present({ oneOf }) }, `${where}/anyOf`);
    if (oneOf !== undefined) {
      checkApart(
        list(oneOf, where).map((option) => this.#resolved(option)),
        `${where}/oneOf`,
      );
      return this.#any(oneOf, rest, `${where}/oneOf`);
    }
    return this.#plain(rest, where);
  };

  /** Without references and combinations. */
  #plain(schema: JsonObject, where: string): Expression {
    if ("const" in schema) return this.#values([schema.const], schema, where);
    if (schema.enum !== undefined) return this.#values(list(schema.enum, where), schema, where);
    const types = typesOf(schema);
    if (types === undefined) return VALUE;
    return choice(...types.map((type) => this.#typed(type, schema, where)));
  }

  #typed(type: string, schema: JsonObject, where: string): Expression {
    switch (type) {
      case "object":
        return objectExpression(schema, where, this.read);
      case "array":
        return arrayExpression(schema, where, this.read);
      case "string":
        return stringExpression(schema, where);
      case "integer":
      case "number":
        return numberExpression(schema, type === "integer", where);
      case "boolean":
        return BOOLEAN;
      case "null":
        return text("null");
      default:
        throw cannot(where, `has the type ${JSON.stringify(type)}, which is none of JSON`);
    }
  }

  #values(values: readonly unknown[], schema: JsonObject, where: string): Expression {
    const other = Object.keys(schema).find((key) => CONSTRAINTS.has(key));
    if (other !== undefined)
      throw cannot(where, `has ${other} beside its values; leave out the values that it excludes`);
    const types = schema.type === undefined ? undefined : typesOf(schema);
    const allowed = values.filter((value) => types === undefined || types.some((type) => isOfType(value, type)));
    return choice(...allowed.map(literalValue));
  }

  #any(options: unknown, rest: JsonObject, where: string): Expression {
    const read = list(options, where).map((option, i) => {
      const plain = !Object.keys(rest).some((key) => !ANNOTATIONS.has(key));
      return this.read(plain ? option : { allOf: [option, rest] }, `${where}/${i}`);
    });
    return choice(...read);
  }

  #all(schemas: unknown, rest: JsonObject, where: string): Expression {
    const parts = [...list(schemas, where).map((part) => this.#resolved(part)), rest];
    return this.read(mergedSchemas(parts, where), where);
  }

  /** A schema without a reference at its top, as far as it can be had without meeting itself. */
  #resolved(schema: unknown, depth = 0): unknown {
    if (!isJsonObject(schema) || typeof schema.$ref !== "string" || depth > MOST_REFERENCES) return schema;
    const { $ref: reference, ...rest } = schema;
    const target = this.#resolved(this.#target(reference), depth + 1);
    const bare = Object.keys(rest).every((key) => ANNOTATIONS.has(key));
    return bare ? target : { allOf: [target, rest] };
  }

  #reference(reference: string, rest: JsonObject, where: string): Expression {
    if (Object.keys(rest).some((key) => !ANNOTATIONS.has(key))) {
      return this.#all([{ $ref: reference }], rest, where);
    }
    const known = this.#rules.get(reference);
    if (known) return ruleOf(known);
    const rule = new Rule(reference);
    this.#rules.set(reference, rule);
    rule.body = this.read(this.#target(reference), reference);
    return ruleOf(rule);
  }

  #target(reference: string): unknown {
    if (reference !== "#" && !reference.startsWith("#/")) {
      throw cannot(reference, "is a reference outside of the schema; expected one that begins with #");
    }
    const keys = reference.split("/").slice(1);
    const found = keys.reduce((at: unknown, key) => {
      const name = decodeURIComponent(key).replaceAll("~1", "/").replaceAll("~0", "~");
      return typeof at === "object" && at !== null && Object.hasOwn(at, name) ? Reflect.get(at, name) : undefined;
    }, this.#root);
    if (found === undefined) throw cannot(reference, "is a reference to nothing");
    return found;
  }
}

/** Of a schema and what it refers to. */
const MOST_SCHEMAS = 2000;
const MOST_REFERENCES = 32;
/** What a listed value may not be narrowed by: it would have to be looked at. */
const CONSTRAINTS: ReadonlySet<string> = new Set([
  "minimum",
  "maximum",
  "exclusiveMinimum",
  "exclusiveMaximum",
  "minLength",
  "maxLength",
  "pattern",
  "properties",
  "required",
  "items",
  "prefixItems",
  "minItems",
  "maxItems",
]);

function present(keys: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(keys).filter(([, value]) => value !== undefined));
}

function list(value: unknown, where: string): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw cannot(where, "has a list of schemas or values that is no list");
}

function isOfType(value: unknown, type: string): boolean {
  if (type === "integer") return Number.isInteger(value);
  if (type === "null") return value === null;
  if (type === "array") return Array.isArray(value);
  return type === "object" ? isJsonObject(value) : typeof value === type;
}

/** Throws where two options might both fit: `oneOf` then fits neither. */
function checkApart(options: readonly unknown[], where: string): void {
  for (const [i, first] of options.entries()) {
    for (const second of options.slice(i + 1)) {
      if (!areApart(first, second)) throw cannot(where, "has options that one value may fit together; write anyOf");
    }
  }
}

function areApart(first: unknown, second: unknown): boolean {
  if (!isJsonObject(first) || !isJsonObject(second)) return first === false || second === false;
  const [values, others] = [valuesOf(first), valuesOf(second)];
  if (values && others) return !values.some((value) => others.includes(value));
  const [types, otherTypes] = [typesOf(first), typesOf(second)];
  const kinds = (names: readonly string[]) => names.map((name) => (name === "integer" ? "number" : name));
  if (types && otherTypes && !kinds(types).some((type) => kinds(otherTypes).includes(type))) return true;
  const [properties, otherProperties] = [first.properties, second.properties];
  if (!isJsonObject(properties) || !isJsonObject(otherProperties)) return false;
  // A property that both require and that says which of the two it is.
  return Object.keys(properties).some((key) => {
    const isRequired = [first, second].every(({ required }) => Array.isArray(required) && required.includes(key));
    const [one, other] = [properties[key], otherProperties[key]];
    return isRequired && isJsonObject(one) && isJsonObject(other) && areApart(one, other);
  });
}

/** As JSON. */
function valuesOf(schema: JsonObject): string[] | undefined {
  const values = "const" in schema ? [schema.const] : schema.enum;
  return Array.isArray(values) ? values.map((value) => JSON.stringify(value)) : undefined;
}

function numberExpression(schema: JsonObject, integer: boolean, where: string): Expression {
  const wholes = integer || schema.multipleOf === 1;
  if (schema.multipleOf !== undefined && schema.multipleOf !== 1) throw cannot(where, "has multipleOf");
  const min = bound(schema, "minimum", where);
  const max = bound(schema, "maximum", where);
  const openMin = bound(schema, "exclusiveMinimum", where);
  const openMax = bound(schema, "exclusiveMaximum", where);
  if ([min, max, openMin, openMax].every((value) => value === undefined)) return wholes ? INTEGER : NUMBER;
  const below = openMin !== undefined && (min === undefined || openMin.value >= min.value);
  const above = openMax !== undefined && (max === undefined || openMax.value <= max.value);
  return numberBetween(
    {
      min: (below ? openMin : min)?.decimal,
      max: (above ? openMax : max)?.decimal,
      openMin: below,
      openMax: above,
    },
    wholes,
  );
}

function bound(schema: JsonObject, key: string, where: string): { value: number; decimal: Decimal } | undefined {
  const value = schema[key];
  if (value === undefined) return undefined;
  const decimal = typeof value === "number" ? decimalOf(value) : undefined;
  if (decimal === undefined) throw cannot(where, `has a ${key} that is no number written in digits`);
  return { value: value as number, decimal };
}
