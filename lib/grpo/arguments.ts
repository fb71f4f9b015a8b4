// What GRPOTrainer and its methods are called with, checked at run time (run/trainer-arguments.ts). The reward functions are checked in
// setup.ts, what model, tokenizer and adapter ask of each other in run/trained-model.ts.

import { checkBoolean, checkNumber, checkOptionNames, checkSignal, namesOf, show } from "../checks.js";
import {
  type Argument,
  checkArguments,
  FOREIGN_ARGUMENTS,
  hasMethods,
  modelArgument,
  RUN_ARGUMENTS,
  rowsArgument,
} from "../run/trainer-arguments.js";
import type { Prompt } from "../types.js";
import { GRPOConfig } from "./config.js";
import { schema } from "./config-fields.js";
import type { EvaluateOptions, GRPOTrainerOptions } from "./setup.js";

const ARGUMENTS: { readonly [Name in keyof GRPOTrainerOptions<{ readonly prompt: Prompt }>]-?: Argument } = {
  ...RUN_ARGUMENTS,
  model: modelArgument("forwardBackward", "optimizerStep"),
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
  args: {
    expected: "a GRPOConfig",
    is: (value) => value instanceof GRPOConfig,
    hint: () => "write new GRPOConfig({ … })",
  },
  rewardFuncs: { expected: "a function or a list of functions", is: () => true },
  trainDataset: { ...rowsArgument, required: true },
  evalDataset: rowsArgument,
};

/** Arguments of TRL's trainer, of transformers' and of older versions, and what to write here. */
const FOREIGN: Readonly<Record<string, string>> = {
  ...FOREIGN_ARGUMENTS,
  rewardProcessingClasses: "leave it out: rewards.model(id, { tokenizer }) takes the tokenizer of a reward model",
  optimizers: "leave it out, and set optim and optimArgs of GRPOConfig",
  rolloutFunc: "write rollout: async ({ row, endpoint, signal }) => ({ reward: … }), or give a sampler",
  refModel: "leave it out: with beta above 0 the reference is the model as it is when training begins",
};

/** The trainer's options without those that are null. Throws UNKNOWN_OPTION or BAD_OPTION, naming the option. */
export function checkTrainerOptions<Row extends object>(options: GRPOTrainerOptions<Row>): GRPOTrainerOptions<Row> {
  return checkArguments("GRPOTrainer", options, ARGUMENTS, {
    positional: "write new GRPOTrainer({ model, rewardFuncs, args, trainDataset })",
    ofConfig: { name: "GRPOConfig", options: Object.keys(schema().shape) },
    names: FOREIGN,
  });
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

function isFactory(value: unknown): boolean {
  if (typeof value === "function") return true;
  if (typeof value !== "object" || value === null) return false;
  const factories: unknown[] = Object.values(value);
  return factories.length > 0 && factories.every((factory) => typeof factory === "function");
}
