// What any run can be told, whatever it trains: its length, optimizer, logs, evaluations, checkpoints and uploads, with the names
// and defaults of transformers' TrainingArguments. A trainer takes these tables into the fields of its own config.

import type * as Zod from "zod";
import { TRACKERS } from "../log/trackers.js";
import { microBatchFields } from "../options/loss.js";
import { optimNames } from "../options/optimizer.js";
import type { FieldTypes } from "../zod.js";
import { expandHome } from "./home.js";
import { SCHEDULES } from "./schedule.js";

const LOG_PLACES = ["console", "jsonl", ...TRACKERS] as const;
export const DEFAULT_LOG_TO: (typeof LOG_PLACES)[number][] = ["console", "jsonl"];

/** What a run is called, where it writes, and its seed. */
export const identityFields = ({ z, optional }: FieldTypes) => ({
  /** Where checkpoints and logs go. */
  outputDir: z.string().min(1).default("trainer_output").transform(expandHome),
  /** What becomes of an earlier run's checkpoints and logs in outputDir when another run begins there: "move" into a folder earlier-run-1, -2, … of outputDir, or "refuse" to begin. */
  earlierRun: z.enum(["move", "refuse"]).default("move"),
  runName: optional(z.string()),
  seed: z.int().min(0).max(0x7fffffff).default(42),
});

/** How long a run is. */
export const lengthFields = ({ z }: FieldTypes) => ({
  /** Passes over the data set, when maxSteps does not say otherwise. */
  numTrainEpochs: z.number().positive().default(3),
  /** Optimizer steps; -1: from numTrainEpochs. */
  maxSteps: z.int().min(-1).default(-1),
});

/** What it may take of the memory. */
export const memoryFields = (types: FieldTypes, { z } = types) => ({
  ...microBatchFields(types),
  /** What follows from the memory estimate before the first step. "refuse": what cannot fit is an error, what may not fit a warning. "warn": warnings only. */
  memoryCheck: z.enum(["refuse", "warn", "off"]).default("refuse"),
});

/** The optimizer and its learning rate. */
export const optimizerFields = ({ z, count, optional }: FieldTypes) => ({
  /** Rate of the first step; lrSchedulerType says how it goes on. */
  learningRate: z.number().min(0).default(1e-6),
  lrSchedulerType: z.enum(SCHEDULES).default("linear"),
  /** What the schedule needs beside it, such as { min_lr_rate: 0.1 }. */
  lrSchedulerKwargs: optional(z.record(z.string(), z.unknown())),
  /** Steps of linear warm-up; below 1: a share of all steps. */
  warmupSteps: z.number().min(0).default(0),
  /** The two AdamWs are one. "adamw_8bit" (or adamw_bnb_8bit) keeps AdamW's moments in 8 bits; "muon" is for matrices, with AdamW for the rest. */
  optim: z.enum(optimNames).default("adamw_torch_fused"),
  /** What the optimizer has of its own, "name=value,…" or an object, under torch's names. */
  optimArgs: optional(
    z.union([z.string().min(1), z.record(z.string(), z.unknown())], "a list of name=value or an object"),
  ),
  adamBeta1: z.number().min(0).lt(1).default(0.9),
  adamBeta2: z.number().min(0).lt(1).default(0.999),
  adamEpsilon: z.number().positive().default(1e-8),
  /** Not of biases and norms. */
  weightDecay: z.number().min(0).default(0),
  /** LoRA+: the rate of every B (and of biases, norms and DoRA's magnitudes) is learningRate times this; null: off. */
  loraplusLrRatio: optional(z.number().positive()),
  /** LoRA+: the rate of LoRA pairs on the embedding, instead of learningRate. It follows the same schedule. */
  loraplusLrEmbedding: z.number().positive().default(1e-6),
  /** Global gradient norm limit; 0: none. */
  maxGradNorm: z.number().min(0).default(1),
  /** Non-finite steps in a row that end the run. */
  maxBadSteps: count.default(3),
  /** Kept for notebooks: the type is the model's, chosen in fromPretrained. */
  bf16: optional(z.boolean()),
});

