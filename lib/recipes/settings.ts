// From names and values to what a run needs: the settings of the script, a GRPOConfig, and one notice of all that means nothing
// here. Nothing is dropped in silence: a name that nobody knows and a value that cannot be honoured are errors.

import type * as Zod from "zod";
import { show } from "../checks.js";
import { GrpoError, nearestName } from "../errors.js";
import { GRPOConfig } from "../grpo/config.js";
import { type GRPOConfigOptions, schema as grpoSchema } from "../grpo/config-fields.js";
import { unsupportedDefaults, withoutEffect } from "../grpo/config-unsupported.js";
import { toCamel, toSnake } from "../options/names.js";
import { keySchemas } from "./json-schema.js";
import {
  aliases,
  ignoredKeys,
  refusedKeys,
  renamedKeys,
  type ScriptSettings,
  scriptGroups,
  scriptSchema,
} from "./keys.js";
import type { Notice } from "./notices.js";
import type { GivenKeys } from "./read.js";

export interface TrainSettings {
  readonly script: ScriptSettings;
  readonly args: GRPOConfig;
  /** What means nothing here, and what was read into the configuration. */
  readonly notices: readonly Notice[];
}

type Values = Record<string, unknown>;

export function resolveSettings(given: GivenKeys): TrainSettings {
  const notices = new Notices();
  const own: Values = {};
  const grpo: Values = {};
  for (const [key, { value, where }] of withoutAliases(given)) {
    // As in Python, null is the key left out.
    if (value === null || value === undefined) continue;
    const reason = reasonOfIgnoring(key);
    if (Object.hasOwn(scriptSchema.shape, key)) own[key] = value;
    else if (reason !== undefined) notices.addUnless(isOff(value), key, reason);
    else if (Object.hasOwn(refusedKeys, key)) checkRefused(key, value, where);
    else if (isGrpoKey(key)) grpo[toCamel(key)] = value;
    else throw unknownKey(key, where);
  }
  leaveOutOtherConfiguration(own, given, notices);
  const script = parseScript(own, given);
  noteIdle(script, own, notices);
  applyToConfig(script, grpo, notices);
  return { script, args: grpoConfig(grpo), notices: notices.list() };
}

/** Gathers keys by what is said of them. */
class Notices {
  readonly #keys = new Map<string, string[]>();

  add(key: string, text: string): void {
    this.#keys.set(text, [...(this.#keys.get(text) ?? []), key]);
  }

  addUnless(silent: boolean, key: string, reason: string): void {
    if (!silent) this.add(key, `no effect, ${inPython(reason)}`);
  }

