// Functions that every template has: Jinja's own, and the two of transformers.

import { needInteger } from "./arguments.js";
import { RaisedByTemplate, SecurityError, TemplateTypeError } from "./errors.js";
import { strftime } from "./strftime.js";
import { Attributes, type CallArguments, Callable, type Dict, iterate, textOf, type Value } from "./values.js";

/** The sandbox's limit. */
const MAX_RANGE = 100_000;

export const GLOBALS: ReadonlyMap<string, Value> = new Map<string, Value>(
  (
    [
      ["raise_exception", raiseException],
      ["strftime_now", ({ positional }) => strftime(new Date(), textOf(positional[0] ?? null))],
      ["range", range],
      ["namespace", namespace],
      ["dict", toDict],
      ["cycler", cycler],
      ["joiner", joiner],
    ] as const satisfies readonly (readonly [string, (args: CallArguments) => Value])[]
  ).map(([name, call]) => [name, new Callable(name, call)]),
);

function raiseException({ positional, keyword }: CallArguments): never {
  throw new RaisedByTemplate(textOf(positional[0] ?? keyword.get("message") ?? null));
}

function range({ positional }: CallArguments): Value {
  const [a, b, c] = positional.map((value) => needInteger("range", value));
  const [start, stop, step] = b === undefined ? [0, a ?? 0, 1] : [a ?? 0, b, c ?? 1];
  if (step === 0) throw new TemplateTypeError("range() arg 3 must not be zero");
  const length = Math.max(0, Math.ceil((stop - start) / step));
  if (length > MAX_RANGE)
    throw new TemplateTypeError(`Range too big. The sandbox blocks ranges larger than ${MAX_RANGE}.`);
  return Array.from({ length }, (_, i) => start + i * step);
}

function toDict({ positional, keyword }: CallArguments): Dict {
  const dict: Dict = new Map();
  const [source] = positional;
  if (source instanceof Map) for (const [key, value] of source) dict.set(key, value);
  else {
    for (const pair of source === undefined ? [] : iterate(source)) {
      const [key, value] = iterate(pair);
      if (key === undefined || value === undefined) throw new TemplateTypeError("dict() needs pairs");
      dict.set(key, value);
    }
  }
  for (const [key, value] of keyword) dict.set(key, value);
  return dict;
}

function namespace(args: CallArguments): Value {
  const values = toDict(args);
  for (const name of values.keys()) checkNamespaceName(name);
  return new Attributes(
    "Namespace",
    (name) => values.get(name),
    (name, value) => {
      checkNamespaceName(name);
      values.set(name, value);
    },
  );
}

function checkNamespaceName(name: Value): void {
  if (typeof name !== "string" || !name.startsWith("_")) return;
  throw new SecurityError(`a namespace cannot have an attribute that begins with an underscore, found '${name}'`);
}

function cycler({ positional }: CallArguments): Value {
  let at = 0;
  const current = () => positional[at % positional.length] as Value;
  const next = new Callable("next", () => {
    const value = current();
    at++;
    return value;
  });
  const reset = new Callable("reset", () => {
    at = 0;
    return null;
  });
  return new Attributes("Cycler", (name) => ({ next, reset, current: current() })[name]);
}

function joiner({ positional }: CallArguments): Value {
  let used = false;
  return new Attributes(
    "Joiner",
    () => undefined,
    undefined,
    () => {
      const text = used ? textOf(positional[0] ?? ", ") : "";
      used = true;
      return text;
    },
  );
}
