// `grpo train`: a run of GRPO from its settings: rewards, data, tokenizer and model, the cheap mistakes first; then the trainer.

import type { GRPOConfig } from "../grpo/config.js";
import { GRPOTrainer } from "../grpo/trainer.js";
import type { LoraConfig } from "../model/lora/lora.js";
import type { CausalLM } from "../model/model.js";
import { LossyOutput, type Output } from "../output.js";
import { rewards } from "../rewards/index.js";
import type { ModelReward } from "../rewards/model.js";
import type { RewardFn } from "../types.js";
import { loadTrainData, type PromptRow } from "./data.js";
import type { ScriptSettings } from "./keys.js";
import { noticeText } from "./notices.js";
import { adapterOf, loadTokenizer, modelOptions, openModel, resumeHint, runToEnd, setEnvironment } from "./parts.js";
import { resolveRewards } from "./reward-functions.js";
import type { TrainSettings } from "./settings.js";

export async function runTraining(settings: TrainSettings, stdout: Output = process.stdout): Promise<void> {
  const { script, args, notices } = settings;
  const output = new LossyOutput(stdout);
  setEnvironment(script);
  const rewards = await resolveRewards(script);
  const notice = noticeText([...notices, ...rewards.notices]);
  if (notice !== undefined) output.write(notice);
  const lora = adapterOf(script);
  const functions = rewards.functions as readonly unknown[] as readonly RewardFn<PromptRow>[];
  const { train, test } = await loadTrainData(script, args.evalStrategy !== "no" || script.do_eval, args.seed);
  const tokenizer = await loadTokenizer(script);
  const { model, judge } = await openModels(script, args, lora);
  try {
    const trainer = new GRPOTrainer<PromptRow>({
      model,
      processingClass: tokenizer,
      args,
      rewardFuncs: judge ? [judge, ...functions] : functions,
      output,
      resumeHint,
      trainDataset: train,
      ...(test === undefined ? {} : { evalDataset: test }),
    });
    await runToEnd(trainer, model, tokenizer, script, output);
  } finally {
    judge?.dispose();
    model.dispose();
  }
}

interface Models {
  readonly model: CausalLM;
  readonly judge: ModelReward | undefined;
}

/** As TRL opens them: the reward model in the type and the revision of the model. */
async function openModels(script: ScriptSettings, args: GRPOConfig, lora: LoraConfig | undefined): Promise<Models> {
  const model = await openModel(script, lora, args.seed);
  const id = script.reward_model_name_or_path;
  if (id === undefined) return { model, judge: undefined };
  try {
    const { chatTemplateKwargs } = args;
    const options = { ...modelOptions(script), ...(chatTemplateKwargs && { chatTemplateKwargs }) };
    return { model, judge: await rewards.model(id, options as Parameters<typeof rewards.model>[1]) };
  } catch (error) {
    model.dispose();
    throw error;
  }
}