  list(): Notice[] {
    return [...this.#keys].map(([text, keys]) => ({ keys, text }));
  }
}

function withoutAliases(given: GivenKeys): GivenKeys {
  const result = new Map(given);
  for (const [alias, name] of Object.entries(aliases)) {
    const value = result.get(alias);
    if (value === undefined) continue;
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

function reasonOfIgnoring(key: string): string | undefined {
  if (Object.hasOwn(ignoredKeys, key)) return ignoredKeys[key];
  return Object.hasOwn(withoutEffect, toCamel(key)) ? withoutEffect[toCamel(key)] : undefined;
}

/** A switch that is off, or an empty list: nothing that anyone would miss. */
function isOff(value: unknown): boolean {
  return value === false || value === "" || (Array.isArray(value) && value.length === 0);
}

function isGrpoKey(key: string): boolean {
  const name = toCamel(key);
  // Python's spelling only: loraR is no key.
  if (toSnake(name) !== key) return false;
  return Object.hasOwn(grpoSchema().shape, name) || Object.hasOwn(unsupportedDefaults, name);
}

function checkRefused(key: string, value: unknown, where: string): void {
  const { only, hint } = refusedKeys[key] ?? { only: value, hint: "" };
  if (value === only) return;
  throw new GrpoError("BAD_OPTION", `${where}: ${key} ${show(value)} is not supported`, { hint });
}

function unknownKey(key: string, where: string): GrpoError {
  const near = nearestName(key, [...keySchemas().keys()]);
  const hint = renamedKeys[key] ?? (near ? `did you mean ${near}?` : "docs/cli.md has the keys");
  const name = where.startsWith("--") ? `unknown option ${where}` : `${where}: unknown key ${JSON.stringify(key)}`;
  return new GrpoError("UNKNOWN_OPTION", name, { hint });
}

function parseScript(own: Values, given: GivenKeys): ScriptSettings {
  if (own.model_name_or_path === undefined) {
    throw new GrpoError("BAD_OPTION", "which model?", { hint: "give model_name_or_path: a folder or a Hub id" });
  }
  const result = scriptSchema.safeParse(own);
  if (result.success) return result.data;
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
function noteIdle(script: ScriptSettings, own: Values, notices: Notices): void {
  if (!script.use_peft) {
    for (const key of scriptGroups.LoRA) {
      if (key !== "use_peft" && own[key] !== undefined)
        notices.add(key, "no effect, use_peft is false: the whole model is trained");
    }
  }
  const mixture = script.dataset_mixture ?? (script.datasets?.length ? script.datasets : undefined);
  if (mixture && script.dataset_name !== undefined) {
    notices.add("dataset_name", "no effect, the data is that of the mixture");
  }
}

/** What the script's keys say to GRPOConfig. */
function applyToConfig(script: ScriptSettings, grpo: Values, notices: Notices): void {
  if (script.warmup_ratio !== undefined) {
    if (grpo.warmupSteps) notices.add("warmup_ratio", "no effect, warmup_steps is set");
    else grpo.warmupSteps = script.warmup_ratio;
  }
  const printed = script.num_completions_to_print;
  if (printed === 0) grpo.logCompletions = false;
  else if (printed !== undefined) grpo.numCompletionsToPrint = printed;
  // TRL cut longer prompts at their beginning, in the versions that have this key.
  if (grpo.maxPromptLength !== undefined) grpo.promptOverflow ??= "truncate";
  if (script.report_to !== undefined) grpo.reportTo = script.report_to;
  leaveOutColocation(grpo, notices);
  applyProcesses(script.num_processes, grpo, notices);
}

/** vLLM in the trainer's process, TRL's default with use_vllm, is the engine that is here. */
function leaveOutColocation(grpo: Values, notices: Notices): void {
  if (grpo.useVllm !== true || grpo.vllmMode === "server") return;
  for (const name of ["useVllm", "vllmMode"].filter((name) => grpo[name] !== undefined)) {
    notices.add(toSnake(name), 'no effect, the engine samples in this process; vllm_mode "server" samples on servers');
    delete grpo[name];
  }
}

/**
 * A step takes the completions of all processes. Without num_processes: as many as it takes for groups to come out even, since TRL
 * refuses any other number.
 */
function applyProcesses(asked: number | undefined, grpo: Values, notices: Notices): void {
  const sizes = { perDeviceTrainBatchSize: 8, gradientAccumulationSteps: 1, numGenerations: 8, ...grpo };
  const { perDeviceTrainBatchSize: batch, gradientAccumulationSteps: accumulation, numGenerations: group } = sizes;
  const slices = Number(grpo.stepsPerGeneration ?? accumulation);
  const own = grpo.generationBatchSize !== undefined;
  const valid = [batch, accumulation, group, slices].every((size) => Number.isSafeInteger(size) && size > 0);
  // GRPOConfig says what is wrong with the sizes.
  const processes = asked ?? (valid && !own && group > 1 ? group / commonDivisor(group, batch * slices) : 1);
  if (processes === 1 || !valid) return;
  grpo.gradientAccumulationSteps = accumulation * processes;
  if (grpo.stepsPerGeneration !== undefined) grpo.stepsPerGeneration = slices * processes;
  if (asked !== undefined) return;
  const product = `per_device_train_batch_size ${batch} × ${grpo.stepsPerGeneration === undefined ? "gradient_accumulation_steps" : "steps_per_generation"} ${slices}`;
  notices.add(
    "num_processes",
    `${processes}, the fewest with which num_generations ${group} divides a generation of ${product} × num_processes; ` +
      `a step takes ${batch * accumulation * processes} completions`,
  );
}

function commonDivisor(a: number, b: number): number {
  return b === 0 ? a : commonDivisor(b, a % b);
}

/** GRPOConfig's errors, in the names that the configuration has. */
function grpoConfig(options: Values): GRPOConfig {
  // Python's empty list and its None are the same default.
  const known = Object.entries(options).filter(
    ([name, value]) => !(isOff(value) && unsupportedDefaults[name] === null),
  );
  try {
    return new GRPOConfig(Object.fromEntries(known) as GRPOConfigOptions);
  } catch (error) {
    if (!(error instanceof GrpoError)) throw error;
    const [message = ""] = error.message.replace(/^GRPOConfig: /, "").split("\n  → ");
    const hint = error.hint === undefined ? {} : { hint: inPython(error.hint) };
    throw new GrpoError(error.code, inPython(message), { ...hint, cause: error });
  }
}

function inPython(text: string): string {
  return text.replaceAll(/\b[a-z]+(?:[A-Z][a-z0-9]*)+\b/g, (word) =>
    Object.hasOwn(grpoSchema().shape, word) || Object.hasOwn(unsupportedDefaults, word) ? toSnake(word) : word,
  );
}
