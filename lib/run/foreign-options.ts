// transformers' and TRL's options that a trainer of any kind knows by name but does not act on. Two kinds: those that would change the
// result (set to anything but their default they are refused), and those that only concern their own machinery (accepted, and named
// in the plan as having no effect). A trainer adds those that only it has.

import { optimNames } from "../options/optimizer.js";

/** Not supported yet: name → the default, the only value accepted. */
export const unsupportedDefaults: Readonly<Record<string, unknown>> = {
  trustRemoteCode: false,
  routerAuxLossCoef: null,
  optimTargetModules: null,
  labelSmoothingFactor: 0.0,
  fp16: false,
  neftuneNoiseAlpha: null,
  torchCompile: false,
  autoFindBatchSize: false,
  loggingStrategy: "steps",
  evalDelay: 0,
  saveOnlyModel: false,
  ignoreDataSkip: false,
  fullDeterminism: false,
  dataloaderDropLast: false,
  fsdp: null,
  deepspeed: null,
  resumeFromCheckpoint: null,
  useCpu: false,
  bf16FullEval: false,
  fp16FullEval: false,
  torchCompileBackend: null,
  torchCompileMode: null,
  includeNumInputTokensSeen: "no",
  trackioSpaceId: null,
  trackioBucketId: null,
  trackioStaticSpaceId: null,
  predictionLossOnly: false,
  includeForMetrics: null,
  batchEvalMetrics: false,
  enableJitCheckpoint: false,
  restoreCallbackStatesFromCheckpoint: false,
  acceleratorConfig: null,
  parallelismConfig: null,
  labelNames: null,
  lengthColumnName: "length",
  fsdpConfig: null,
  debug: "",
};

/** Accepted without effect: name → why there is nothing to do. */
export const withoutEffect: Readonly<Record<string, string>> = {
  activationCheckpointingKwargs: "memory is bounded by maxTokensPerMicroBatch",
  gradientCheckpointingKwargs: "memory is bounded by maxTokensPerMicroBatch",
  useLigerKernel: "the engine has kernels of its own",
  ligerKernelConfig: "the engine has kernels of its own",
  padToMultipleOf: "nothing is padded",
  torchEmptyCacheSteps: "the engine manages its memory",
  tf32: "matrix products use the model's own type",
  averageTokensAcrossDevices: "ranks always count the tokens of all",
  disableTqdm: "progress is one line a step, and a status line on a terminal",
  loggingNanInfFilter: "non-finite losses are never hidden",
  skipMemoryMetrics: "memory is not traced",
  logLevel: "there is one log level",
  logLevelReplica: "rank 0 alone writes",
  logOnEachNode: "rank 0 alone writes",
  saveOnEachNode: "rank 0 alone writes",
  localRank: "LOCAL_RANK says it",
  ddpBackend: "the gradient of all ranks is summed at once",
  ddpBroadcastBuffers: "the gradient of all ranks is summed at once",
  ddpBucketCapMb: "the gradient of all ranks is summed at once",
  ddpFindUnusedParameters: "the gradient of all ranks is summed at once",
  ddpStaticGraph: "the gradient of all ranks is summed at once",
  evalUseGatherObject: "an evaluation is of all ranks",
  doTrain: "call trainer.train()",
  doEval: "call trainer.evaluate() or set evalStrategy",
};

/** Names from older versions, and what to write now. */
export const renamedOptions: Readonly<Record<string, string>> = {
  warmupRatio: "write warmupSteps with a number below 1: it is then a share of all steps",
  useLigerLoss: "leave it out: the loss is always computed in chunks",
  lr: "write learningRate",
  epochs: "write numTrainEpochs",
  batchSize: "write perDeviceTrainBatchSize",
};

/** transformers' optimizers that were not here at first; those that are by now are taken out below. */
const OTHER_OPTIMIZERS: readonly string[] = [
  "adamw_torch_xla",
  "adamw_torch_npu_fused",
  "adamw_anyprecision",
  "adamw_torch_4bit",
  "adamw_torch_8bit",
  "ademamix",
  "ademamix_8bit",
  "adagrad",
  "lion_8bit",
  "lion_32bit",
  "paged_adamw_32bit",
  "paged_adamw_8bit",
  "paged_ademamix_32bit",
  "paged_ademamix_8bit",
  "paged_lion_32bit",
  "paged_lion_8bit",
  "rmsprop",
  "rmsprop_bnb",
  "rmsprop_bnb_8bit",
  "rmsprop_bnb_32bit",
  "galore_adamw",
  "galore_adamw_8bit",
  "galore_adafactor",
  "galore_adamw_layerwise",
  "galore_adamw_8bit_layerwise",
  "galore_adafactor_layerwise",
  "lomo",
  "adalomo",
  "grokadamw",
  "schedule_free_radam",
  "schedule_free_adamw",
  "schedule_free_sgd",
  "apollo_adamw",
  "apollo_adamw_layerwise",
  "stable_adamw",
];

/** Values that transformers takes for an option of ours and that come later. */
export const unsupportedValues: Readonly<Record<string, readonly string[]>> = {
  lrSchedulerType: ["reduce_lr_on_plateau", "greedy"],
  optim: OTHER_OPTIMIZERS.filter((name) => !optimNames.some((known) => known === name)),
};
