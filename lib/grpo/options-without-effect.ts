// Written by scripts/docs-config.ts from config-unsupported.ts: TRL's options that a config takes, so that a script can be ported as it
// is, and that change nothing.

/** TRL's options that change nothing. */
export interface OptionsWithoutEffect {
  /** @deprecated No effect: memory is bounded by maxTokensPerMicroBatch. */
  readonly activationCheckpointingKwargs?: unknown;
  /** @deprecated No effect: memory is bounded by maxTokensPerMicroBatch. */
  readonly gradientCheckpointingKwargs?: unknown;
  /** @deprecated No effect: the engine has kernels of its own. */
  readonly useLigerKernel?: unknown;
  /** @deprecated No effect: the engine has kernels of its own. */
  readonly ligerKernelConfig?: unknown;
  /** @deprecated No effect: nothing is padded. */
  readonly padToMultipleOf?: unknown;
  /** @deprecated No effect: the engine manages its memory. */
  readonly torchEmptyCacheSteps?: unknown;
  /** @deprecated No effect: matrix products use the model's own type. */
  readonly tf32?: unknown;
  /** @deprecated No effect: ranks always count the tokens of all. */
  readonly averageTokensAcrossDevices?: unknown;
  /** @deprecated No effect: progress is one line a step, and a status line on a terminal. */
  readonly disableTqdm?: unknown;
  /** @deprecated No effect: non-finite losses are never hidden. */
  readonly loggingNanInfFilter?: unknown;
  /** @deprecated No effect: memory is not traced. */
  readonly skipMemoryMetrics?: unknown;
  /** @deprecated No effect: there is one log level. */
  readonly logLevel?: unknown;
  /** @deprecated No effect: rank 0 alone writes. */
  readonly logLevelReplica?: unknown;
  /** @deprecated No effect: rank 0 alone writes. */
  readonly logOnEachNode?: unknown;
  /** @deprecated No effect: rank 0 alone writes. */
  readonly saveOnEachNode?: unknown;
  /** @deprecated No effect: LOCAL_RANK says it. */
  readonly localRank?: unknown;
  /** @deprecated No effect: the gradient of all ranks is summed at once. */
  readonly ddpBackend?: unknown;
  /** @deprecated No effect: the gradient of all ranks is summed at once. */
  readonly ddpBroadcastBuffers?: unknown;
  /** @deprecated No effect: the gradient of all ranks is summed at once. */
  readonly ddpBucketCapMb?: unknown;
  /** @deprecated No effect: the gradient of all ranks is summed at once. */
  readonly ddpFindUnusedParameters?: unknown;
  /** @deprecated No effect: the gradient of all ranks is summed at once. */
  readonly ddpStaticGraph?: unknown;
  /** @deprecated No effect: an evaluation is of all ranks. */
  readonly evalUseGatherObject?: unknown;
  /** @deprecated No effect: call trainer.train(). */
  readonly doTrain?: unknown;
  /** @deprecated No effect: call trainer.evaluate() or set evalStrategy. */
  readonly doEval?: unknown;
  /** @deprecated No effect: evaluation is one batch, which the engine cuts by itself. */
  readonly perDeviceEvalBatchSize?: unknown;
  /** @deprecated No effect: there is no DeepSpeed here. */
  readonly ds3GatherForGeneration?: unknown;
  /** @deprecated No effect: prompts are rendered before the first step. */
  readonly dataloaderNumWorkers?: unknown;
  /** @deprecated No effect: prompts are rendered before the first step. */
  readonly dataloaderPinMemory?: unknown;
  /** @deprecated No effect: prompts are text. */
  readonly logMultimodal?: unknown;
  /** @deprecated No effect: sampling always uses a key-value cache. */
  readonly useCache?: unknown;
  /** @deprecated No effect: prompts are rendered before the first step. */
  readonly dataloaderInOrder?: unknown;
  /** @deprecated No effect: prompts are rendered before the first step. */
  readonly dataloaderPersistentWorkers?: unknown;
  /** @deprecated No effect: prompts are rendered before the first step. */
  readonly dataloaderPrefetchFactor?: unknown;
  /** @deprecated No effect: prompts are rendered before the first step. */
  readonly dataloaderMultiprocessingContext?: unknown;
  /** @deprecated No effect: evaluation is one batch. */
  readonly evalDoConcatBatches?: unknown;
  /** @deprecated No effect: evaluation is one batch. */
  readonly evalAccumulationSteps?: unknown;
  /** @deprecated No effect: call model.generate(). */
  readonly doPredict?: unknown;
  /** @deprecated No effect: servers read weights from a folder. */
  readonly vllmGroupPort?: unknown;
  /** @deprecated No effect: whoever starts the server says it there. */
  readonly vllmGpuMemoryUtilization?: unknown;
  /** @deprecated No effect: whoever starts the server says it there. */
  readonly vllmTensorParallelSize?: unknown;
  /** @deprecated No effect: whoever starts the server says it there. */
  readonly vllmMaxModelLength?: unknown;
  /** @deprecated No effect: whoever starts the server says it there. */
  readonly vllmModelImpl?: unknown;
  /** @deprecated No effect: whoever starts the server says it there. */
  readonly vllmEnableSleepMode?: unknown;
  /** @deprecated No effect: whoever starts the server says it there. */
  readonly vllmMaxModelLen?: unknown;
  /** @deprecated No effect: whoever starts the server says it there. */
  readonly vllmEnablePrefixCaching?: unknown;
  /** @deprecated No effect: whoever starts the server says it there. */
  readonly vllmDtype?: unknown;
  /** @deprecated No effect: whoever starts the server says it there. */
  readonly vllmDevice?: unknown;
  /** @deprecated Not supported yet: TRL's default, false, is the only value taken. */
  readonly trustRemoteCode?: false | undefined;
  /** @deprecated Not supported yet: TRL's default, null, is the only value taken. */
  readonly routerAuxLossCoef?: null | undefined;
  /** @deprecated Not supported yet: TRL's default, null, is the only value taken. */
  readonly optimTargetModules?: null | undefined;
  /** @deprecated Not supported yet: TRL's default, 0, is the only value taken. */
  readonly labelSmoothingFactor?: 0 | undefined;
  /** @deprecated Not supported yet: TRL's default, false, is the only value taken. */
  readonly fp16?: false | undefined;
  /** @deprecated Not supported yet: TRL's default, null, is the only value taken. */
  readonly neftuneNoiseAlpha?: null | undefined;
  /** @deprecated Not supported yet: TRL's default, false, is the only value taken. */
  readonly torchCompile?: false | undefined;
  /** @deprecated Not supported yet: TRL's default, false, is the only value taken. */
  readonly autoFindBatchSize?: false | undefined;
  /** @deprecated Not supported yet: TRL's default, "steps", is the only value taken. */
  readonly loggingStrategy?: "steps" | undefined;
  /** @deprecated Not supported yet: TRL's default, 0, is the only value taken. */
  readonly evalDelay?: 0 | undefined;
  /** @deprecated Not supported yet: TRL's default, false, is the only value taken. */
  readonly saveOnlyModel?: false | undefined;
  /** @deprecated Not supported yet: TRL's default, false, is the only value taken. */
  readonly ignoreDataSkip?: false | undefined;
  /** @deprecated Not supported yet: TRL's default, false, is the only value taken. */
  readonly fullDeterminism?: false | undefined;
  /** @deprecated Not supported yet: TRL's default, false, is the only value taken. */
  readonly dataloaderDropLast?: false | undefined;
  /** @deprecated Not supported yet: TRL's default, null, is the only value taken. */
  readonly fsdp?: null | undefined;
  /** @deprecated Not supported yet: TRL's default, null, is the only value taken. */
  readonly deepspeed?: null | undefined;
  /** @deprecated Not supported yet: TRL's default, null, is the only value taken. */
  readonly resumeFromCheckpoint?: null | undefined;
  /** @deprecated Not supported yet: TRL's default, false, is the only value taken. */
  readonly useCpu?: false | undefined;
  /** @deprecated Not supported yet: TRL's default, false, is the only value taken. */
  readonly bf16FullEval?: false | undefined;
  /** @deprecated Not supported yet: TRL's default, false, is the only value taken. */
  readonly fp16FullEval?: false | undefined;
  /** @deprecated Not supported yet: TRL's default, null, is the only value taken. */
  readonly torchCompileBackend?: null | undefined;
  /** @deprecated Not supported yet: TRL's default, null, is the only value taken. */
  readonly torchCompileMode?: null | undefined;
  /** @deprecated Not supported yet: TRL's default, "no", is the only value taken. */
  readonly includeNumInputTokensSeen?: "no" | undefined;
  /** @deprecated Not supported yet: TRL's default, null, is the only value taken. */
  readonly trackioSpaceId?: null | undefined;
  /** @deprecated Not supported yet: TRL's default, null, is the only value taken. */
  readonly trackioBucketId?: null | undefined;
  /** @deprecated Not supported yet: TRL's default, null, is the only value taken. */
  readonly trackioStaticSpaceId?: null | undefined;
  /** @deprecated Not supported yet: TRL's default, false, is the only value taken. */
  readonly predictionLossOnly?: false | undefined;
  /** @deprecated Not supported yet: TRL's default, null, is the only value taken. */
  readonly includeForMetrics?: null | undefined;
  /** @deprecated Not supported yet: TRL's default, false, is the only value taken. */
  readonly batchEvalMetrics?: false | undefined;
  /** @deprecated Not supported yet: TRL's default, false, is the only value taken. */
  readonly enableJitCheckpoint?: false | undefined;
  /** @deprecated Not supported yet: TRL's default, false, is the only value taken. */
  readonly restoreCallbackStatesFromCheckpoint?: false | undefined;
  /** @deprecated Not supported yet: TRL's default, null, is the only value taken. */
  readonly acceleratorConfig?: null | undefined;
  /** @deprecated Not supported yet: TRL's default, null, is the only value taken. */
  readonly parallelismConfig?: null | undefined;
  /** @deprecated Not supported yet: TRL's default, null, is the only value taken. */
  readonly labelNames?: null | undefined;
  /** @deprecated Not supported yet: TRL's default, "length", is the only value taken. */
  readonly lengthColumnName?: "length" | undefined;
  /** @deprecated Not supported yet: TRL's default, null, is the only value taken. */
  readonly fsdpConfig?: null | undefined;
  /** @deprecated Not supported yet: TRL's default, "", is the only value taken. */
  readonly debug?: "" | undefined;
  /** @deprecated Not supported yet: TRL's default, false, is the only value taken. */
  readonly disableDropout?: false | undefined;
  /** @deprecated Not supported yet: TRL's default, false, is the only value taken. */
  readonly castLmHeadToFp32?: false | undefined;
  /** @deprecated Not supported yet: TRL's default, null, is the only value taken. */
  readonly generationKwargs?: null | undefined;
  /** @deprecated Not supported yet: TRL's default, null, is the only value taken. */
  readonly cacheImplementation?: null | undefined;
  /** @deprecated Not supported yet: TRL's default, false, is the only value taken. */
  readonly useTransformersContinuousBatching?: false | undefined;
  /** @deprecated Not supported yet: TRL's default, null, is the only value taken. */
  readonly transformersContinuousBatchingConfig?: null | undefined;
  /** @deprecated Not supported yet: TRL's default, false, is the only value taken. */
  readonly logUniquePrompts?: false | undefined;
  /** @deprecated Not supported yet: TRL's default, null, is the only value taken. */
  readonly dataSeed?: null | undefined;
  /** @deprecated Not supported yet: TRL's default, false, is the only value taken. */
  readonly useTransformersPaged?: false | undefined;
  /** @deprecated Not supported yet: TRL's default, "random", is the only value taken. */
  readonly trainSamplingStrategy?: "random" | undefined;
}
