// What a run from a configuration is made of, whatever it trains: environment variables, model, tokenizer, adapter; and what TRL's scripts
// do at its end: save, evaluate, upload.

import { formatDuration } from "../log/format.js";
import type { Device } from "../model/device.js";
import { LoraConfig, type LoraOptions } from "../model/lora/lora.js";
import { CausalLM } from "../model/model.js";
import type { FromPretrainedOptions } from "../model/model-options.js";
import { renameKeys, toCamel } from "../options/names.js";
import type { Output } from "../output.js";
import type { TrainerPushOptions } from "../run/hub-push.js";
import type { RunOptions } from "../run/options.js";
import type { TrainResult } from "../run/progress.js";
import type { TrainOptions } from "../run/run.js";
import { Tokenizer } from "../tokenizer/tokenizer.js";
import type { CommonSettings } from "./keys.js";

/** The variables that the configuration names, and those that open-r1's script sets from keys of its own. */
export function setEnvironment({
  env,
  wandb_project: project,
  wandb_entity: entity,
  wandb_run_group: group,
}: CommonSettings): void {
  const wandb = { WANDB_PROJECT: project, WANDB_ENTITY: entity, WANDB_RUN_GROUP: group };
  for (const [name, value] of Object.entries({ ...env, ...wandb })) {
    if (value !== undefined) process.env[name] = String(value);
  }
}

/** How the configuration opens a model. */
export function modelOptions(script: CommonSettings): FromPretrainedOptions {
  return {
    dtype: script.dtype,
    device: script.use_cpu ? "cpu" : (script.device as Device),
    revision: script.model_revision,
    ...renameKeys(script.model_init_kwargs ?? {}, toCamel),
  };
}

/** The model, with a fresh adapter if there is one. */
export async function openModel(script: CommonSettings, lora: LoraConfig | undefined, seed: number): Promise<CausalLM> {
  const model = await CausalLM.fromPretrained(script.model_name_or_path, modelOptions(script));
  if (lora === undefined) return model;
  try {
    return model.applyLora(lora, { seed });
  } catch (error) {
    model.dispose();
    throw error;
  }
}

export async function loadTokenizer(script: CommonSettings): Promise<Tokenizer> {
  const tokenizer = await Tokenizer.fromPretrained(script.model_name_or_path, { revision: script.model_revision });
  if (script.chat_template !== undefined) tokenizer.chatTemplate = script.chat_template;
  return tokenizer;
}

interface Trainer {
  readonly args: RunOptions;
  train(options: TrainOptions): Promise<TrainResult>;
  evaluate(): Promise<unknown>;
  pushToHub(options: TrainerPushOptions): Promise<string>;
}

/** Trains to the end, and does what TRL's script does then. */
export async function runToEnd(
  trainer: Trainer,
  model: CausalLM,
  tokenizer: Tokenizer,
  script: CommonSettings,
  output: Output,
): Promise<void> {
  const { args } = trainer;
  const { globalStep, metrics } = await trainer.train({ resumeFromCheckpoint: script.resume_from_checkpoint ?? false });
  output.write(`trained to step ${globalStep} in ${formatDuration(metrics.train_runtime ?? 0)}\n`);
  // Not saveModel(), which would upload once more what is uploaded below.
  await model.savePretrained(args.outputDir);
  await tokenizer.savePretrained(args.outputDir);
  output.write(`saved to ${args.outputDir}; npx grpo report ${args.outputDir} makes a page of it\n`);
  if (script.do_eval) await trainer.evaluate();
  if (!args.pushToHub) return;
  const dataset = script.dataset_name;
  output.write(`${await trainer.pushToHub(dataset === undefined ? {} : { datasetName: dataset })}\n`);
}

export const resumeHint = (checkpoint: string) => `the same command and --resume_from_checkpoint ${checkpoint}`;

/** The adapter that is trained; undefined where the whole model is. Throws BAD_OPTION. */
export function adapterOf(script: CommonSettings): LoraConfig | undefined {
  if (!script.use_peft) return undefined;
  const { lora_target_modules: targets, lora_target_parameters: parameters, lora_modules_to_save: saved } = script;
  // TRL makes a pattern of a list of one; a plain name would then match nothing.
  const [first = "", ...others] = typeof targets === "string" ? [targets] : (targets ?? []);
  const pattern = others.length === 0 && (first.toLowerCase() === "all-linear" || /\W/.test(first));
  const options = {
    taskType: script.lora_task_type,
    r: script.lora_r,
    loraAlpha: script.lora_alpha,
    loraDropout: script.lora_dropout,
    useRslora: script.use_rslora,
    ...(targets === undefined ? {} : { targetModules: pattern ? first : [first, ...others] }),
    ...(script.use_dora ? { useDora: true } : {}),
    ...(saved === undefined ? {} : { modulesToSave: saved }),
    ...(parameters === undefined ? {} : { targetParameters: parameters }),
  };
  return new LoraConfig(options as LoraOptions);
}