/** When it logs. */
export const loggingFields = ({ z, interval }: FieldTypes) => ({
  loggingSteps: interval.default(10),
  loggingFirstStep: z.boolean().default(false),
});

/** Where it logs. */
export const trackerFields = ({ z }: FieldTypes) => ({
  /** "console", "jsonl" (files of outputDir) and trackers: "tensorboard", "mlflow", "trackio", "wandb". */
  logTo: z.array(z.enum(LOG_PLACES)).default(DEFAULT_LOG_TO),
  /** The project that trackio shows the run in. */
  project: z.string().min(1).default("huggingface"),
});

/** When it evaluates. */
export const evaluationFields = ({ z, interval, optional }: FieldTypes) => ({
  /** Also after the last step. */
  evalStrategy: z.enum(["no", "steps", "epoch"]).default("no"),
  /** null: loggingSteps. */
  evalSteps: optional(interval),
  /** Before the first step; no candidate for the best model. */
  evalOnStart: z.boolean().default(false),
});

/** Which checkpoints it writes, keeps and takes back, and when it stops early. */
export const checkpointFields = ({ z, count, interval, optional }: FieldTypes) => ({
  /** Take back the checkpoint of the best evaluation when the run ends. Each new best is saved at once and kept. */
  loadBestModelAtEnd: z.boolean().default(false),
  /** Name of an evaluation's metric, with or without eval_; null: reward. */
  metricForBestModel: optional(z.string().min(1)),
  /** null: true, but for a metric whose name ends in loss. */
  greaterIsBetter: optional(z.boolean()),
  /** Evaluations in a row without a gain above earlyStoppingThreshold that end the run; null: none. */
  earlyStoppingPatience: optional(count),
  earlyStoppingThreshold: z.number().min(0).default(0),
  /** "best": after an evaluation that is the best so far. But for "no", a run that is cut short saves its last step besides. */
  saveStrategy: z.enum(["no", "steps", "epoch", "best"]).default("steps"),
  saveSteps: interval.default(500),
  saveTotalLimit: optional(count),
});

/** What goes to the Hub. Uploads go on beside the training; one that fails is tried again with the next save. */
export const hubFields = ({ z, optional }: FieldTypes) => ({
  /** Upload model, tokenizer, metrics and a model card at each save; saveModel() then uploads too. */
  pushToHub: z.boolean().default(false),
  /** Repository; null: named like outputDir, in the account of the token. */
  hubModelId: optional(z.string().min(1)),
  /** "every_save": the model. "checkpoint": also the checkpoint, as last-checkpoint. "all_checkpoints": also each under its own name. "end": nothing before saveModel() or pushToHub(). */
  hubStrategy: z.enum(["end", "every_save", "checkpoint", "all_checkpoints"]).default("every_save"),
  /** null: HF_TOKEN, or the token saved by a login. Printed and saved nowhere. */
  hubToken: optional(z.string().min(1)),
  /** Visibility of a repository that is made; null: the account's default. */
  hubPrivateRepo: optional(z.boolean()),
  /** Upload every save, also those that come while another is under way. */
  hubAlwaysPush: z.boolean().default(false),
  /** Branch; null: main. */
  hubRevision: optional(z.string().min(1)),
});

/** All of them. */
export const runFields = (types: FieldTypes) => ({
  ...identityFields(types),
  ...lengthFields(types),
  ...memoryFields(types),
  ...optimizerFields(types),
  ...loggingFields(types),
  ...trackerFields(types),
  ...evaluationFields(types),
  ...checkpointFields(types),
  ...hubFields(types),
});

/** Every option of a run with its value. */
export type RunOptions = Readonly<Zod.output<Zod.ZodObject<ReturnType<typeof runFields>>>>;
