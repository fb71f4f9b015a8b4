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
  /** Where checkpoints and logs go. Default "trainer_output". */
  outputDir: z.string().min(1).default("trainer_output").transform(expandHome),
  /** What happens to an earlier run's checkpoints and logs when a new run starts in the same outputDir. "move": they are moved to earlier-run-1, -2, … inside it. "refuse": the new run does not start. Default "move". */
  earlierRun: z.enum(["move", "refuse"]).default("move"),
  /** Name of the run in its logs and in the trackers mlflow, trackio and wandb; null: none in the logs, and the trackers make one up. Default null. */
  runName: optional(z.string()),
  /** Seed of everything random: order of rows, sampling, fresh adapters, dropout. Default 42. */
  seed: z.int().min(0).max(0x7fffffff).default(42),
});

/** How long a run is. */
export const lengthFields = ({ z }: FieldTypes) => ({
  /** Passes over the data set, unless maxSteps is set. Default 3. */
  numTrainEpochs: z.number().positive().default(3),
  /** Optimizer steps; -1: from numTrainEpochs. Default -1. */
  maxSteps: z.int().min(-1).default(-1),
});

/** What it may take of the memory. */
export const memoryFields = ({ z }: FieldTypes) => ({
  /** What to do with the memory estimate before the first step. "refuse": an error if the run cannot fit, a warning if it may not. "warn": only warnings. Default "refuse". */
  memoryCheck: z.enum(["refuse", "warn", "off"]).default("refuse"),
});

/** A second name, which newer versions of transformers write. */
export const newerNameFields = ({ z, optional }: FieldTypes) => ({
  /** transformers' newer name for gradientCheckpointing, which it overrides; null: use gradientCheckpointing. Default null. */
  activationCheckpointing: optional(z.boolean()),
});

/** The optimizer and its learning rate. */
export const optimizerFields = ({ z, count, optional }: FieldTypes) => ({
  /** Learning rate after the warm-up; lrSchedulerType says how it changes then. Default 1e-6. */
  learningRate: z.number().min(0).default(1e-6),
  /** How the learning rate changes after the warm-up. Default "linear". */
  lrSchedulerType: z.enum(SCHEDULES).default("linear"),
  /** Further settings of the schedule, such as { min_lr_rate: 0.1 }. Default null. */
  lrSchedulerKwargs: optional(z.record(z.string(), z.unknown())),
  /** Steps of linear warm-up; below 1: a share of all steps. Default 0. */
  warmupSteps: z.number().min(0).default(0),
  /** The optimizer; adamw_torch and adamw_torch_fused are the same. "adamw_8bit" (or adamw_bnb_8bit) keeps AdamW's moments in 8 bits; "muon" trains matrices, and AdamW the rest. Default "adamw_torch_fused". */
  optim: z.enum(optimNames).default("adamw_torch_fused"),
  /** Settings of the optimizer, as "name=value,…" or an object, under torch's names. Default null. */
  optimArgs: optional(
    z.union([z.string().min(1), z.record(z.string(), z.unknown())], "a list of name=value or an object"),
  ),
  /** Decay of the mean of gradients. Default 0.9. */
  adamBeta1: z.number().min(0).lt(1).default(0.9),
  /** Decay of the mean of squared gradients. Default 0.999. */
  adamBeta2: z.number().min(0).lt(1).default(0.999),
  /** Added to the root of the mean of squared gradients. Default 1e-8. */
  adamEpsilon: z.number().positive().default(1e-8),
  /** Weight decay; biases and norms have none. Default 0. */
  weightDecay: z.number().min(0).default(0),
  /** LoRA+: the rate of every B (and of biases, norms and DoRA's magnitudes) is learningRate times this; null: off. Default null. */
  loraplusLrRatio: optional(z.number().positive()),
  /** LoRA+: the rate of LoRA pairs on the embedding, instead of learningRate. It follows the same schedule. Default 1e-6. */
  loraplusLrEmbedding: z.number().positive().default(1e-6),
  /** Global gradient norm limit; 0: none. Default 1. */
  maxGradNorm: z.number().min(0).default(1),
  /** Non-finite steps in a row that end the run. Default 3. */
  maxBadSteps: count.default(3),
  /** No effect: the type is the model's, chosen in fromPretrained. Default null. */
  bf16: optional(z.boolean()),
});

/** When it logs. */
export const loggingFields = ({ z, interval }: FieldTypes) => ({
  /** Steps between two lines of the console; below 1: a share of all steps. metrics.jsonl has every step. Default 10. */
  loggingSteps: interval.default(10),
  /** Whether the console has a line for the first step too. Default false. */
  loggingFirstStep: z.boolean().default(false),
});

