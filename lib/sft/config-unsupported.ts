// TRL options that SFTConfig knows by name but does not act on, beside those of any run (run/foreign-options.ts).

import * as run from "../run/foreign-options.js";

/** Not supported: name → TRL's default, the only value accepted. */
export const unsupportedDefaults: Readonly<Record<string, unknown>> = {
  ...run.unsupportedDefaults,
  datasetKwargs: null,
};

const IN_ADVANCE = "rows are tokenized before the first step";

/** Accepted without effect: name → why there is nothing to do. */
export const withoutEffect: Readonly<Record<string, string>> = {
  ...run.withoutEffect,
  paddingFree: "nothing is padded",
  padToken: "nothing is padded",
  activationOffloading: "memory is bounded by maxTokensPerMicroBatch",
  datasetNumProc: IN_ADVANCE,
  dataloaderNumWorkers: IN_ADVANCE,
  dataloaderPinMemory: IN_ADVANCE,
  dataloaderInOrder: IN_ADVANCE,
  dataloaderPersistentWorkers: IN_ADVANCE,
  dataloaderPrefetchFactor: IN_ADVANCE,
  dataloaderMultiprocessingContext: IN_ADVANCE,
  evalDoConcatBatches: "an evaluation keeps no predictions",
  evalAccumulationSteps: "an evaluation keeps no predictions",
  useCache: "training needs no key-value cache",
  doPredict: "call model.generate()",
};

/** Names from older versions of TRL and from other trainers, and what to write now. */
export const renamedOptions: Readonly<Record<string, string>> = {
  ...run.renamedOptions,
  maxSeqLength: "write maxLength",
  neftuneAlpha: "write neftuneNoiseAlpha",
  modelMaxLength: "write maxLength",
  usePeft: "give SFTTrainer peftConfig: new LoraConfig({ … })",
};

/** Values that TRL takes for an option of ours and that come later. */
export const unsupportedValues: Readonly<Record<string, readonly string[]>> = {
  ...run.unsupportedValues,
  trainSamplingStrategy: ["group_by_length", "batch_rebalance"],
};
