// From names and values to what a run needs: the settings of the script, the trainer's config, and one notice of all that means nothing
// here. Nothing is dropped in silence: a name that nobody knows and a value that cannot be honoured are errors.

import type * as Zod from "zod";
import { show } from "../checks.js";
import { GrpoError, nearestName } from "../errors.js";
import type { GRPOConfig } from "../grpo/config.js";
import { toCamel, toSnake } from "../options/names.js";
import type { SFTConfig } from "../sft/config.js";
import { keySchemas } from "./json-schema.js";
import { type CommonSettings, refusedKeys, renamedKeys, type ScriptSettings } from "./keys.js";
import { type Notice, Notices } from "./notices.js";
import type { GivenKeys } from "./read.js";
import type { Recipe, Values } from "./recipe.js";

export interface RunSettings<Script extends CommonSettings, Args> {
  readonly script: Script;
  readonly args: Args;
  /** What means nothing here, and what was read into the configuration. */
  readonly notices: readonly Notice[];
}
export type TrainSettings = RunSettings<ScriptSettings, GRPOConfig>;
export type SftSettings = RunSettings<CommonSettings, SFTConfig>;

type AnyRecipe = Recipe<never, unknown>;

export function resolveSettings<Script extends CommonSettings, Args>(
  recipe: Recipe<Script, Args>,
  given: GivenKeys,
): RunSettings<Script, Args> {
  const notices = new Notices();
  const own: Values = {};
  const config: Values = {};
  for (const [key, { value, where }] of withoutAliases(recipe, given)) {
    // As in Python, null is the key left out.
    if (value === null || value === undefined) continue;
    const reason = reasonOfIgnoring(recipe, key);
    if (Object.hasOwn(recipe.scriptSchema.shape, key)) own[key] = value;
    else if (reason !== undefined) {
      if (!isOff(value)) notices.add(key, `no effect, ${inPython(recipe, reason)}`);
    } else if (Object.hasOwn(refusedKeys, key)) checkRefused(key, value, where);
    else if (isConfigKey(recipe, key)) config[toCamel(key)] = value;
    else throw unknownKey(recipe, key, where);
  }
  leaveOutOtherConfiguration(own, given, notices);
  const script = parseScript(recipe, own, given);
  noteIdle(script, own, recipe, notices);
  applyToConfig(script, config, notices);
  recipe.apply(script, config, notices);
  return { script, args: createConfig(recipe, config), notices: notices.list() };
}

function withoutAliases({ aliases }: AnyRecipe, given: GivenKeys): GivenKeys {
  const result = new Map(given);
  for (const [alias, name] of Object.entries(aliases)) {
    const found = result.get(alias);
    if (found === undefined) continue;
    const [only, ...more] = Array.isArray(found.value) ? (found.value as unknown[]) : [found.value];
    const value = more.length > 0 ? found : { ...found, value: only };
    result.delete(alias);
    // What the command line says of one name wins over what the file says of the other.
    const other = result.get(name);
    if (other === undefined || value.where.startsWith("--")) result.set(name, value);
    if (other === undefined || other.where.startsWith("--") !== value.where.startsWith("--")) continue;
    if (other.value !== value.value) {
      throw new GrpoError(
        "BAD_OPTION",
        `${value.where}: ${alias} ${show(value.value)} and ${name} ${show(other.value)} differ`,
        {
          hint: `they are two names of one key; keep ${name}`,
        },
      );
    }
  }
  return result;
}

function reasonOfIgnoring({ ignoredKeys, foreign }: AnyRecipe, key: string): string | undefined {
  if (Object.hasOwn(ignoredKeys, key)) return ignoredKeys[key];
  const { withoutEffect } = foreign;
  return Object.hasOwn(withoutEffect, toCamel(key)) ? withoutEffect[toCamel(key)] : undefined;
}

/** A switch that is off, or an empty list: nothing that anyone would miss. */
function isOff(value: unknown): boolean {
  return value === false || value === "" || (Array.isArray(value) && value.length === 0);
}

function isConfigKey({ fields, foreign }: AnyRecipe, key: string): boolean {
  const name = toCamel(key);
  // Python's spelling only: loraR is no key.
  if (toSnake(name) !== key) return false;
  return Object.hasOwn(fields().shape, name) || Object.hasOwn(foreign.unsupportedDefaults, name);
}

