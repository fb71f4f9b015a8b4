// The batch that a training step of one's own gives the model, checked and in its form for the engine. The options of the loss
// and of the optimizer are in ../options/.

import { GrpoError } from "../errors.js";
import type { NativeTrainBatch } from "../native/native.js";
import { checkOptionNames, namesOf } from "../options.js";
import type { SequenceBatch } from "../policy.js";
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

const BATCH_FIELDS = namesOf<GradientBatch>({
  promptIds: true,
  completionIds: true,
  advantages: true,
  oldLogprobs: true,
  referenceLogprobs: true,
  samplingLogprobs: true,
  contextLength: true,
});

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
