// The keys of a training configuration that are not those of the trainer's config: TRL's script, model and data-mixture arguments, and
// those that open-r1 adds. Three tables say what becomes of each: it acts, it means nothing here, or it would change the result in a
// way that is not there and is refused. What `grpo train` and `grpo sft` have of them is in recipe.ts.

import type * as Zod from "zod";
import { SCORING_MODES } from "../rewards/code/codeforces.js";
import { CODE_PROVIDERS } from "../rewards/code/python-graders.js";
import { zod } from "../zod.js";

const z = zod();
const text = z.string().min(1);
const count = z.int().min(1);
const list = z.array(text);

/** A part of TRL's mixture (`datasets`). */
const mixturePart = z.strictObject({
  path: text.describe("Folder, file or Hub id."),
  name: text.nullish().describe("Configuration of a data set that has several."),
  data_files: z
    .union([text, list, z.record(z.string(), z.union([text, list]))])
    .nullish()
    .describe("Patterns of files, for all rows or by split."),
  split: text.default("train"),
  columns: list.nullish().describe("Only these columns."),
  fraction: z.number().min(0).nullish().describe("Share of the mixture; for all its parts or for none."),
});

/** A part of open-r1's (`dataset_mixture`). */
const weightedPart = z.strictObject({
  id: text.describe("Folder, file or Hub id."),
  config: text.nullish().describe("Configuration of a data set that has several."),
  split: text.default("train"),
  columns: list.nullish().describe("Only these columns."),
  weight: z.number().min(0).max(1).default(1).describe("Share of its rows, chosen at random."),
});

export type MixturePart = Zod.output<typeof mixturePart>;

const model = {
  model_name_or_path: text.describe("Folder or Hub id of the model."),
  model_revision: text.default("main").describe("Branch, tag or commit of the model on the Hub."),
  dtype: z
    .enum(["auto", "bfloat16", "float16", "float32"])
    .default("float32")
    .describe("Type of the weights; auto: the checkpoint's. torch_dtype is the same key."),
  device: text.default("auto").describe("auto, cpu, cuda, cuda:N or mps. TRL does not have this key."),
  model_init_kwargs: z
    .record(z.string(), z.unknown())
    .optional()
    .describe("More options of CausalLM.fromPretrained; they override the keys above."),
  use_cpu: z.boolean().default(false).describe("The same as device: cpu."),
  chat_template: text.optional().describe("Jinja template to use instead of the model's own."),
};

const lora = {
  use_peft: z.boolean().default(false).describe("Train a LoRA adapter; otherwise the whole model is trained."),
  lora_r: count.default(16).describe("Rank of the adapter."),
  lora_alpha: z.number().positive().default(32).describe("The adapter's update is scaled by lora_alpha / lora_r."),
  lora_dropout: z.number().min(0).lt(1).default(0.05).describe("Dropout on the adapter's input, while training."),
  lora_target_modules: z
    .union([list, text])
    .optional()
    .describe("Layers that get an adapter: names, a regular expression, or all-linear."),
  lora_target_parameters: list.optional().describe("Refused: PEFT's adapters on single tensors are not supported."),
  lora_modules_to_save: list.optional().describe("Modules that are trained in full and saved with the adapter."),
  lora_task_type: z.enum(["CAUSAL_LM"]).default("CAUSAL_LM").describe("The only task there is."),
  use_rslora: z.boolean().default(false).describe("Scale by lora_alpha / √lora_r."),
  use_dora: z.boolean().default(false).describe("Weight-decomposed LoRA."),
};

const data = {
  dataset_name: text.optional().describe("Folder, file or Hub id of the data."),
  dataset_config: text.optional().describe("Configuration of a data set that has several."),
  dataset_train_split: text.default("train").describe("Split to train on, also with a slice, such as train[:5%]."),
  dataset_test_split: text.default("test").describe("Split to evaluate on; only read if something is evaluated."),
  dataset_streaming: z.boolean().default(false).describe("Read rows as they come; needs max_steps."),
  datasets: z.array(mixturePart).optional().describe("Several data sets, one after another, instead of dataset_name."),
  streaming: z.boolean().default(false).describe("Read the parts of datasets as they come; needs max_steps."),
  test_split_size: z
    .number()
    .positive()
    .optional()
    .describe("How many rows of datasets (below 1: which share) to keep for evaluation."),
  dataset_mixture: z
    .strictObject({
      datasets: z.array(weightedPart).min(1),
      seed: z.int().min(0).default(0),
      test_split_size: z.number().positive().nullish(),
    })
    .optional()
    .describe("Several data sets, shuffled together, instead of dataset_name."),
};

