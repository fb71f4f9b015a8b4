// A training run from its settings: rewards, data, tokenizer and model, the cheap mistakes first; then the trainer; then what TRL's
// script does at the end: save, evaluate, upload.

import type { GRPOConfig } from "../grpo/config.js";
import { GRPOTrainer } from "../grpo/trainer.js";
import { formatDuration } from "../log/format.js";
import type { Device } from "../model/device.js";
import { LoraConfig, type LoraOptions } from "../model/lora/lora.js";
import { CausalLM } from "../model/model.js";
import { renameKeys, toCamel } from "../options/names.js";
import { LossyOutput, type Output } from "../output.js";
import { rewards } from "../rewards/index.js";
import type { ModelReward } from "../rewards/model.js";
import { Tokenizer } from "../tokenizer/tokenizer.js";
import type { RewardFn } from "../types.js";
import { loadTrainData, type PromptRow, type TrainData } from "./data.js";
import type { ScriptSettings } from "./keys.js";
import { noticeText } from "./notices.js";
import { resolveRewards } from "./reward-functions.js";
import type { TrainSettings } from "./settings.js";

export async function runTraining(settings: TrainSettings, stdout: Output = process.stdout): Promise<void> {
  const { script, args, notices } = settings;
  const output = new LossyOutput(stdout);
  setEnvironment(script);
  const rewards = await resolveRewards(script);
  const notice = noticeText([...notices, ...rewards.notices]);
  if (notice !== undefined) output.write(notice);
  const lora = script.use_peft ? loraConfig(script) : undefined;
  const functions = rewards.functions as readonly unknown[] as readonly RewardFn<PromptRow>[];
  const data = await loadTrainData(script, args.evalStrategy !== "no" || script.do_eval, args.seed);
  const tokenizer = await loadTokenizer(script);
  const { model, judge } = await openModels(script, args);
  try {
    const rewardFuncs = judge ? [judge, ...functions] : functions;
    if (lora) model.applyLora(lora, { seed: args.seed });
    const trainer = new GRPOTrainer<PromptRow>({
      model,
      processingClass: tokenizer,
      args,
      rewardFuncs,
      output,
      resumeHint: (checkpoint) => `the same command and --resume_from_checkpoint ${checkpoint}`,
      ...dataOptions(data),
    });
    const { globalStep, metrics } = await trainer.train({
      resumeFromCheckpoint: script.resume_from_checkpoint ?? false,
    });
    const took = formatDuration(metrics.train_runtime ?? 0);
    output.write(`trained to step ${globalStep} in ${took}\n`);
    await finish(trainer, model, tokenizer, script, output);
  } finally {
    judge?.dispose();
    model.dispose();
  }
}

/** The variables that the configuration names, and those that open-r1's script sets from keys of its own. */
function setEnvironment({
  env,
  wandb_project: project,
  wandb_entity: entity,
  wandb_run_group: group,
}: ScriptSettings): void {
  const wandb = { WANDB_PROJECT: project, WANDB_ENTITY: entity, WANDB_RUN_GROUP: group };
  for (const [name, value] of Object.entries({ ...env, ...wandb })) {
    if (value !== undefined) process.env[name] = String(value);
  }
}

interface Models {
  readonly model: CausalLM;
  readonly judge: ModelReward | undefined;
}

/** As TRL opens them: the reward model in the type and the revision of the model. */
async function openModels(script: ScriptSettings, args: GRPOConfig): Promise<Models> {
  const options = {
    dtype: script.dtype,
    device: script.use_cpu ? "cpu" : (script.device as Device),
    revision: script.model_revision,
    ...renameKeys(script.model_init_kwargs ?? {}, toCamel),
  };
  const model = await CausalLM.fromPretrained(script.model_name_or_path, options);
  const id = script.reward_model_name_or_path;
  if (id === undefined) return { model, judge: undefined };
  try {
    const { chatTemplateKwargs } = args;
    return { model, judge: await rewards.model(id, { ...options, ...(chatTemplateKwargs && { chatTemplateKwargs }) }) };
  } catch (error) {
    model.dispose();
    throw error;
  }
}

function dataOptions({ train, test }: TrainData) {
  return { trainDataset: train, ...(test === undefined ? {} : { evalDataset: test }) };
}

async function loadTokenizer(script: ScriptSettings): Promise<Tokenizer> {
  const tokenizer = await Tokenizer.fromPretrained(script.model_name_or_path, { revision: script.model_revision });
  if (script.chat_template !== undefined) tokenizer.chatTemplate = script.chat_template;
  return tokenizer;
}

async function finish(
  trainer: GRPOTrainer<PromptRow>,
  model: CausalLM,
  tokenizer: Tokenizer,
  script: ScriptSettings,
  output: Output,
): Promise<void> {
  const { args }: { args: GRPOConfig } = trainer;
  // Not saveModel(), which would upload once more what is uploaded below.
  await model.savePretrained(args.outputDir);
  await tokenizer.savePretrained(args.outputDir);
  output.write(`saved to ${args.outputDir}; npx grpo report ${args.outputDir} makes a page of it\n`);
  if (script.do_eval) await trainer.evaluate();
  if (!args.pushToHub) return;
  const dataset = script.dataset_name;
  output.write(`${await trainer.pushToHub(dataset === undefined ? {} : { datasetName: dataset })}\n`);
}

function loraConfig(script: ScriptSettings): LoraConfig {
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
