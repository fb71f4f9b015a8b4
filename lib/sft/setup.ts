// The trainer's constructor arguments: their types, and what is checked of them at run time.

import { GrpoError } from "../errors.js";
import type { Logger } from "../log/logger.js";
import type { Metrics } from "../log/metrics.js";
import type { SupervisedLearner } from "../model/learner.js";
import type { LoraConfig } from "../model/lora/lora.js";
import type { Output } from "../output.js";
import type { RowsOrStream } from "../rollout/streamed-rows.js";
import type * as run from "../run/callbacks.js";
import {
  type Argument,
  checkArguments,
  FOREIGN_ARGUMENTS,
  modelArgument,
  RUN_ARGUMENTS,
  rowsArgument,
} from "../run/trainer-arguments.js";
import { SFTConfig } from "./config.js";
import { schema } from "./config-fields.js";
import type { TextTokenizer } from "./text-tokenizer.js";

/** What SFTTrainer is made of. `Row`: messages, prompt and completion, a text, or input_ids. */
export interface SFTTrainerOptions<Row extends object> {
  /**
   * A model, or the id or folder of one, which is then loaded before the first step or evaluation: in float32, or as modelInitKwargs of
   * the config says.
   */
  readonly model: SupervisedLearner | string;
  /** The tokenizer. Default: that of the model's id or folder, loaded before the first step or evaluation. */
  readonly processingClass?: TextTokenizer;
  /** Trains a fresh adapter of these options, whose random numbers depend on the config's seed alone. */
  readonly peftConfig?: LoraConfig;
  /** Default: TRL's, with an outputDir named after the model. */
  readonly args?: SFTConfig;
  /** Rows to learn from. */
  readonly trainDataset: RowsOrStream<Row>;
  /** Rows that evaluations compute the loss of, of the form of trainDataset. Default: none. */
  readonly evalDataset?: RowsOrStream<Row>;
  /** Turns a row into a plain text, of which all counts. Default: rows are used as they are. */
  readonly formattingFunc?: (row: Row) => string;
  /** Objects whose hooks a run calls at its moments, and waits for. Default: none. */
  readonly callbacks?: readonly run.TrainerCallback<SFTConfig>[];
  /** More places for metrics. */
  readonly loggers?: readonly Logger[];
  /** Where console lines go; process.stdout by default. */
  readonly output?: Output;
  /** What a run that was cut short says about going on; by default the call of train(). */
  readonly resumeHint?: (checkpoint: string) => string;
}

/** What an evaluation found. */
export interface SFTEvaluation {
  /** TRL's names with the prefix eval_. */
  readonly metrics: Readonly<Metrics>;
  /** None: nothing is sampled. */
  readonly completions: readonly never[];
}

const ARGUMENTS: { readonly [Name in keyof SFTTrainerOptions<object>]-?: Argument } = {
  ...RUN_ARGUMENTS,
  model: modelArgument("sftForwardBackward", "optimizerStep"),
  args: {
    expected: "an SFTConfig",
    is: (value) => value instanceof SFTConfig,
    hint: () => "write new SFTConfig({ … })",
  },
  trainDataset: { ...rowsArgument, required: true },
  evalDataset: rowsArgument,
  formattingFunc: { expected: "a function", is: (value) => typeof value === "function" },
};

/** Arguments of TRL's trainer, of transformers' and of older versions, and what to write here. */
const FOREIGN: Readonly<Record<string, string>> = {
  ...FOREIGN_ARGUMENTS,
  dataCollator: "leave it out: nothing is padded, and rows with input_ids and labels are taken as they are",
  computeLossFunc: "leave it out: lossType of SFTConfig chooses the loss",
  computeMetrics: "leave it out: logits are never in memory; a callback's onEvaluate can generate and judge",
  preprocessLogitsForMetrics: "leave it out: logits are never in memory",
  optimizers: "leave it out, and set optim and optimArgs of SFTConfig",
  rewardFuncs: "leave it out, or use GRPOTrainer",
};

/** The trainer's options without those that are null. Throws UNKNOWN_OPTION, BAD_OPTION or BAD_INPUT. */
export function checkTrainerOptions<Row extends object>(options: SFTTrainerOptions<Row>): SFTTrainerOptions<Row> {
  const given = checkArguments("SFTTrainer", options, ARGUMENTS, {
    positional: "write new SFTTrainer({ model, args, trainDataset })",
    ofConfig: { name: "SFTConfig", options: Object.keys(schema().shape) },
    names: FOREIGN,
  });
  if (given.formattingFunc && given.args?.completionOnlyLoss) {
    throw new GrpoError(
      "BAD_OPTION",
      "formattingFunc makes one text of a row, and completionOnlyLoss needs two parts",
      {
        hint: "leave one of them out",
      },
    );
  }
  return given;
}

/** Whether a run evaluates. Throws BAD_INPUT where it has nothing to evaluate. */
export function evaluatesInRun({ evalStrategy, evalOnStart }: SFTConfig, hasRows: boolean): boolean {
  const asked =
    evalStrategy === "no" ? (evalOnStart ? "evalOnStart true" : undefined) : `evalStrategy "${evalStrategy}"`;
  if (asked === undefined || hasRows) return asked !== undefined;
  throw new GrpoError("BAD_INPUT", `${asked} needs rows to evaluate, and SFTTrainer has no evalDataset`, {
    hint: 'give evalDataset, or set evalStrategy to "no" and evalOnStart to false',
  });
}
