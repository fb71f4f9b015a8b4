// Binding the arguments of a call to the names of its parameters, as Python does.

import { TemplateTypeError } from "./errors.js";
import { type CallArguments, isFloat, numberOf, typeName, Undefined, type Value } from "./values.js";

/** The arguments by position; undefined for those that were not given. A stray one is an error. */
export function bind(name: string, parameters: readonly string[], args: CallArguments): (Value | undefined)[] {
  if (args.positional.length > parameters.length) {
    throw new TemplateTypeError(
      `${name}() takes ${parameters.length} arguments but ${args.positional.length} were given`,
    );
  }
  const bound: (Value | undefined)[] = parameters.map((_, i) => args.positional[i]);
  for (const [key, value] of args.keyword) {
    const at = parameters.indexOf(key);
    if (at < 0) throw new TemplateTypeError(`${name}() got an unexpected keyword argument '${key}'`);
    if (at < args.positional.length) throw new TemplateTypeError(`${name}() got multiple values for argument '${key}'`);
    bound[at] = value;
  }
  return bound;
}

export function needText(name: string, value: Value | undefined): string {
  if (typeof value === "string") return value;
  if (value instanceof Undefined) return value.fail();
  throw new TemplateTypeError(`${name}() needs a string, not ${value === undefined ? "nothing" : typeName(value)}`);
}

export function needInteger(name: string, value: Value | undefined, fallback?: number): number {
  const given = value ?? fallback;
  const number = given === undefined ? undefined : numberOf(given);
  if (number !== undefined && !isFloat(given as Value)) return number;
  if (given instanceof Undefined) return given.fail();
  throw new TemplateTypeError(`${name}() needs an integer, not ${given === undefined ? "nothing" : typeName(given)}`);
}
