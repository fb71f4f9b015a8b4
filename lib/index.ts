// The public API: `import { … } from "grpo"`.

export { type CommandOptions, command } from "./agents/command.js";
export type {
  Environment,
  EnvironmentFactories,
  EnvironmentFactory,
  EnvironmentTurn,
} from "./agents/environments.js";
export { type McpClient, type McpToolsOptions, mcpTools } from "./agents/mcp.js";
export type { RolloutContext, RolloutEndpoint, RolloutFunction, RolloutResult } from "./agents/rollout.js";
export type { Tool, ToolCallOptions, Tools } from "./agents/tool.js";
export { Dataset } from "./dataset/dataset.js";
export { IterableDataset, type StreamShuffleOptions } from "./dataset/iterable-dataset.js";
export type { KnownDatasets } from "./dataset/known-datasets.js";
export { type LoadDatasetOptions, loadDataset } from "./dataset/load.js";
export { concatenateDatasets, type InterleaveOptions, interleaveDatasets } from "./dataset/mixture.js";
export { datasets, type MathRow, type ReadyDatasetOptions } from "./dataset/ready.js";
export type { Endpoint, EndpointOptions, EndpointSession } from "./endpoint/endpoint.js";
export type { EndpointLimits } from "./endpoint/limits.js";
export { type ServeModelOptions, serveModel } from "./endpoint/serve-model.js";
export { GrpoError, type GrpoErrorCode } from "./errors.js";
export { type Comparison, compareEvaluations, type Difference } from "./eval/compare.js";
export type { Estimate } from "./eval/estimators.js";
export { evaluate } from "./eval/evaluate.js";
export type { BenchmarkTask, EvalTask, RewardTask } from "./eval/load-task.js";
export type { EvaluationOptions, EvaluationProgress } from "./eval/options.js";
export { type EvaluationReportOptions, writeEvaluationReport } from "./eval/report.js";
export type { EvaluationResult, TaskResult } from "./eval/result.js";
export type { ServerOptions } from "./eval/server-respondent.js";
export type { PassResult } from "./eval/summary.js";
export { type CompletionForm, completionConstraint, type SpelledTokens } from "./grammar/completion-form.js";
export { GRPOConfig, type GRPOConfigFields, type GRPOConfigOptions } from "./grpo/config.js";
export type {
  EvaluateOptions,
  Evaluation,
  GRPOTrainerOptions,
  PolicyModel,
  TrainerCallback,
  TrainerEvent,
} from "./grpo/setup.js";
export { GRPOTrainer } from "./grpo/trainer.js";
export { type Account, login, logout, whoami } from "./hub/login.js";
export { type PushOptions, pushFolder } from "./hub/push.js";
export type { JsonObject } from "./json.js";
export type { Logger, Outcome } from "./log/logger.js";
export type { CompletionRecord } from "./log/run-log.js";
export type { Device } from "./model/device.js";
export type { GeneratedCompletion, GeneratedCompletions } from "./model/generated-completions.js";
export type {
  Learner,
  Optimizable,
  SequenceBatch,
  SupervisedBatch,
  SupervisedLearner,
  Trainable,
} from "./model/learner.js";
export { LoraConfig, type LoraOptions } from "./model/lora/lora.js";
export {
  CausalLM,
  type FromConfigOptions,
  type FromPretrainedOptions,
  type GradientBatch,
  type HubSource,
  type LossResult,
  type MergeOptions,
  type ModelSource,
  type OptimizerStepOptions,
  type SaveMergedOptions,
  type SaveOptions,
  type SftLossResult,
} from "./model/model.js";
export type { SampledCompletion, SampledGroup, SampleOptions, SampleResult } from "./model/sampled.js";
export type { GenerateOptions } from "./model/sampling.js";
export type { TokenConstraint } from "./model/token-constraint.js";
export type { LossOptions, LossType } from "./options/loss.js";
export type { SftLossOptions, SftLossType } from "./options/sft-loss.js";
export { tinyModel } from "./package-files.js";
export { type ReportOptions, writeReport } from "./report/report.js";
export type { CodeOptions, ExecutingReward, VerificationInfo } from "./rewards/code/code.js";
export type { CfCodeOptions } from "./rewards/code/codeforces.js";
export type { IoiCodeOptions } from "./rewards/code/ioi.js";
export { rewards } from "./rewards/index.js";
export type { ModelReward, RewardModelOptions } from "./rewards/model.js";
export { completionText, type RewardSample } from "./rewards/per-sample.js";
export type { WorkerOptions, WorkerReward } from "./rewards/worker.js";
export type { RowSource } from "./rollout/prompts.js";
export type { Conversation, RolloutReport, Sample, SampledRollout } from "./rollout/sample.js";
export type { FollowedPolicy, SampledAttempt, Sampler } from "./rollout/sampler.js";
export type { TrainerControl } from "./run/callbacks.js";
export type { TrainerPushOptions } from "./run/hub-push.js";
export type { TrainResult } from "./run/progress.js";
export type { TrainOptions } from "./run/run.js";
export type { ServerFacts, ServerKind } from "./servers/engine-server.js";
export { ServerSampler, type ServerSamplerOptions } from "./servers/server-sampler.js";
export { SFTConfig, type SFTConfigFields, type SFTConfigOptions } from "./sft/config.js";
export type { SFTEvaluation, SFTTrainerOptions } from "./sft/setup.js";
export type { TextTokenizer } from "./sft/text-tokenizer.js";
export { SFTTrainer } from "./sft/trainer.js";
export type { ChatTemplateOptions } from "./tokenizer/chat-template.js";
export type { Offsets } from "./tokenizer/pipeline/aligned-text.js";
export type { TokenBytes } from "./tokenizer/pipeline/token-bytes.js";
export type { ProcessingClass } from "./tokenizer/processing-class.js";
export { type EncodedText, type MaskedIds, Tokenizer, type TokenizerOptions } from "./tokenizer/tokenizer.js";
export type { DecodeStream } from "./tokenizer/tokenizer-backend.js";
export type {
  Completion,
  FinishReason,
  Message,
  Prompt,
  RewardBatch,
  RewardFn,
  TokenIds,
  TrainerState,
} from "./types.js";
