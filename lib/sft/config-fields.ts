// The fields of SFTConfig, TRL's names in camelCase and TRL's defaults: those of any run (lib/run/options.ts), those of the loss
// (lib/options/sft-loss.ts) and those of the data. Shapes and ranges are checked by the schema, combinations in config.ts.

import type { ReportTo } from "../log/trackers.js";
import { type GivenOptions, type OptionsSchema, optionsSchema, type ResolvedOptions } from "../options/fields.js";
import { type MicroBatchFields, microBatchFields } from "../options/loss.js";
import { sftLossFields } from "../options/sft-loss.js";
import {
  checkpointFields,
  evaluationFields,
  hubFields,
  identityFields,
  lengthFields,
  loggingFields,
  memoryFields,
  newerNameFields,
  optimizerFields,
  rankFields,
  trackerFields,
} from "../run/options.js";
import { modelFields } from "../run/trained-model.js";
import type { FieldTypes } from "../zod.js";
import type { OptionsWithoutEffect } from "./options-without-effect.js";

/** How rows form steps, and in which order they come. */
export const batchFields = ({ z, count, optional }: FieldTypes) => ({
  /** Rows in one slice of a step; with packing, packed rows. Default 8. */
  perDeviceTrainBatchSize: count.default(8),
  /** Slices in one optimizer step; a step has perDeviceTrainBatchSize times this many rows. Default 1. */
  gradientAccumulationSteps: count.default(1),
  /** Rows in one batch of an evaluation, whose loss is the mean over batches as in TRL. Default 8. */
  perDeviceEvalBatchSize: count.default(8),
  /** "random": each epoch has an order of its own, that of torch for the same seed. "sequential": the order of the data set. Default "random". */
  trainSamplingStrategy: z.enum(["random", "sequential"]).default("random"),
  /** Seed of the order of the rows; null: seed. Default null. */
  dataSeed: optional(z.int().min(0)),
});

/** What is learnt of the rows. */
export const dataFields = ({ z, count, optional }: FieldTypes) => ({
  /** Column that has the text, where rows are plain text. Default "text". */
  datasetTextField: z.string().min(1).default("text"),
  /** Jinja file that takes the place of the model's chat template, and is saved with the tokenizer. Default null. */
  chatTemplatePath: optional(z.string().min(1)),
  /** Token that ends a text, of the vocabulary; null: the tokenizer's own. Default null. */
  eosToken: optional(z.string().min(1)),
  /** Longest row in tokens, or with packing the size of a packed row; null: any. Default 1024. */
  maxLength: z.union([count, z.null()], "a whole number at least 1, or null").default(1024),
  /** Which end of a row that is longer stays. Default "keep_start". */
  truncationMode: z.enum(["keep_start", "keep_end"]).default("keep_start"),
  /** Shuffle the data set once, before and after packing, in the order of Hugging Face datasets for the same seed. Default false. */
  shuffleDataset: z.boolean().default(false),
  /** Put several rows into one of maxLength tokens. Default false. */
  packing: z.boolean().default(false),
  /** "bfd": best-fit decreasing; rows stay whole and apart, and what is beyond maxLength is cut off. "bfd_split": it becomes a row of its own. "wrapped": all rows as one text, cut every maxLength tokens. Default "bfd". */
  packingStrategy: z.enum(["bfd", "bfd_split", "wrapped"]).default("bfd"),
  /** Whether evalDataset is packed; null: as packing says. Default null. */
  evalPacking: optional(z.boolean()),
  /** Whether only the completion counts; null: yes, for rows of prompt and completion. Default null. */
  completionOnlyLoss: optional(z.boolean()),
  /** Only what the assistant writes counts: the {% generation %} blocks of the chat template, or without them the turns as it renders them. Default false. */
  assistantOnlyLoss: z.boolean().default(false),
});

/** TRL's learning rate for this trainer. */
const rateFields = ({ z }: FieldTypes) => ({
  /** Learning rate after the warm-up; lrSchedulerType says how it changes then. Default 2e-5. */
  learningRate: z.number().min(0).default(2e-5),
});

/** The metric that this trainer's evaluations have. */
const bestMetricFields = ({ z, optional }: FieldTypes) => ({
  /** Name of an evaluation's metric, with or without eval_; null: loss. Default null. */
  metricForBestModel: optional(z.string().min(1)),
});

type Fields = ReturnType<typeof identityFields> &
  ReturnType<typeof modelFields> &
  ReturnType<typeof batchFields> &
  ReturnType<typeof lengthFields> &
  MicroBatchFields &
  ReturnType<typeof memoryFields> &
  ReturnType<typeof newerNameFields> &
  ReturnType<typeof dataFields> &
  ReturnType<typeof sftLossFields> &
  ReturnType<typeof rateFields> &
  Omit<ReturnType<typeof optimizerFields>, "learningRate"> &
  ReturnType<typeof loggingFields> &
  ReturnType<typeof trackerFields> &
  ReturnType<typeof evaluationFields> &
  ReturnType<typeof bestMetricFields> &
  Omit<ReturnType<typeof checkpointFields>, "metricForBestModel"> &
  ReturnType<typeof rankFields> &
  ReturnType<typeof hubFields>;

// The line comments are the sections of docs/sft.md.
const fields = (types: FieldTypes): Fields => ({
  ...identityFields(types),
  ...modelFields(types),
  // Batch. One optimizer step takes perDeviceTrainBatchSize × gradientAccumulationSteps rows.
  ...batchFields(types),
  ...lengthFields(types),
  ...microBatchFields(types),
  ...memoryFields(types),
  ...newerNameFields(types),
  // Data.
  ...dataFields(types),
  // Loss.
  ...sftLossFields(types),
  // Optimizer.
  ...optimizerFields(types),
  ...rateFields(types),
  // Logs, evaluation, checkpoints. Intervals are numbers of steps; a number below 1 is a share of all steps.
  ...loggingFields(types),
  ...trackerFields(types),
  ...evaluationFields(types),
  ...checkpointFields(types),
  ...bestMetricFields(types),
  // Ranks. Processes that train one model together.
  ...rankFields(types),
  // The Hub. Uploads run during training; one that fails is tried again with the next save.
  ...hubFields(types),
});

export const schema: () => OptionsSchema<Fields> = optionsSchema(fields);

/** Every field with its value. */
export type SFTConfigFields = ResolvedOptions<Fields>;
/** What may be given, all of it optional: the options that act, and those that are accepted so that a script can be ported unchanged. */
export interface SFTConfigOptions
  extends Omit<GivenOptions<Fields>, "lossType" | "packingStrategy">,
    OptionsWithoutEffect {
  /** How log-probabilities become a loss; "chunked_nll" is another name of "nll". Default "nll". */
  readonly lossType?: SFTConfigFields["lossType"] | "chunked_nll" | undefined;
  /** How rows are packed; "bfd-requeue" is another name of "bfd_split". Default "bfd". */
  readonly packingStrategy?: SFTConfigFields["packingStrategy"] | "bfd-requeue" | undefined;
  /**
   * Trackers that join logTo: "tensorboard", "mlflow", "trackio", "wandb" or a list of them; "all": TensorBoard and those that the
   * environment sets up; "none", null: none. Default null.
   */
  readonly reportTo?: ReportTo | readonly ReportTo[] | null | undefined;
}
