// TRL options that GRPOConfig knows by name but does not act on, beside those of any run (run/foreign-options.ts). Two kinds: those that
// would change the result (set to anything but TRL's default they are refused), and those that only concern TRL's own machinery
// (accepted, and named in the plan as having no effect). Nothing is ever ignored in silence.

import * as run from "../run/foreign-options.js";

/** Not supported yet: name → TRL's default, the only value accepted. */
export const unsupportedDefaults: Readonly<Record<string, unknown>> = {
  ...run.unsupportedDefaults,
  disableDropout: false,
  castLmHeadToFp32: false,
  generationKwargs: null,
  cacheImplementation: null,
  useTransformersContinuousBatching: false,
  transformersContinuousBatchingConfig: null,
  logUniquePrompts: false,
  dataSeed: null,
  useTransformersPaged: false,
  trainSamplingStrategy: "random",
};

const OF_THE_SERVER = "whoever starts the server says it there";

/** Accepted without effect: name → why there is nothing to do. */
export const withoutEffect: Readonly<Record<string, string>> = {
  ...run.withoutEffect,
  perDeviceEvalBatchSize: "evaluation is one batch, which the engine cuts by itself",
  ds3GatherForGeneration: "there is no DeepSpeed here",
  dataloaderNumWorkers: "prompts are rendered before the first step",
  dataloaderPinMemory: "prompts are rendered before the first step",
  logMultimodal: "prompts are text",
  useCache: "sampling always uses a key-value cache",
  dataloaderInOrder: "prompts are rendered before the first step",
  dataloaderPersistentWorkers: "prompts are rendered before the first step",
  dataloaderPrefetchFactor: "prompts are rendered before the first step",
  dataloaderMultiprocessingContext: "prompts are rendered before the first step",
  evalDoConcatBatches: "evaluation is one batch",
  evalAccumulationSteps: "evaluation is one batch",
  doPredict: "call model.generate()",
  vllmGroupPort: "servers read weights from a folder",
  vllmGpuMemoryUtilization: OF_THE_SERVER,
  vllmTensorParallelSize: OF_THE_SERVER,
  vllmMaxModelLength: OF_THE_SERVER,
  vllmModelImpl: OF_THE_SERVER,
  vllmEnableSleepMode: OF_THE_SERVER,
  // Of older versions.
  vllmMaxModelLen: OF_THE_SERVER,
  vllmEnablePrefixCaching: OF_THE_SERVER,
  vllmDtype: OF_THE_SERVER,
  vllmDevice: OF_THE_SERVER,
};

/** Names from older versions of TRL or of this guide, and what to write now. */
export const renamedOptions: Readonly<Record<string, string>> = {
  ...run.renamedOptions,
  maxPromptLen: "write maxPromptLength",
  rewardFunctions: "write rewardFuncs",
  vllmGuidedDecodingRegex: "write vllmStructuredOutputsRegex",
  wandbLogUniquePrompts: "write logUniquePrompts",
  usePeft: "give GRPOTrainer peftConfig: new LoraConfig({ … })",
  klCoef: "write beta",
  initKlCoef: "write beta",
  maxNewTokens: "write maxCompletionLength",
};

/** Values that TRL takes for an option of ours and that come later. */
export const { unsupportedValues } = run;
