// The batch that a training step of one's own gives the model, checked and in its form for the engine. The options of the loss
// and of the optimizer are in ../options/.

import { checkOptionNames, namesOf, show } from "../checks.js";
import { GrpoError } from "../errors.js";
import type { NativeSftBatch, NativeTrainBatch } from "../native/native.js";
import type { SequenceBatch, SupervisedBatch } from "./learner.js";
import { flattenBatch, flattenFloats, flattenMasks } from "./ragged.js";

/** One entry per completion in every list; all but `advantages` have one number per completion token. */
export interface GradientBatch extends SequenceBatch {
  readonly advantages: ArrayLike<number>;
  /**
   * Advantages of single tokens, in the place of their completion's, as TRL's loss takes them in a subclass: float32, any number,
   * and every loss and mask goes by them. Where a ratio is one for a completion, so is what depends on it but for the sign of each
   * token's advantage. Metrics are then over tokens, also those that are otherwise over completions. Absent: a completion's
   * advantage is that of its tokens.
   */
  readonly tokenAdvantages?: readonly ArrayLike<number>[];
  /**
   * 1 for tokens that count in the loss, 0 for those that are context, such as a tool's answer: they are attended to, and neither
   * loss nor metrics nor normalizers see them. Their log-probabilities below are ignored. Absent: all count.
   */
  readonly lossMask?: readonly ArrayLike<number>[];
  /**
   * Rows between two offsets are a slice, what TRL calls a micro-batch in its normalizers and metrics: ascending, from 0 to the
   * number of rows. Absent: slices of the loss's `rowsPerSlice` rows.
   */
  readonly sliceOffsets?: readonly number[];
  /** Log-probabilities under the policy that drew the completions. Absent: the current ones, so that every ratio is 1. */
  readonly oldLogprobs?: readonly ArrayLike<number>[];
  /** Needed when beta is above 0. */
  readonly referenceLogprobs?: readonly ArrayLike<number>[];
  /** As sampling gave them: for the result's logpDifferenceMean and -Max, and the loss's sampledElsewhere. */
  readonly samplingLogprobs?: readonly ArrayLike<number>[];
  /** What multiplies the policy term of each token: the importance ratios where another engine drew it. Absent: 1. */
  readonly importanceRatios?: readonly ArrayLike<number>[];
}

const BATCH_FIELDS = namesOf<GradientBatch>({
  promptIds: true,
  completionIds: true,
  advantages: true,
  tokenAdvantages: true,
  oldLogprobs: true,
  referenceLogprobs: true,
  samplingLogprobs: true,
  importanceRatios: true,
  lossMask: true,
  sliceOffsets: true,
  contextLength: true,
});

/** What the options of the loss ask of the batch. */
export interface BatchNeeds {
  readonly reference: boolean;
  /** 0: all rows. */
  readonly rowsPerSlice: number;
}

/** Throws BAD_INPUT or UNKNOWN_OPTION, naming the field. */
export function toNativeBatch(batch: GradientBatch, needs: BatchNeeds, vocabSize: number): NativeTrainBatch {
  checkOptionNames("forwardBackward", batch, BATCH_FIELDS);
  const flat = flattenBatch(batch, vocabSize);
  const { advantages } = batch;
  const rows = flat.promptOf.length;
  if (advantages?.length !== rows) {
    throw new GrpoError("BAD_INPUT", `expected ${rows} advantages, found ${advantages?.length ?? "none"}`);
  }
  if (needs.reference && batch.referenceLogprobs === undefined) {
    throw new GrpoError("BAD_INPUT", "beta is above 0, so referenceLogprobs are needed", {
      hint: "compute them with disableAdapter(() => model.logprobs(batch))",
    });
  }
  type Floats = "tokenAdvantages" | "oldLogprobs" | "referenceLogprobs" | "samplingLogprobs" | "importanceRatios";
  const floats = (name: Floats) => {
    const lists = batch[name];
    return lists === undefined ? {} : { [name]: flattenFloats(name, lists, flat.completionOffsets) };
  };
  const slices = batch.sliceOffsets
    ? checkedSlices(batch.sliceOffsets, rows, needs.rowsPerSlice)
    : evenSlices(rows, needs.rowsPerSlice);
  return {
    ...flat,
    ...(slices && { sliceOffsets: slices }),
    ...(batch.lossMask && { lossMask: flattenMasks("lossMask", batch.lossMask, flat.completionOffsets) }),
    advantages: Float32Array.from(advantages),
    ...floats("tokenAdvantages"),
    ...floats("oldLogprobs"),
    ...floats("referenceLogprobs"),
    ...floats("samplingLogprobs"),
    ...floats("importanceRatios"),
  };
}

const SUPERVISED_FIELDS = namesOf<SupervisedBatch>({
  promptIds: true,
  completionIds: true,
  lossMask: true,
  contextLength: true,
});

/** `where`: the call, for messages. Throws BAD_INPUT or UNKNOWN_OPTION, naming the field. */
export function toNativeSftBatch(where: string, batch: SupervisedBatch, vocabSize: number): NativeSftBatch {
  checkOptionNames(where, batch, SUPERVISED_FIELDS);
  const flat = flattenBatch(batch, vocabSize);
  if (batch.lossMask === undefined) return flat;
  return { ...flat, lossMask: flattenMasks("lossMask", batch.lossMask, flat.completionOffsets) };
}

/** Offsets of slices of `rowsPerSlice` rows, the last of what is left. 0: one slice of all, which needs no offsets. */
export function evenSlices(rows: number, rowsPerSlice: number): Int32Array | undefined {
  if (rowsPerSlice === 0) return undefined;
  const slices = Math.ceil(rows / rowsPerSlice);
  return Int32Array.from({ length: slices + 1 }, (_, i) => Math.min(i * rowsPerSlice, rows));
}

function checkedSlices(offsets: readonly number[], rows: number, rowsPerSlice: number): Int32Array {
  if (rowsPerSlice !== 0) {
    throw new GrpoError("BAD_INPUT", "the batch has sliceOffsets and the loss has rowsPerSlice: expected one of them");
  }
  const ascend = offsets.slice(1).every((end, i) => Number.isInteger(end) && end >= Number(offsets[i]));
  if (!ascend || offsets[0] !== 0 || offsets.at(-1) !== rows) {
    throw new GrpoError(
      "BAD_INPUT",
      `sliceOffsets: expected row numbers that ascend from 0 to ${rows}, found ${show(offsets)}`,
    );
  }
  return Int32Array.from(offsets);
}
