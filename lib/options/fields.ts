// Tables of options: a function from the kinds of values in zod.ts to an object with one type per option, its default and its
// comment, which editors show on the type made of the table. Public types, checks, defaults and what crosses to the engine all come
// from the table, so that an option has one place.

import type * as Zod from "zod";
import { checkOptionNames, show } from "../checks.js";
import { GrpoError, nearestName } from "../errors.js";
import { type FieldTypes, fieldTypes, lazySchema } from "../zod.js";

type Fields = Zod.core.$ZodShape;
/** The options of a table in an object that has no others. */
export type OptionsSchema<T extends Fields> = Zod.ZodObject<T, Zod.core.$strict>;
/** What a caller may give. */
export type GivenOptions<T extends Fields> = Readonly<Zod.input<OptionsSchema<T>>>;
/** Every option with its value. */
export type ResolvedOptions<T extends Fields> = Zod.output<OptionsSchema<T>>;

export function optionsSchema<T extends Fields>(table: (types: FieldTypes) => T): () => OptionsSchema<T> {
  return lazySchema((z) => z.strictObject(table(fieldTypes(z))));
}

/** The options of a table out of an object that has more. */
export function pickOptions<T extends Fields>(
  schema: OptionsSchema<T>,
  from: Readonly<ResolvedOptions<T>>,
): ResolvedOptions<T> {
  const names = Object.keys(schema.shape);
  return Object.fromEntries(names.map((name) => [name, Reflect.get(from, name)])) as ResolvedOptions<T>;
}

/** Checks options and fills in defaults. Throws UNKNOWN_OPTION or BAD_OPTION, naming the option. */
export function parseOptions<T extends Fields>(
  where: string,
  schema: OptionsSchema<T>,
  options: unknown,
): ResolvedOptions<T> {
  checkOptionNames(where, options as object, Object.keys(schema.shape));
  const result = schema.safeParse(options);
  if (result.success) return result.data;
  throw optionError(where, result.error.issues[0], options);
}

/** What zod found, as an error that says what was expected and what was given. */
export function optionError(where: string, issue: Zod.core.$ZodIssue | undefined, options: unknown): GrpoError {
  const value = valueAt(options, issue?.path ?? []);
  const name = `${where}: ${issue?.path.join(".") ?? ""}`;
  if (issue?.code === "invalid_value") {
    const near = typeof value === "string" ? nearestName(value, issue.values.map(String)) : undefined;
    const hint = near === undefined ? {} : { hint: `did you mean ${JSON.stringify(near)}?` };
    return new GrpoError("BAD_OPTION", `${name} must be ${expectation(issue)}, found ${show(value)}`, hint);
  }
  return new GrpoError("BAD_OPTION", `${name}: found ${show(value)}; expected ${expectation(issue)}`);
}

/** What the options have at the place that an issue is about. */
export function valueAt(options: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (at, key) => (typeof at === "object" && at !== null ? Reflect.get(at, key) : undefined),
    options,
  );
}

const KINDS: Readonly<Record<string, string>> = {
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  string: "a text",
  array: "a list",
  record: "an object",
};

function expectation(issue: Zod.core.$ZodIssue | undefined): string {
  switch (issue?.code) {
    case "invalid_value":
      return `one of ${issue.values.map(String).join(", ")}`;
    case "invalid_type":
      return KINDS[issue.expected] ?? issue.expected;
    case "too_small":
      if (issue.origin === "string") return "a text that is not empty";
      return `${KINDS[issue.origin] ?? issue.origin} ${issue.inclusive ? "at least" : "above"} ${issue.minimum}`;
    case "too_big":
      return `${KINDS[issue.origin] ?? issue.origin} ${issue.inclusive ? "at most" : "below"} ${issue.maximum}`;
    default:
      // The table's own words.
      return issue?.message ?? "another value";
  }
}
