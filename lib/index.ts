// The public API: `import { … } from "grpo"`.

export type { ChatTemplateOptions } from "./chat-template.js";
export { GRPOConfig, type GRPOConfigFields, type GRPOConfigOptions } from "./config.js";
export { Dataset } from "./dataset/dataset.js";
export { type LoadDatasetOptions, loadDataset } from "./dataset/load.js";
export type { Device } from "./device.js";
export { GrpoError, type GrpoErrorCode } from "./errors.js";
export type { GeneratedCompletion, Generation } from "./generation.js";
export type { PushOptions } from "./hub.js";
export type { JsonObject } from "./json.js";
export type { CompletionRecord } from "./log/run-log.js";
export { type Account, login, logout, whoami } from "./login.js";
export { LoraConfig, type LoraOptions } from "./lora.js";
export type { LossOptions, LossType } from "./loss.js";
export {
  CausalLM,
  type FromConfigOptions,
  type FromPretrainedOptions,
  type GradientBatch,
  type HubSource,
  type LossResult,
  type OptimizerStepOptions,
} from "./model.js";
export type {
  PolicyModel,
  ProcessingClass,
  SampledCompletion,
  SampledGroup,
  SampleOptions,
  SampleResult,
  SequenceBatch,
  TokenIds,
} from "./policy.js";
export type { RowSource } from "./prompts.js";
export { rewards } from "./rewards/index.js";
export { completionText, type RewardSample } from "./rewards/per-sample.js";
export type { GenerateOptions } from "./sampling.js";
export { Tokenizer, type TokenizerOptions } from "./tokenizer.js";
export { GRPOTrainer } from "./trainer.js";
export type {
  EvaluateOptions,
  Evaluation,
  GRPOTrainerOptions,
  TrainerCallback,
  TrainerEvent,
  TrainOptions,
  TrainResult,
} from "./trainer-setup.js";
export type { Completion, FinishReason, Message, Prompt, RewardBatch, RewardFn, TrainerState } from "./types.js";