const prompts = {
  dataset_prompt_column: text
    .optional()
    .describe("Column whose text becomes the user's message of the prompt. Default with system_prompt: prompt."),
  system_prompt: text.optional().describe("System message before each prompt."),
};

const rewards = {
  reward_model_name_or_path: text
    .optional()
    .describe("Folder or Hub id of a reward model; its rewards come before those of reward_funcs."),
  reward_funcs: list.optional().describe("Reward functions by name, or as file.ts#name."),
  cosine_min_value_wrong: z.number().default(0).describe("cosine: reward of a wrong answer of length 0."),
  cosine_max_value_wrong: z.number().default(-0.5).describe("cosine: reward of a wrong answer of cosine_max_len."),
  cosine_min_value_correct: z.number().default(0.5).describe("cosine: reward of a right answer of cosine_max_len."),
  cosine_max_value_correct: z.number().default(1).describe("cosine: reward of a right answer of length 0."),
  cosine_max_len: z.number().positive().default(1000).describe("cosine: the maximum length, in characters."),
  repetition_n_grams: count.default(3).describe("repetition_penalty: words in an n-gram."),
  repetition_max_penalty: z
    .number()
    .max(0)
    .default(-1)
    .describe("repetition_penalty: penalty of a text that only repeats itself."),
  code_language: text.default("python").describe("code_format: the language if the data has no column language."),
  code_provider: z
    .enum(CODE_PROVIDERS)
    .optional()
    .describe(
      "code, binary_code: where programs run. Default: e2b if its router is given, else local with HF_ALLOW_CODE_EVAL=1.",
    ),
  e2b_router_url: text.optional().describe("code, binary_code: host:port of open-r1's router to E2B."),
  morph_router_url: text.optional().describe("code, binary_code: host:port of open-r1's router to Morph."),
  parallel_code_exec_per_proc: count
    .default(2)
    .describe("code, binary_code, cf_code: how many programs run at once on this machine."),
  enforce_same_language: z
    .boolean()
    .default(false)
    .describe("code, binary_code: rows in different languages are an error."),
  ioi_provider: z.enum(["piston", "morph"]).default("piston").describe("ioi_code: piston; morph is refused."),
  code_eval_test_batch_size: z
    .int()
    .min(-1)
    .default(1)
    .describe("ioi_code, cf_code: how many tests run at once; -1: all."),
  code_eval_scoring_mode: z
    .enum(SCORING_MODES)
    .default("weighted_sum")
    .describe("cf_code: 1 or 0, the share of tests, or the first plus a tenth of the second."),
  max_completion_len: count
    .default(16384)
    .describe("soft_overlong_punishment: length from which the reward is -1, in tokens."),
  soft_punish_cache: z
    .int()
    .min(0)
    .default(4096)
    .describe("soft_overlong_punishment: how many tokens before that the penalty starts."),
};

const run = {
  warmup_ratio: z
    .number()
    .min(0)
    .lt(1)
    .optional()
    .describe("Share of all steps to warm up for, if warmup_steps is not given."),
  report_to: z
    .union([list, text])
    .optional()
    .describe("Trackers: tensorboard, mlflow, trackio, wandb; a list of them, all or none."),
  wandb_project: text.optional().describe("wandb: sets WANDB_PROJECT."),
  wandb_entity: text.optional().describe("wandb: sets WANDB_ENTITY."),
  wandb_run_group: text.optional().describe("wandb: sets WANDB_RUN_GROUP."),
  resume_from_checkpoint: z
    .union([z.boolean(), text])
    .optional()
    .describe("The checkpoint's folder; true: the newest in output_dir."),
  do_eval: z.boolean().default(false).describe("Evaluate once more at the end."),
  num_processes: count
    .optional()
    .describe("How many processes the configuration was written for; one step takes the completions of all of them."),
  env: z.record(z.string(), z.unknown()).optional().describe("Environment variables to set."),
};

const completions = {
  num_completions_to_print: z.int().min(0).optional().describe("How many completions the console shows; 0: none."),
};

