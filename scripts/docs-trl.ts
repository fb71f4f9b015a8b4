// Writes the tables of docs/coming-from-trl.md: every field of TRL's GRPOConfig (as scripts/golden/trl_config.py recorded them) and
// what became of it here. A test compares; a field that is refused without a reason below is an error.
//
//   npx tsx scripts/docs-trl.ts

import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { GRPOConfig } from "grpo";
import { schema } from "../lib/grpo/config-fields.js";
import { unsupportedDefaults, withoutEffect } from "../lib/grpo/config-unsupported.js";
import { toCamel, toSnake } from "../lib/options/names.js";

export const trlPage = fileURLToPath(new URL("../docs/coming-from-trl.md", import.meta.url));
const recorded = fileURLToPath(new URL("../test/fixtures/golden/trl-config.json", import.meta.url));
/** What stands above it in the page is written by hand. */
const marker = "<!-- From here on: npx tsx scripts/docs-trl.ts -->\n";

/** What an option does otherwise than in TRL, though it acts. */
const different: Readonly<Record<string, string>> = {
  gradient_checkpointing: "off unless asked: `maxTokensPerMicroBatch` bounds memory already",
  bf16: "changes nothing: the type is that of the loaded model",
  model_init_kwargs: "options of `CausalLM.fromPretrained`, for a model given by its id; without a token",
  optim:
    "`adamw_torch` and `adamw_torch_fused` are one; also `adamw_8bit` (`adamw_bnb_8bit`), `sgd`, `adafactor`, `muon`",
  lr_scheduler_type: "[some values are refused](configuration.md#options-that-are-refused)",
  log_completions: "every completion is in completions.jsonl anyway",
  top_p: "log-probabilities of training are without it, as in TRL",
  metric_for_best_model: "null: the reward, where transformers takes the loss",
  load_best_model_at_end: "each new best is saved at once",
  eval_strategy: "[without the metrics of the loss](metrics.md#every-metric)",
  top_entropy_quantile: "equal entropies share a side of the threshold",
};

const reasons: readonly (readonly [reason: string, keys: readonly string[]])[] = [
  ["one process on one device", ["fsdp", "fsdp_config", "deepspeed", "accelerator_config", "parallelism_config"]],
  ['the device is chosen where the model is loaded: `{ device: "cpu" }`, also in `modelInitKwargs`', ["use_cpu"]],
  ["code from a model's repository never runs", ["trust_remote_code"]],
  ["the type is that of the loaded model: `dtype` of `fromPretrained`", ["fp16", "bf16_full_eval", "fp16_full_eval"]],
  ["the output layer computes in the model's type, as all others", ["cast_lm_head_to_fp32"]],
  ["dropout acts in the training pass only; `loraDropout: 0` turns it off", ["disable_dropout"]],
  ["no mixture-of-experts models yet", ["router_aux_loss_coef"]],
  [
    "the engine samples by itself",
    [
      "cache_implementation",
      "use_transformers_paged",
      "use_transformers_continuous_batching",
      "transformers_continuous_batching_config",
    ],
  ],
  ["sampling has the options above, and no others", ["generation_kwargs"]],
  ["no regular expression constrains what is drawn yet", ["vllm_structured_outputs_regex"]],
  ["no calls of tools", ["max_tool_calling_iterations"]],
  ["those debuggers are Python's", ["debug"]],
  ["an optimizer takes all that is trained", ["optim_target_modules"]],
  ["no meaning for this loss", ["label_smoothing_factor", "neftune_noise_alpha", "label_names"]],
  ["the engine is compiled C++", ["torch_compile", "torch_compile_backend", "torch_compile_mode"]],
  ["memory is bounded by `maxTokensPerMicroBatch`", ["auto_find_batch_size"]],
  ["`loggingSteps` is the interval; metrics.jsonl has every step", ["logging_strategy"]],
  ["completions.jsonl has every completion", ["log_unique_prompts"]],
  ["`num_tokens` is always logged", ["include_num_input_tokens_seen"]],
  ["`logTo` and `loggers` say where metrics go", ["trackio_space_id", "trackio_bucket_id", "trackio_static_space_id"]],
  [
    "evaluation samples and rewards; there are no batches of labels",
    ["prediction_loss_only", "include_for_metrics", "batch_eval_metrics"],
  ],
  ["`evalOnStart` and `evalSteps` say when", ["eval_delay"]],
  ["a checkpoint can always be resumed from", ["save_only_model", "enable_jit_checkpoint"]],
  ["`train({ resumeFromCheckpoint })`", ["resume_from_checkpoint", "ignore_data_skip"]],
  ["callbacks keep their own state", ["restore_callback_states_from_checkpoint"]],
  ["runs repeat anyway: the same seed gives the same numbers", ["full_determinism"]],
  ["the order of prompts is a function of `seed`", ["data_seed", "train_sampling_strategy", "length_column_name"]],
  ["an incomplete last generation is left out, as TRL's sampler does", ["dataloader_drop_last"]],
];

