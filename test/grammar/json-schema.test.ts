// Whatever is drawn under the grammar of a schema is JSON that fits the schema, by a validator that knows nothing of grammars.

import fc from "fast-check";
import { expect, it } from "vitest";
import { schemaExpression } from "../../lib/grammar/json-schema.js";
import { ajv, draw, fits, grammarOf, randomFrom } from "./draw.js";

/** Completions that ended, each checked. */
function checkDraws(schema: unknown, seeds: number, options = {}): number {
  const grammar = grammarOf(schemaExpression(schema));
  const validates = ajv.compile(schema as object);
  let ended = 0;
  for (let seed = 0; seed < seeds; seed++) {
    const drawn = draw(grammar, randomFrom(seed), options);
    if (!drawn.ended) continue;
    ended++;
    expect(validates(JSON.parse(drawn.text)), `${JSON.stringify(schema)}: ${drawn.text}`).toBe(true);
  }
  return ended;
}

const integer = { type: "integer" };
const person = {
  type: "object",
  properties: {
    name: { type: "string", minLength: 1, maxLength: 12 },
    age: { type: "integer", minimum: 0, maximum: 120 },
    tags: { type: "array", items: { type: "string", maxLength: 3 }, maxItems: 3 },
  },
  required: ["name"],
  additionalProperties: false,
};

it.each<[string, unknown]>([
  ["properties that may be left out", person],
  ["a number with a bound between two digits", { type: "number", minimum: 1, maximum: 3.5 }],
  ["a number around nothing, bounds left out", { type: "number", exclusiveMinimum: -0.25, exclusiveMaximum: 0.5 }],
  ["a number below nothing", { type: "number", maximum: -3 }],
  ["a number between two that are close", { type: "number", minimum: 0.101, maximum: 0.1023 }],
  ["a number without a bound", { type: "number" }],
  ["an integer between bounds of different lengths", { type: "integer", minimum: -17, maximum: 123_456 }],
  ["an integer above a bound", { type: "integer", exclusiveMinimum: 5 }],
  ["the integers that a number holds", { type: "integer", minimum: -9007199254740991, maximum: 9007199254740991 }],
  ["values of all kinds", { enum: ["a", 1, null, { x: [1, "é\n"] }, [], {}] }],
  ["values of a type", { type: "string", enum: ["a", 1, 'b"c'] }],
  [
    "a list that refers to the whole",
    {
      type: "object",
      properties: { v: integer, next: { anyOf: [{ $ref: "#" }, { type: "null" }] } },
      required: ["v", "next"],
    },
  ],
  ["definitions with an escaped name", { $ref: "#/$defs/a~1b", $defs: { "a/b": { type: "boolean" } } }],
  ["a reference with more beside it", { $ref: "#/$defs/n", maximum: 3, $defs: { n: { type: "integer", minimum: 2 } } }],
  [
    "both of two schemas",
    {
      allOf: [
        { type: "object", properties: { a: integer }, required: ["a"] },
        { properties: { a: { maximum: 5 }, b: integer }, required: ["b"] },
      ],
    },
  ],
  [
    "options with something in common",
    { anyOf: [{ required: ["a"] }, { required: ["b"] }], type: "object", properties: { a: integer, b: integer } },
  ],
  [
    "one of options that a property tells apart",
    {
      oneOf: [
        { type: "object", properties: { k: { const: "a" }, x: integer }, required: ["k", "x"] },
        { type: "object", properties: { k: { const: "b" } }, required: ["k"] },
      ],
    },
  ],
  ["a tuple", { type: "array", prefixItems: [integer, { const: "x" }], items: { type: "null" }, maxItems: 4 }],
  [
    "a tuple of before 2020",
    { $schema: undefined, type: "array", prefixItems: [integer, { type: "boolean" }], items: false },
  ],
  ["several types", { type: ["string", "null"], minLength: 2, maxLength: 4 }],
  ["a pattern", { type: "string", pattern: "^(?:a|b){2,3}\\d+[^x-z]$" }],
  ["a pattern and a length", { type: "string", pattern: "^[a-z]+$", minLength: 3, maxLength: 5 }],
  ["a pattern of what JSON escapes", { type: "string", pattern: '^["\\\\\\n\\t/]{1,5}$' }],
  ["others of a type", { type: "object", additionalProperties: { type: "boolean" }, maxProperties: 3 }],
  [
    "names of a pattern",
    { type: "object", propertyNames: { pattern: "^[a-c]{1,2}$" }, additionalProperties: integer, minProperties: 1 },
  ],
  [
    "names from a list",
    { type: "object", propertyNames: { enum: ["a", "b"] }, additionalProperties: integer, required: ["b"] },
  ],
])("keeps to %s", (_, schema) => {
  expect(checkDraws(schema, 25)).toBeGreaterThan(5);
});

it.each(["date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uuid"])(
  "writes a %s that validators take",
  (format) => {
    expect(checkDraws({ type: "string", format }, 15, { most: 800 })).toBe(15);
  },
);

it("takes a known format where the pattern beside it looks ahead", () => {
  const schema = {
    type: "string",
    format: "email",
    pattern: "^(?!\\.)(?!.*\\.\\.)([A-Za-z0-9_'+\\-\\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\\-]*\\.)+[A-Za-z]{2,}$",
  };
  expect(checkDraws(schema, 10, { most: 800 })).toBe(10);
});

