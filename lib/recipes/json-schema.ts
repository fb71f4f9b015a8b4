// Every key with its JSON Schema, from the schemas and tables that decide what a key does: for editors, and to read text from a
// command line as the type that its key has.

import type * as Zod from "zod";
import { isJsonObject, type JsonObject } from "../json.js";
import { toSnake } from "../options/names.js";
import { zod } from "../zod.js";
import { refusedKeys } from "./keys.js";
import type { Recipe } from "./recipe.js";

type AnyRecipe = Recipe<never, unknown>;

/** Name → schema, in the order of the documentation. */
export function keySchemas({
  scriptSchema,
  fields,
  foreign,
  aliases,
  ignoredKeys,
  refine,
}: AnyRecipe): Map<string, JsonObject> {
  const keys = new Map<string, JsonObject>(Object.entries(propertiesOf(scriptSchema)));
  const add = (name: string, property: JsonObject) => {
    if (!keys.has(name)) keys.set(name, property);
  };
  for (const [name, why] of Object.entries(ignoredKeys)) add(name, withoutEffectHere(why));
  for (const [name, { only, hint }] of Object.entries(refusedKeys)) add(name, refused(only, hint));
  for (const [name, property] of Object.entries(propertiesOf(fields()))) add(toSnake(name), property);
  for (const [name, only] of Object.entries(foreign.unsupportedDefaults)) add(toSnake(name), refused(only));
  for (const [name, why] of Object.entries(foreign.withoutEffect)) add(toSnake(name), withoutEffectHere(why));
  for (const [alias, name] of Object.entries(aliases)) keys.set(alias, keys.get(name) ?? {});
  for (const [name, property] of refine(keys)) keys.set(name, property);
  return keys;
}

/** The names of those that do something here: the script's, then the config's. */
export function actingKeys({ scriptSchema, fields }: AnyRecipe): string[] {
  return [...new Set([...Object.keys(scriptSchema.shape), ...Object.keys(fields().shape).map(toSnake)])];
}

/** The schema of a configuration file. `descriptions` are those of the config's fields, by their names there. */
export function configurationSchema(recipe: AnyRecipe, descriptions: ReadonlyMap<string, string>): JsonObject {
  const { command, trlCommand } = recipe;
  const bySnake = new Map(
    [...descriptions].map(([name, text]) => [toSnake(name), text.replaceAll(/\b[a-z]+(?:[A-Z][a-z]+)+\b/g, toSnake)]),
  );
  const properties = [...keySchemas(recipe)].map(([name, property]) => {
    const description = property.description ?? bySnake.get(name);
    return [name, description ? { description, ...property } : property];
  });
  return {
    $schema: "http://json-schema.org/draft-07/schema#",
    title: `grpo ${command}`,
    description: `Configuration of \`grpo ${command} config.yaml\`: the keys of TRL's \`${trlCommand}\` and of open-r1's recipes.`,
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