/** The page as it should be. */
export function trlPageText(): string {
  const [introduction] = readFileSync(trlPage, "utf8").split(marker);
  return `${introduction}${marker}\n${optionTable()}\n${ownTable()}`;
}

function trlFields(): Readonly<Record<string, unknown>> {
  const { keys } = JSON.parse(readFileSync(recorded, "utf8")) as { keys: { grpo: Record<string, unknown> } };
  return keys.grpo;
}

function optionTable(): string {
  const defaults = new GRPOConfig();
  const rows = Object.entries(trlFields()).map(([key, value]) => {
    const [name, note] = whatBecameOf(key, value, Reflect.get(defaults, toCamel(key)));
    return `| \`${key}\` | ${name} | ${note} |`;
  });
  const text =
    "Every field of TRL 1.16's GRPOConfig, including those of transformers' TrainingArguments. If the third column is empty, meaning " +
    "and default are the same.\n\nOptions with “no effect” are accepted with any value, and named in the plan. “Absent” ones are " +
    "refused unless they have TRL's default.";
  return `## GRPOConfig\n\n${text}\n\n| TRL | here | |\n|---|---|---|\n${rows.join("\n")}\n`;
}

function whatBecameOf(key: string, theirs: unknown, ours: unknown): [name: string, note: string] {
  const name = toCamel(key);
  if (Object.hasOwn(schema().shape, name))
    return [`\`${name}\``, joined(defaultNote(key, theirs, ours), different[key])];
  if (name === "reportTo")
    return ["`reportTo`", "[trackers](trackers.md): tensorboard, mlflow, trackio and wandb; they join `logTo`"];
  if (Object.hasOwn(withoutEffect, name)) return ["no effect", withoutEffect[name] ?? ""];
  const reason = reasons.find(([, keys]) => keys.includes(key))?.[0];
  if (Object.hasOwn(unsupportedDefaults, name) && reason !== undefined) return ["absent", reason];
  throw new Error(`scripts/docs-trl.ts: say in "reasons" why ${key} is absent`);
}

function defaultNote(key: string, theirs: unknown, ours: unknown): string | undefined {
  const same = JSON.stringify(theirs) === JSON.stringify(ours);
  return same || key === "output_dir"
    ? undefined
    : `default \`${JSON.stringify(ours)}\`, not \`${JSON.stringify(theirs)}\``;
}

const joined = (...notes: (string | undefined)[]): string => notes.filter(Boolean).join("; ");

function ownTable(): string {
  const fields = trlFields();
  const own = Object.keys(schema().shape).filter((name) => !Object.hasOwn(fields, toSnake(name)));
  const names = own.map((name) => `\`${name}\``).join(", ");
  return `## Options that TRL does not have\n\n${names}: [configuration.md](configuration.md) says what each does.\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(trlPage, trlPageText());
