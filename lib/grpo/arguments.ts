// What GRPOTrainer and its methods are called with, checked at run time: a program in JavaScript may pass anything, and one that was
// ported from Python passes what TRL takes. Each message says what to write here. The reward functions are checked in setup.ts, what
// model, tokenizer and adapter ask of each other in policy.ts.

import { badOption, checkBoolean, checkNumber, checkOptionNames, checkSignal, namesOf, show } from "../checks.js";
import { IterableDataset } from "../dataset/iterable-dataset.js";
import { LoraConfig } from "../model/lora/lora.js";
import type { Prompt } from "../types.js";
import { GRPOConfig } from "./config.js";
import { schema } from "./config-fields.js";
import type { EvaluateOptions, GRPOTrainerOptions } from "./setup.js";

const WHERE = "GRPOTrainer";

/** An argument of the trainer: what it must be, and what to do about a value that it is not. */
interface Argument {
  readonly expected: string;
  readonly is: (value: unknown) => boolean;
  readonly hint?: (value: unknown) => string;
  readonly required?: true;
}

const rowsArgument: Argument = { expected: "rows or a stream of rows", is: isRows, hint: rowsHint };

const ARGUMENTS: { readonly [Name in keyof GRPOTrainerOptions<{ readonly prompt: Prompt }>]-?: Argument } = {
  model: {
    expected: "a CausalLM, or the id or folder of a model",
    is: (value) => (typeof value === "string" ? value !== "" : hasMethods(value, "forwardBackward", "optimizerStep")),
    hint: () => "write model: await CausalLM.fromPretrained(id), or model: id",
    required: true,
  },
  sampler: {
    expected: "an object with a method sample and maxPositions",
    is: (value) => hasMethods(value, "sample") && typeof Reflect.get(Object(value), "maxPositions") === "number",
  },
  tools: {
    expected: "a list of tools, or an object of tools by name",
    is: (value) => typeof value === "object" && value !== null,
    hint: () => "write tools: { add: { description, inputSchema, execute } }",
  },
  environmentFactory: {
    expected: "a function that makes an environment, or an object of such functions by name",
    is: isFactory,
    hint: () => "write environmentFactory: () => new Environment()",
  },
  rollout: {
    expected: "a function",
    is: (value) => typeof value === "function",
    hint: (value) =>
      typeof value === "string"
        ? `write command(${show(value)})`
        : "write async ({ row, endpoint, signal }) => ({ reward: … })",
  },
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
  args: {
    expected: "a GRPOConfig",
    is: (value) => value instanceof GRPOConfig,
    hint: () => "write new GRPOConfig({ … })",
  },
  rewardFuncs: { expected: "a function or a list of functions", is: () => true },
  trainDataset: { ...rowsArgument, required: true },
  evalDataset: rowsArgument,
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
};

/** Arguments of TRL's trainer, of transformers' and of older versions, and what to write here. */
const FOREIGN: Readonly<Record<string, string>> = {
  tokenizer: "write processingClass",
  processor: "write processingClass",
  config: "write args: new GRPOConfig({ … })",
  dataset: "write trainDataset",
  rewardProcessingClasses: "leave it out: rewards.model(id, { tokenizer }) takes the tokenizer of a reward model",
  optimizers: "leave it out, and set optim and optimArgs of GRPOConfig",
  quantizationConfig: "leave it out: weights are not quantised",
  rolloutFunc: "write rollout: async ({ row, endpoint, signal }) => ({ reward: … }), or give a sampler",
  refModel: "leave it out: with beta above 0 the reference is the model as it is when training begins",
};

/**
 * The trainer's options without those that are null, which stands for Python's None. Throws UNKNOWN_OPTION or BAD_OPTION, naming the
 * option.
 */
export function checkTrainerOptions<Row extends { readonly prompt: Prompt }>(
  options: GRPOTrainerOptions<Row>,
): GRPOTrainerOptions<Row> {
  const ofConfig = Object.keys(schema().shape).map((name) => [name, `write args: new GRPOConfig({ ${name}: … })`]);
  checkOptionNames(WHERE, options, Object.keys(ARGUMENTS), {
    positional: "write new GRPOTrainer({ model, rewardFuncs, args, trainDataset })",
    names: { ...Object.fromEntries(ofConfig), ...FOREIGN },
  });
  for (const [name, { expected, is, hint, required }] of Object.entries(ARGUMENTS)) {
    const value: unknown = Reflect.get(options, name);
    const absent = value === undefined || value === null;
    if (absent ? required : !is(value)) throw badOption(WHERE, name, expected, value, hint?.(value));
  }
  const given = Object.entries(options).filter(([, value]) => value !== null);
  return Object.fromEntries(given) as unknown as GRPOTrainerOptions<Row>;
}

const EVALUATE_OPTIONS = namesOf<EvaluateOptions>({ doSample: true, numGenerations: true, signal: true });
const EVALUATION_ROWS = "give the rows to GRPOTrainer as evalDataset";

/** Throws UNKNOWN_OPTION or BAD_OPTION, naming the option. */
export function checkEvaluateOptions(options: EvaluateOptions): void {
  const where = "evaluate";
  checkOptionNames(where, options, EVALUATE_OPTIONS, {
    positional: EVALUATION_ROWS,
    names: { evalDataset: EVALUATION_ROWS, metricKeyPrefix: "leave it out: the metrics begin with eval_" },
  });
  const { doSample, numGenerations, signal } = options;
  if (doSample !== undefined) checkBoolean(where, "doSample", doSample);
  if (numGenerations !== undefined) checkNumber(where, "numGenerations", numGenerations, { min: 1, integer: true });
  checkSignal(where, signal);
}

function hasMethods(value: unknown, ...names: readonly string[]): boolean {
  return (
    typeof value === "object" && value !== null && names.every((name) => typeof Reflect.get(value, name) === "function")
  );
}

function isFactory(value: unknown): boolean {
  if (typeof value === "function") return true;
  if (typeof value !== "object" || value === null) return false;
  const factories: unknown[] = Object.values(value);
  return factories.length > 0 && factories.every((factory) => typeof factory === "function");
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