/** Where it logs. */
export const trackerFields = ({ z }: FieldTypes) => ({
  /** "console", "jsonl" (files of outputDir) and trackers: "tensorboard", "mlflow", "trackio", "wandb". Default ["console", "jsonl"]. */
  logTo: z.array(z.enum(LOG_PLACES)).default(DEFAULT_LOG_TO),
  /** The project that trackio shows the run in. Default "huggingface". */
  project: z.string().min(1).default("huggingface"),
});

/** When it evaluates. */
export const evaluationFields = ({ z, interval, optional }: FieldTypes) => ({
  /** When the run evaluates; with "steps" and "epoch" also after the last step. Default "no". */
  evalStrategy: z.enum(["no", "steps", "epoch"]).default("no"),
  /** Steps between two evaluations; below 1: a share of all steps; null: loggingSteps. Default null. */
  evalSteps: optional(interval),
  /** Evaluate before the first step; this does not count for the best model. Default false. */
  evalOnStart: z.boolean().default(false),
});

/** Which checkpoints it writes, keeps and loads at the end, and when it stops early. */
export const checkpointFields = ({ z, count, interval, optional }: FieldTypes) => ({
  /** Load the checkpoint of the best evaluation when the run ends. Each new best is saved at once and kept. Default false. */
  loadBestModelAtEnd: z.boolean().default(false),
  /** Name of an evaluation's metric, with or without eval_; null: reward. Default null. */
  metricForBestModel: optional(z.string().min(1)),
  /** Whether the best model has the greatest metricForBestModel; null: true, except for a metric whose name ends in loss. Default null. */
  greaterIsBetter: optional(z.boolean()),
  /** Evaluations in a row without a gain above earlyStoppingThreshold that end the run; null: none. Default null. */
  earlyStoppingPatience: optional(count),
  /** Gain of metricForBestModel above which earlyStoppingPatience starts again. Default 0. */
  earlyStoppingThreshold: z.number().min(0).default(0),
  /** When checkpoints are saved. "best": after an evaluation that is the best so far. Except with "no", a run that is cut short also saves its last step. Default "steps". */
  saveStrategy: z.enum(["no", "steps", "epoch", "best"]).default("steps"),
  /** Steps between two checkpoints; below 1: a share of all steps. Default 500. */
  saveSteps: interval.default(500),
  /** How many checkpoints are kept, the latest and the best; null: all. Default null. */
  saveTotalLimit: optional(count),
});

/** What several ranks need, processes that train one model together. */
export const rankFields = ({ z }: FieldTypes) => ({
  /** Seconds that a rank waits for the others, whose slowest rollout must be shorter. Default 1800. */
  ddpTimeout: z.number().positive().default(1800),
});

/** What goes to the Hub. Uploads run during training; one that fails is tried again with the next save. */
export const hubFields = ({ z, optional }: FieldTypes) => ({
  /** Upload model, tokenizer, metrics and a model card at each save; saveModel() then uploads too. Default false. */
  pushToHub: z.boolean().default(false),
  /** Repository that pushToHub uploads to; null: named like outputDir, in the account of the token. Default null. */
  hubModelId: optional(z.string().min(1)),
  /** What is uploaded and when. "every_save": the model. "checkpoint": also the checkpoint, as last-checkpoint. "all_checkpoints": also each under its own name. "end": nothing before saveModel() or pushToHub(). Default "every_save". */
  hubStrategy: z.enum(["end", "every_save", "checkpoint", "all_checkpoints"]).default("every_save"),
  /** Token for the Hub; null: HF_TOKEN, or the token saved by a login. It is never printed or saved. Default null. */
  hubToken: optional(z.string().min(1)),
  /** Whether a new repository is private; null: the account's default. Default null. */
  hubPrivateRepo: optional(z.boolean()),
  /** Upload every save, even while another upload is running. Default false. */
  hubAlwaysPush: z.boolean().default(false),
  /** Branch to upload to; null: main. Default null. */
  hubRevision: optional(z.string().min(1)),
});

/** All of them. */
export const runFields = (types: FieldTypes) => ({
  ...identityFields(types),
  ...lengthFields(types),
  ...microBatchFields(types),
  ...memoryFields(types),
  ...optimizerFields(types),
  ...loggingFields(types),
  ...trackerFields(types),
  ...evaluationFields(types),
  ...checkpointFields(types),
  ...rankFields(types),
  ...hubFields(types),
});

/** Every option of a run with its value. */
export type RunOptions = Readonly<Zod.output<Zod.ZodObject<ReturnType<typeof runFields>>>>;