function checkRefused(key: string, value: unknown, where: string): void {
  const { only, hint } = refusedKeys[key] ?? { only: value, hint: "" };
  if (value === only) return;
  throw new GrpoError("BAD_OPTION", `${where}: ${key} ${show(value)} is not supported`, { hint });
}

function unknownKey(recipe: AnyRecipe, key: string, where: string): GrpoError {
  const near = nearestName(key, [...keySchemas(recipe).keys()]);
  const hint = renamedKeys[key] ?? (near ? `did you mean ${near}?` : "docs/cli.md has the keys");
  const name = where.startsWith("--") ? `unknown option ${where}` : `${where}: unknown key ${JSON.stringify(key)}`;
  return new GrpoError("UNKNOWN_OPTION", name, { hint });
}

function parseScript<Script extends CommonSettings>(
  { scriptSchema }: Recipe<Script, unknown>,
  own: Values,
  given: GivenKeys,
): Script {
  if (own.model_name_or_path === undefined) {
    throw new GrpoError("BAD_OPTION", "which model?", { hint: "give model_name_or_path: a folder or a Hub id" });
  }
  const result = scriptSchema.safeParse(own);
  if (result.success) return result.data as Script;
  throw scriptError(result.error.issues[0], own, given);
}

function scriptError(issue: Zod.core.$ZodIssue | undefined, own: Values, given: GivenKeys): GrpoError {
  const path = (issue?.path ?? []).map(String);
  const value = path.reduce<unknown>(
    (at, key) => (at === null || at === undefined ? at : Reflect.get(Object(at), key)),
    own,
  );
  const where = given.get(path[0] ?? "")?.where ?? "";
  const place = where.startsWith("--") ? where : `${where}: ${path.join(".")}`;
  return new GrpoError("BAD_OPTION", `${place}: found ${show(value)}; ${issue?.message ?? "not valid"}`);
}

/** A data set on the command line is another one than that of the file, and so are its configurations. */
function leaveOutOtherConfiguration(own: Values, given: GivenKeys, notices: Notices): void {
  const overridden = given.get("dataset_name")?.where.startsWith("--");
  if (!overridden || own.dataset_config === undefined || given.get("dataset_config")?.where.startsWith("--")) return;
  delete own.dataset_config;
  notices.add("dataset_config", "no effect, it belongs to the data set that --dataset_name replaces");
}

/** Keys that act only together with another one. */
function noteIdle(script: CommonSettings, own: Values, { scriptGroups }: AnyRecipe, notices: Notices): void {
  if (!script.use_peft) {
    for (const key of scriptGroups.LoRA ?? []) {
      if (key !== "use_peft" && own[key] !== undefined)
        notices.add(key, "no effect, use_peft is false: the whole model is trained");
    }
  }
  const mixture = script.dataset_mixture ?? (script.datasets?.length ? script.datasets : undefined);
  if (mixture && script.dataset_name !== undefined) {
    notices.add("dataset_name", "no effect, the data is that of the mixture");
  }
}

/** What any script's keys say to the config. */
function applyToConfig(script: CommonSettings, config: Values, notices: Notices): void {
  if (script.warmup_ratio !== undefined) {
    if (config.warmupSteps) notices.add("warmup_ratio", "no effect, warmup_steps is set");
    else config.warmupSteps = script.warmup_ratio;
  }
  if (script.report_to !== undefined) config.reportTo = script.report_to;
}

/** The config's errors, in the names that the configuration has. */
function createConfig<Args>(recipe: Recipe<never, Args>, options: Values): Args {
  // Python's empty list and its None are the same default.
  const known = Object.entries(options).filter(
    ([name, value]) => !(isOff(value) && recipe.foreign.unsupportedDefaults[name] === null),
  );
  try {
    return recipe.create(Object.fromEntries(known));
  } catch (error) {
    if (!(error instanceof GrpoError)) throw error;
    const [message = ""] = error.message.replace(`${recipe.config}: `, "").split("\n  → ");
    const hint = error.hint === undefined ? {} : { hint: inPython(recipe, error.hint) };
    throw new GrpoError(error.code, inPython(recipe, message), { ...hint, cause: error });
  }
}

function inPython({ fields, foreign }: AnyRecipe, text: string): string {
  return text.replaceAll(/\b[a-z]+(?:[A-Z][a-z0-9]*)+\b/g, (word) =>
    Object.hasOwn(fields().shape, word) || Object.hasOwn(foreign.unsupportedDefaults, word) ? toSnake(word) : word,
  );
}