/** What any trainer's configuration has beside the fields of its config. */
export const commonSchema = z.strictObject({ ...model, ...lora, ...data, ...run });
export type CommonSettings = Zod.output<typeof commonSchema>;

/** Those of `grpo train`. */
export const scriptSchema = z.strictObject({
  ...model,
  ...lora,
  ...data,
  ...prompts,
  ...rewards,
  ...run,
  ...completions,
});
export type ScriptSettings = Zod.output<typeof scriptSchema>;

/** Groups in the order of the documentation. */
export const commonGroups: Readonly<Record<string, readonly string[]>> = {
  Model: Object.keys(model),
  LoRA: Object.keys(lora),
  Data: Object.keys(data),
  Run: Object.keys(run),
};
export const scriptGroups: Readonly<Record<string, readonly string[]>> = {
  Model: Object.keys(model),
  LoRA: Object.keys(lora),
  Data: [...Object.keys(data), ...Object.keys(prompts)],
  Rewards: Object.keys(rewards),
  Run: [...Object.keys(run), ...Object.keys(completions)],
};

const SAMPLES_ITSELF = "the engine samples by itself";
const ONE_PROCESS = "training runs in one process";
const OPEN_R1_CALLBACK = "open-r1's own uploads and benchmark jobs; push_to_hub and hub_strategy upload here";
const NOT_QUANTISED = "weights are not quantised";

/** Means nothing here, whatever its value: name → why. Those of the config (withoutEffect) join them. */
export const ignoredKeys: Readonly<Record<string, string>> = {
  attn_implementation: "there is one attention",
  trust_remote_code: "code from a model's repository never runs",
  bf16: "the type is that of dtype, in all computations",
  torch_compile: "the engine is compiled",
  torch_compile_backend: "the engine is compiled",
  torch_compile_mode: "the engine is compiled",
  bnb_4bit_quant_type: NOT_QUANTISED,
  use_bnb_nested_quant: NOT_QUANTISED,
  bnb_4bit_quant_storage: NOT_QUANTISED,
  ignore_bias_buffers: ONE_PROCESS,
  accelerate_config: ONE_PROCESS,
  accelerator_config: ONE_PROCESS,
  parallelism_config: ONE_PROCESS,
  deepspeed: ONE_PROCESS,
  fsdp: ONE_PROCESS,
  fsdp_config: ONE_PROCESS,
  overwrite_output_dir:
    "a run moves an earlier one in output_dir aside (earlier_run); resume_from_checkpoint continues it",
  logging_dir: "event files are in runs/ of output_dir",
  save_safetensors: "weights are always saved as safetensors",
  callbacks: OPEN_R1_CALLBACK,
  benchmarks: OPEN_R1_CALLBACK,
  use_liger: "the engine has kernels of its own",
  hub_model_revision: `${OPEN_R1_CALLBACK}; hub_revision chooses the branch`,
  overwrite_hub_revision: OPEN_R1_CALLBACK,
  push_to_hub_revision: OPEN_R1_CALLBACK,
};

/** The same of `grpo train` alone. */
export const ignoredInSampling: Readonly<Record<string, string>> = {
  use_transformers_paged: SAMPLES_ITSELF,
  use_transformers_continuous_batching: SAMPLES_ITSELF,
  transformers_continuous_batching_config: SAMPLES_ITSELF,
  cache_implementation: SAMPLES_ITSELF,
  log_unique_prompts: "completions.jsonl has every completion",
  wandb_log_unique_prompts: "completions.jsonl has every completion",
};

interface Refused {
  /** The only value that is accepted. */
  readonly only: unknown;
  readonly hint: string;
}

/** Would change the result and is not there. */
export const refusedKeys: Readonly<Record<string, Refused>> = {
  load_in_8bit: { only: false, hint: "leave it out, and choose dtype: bfloat16 to halve the memory of the weights" },
  load_in_4bit: { only: false, hint: "leave it out, and choose dtype: bfloat16 to halve the memory of the weights" },
};

/** The same key under another name. */
export const aliases: Readonly<Record<string, string>> = { torch_dtype: "dtype" };

/** Names that are not keys, and what to write. */
export const renamedKeys: Readonly<Record<string, string>> = {
  config: "give the file as the first argument",
  evaluation_strategy: "write eval_strategy",
  no_cuda: "write use_cpu",
  max_prompt_len: "write max_prompt_length",
  per_gpu_train_batch_size: "write per_device_train_batch_size",
};
