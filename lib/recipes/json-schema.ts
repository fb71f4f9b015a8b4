// Every key with its JSON Schema, from the schemas and tables that decide what a key does: for editors, and to read text from a
// command line as the type that its key has.

import type * as Zod from "zod";
import { schema as grpoSchema } from "../grpo/config-fields.js";
import { unsupportedDefaults, withoutEffect } from "../grpo/config-unsupported.js";
import { isJsonObject, type JsonObject } from "../json.js";
import { toSnake } from "../options/names.js";
import { zod } from "../zod.js";
import { aliases, ignoredKeys, refusedKeys, scriptSchema } from "./keys.js";
import { namedRewards } from "./reward-functions.js";

/** Name → schema, in the order of the documentation. */
export function keySchemas(): ReadonlyMap<string, JsonObject> {
  const keys = new Map<string, JsonObject>(Object.entries(propertiesOf(scriptSchema)));
  const add = (name: string, property: JsonObject) => {
    if (!keys.has(name)) keys.set(name, property);
  };
  for (const [name, why] of Object.entries(ignoredKeys)) add(name, withoutEffectHere(why));
  for (const [name, { only, hint }] of Object.entries(refusedKeys)) add(name, refused(only, hint));
  for (const [name, property] of Object.entries(propertiesOf(grpoSchema()))) add(toSnake(name), property);
  for (const [name, only] of Object.entries(unsupportedDefaults)) add(toSnake(name), refused(only));
  for (const [name, why] of Object.entries(withoutEffect)) add(toSnake(name), withoutEffectHere(why));
  for (const [alias, name] of Object.entries(aliases)) keys.set(alias, keys.get(name) ?? {});
  // GRPOConfig takes booleans before its schema sees them.
  const scale = keys.get("scale_rewards") ?? {};
  const { default: fallback, ...choices } = scale;
  keys.set("scale_rewards", { default: fallback, anyOf: [choices, { type: "boolean" }] });
  const reward = [{ enum: Object.keys(namedRewards) }, { type: "string", pattern: "\\.[cm]?[jt]s(#.*)?$" }];
  keys.set("reward_funcs", { ...keys.get("reward_funcs"), items: { anyOf: reward } });
  return keys;
}

/** The names of those that do something here: the script's, then GRPOConfig's. */
export function actingKeys(): string[] {
  return [...new Set([...Object.keys(scriptSchema.shape), ...Object.keys(grpoSchema().shape).map(toSnake)])];
}

/** The schema of a configuration file. `descriptions` are those of GRPOConfig's fields, by their names there. */
export function trainJsonSchema(descriptions: ReadonlyMap<string, string>): JsonObject {
  const bySnake = new Map(
    [...descriptions].map(([name, text]) => [toSnake(name), text.replaceAll(/\b[a-z]+(?:[A-Z][a-z]+)+\b/g, toSnake)]),
  );
  const properties = [...keySchemas()].map(([name, property]) => {
    const description = property.description ?? bySnake.get(name);
    return [name, description ? { description, ...property } : property];
  });
  return {
    $schema: "http://json-schema.org/draft-07/schema#",
    title: "grpo train",
    description: "Configuration of `grpo train config.yaml`: the keys of TRL's `trl grpo` and of open-r1's recipes.",
    type: "object",
    properties: Object.fromEntries(properties),
    additionalProperties: false,
  };
}

/** JSON types that a schema allows. */
export function typesOf(property: JsonObject): ReadonlySet<string> {
  const own: readonly unknown[] = Array.isArray(property.type) ? property.type : [property.type];
  const named = own.filter((type) => typeof type === "string");
  return new Set([...named, ...alternatives(property).flatMap((option) => [...typesOf(option)])]);
}

/** Strings that a schema names. */
export function choicesOf(property: JsonObject): readonly unknown[] {
  const own: readonly unknown[] = Array.isArray(property.enum) ? property.enum : [];
  return [...own, ...alternatives(property).flatMap(choicesOf)];
}

function alternatives({ anyOf }: JsonObject): readonly JsonObject[] {
  return Array.isArray(anyOf) ? anyOf.filter(isJsonObject) : [];
}

function withoutEffectHere(why: string): JsonObject {
  return { description: `No effect: ${why}.`, deprecated: true };
}

function refused(only: unknown, hint?: string): JsonObject {
  const choices = only === null ? [null] : [only, null];
  return { description: `Not supported${hint === undefined ? " yet" : `: ${hint}`}.`, enum: choices };
}

function propertiesOf(object: Zod.ZodObject): Readonly<Record<string, JsonObject>> {
  const { properties = {} } = zod().toJSONSchema(object, { io: "input", unrepresentable: "any", target: "draft-7" });
  return withoutBounds(properties) as Record<string, JsonObject>;
}

/** zod writes out how far whole numbers go; a reader has nothing from it. */
function withoutBounds(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutBounds);
  if (!isJsonObject(value)) return value;
  const entries = Object.entries(value).filter(([, bound]) => Math.abs(Number(bound)) !== Number.MAX_SAFE_INTEGER);
  return Object.fromEntries(entries.map(([key, item]) => [key, withoutBounds(item)]));
}
