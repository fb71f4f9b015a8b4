// From an object of options to the fields of a trainer's config: what the schema has is checked by it; what only TRL has is set
// aside with a note where it means nothing here, and refused where it would have changed the result. Nothing is ignored in silence.

import type * as Zod from "zod";
import { checkOptionsObject, show } from "../checks.js";
import { GrpoError, nearestName } from "../errors.js";
import { namedTrackers, type Tracker } from "../log/trackers.js";
import { optionError, valueAt } from "../options/fields.js";
import { DEFAULT_LOG_TO } from "./options.js";

/** What a config knows beside its schema. */
export interface ForeignOptions {
  /** Not supported: name → TRL's default, the only value accepted. */
  readonly unsupportedDefaults: Readonly<Record<string, unknown>>;
  /** Accepted without effect: name → why there is nothing to do. */
  readonly withoutEffect: Readonly<Record<string, string>>;
  /** Names from elsewhere → what to write. */
  readonly renamedOptions: Readonly<Record<string, string>>;
  /** Values that TRL takes for an option of ours and that come later. */
  readonly unsupportedValues: Readonly<Record<string, readonly string[]>>;
}

export interface OptionReader<Schema extends Zod.ZodObject> {
  /** Name of the config's class, for messages. */
  readonly config: string;
  readonly schema: Schema;
  readonly foreign: ForeignOptions;
}

/** The fields, and notes on what has no effect. Throws UNKNOWN_OPTION or BAD_OPTION, naming the option. */
export function readOptions<Schema extends Zod.ZodObject>(
  reader: OptionReader<Schema>,
  options: object,
): { readonly fields: Zod.output<Schema>; readonly notes: readonly string[] } {
  const { known, notes } = setAsideForeign(reader, options);
  const result = reader.schema.safeParse(known);
  if (!result.success) throw unsupportedOr(reader, result.error.issues[0], known);
  return { fields: result.data, notes };
}

function setAsideForeign({ config, schema, foreign }: OptionReader<Zod.ZodObject>, options: object) {
  checkOptionsObject(config, options, Object.keys(schema.shape), "write { outputDir: … }");
  const { withoutEffect, unsupportedDefaults } = foreign;
  const known: Record<string, unknown> = {};
  const notes: string[] = [];
  let reportTo: unknown = null;
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue;
    const reason = Object.hasOwn(withoutEffect, name) ? withoutEffect[name] : undefined;
    if (Object.hasOwn(schema.shape, name)) known[name] = value;
    else if (name === "reportTo") reportTo = value;
    else if (reason !== undefined) notes.push(`${name} has no effect: ${reason}`);
    else if (Object.hasOwn(unsupportedDefaults, name)) checkUnsupported(config, name, value, unsupportedDefaults[name]);
    else throw unknownOption(config, schema, foreign, name);
  }
  const trackers = readReportTo(reportTo, config);
  if (trackers.length > 0) known.logTo = [...new Set([...((known.logTo as string[]) ?? DEFAULT_LOG_TO), ...trackers])];
  return { known, notes };
}

/** The trackers that reportTo names, as transformers reads it: one, a list, "all", "none" or null. Throws BAD_OPTION for anything else. */
function readReportTo(value: unknown, config: string): readonly Tracker[] {
  const names: unknown[] = value === null ? [] : Array.isArray(value) ? value : [value];
  const texts = names.filter((name) => typeof name === "string");
  if (texts.length < names.length) {
    throw new GrpoError(
      "BAD_OPTION",
      `${config}: reportTo must be a tracker's name or a list of them, found ${show(value)}`,
    );
  }
  return namedTrackers(texts, config);
}

function checkUnsupported(config: string, name: string, value: unknown, expected: unknown): void {
  if (value === expected) return;
  throw new GrpoError("BAD_OPTION", `${config}: ${name} ${show(value)} is not supported yet`, {
    hint: `leave it out; the value in effect is TRL's default, ${show(expected)}`,
  });
}

function unknownOption(config: string, schema: Zod.ZodObject, foreign: ForeignOptions, name: string): GrpoError {
  const { renamedOptions, unsupportedDefaults, withoutEffect } = foreign;
  const names = [...[schema.shape, unsupportedDefaults, withoutEffect].flatMap(Object.keys), "reportTo"];
  const near = nearestName(name, names);
  const hint =
    renamedOptions[name] ??
    (near ? `did you mean ${near}?` : `the options are listed in docs and in the type ${config}Options`);
  return new GrpoError("UNKNOWN_OPTION", `${config} has no option ${JSON.stringify(name)}`, { hint });
}

function unsupportedOr(
  { config, foreign }: OptionReader<Zod.ZodObject>,
  issue: Zod.core.$ZodIssue | undefined,
  known: Record<string, unknown>,
): GrpoError {
  const name = String(issue?.path[0] ?? "");
  const value = valueAt(known, issue?.path ?? []);
  if (typeof value !== "string" || !foreign.unsupportedValues[name]?.includes(value)) {
    return optionError(config, issue, known);
  }
  const choices = issue?.code === "invalid_value" ? issue.values.join(", ") : "";
  return new GrpoError("BAD_OPTION", `${config}: ${name} ${show(value)} is not supported yet`, {
    hint: `choose from: ${choices}`,
  });
}