it("writes no other name as one that the schema describes", () => {
  const schema = {
    type: "object",
    properties: { a: integer, ab: { type: "null" } },
    additionalProperties: { type: "boolean" },
  };
  const grammar = grammarOf(schemaExpression(schema));
  expect(fits(grammar, '{"a":1,"ab":null,"b":true,"abc":false,"":true}')).toBe(true);
  for (const text of ['{"b":1}', '{"a":true}', '{"\\u0061":true}', '{"a":1,"ab":true}', '{"ab":null,"a":1}']) {
    expect(fits(grammar, text), text).toBe(false);
  }
});

it("lets models write JSON as they do: on one line, without spaces, and with indentation", () => {
  const grammar = grammarOf(schemaExpression(person));
  const value = { name: "Ada", age: 36, tags: ["a", "b"] };
  for (const text of [JSON.stringify(value), JSON.stringify(value, null, 2), JSON.stringify(value, null, 4)]) {
    expect(fits(grammar, text), text).toBe(true);
  }
  expect(fits(grammar, '{"name": "Ada", "age": 36, "tags": ["a"]}')).toBe(true);
});

it("lets strings have what JSON lets them have, and counts a character of two halves once", () => {
  const grammar = grammarOf(schemaExpression({ type: "string", minLength: 2, maxLength: 2 }));
  for (const text of ['"ab"', '"é世"', '"\\n\\u00e9"', '"😀\\ud83d\\ude00"', '"\\/\\\\"'])
    expect(fits(grammar, text), text).toBe(true);
  for (const text of ['"a"', '"abc"', '"\\ud83d\\ude00"', '"\\ud83dab"', '"a\n"', '"\\x"'])
    expect(fits(grammar, text), text).toBe(false);
});

it.each<[string, unknown]>([
  ["not", { not: {} }],
  ["multipleOf", { type: "number", multipleOf: 0.5 }],
  ["uniqueItems", { type: "array", items: integer, uniqueItems: true }],
  ["contains", { type: "array", contains: integer }],
  ["if", { if: {}, else: {} }],
  ["patternProperties", { type: "object", patternProperties: { a: {} } }],
  ["minProperties", { type: "object", properties: { a: {}, b: {} }, minProperties: 1 }],
  ["one value may fit together", { oneOf: [integer, { type: "number" }] }],
  ["the type", { type: "text" }],
  ["a reference outside", { $ref: "https://example.com/schema" }],
  ["beside a length", { type: "string", pattern: "^a*b*$", maxLength: 3 }],
  ["expected an object or a boolean", { type: "array", items: 7 }],
])("refuses what it cannot keep to: %s", (found, schema) => {
  expect(() => grammarOf(schemaExpression(schema))).toThrow(found);
});

/** Schemas of any shape, with bounds that leave something. */
const { tree } = fc.letrec<{ tree: object; leaf: object; object: object; array: object }>((tie) => ({
  tree: fc.oneof({ depthSize: "small", withCrossShrink: true }, tie("leaf"), tie("object"), tie("array")),
  leaf: fc.oneof(
    fc.constantFrom(
      { type: "boolean" },
      { type: "null" },
      { type: "string", maxLength: 5 },
      { type: "integer" },
      { const: "x y" },
    ),
    fc
      .tuple(fc.integer({ min: -500, max: 500 }), fc.nat(300))
      .map(([minimum, range]) => ({ type: "integer", minimum, maximum: minimum + range })),
    fc
      .tuple(fc.integer({ min: -500, max: 500 }), fc.nat(300))
      .map(([low, range]) => ({ type: "number", minimum: low / 8, maximum: (low + range) / 8 })),
    fc
      .tuple(fc.nat(3), fc.nat(3))
      .map(([minLength, more]) => ({ type: "string", minLength, maxLength: minLength + more })),
    fc.uniqueArray(fc.string({ maxLength: 4 }), { minLength: 1, maxLength: 4 }).map((values) => ({ enum: values })),
  ),
  array: fc
    .tuple(tie("tree"), fc.nat(2), fc.nat(2))
    .map(([items, minItems, more]) => ({ type: "array", items, minItems, maxItems: minItems + more })),
  object: fc
    .tuple(fc.dictionary(fc.string({ maxLength: 4 }), tie("tree"), { maxKeys: 4 }), fc.func(fc.boolean()))
    .map(([properties, isRequired]) => ({
      type: "object",
      properties,
      required: Object.keys(properties).filter(isRequired),
      additionalProperties: false,
    })),
}));

it("keeps to random schemas in random draws", () => {
  let ended = 0;
  fc.assert(
    fc.property(tree, fc.nat(), (schema, seed) => {
      const grammar = grammarOf(schemaExpression(schema));
      const validates = ajv.compile(schema);
      const drawn = draw(grammar, randomFrom(seed), { most: 250 });
      if (!drawn.ended) return;
      ended++;
      expect(validates(JSON.parse(drawn.text)), drawn.text).toBe(true);
    }),
    { numRuns: 150, seed: 7 },
  );
  expect(ended).toBeGreaterThan(75);
});

it("takes a schema of many parts, and refuses one of too many", () => {
  const wide = (size: number) => ({
    type: "object",
    properties: Object.fromEntries(Array.from({ length: size }, (_, i) => [`key ${i}`, integer])),
  });
  expect(fits(grammarOf(schemaExpression(wide(1500))), '{"key 3": 1, "key 1499": 2}')).toBe(true);
  expect(() => schemaExpression(wide(3000))).toThrow("parts");
});
