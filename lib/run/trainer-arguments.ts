// What the trainers' constructors are called with, checked at run time: a program in JavaScript may pass anything, and one that was
// ported from Python passes what TRL takes. Each message says what to write here. Here are the arguments of any trainer.

import { badOption, checkOptionNames, show } from "../checks.js";
import { IterableDataset } from "../dataset/iterable-dataset.js";
import { LoraConfig } from "../model/lora/lora.js";

/** An argument of a trainer: what it must be, and what to do about a value that it is not. */
export interface Argument {
  readonly expected: string;
  readonly is: (value: unknown) => boolean;
  readonly hint?: (value: unknown) => string;
  readonly required?: true;
}

export const rowsArgument: Argument = { expected: "rows or a stream of rows", is: isRows, hint: rowsHint };

/** A model with the methods that its trainer calls. */
export function modelArgument(...methods: readonly string[]): Argument {
  return {
    expected: "a CausalLM, or the id or folder of a model",
    is: (value) => (typeof value === "string" ? value !== "" : hasMethods(value, ...methods)),
    hint: () => "write model: await CausalLM.fromPretrained(id), or model: id",
    required: true,
  };
}

/** Those that mean the same to every trainer. */
export const RUN_ARGUMENTS = {
  processingClass: {
    expected: "a Tokenizer",
    is: (value) => hasMethods(value, "encode", "decode", "applyChatTemplate"),
    hint: (value) => {
      const source = typeof value === "string" ? show(value) : "id";
      return `write await Tokenizer.fromPretrained(${source}), or leave it out for the model's own`;
    },
  },
  peftConfig: {
    expected: "a LoraConfig",
    is: (value) => value instanceof LoraConfig,
    hint: () => "write new LoraConfig({ … })",
  },
  callbacks: {
    expected: "a list of objects with hooks",
    is: Array.isArray,
    hint: () => "write callbacks: [{ onLog({ metrics }) { … } }]",
  },
  loggers: {
    expected: "a list of objects with a method log",
    is: (value) => Array.isArray(value) && value.every((logger) => hasMethods(logger, "log")),
    hint: () => 'write loggers: [{ name: "…", log(step, metrics) { … } }]',
  },
  output: {
    expected: "an object with a method write",
    is: (value) => hasMethods(value, "write"),
    hint: () => "write process.stdout, or { write(text) { … } }",
  },
  resumeHint: { expected: "a function", is: (value) => typeof value === "function" },
} satisfies Readonly<Record<string, Argument>>;

/** Arguments of TRL's trainers, of transformers' and of older versions, and what to write here. */
export const FOREIGN_ARGUMENTS: Readonly<Record<string, string>> = {
  tokenizer: "write processingClass",
  processor: "write processingClass",
  dataset: "write trainDataset",
  quantizationConfig: "leave it out: weights are not quantised",
};

export interface ArgumentAdvice {
  /** What to write in place of arguments by position. */
  readonly positional: string;
  /** Options of the config, which is where they belong. */
  readonly ofConfig: { readonly name: string; readonly options: readonly string[] };
  /** Names from elsewhere → what to write. */
  readonly names: Readonly<Record<string, string>>;
}

/**
 * A trainer's arguments without those that are null, which stands for Python's None. Throws UNKNOWN_OPTION or BAD_OPTION, naming the
 * argument.
 */
export function checkArguments<Given extends object>(
  where: string,
  given: Given,
  table: Readonly<Record<string, Argument>>,
  { positional, ofConfig, names }: ArgumentAdvice,
): Given {
  const inConfig = ofConfig.options.map((name) => [name, `write args: new ${ofConfig.name}({ ${name}: … })`]);
  checkOptionNames(where, given, Object.keys(table), {
    positional,
    names: { ...Object.fromEntries(inConfig), config: `write args: new ${ofConfig.name}({ … })`, ...names },
  });
  for (const [name, { expected, is, hint, required }] of Object.entries(table)) {
    const value: unknown = Reflect.get(given, name);
    const absent = value === undefined || value === null;
    if (absent ? required : !is(value)) throw badOption(where, name, expected, value, hint?.(value));
  }
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== null)) as Given;
}

export function hasMethods(value: unknown, ...names: readonly string[]): boolean {
  return (
    typeof value === "object" && value !== null && names.every((name) => typeof Reflect.get(value, name) === "function")
  );
}

/** Rows by index, which a list and a Dataset are; or a stream. */
function isRows(value: unknown): boolean {
  if (value instanceof IterableDataset) return true;
  return hasMethods(value, "at") && typeof Reflect.get(Object(value), "length") === "number";
}

function rowsHint(value: unknown): string {
  if (typeof value === "string") return `write await loadDataset(${show(value)}, { split: "train" })`;
  if (typeof value === "function") return "write IterableDataset.from(function), if it gives rows";
  if (typeof value !== "object" || value === null) return 'write await loadDataset(id, { split: "train" })';
  if (Symbol.iterator in value || Symbol.asyncIterator in value)
    return "write IterableDataset.from(() => …) for a stream";
  const parts = Object.entries(value).filter(([, part]) => isRows(part));
  if (parts.length === 0) return 'write a list of rows, or await loadDataset(id, { split: "train" })';
  const isColumn = parts.some(
    ([, part]) => Array.isArray(part) && (typeof part[0] !== "object" || Array.isArray(part[0])),
  );
  if (isColumn) return "write rows in place of columns: [{ prompt: … }, …]";
  return `choose one of its splits: ${parts.map(([name]) => name).join(", ")}`;
}
