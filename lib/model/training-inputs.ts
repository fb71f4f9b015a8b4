// What a training step of one's own gives the model: the batch of forwardBackward and the options of optimizerStep, checked
// and in their form for the engine. The loss options are in loss.ts.

import { GrpoError } from "../errors.js";
import type { NativeOptimizer, NativeTrainBatch } from "../native/native.js";
import { badOption, checkBoolean, checkNumber, checkOneOf, checkOptionNames } from "../options.js";
import type { OptimizerStepOptions, SequenceBatch } from "../policy.js";
import { flattenBatch, flattenFloats } from "./ragged.js";

/** One entry per completion in every list; log-probabilities have one number per completion token. */
export interface GradientBatch extends SequenceBatch {
  readonly advantages: ArrayLike<number>;
  /** Of the policy that drew the completions. Absent: the current ones, so that every ratio is 1. */
  readonly oldLogprobs?: readonly ArrayLike<number>[];
  /** Needed when beta is above 0. */
  readonly referenceLogprobs?: readonly ArrayLike<number>[];
  /** As sampling gave them; only for the result's logpDifferenceMean and -Max. */
  readonly samplingLogprobs?: readonly ArrayLike<number>[];
}

const BATCH_FIELDS: readonly (keyof GradientBatch)[] = [
  "promptIds",
  "completionIds",
  "advantages",
  "oldLogprobs",
  "referenceLogprobs",
  "samplingLogprobs",
  "contextLength",
];

/** Throws BAD_INPUT or UNKNOWN_OPTION, naming the field. */
export function toNativeBatch(batch: GradientBatch, needsReference: boolean, vocabSize: number): NativeTrainBatch {
  checkOptionNames("forwardBackward", batch, BATCH_FIELDS);
  const flat = flattenBatch(batch, vocabSize);
  const { advantages, oldLogprobs, referenceLogprobs, samplingLogprobs } = batch;
  const rows = flat.promptOf.length;
  if (advantages?.length !== rows) {
    throw new GrpoError("BAD_INPUT", `Expected ${rows} advantages, found ${advantages?.length ?? "none"}.`);
  }
  if (needsReference && referenceLogprobs === undefined) {
    throw new GrpoError("BAD_INPUT", "beta is above 0, so referenceLogprobs are needed.", {
      hint: "Compute them with disableAdapter(() => model.logprobs(batch)).",
    });
  }
  type Floats = "oldLogprobs" | "referenceLogprobs" | "samplingLogprobs";
  const floats = (name: Floats, lists: readonly ArrayLike<number>[] | undefined) =>
    lists === undefined ? {} : { [name]: flattenFloats(name, lists, flat.completionOffsets) };
  return {
    ...flat,
    advantages: Float32Array.from(advantages),
    ...floats("oldLogprobs", oldLogprobs),
    ...floats("referenceLogprobs", referenceLogprobs),
    ...floats("samplingLogprobs", samplingLogprobs),
  };
}

export type { OptimizerStepOptions } from "../policy.js";

const STEP_OPTIONS: readonly (keyof NativeOptimizer)[] = [
  "optimizer",
  "learningRate",
  "loraPlusRatio",
  "loraPlusEmbeddingRate",
  "beta1",
  "beta2",
  "epsilon",
  "momentum",
  "nesterov",
  "dampening",
  "newtonSchulzSteps",
  "matchAdamW",
  "weightDecay",
  "maxGradNorm",
];

export const OPTIMIZERS = ["adamw", "adamw_8bit", "sgd", "adafactor", "muon"] as const;

/** Throws UNKNOWN_OPTION or BAD_OPTION, naming the option. */
export function toNativeOptimizer(options: OptimizerStepOptions): NativeOptimizer {
  const where = "optimizerStep";
  checkOptionNames(where, options, STEP_OPTIONS);
  type Numbers = { [K in keyof NativeOptimizer]: NativeOptimizer[K] extends number ? K : never }[keyof NativeOptimizer];
  const number = (key: Numbers, fallback?: number) => checkNumber(where, key, options[key] ?? fallback, { min: 0 });
  const share = (key: Numbers, fallback: number) =>
    checkNumber(where, key, options[key] ?? fallback, { min: 0, max: 1 });
  const optimizer = checkOneOf(where, "optimizer", options.optimizer ?? "adamw", OPTIMIZERS);
  const momentum = share("momentum", optimizer === "muon" ? 0.95 : 0);
  const nesterov = checkBoolean(where, "nesterov", options.nesterov ?? optimizer === "muon");
  const dampening = share("dampening", 0);
  if (optimizer === "sgd" && nesterov && (momentum === 0 || dampening !== 0)) {
    throw badOption(where, "nesterov", "false without momentum or with dampening", nesterov);
  }
  return {
    optimizer: optimizer === "sgd" && momentum > 0 ? "sgd_momentum" : optimizer,
    learningRate: number("learningRate"),
    loraPlusRatio: number("loraPlusRatio", 1),
    loraPlusEmbeddingRate: number("loraPlusEmbeddingRate", 0),
    beta1: share("beta1", 0.9),
    beta2: share("beta2", 0.999),
    epsilon: number("epsilon", 1e-8),
    momentum,
    nesterov,
    dampening,
    newtonSchulzSteps: checkNumber(where, "newtonSchulzSteps", options.newtonSchulzSteps ?? 5, {
      min: 1,
      integer: true,
    }),
    matchAdamW: checkBoolean(where, "matchAdamW", options.matchAdamW ?? true),
    weightDecay: number("weightDecay", 0),
    maxGradNorm: number("maxGradNorm", 1),
  };
}
