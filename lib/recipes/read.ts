// What a configuration file and a command line say: names and values, each with the place where it was said. The command line wins.
// Values are YAML in both; the type that a key has decides what is ambiguous.

import { readFile } from "node:fs/promises";
import { parseDocument } from "yaml";
import { GrpoError, reasonOf } from "../errors.js";
import { isJsonObject, type JsonObject } from "../json.js";
import { choicesOf, keySchemas, typesOf } from "./json-schema.js";

export interface Given {
  readonly value: unknown;
  /** What messages call the place: a file, or the option as it was written. */
  readonly where: string;
}

export type GivenKeys = ReadonlyMap<string, Given>;

export async function readGiven(
  recipe: Parameters<typeof keySchemas>[0],
  file: string | undefined,
  overrides: readonly string[],
): Promise<GivenKeys> {
  const fromFile = file === undefined ? [] : Object.entries(await readYaml(file));
  const schemas = keySchemas(recipe);
  const given = new Map<string, Given>();
  for (const [name, value] of fromFile) given.set(name, { value: fitted(value, schemas.get(name)), where: file ?? "" });
  for (const { option, name, words } of readOptions(overrides)) {
    const [key, schema] = [name, schemas.get(name)];
    const positive = name.replace(/^no_/, "");
    if (schema === undefined && words.length === 0 && isSwitch(schemas.get(positive))) {
      given.set(positive, { value: false, where: option });
    } else {
      given.set(key, { value: fromWords(words, schema), where: option });
    }
  }
  return given;
}

async function readYaml(file: string): Promise<JsonObject> {
  const text = await readFile(file, "utf8").catch((cause: unknown) => {
    throw new GrpoError("FILE_NOT_FOUND", `cannot read ${file}: ${reasonOf(cause)}`, { cause });
  });
  const document = parseDocument(text, { merge: true });
  const [error] = document.errors;
  if (error) throw new GrpoError("BAD_CONFIG", `${file} is not YAML: ${error.message.trimEnd()}`);
  const content: unknown = document.toJS();
  if (isJsonObject(content)) return content;
  throw new GrpoError("BAD_CONFIG", `${file}: expected keys with values, such as "learning_rate: 1.0e-6"`);
}

interface Option {
  /** The option as it was written, for messages. */
  readonly option: string;
  readonly name: string;
  readonly words: readonly string[];
}

/** `--key value …`, `--key=value`, `--key`; dashes in a name are underscores. */
function readOptions(args: readonly string[]): Option[] {
  const options: { option: string; name: string; words: string[] }[] = [];
  for (const arg of args) {
    if (!arg.startsWith("--")) {
      const last = options.at(-1);
      if (last) last.words.push(arg);
      else throw new GrpoError("BAD_OPTION", `expected an option such as --max_steps, found ${JSON.stringify(arg)}`);
      continue;
    }
    const [option = "", ...value] = arg.split("=");
    options.push({
      option,
      name: option.slice(2).replaceAll("-", "_"),
      words: value.length > 0 ? [value.join("=")] : [],
    });
  }
  return options;
}

function fromWords(words: readonly string[], schema: JsonObject | undefined): unknown {
  const [first = "", ...others] = words;
  if (words.length === 0) return true;
  const types = typesOf(schema ?? {});
  if (types.has("array")) {
    const items = words.flatMap(itemsOf);
    return items.length === 1 && types.has("string") ? items[0] : items;
  }
  if (others.length > 0) return words;
  const own = choicesOf(schema ?? {}).includes(first);
  const onlyText = types.has("string") && [...types].every((type) => type === "string" || type === "null");
  return own || onlyText ? first : fitted(parseValue(first), schema);
}

/** `a,b` and `[a, b]` are several. */
function itemsOf(word: string): unknown[] {
  const value = parseValue(word);
  if (Array.isArray(value)) return value;
  return typeof value === "string" ? value.split(",").map((part) => parseValue(part)) : [value];
}

function parseValue(text: string): unknown {
  const document = parseDocument(text);
  return document.errors.length > 0 ? text : document.toJS();
}

const WORDS: Readonly<Record<string, boolean>> = {
  yes: true,
  true: true,
  t: true,
  y: true,
  on: true,
  no: false,
  false: false,
  f: false,
  n: false,
  off: false,
};

/** The value as the type that the key has, where it can only be meant so; otherwise as it is. */
function fitted(value: unknown, schema: JsonObject | undefined): unknown {
  const types = typesOf(schema ?? {});
  if (types.size === 0) return value;
  if (typeof value === "string" && !types.has("string")) {
    if (types.has("boolean")) return WORDS[value.toLowerCase()] ?? value;
    const number = value.trim() === "" ? Number.NaN : Number(value);
    if ((types.has("number") || types.has("integer")) && Number.isFinite(number)) return number;
  }
  const isNumber = typeof value === "number" && (types.has("number") || types.has("integer"));
  if (isNumber || (typeof value === "boolean" && types.has("boolean"))) return value;
  if ((typeof value === "number" || typeof value === "boolean") && types.has("string")) return String(value);
  const single = typeof value === "string" || typeof value === "number";
  return single && types.has("array") && !types.has(typeof value) ? [value] : value;
}

function isSwitch(schema: JsonObject | undefined): boolean {
  return typesOf(schema ?? {}).has("boolean");
}
