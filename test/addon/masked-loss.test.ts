// Completions in which some tokens were given, such as a tool's answers, and do not count in the loss: loss, metrics and every LoRA
// gradient against TRL's with `tool_mask`, on the real engine.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { CausalLM } from "../../lib/model/model.js";
import { LOSS_TYPES } from "../../lib/options/loss.js";
import { numbers } from "./golden.js";
import {
  batchOf,
  expectLogprobs,
  expectSmallMicroBatches,
  expectStep,
  GRADIENT_TOLERANCE,
  type LossCase,
  type LossFixture,
  optionsOf,
  withoutTokens,
} from "./loss-fixtures.js";
import {
  modelWithAdapter,
  type RaggedBatch,
  readFixture,
  relativeDifference,
  SETS,
  trainingBatch,
} from "./training-fixtures.js";

describe.each(SETS)("with TRL's batch on %s", async (set) => {
  const fixture = await readFixture<LossFixture>(`masked-loss-${set}`);
  const { json, tensors } = fixture;
  const masks = trainingBatch(tensors, "", {}).lossMask ?? [];
  let model: CausalLM;
  beforeAll(async () => {
    model = await modelWithAdapter(json, tensors);
  });
  afterAll(() => model.dispose());

  /** By the loss of a case, or by the default one. */
  async function stepOf(batch: RaggedBatch, testCase?: LossCase) {
    await model.zeroGrad();
    const loss = testCase ? optionsOf(testCase, fixture) : {};
    const result = await model.forwardBackward(batch, { ...loss, skipIdleRows: false });
    return { result, gradients: await model.gradients() };
  }

  it("has the noise that the tolerances assume, every loss and every kind of mask", () => {
    expect(Math.max(...json.cases.map(({ noise }) => noise))).toBeLessThan(GRADIENT_TOLERANCE);
    expect(new Set(json.cases.map(({ options }) => options.lossType))).toEqual(new Set(LOSS_TYPES));
    expect(json.cases.length).toBeGreaterThanOrEqual(set === "qwen2-qv" ? 50 : 10);
    const segments = masks.map((mask) => mask.filter((counts, i) => counts === 1 && mask[i - 1] !== 1).length);
    expect(new Set(segments)).toEqual(new Set([0, 1, 2, 3, 4]));
    const mixed = masks.filter((mask) => mask.includes(1));
    expect(mixed.some((mask) => mask[0] === 0)).toBe(true);
    expect(mixed.some((mask) => mask.at(-1) === 0)).toBe(true);
    expect(mixed.some((mask) => !mask.includes(0))).toBe(true);
  });

  it.each([1, 0.7])(
    "the log-probabilities of all tokens at temperature %f equal TRL's, with the adapter and without",
    async (temperature) => {
      await expectLogprobs(model, fixture, temperature);
    },
  );

  it.each(json.cases)("$name: loss, metrics and gradients equal TRL's", async (testCase) => {
    await expectStep(model, fixture, testCase);
  });

  it.each(set === "qwen2-qv" ? json.cases : [])(
    "$name: the same in small micro-batches and without idle rows",
    async (testCase) => {
      await expectSmallMicroBatches(model, fixture, testCase);
    },
  );

  // Every number of a completion takes part in these: ratios of whole completions, a reference, top entropies.
  const cases = json.cases.filter(({ old, options }) => old && (options.beta || options.topEntropyQuantile));

  it.each(cases)("$name: log-probabilities of tokens that do not count are ignored", async (testCase) => {
    const batch = batchOf(testCase, fixture);
    const unknown = (lists: readonly number[][]) =>
      lists.map((list, row) => list.map((value, i) => (masks[row]?.[i] === 1 ? value : Number.NaN)));
    const { oldLogprobs, referenceLogprobs } = batch;
    const partly = {
      ...batch,
      ...(oldLogprobs ? { oldLogprobs: unknown(oldLogprobs) } : {}),
      ...(referenceLogprobs ? { referenceLogprobs: unknown(referenceLogprobs) } : {}),
    };
    expect(await stepOf(partly, testCase)).toEqual(await stepOf(batch, testCase));
  });

  it.each(cases)("$name: a completion in which nothing counts is like an empty one", async (testCase) => {
    const batch = batchOf(testCase, fixture);
    const uncounted = masks.flatMap((mask, row) => (mask.includes(1) ? [] : [row]));
    expect(uncounted).toHaveLength(2);
    const { result, gradients } = await stepOf(batch, testCase);
    const empty = await stepOf(withoutTokens(batch, uncounted), testCase);
    expect(result.loss).toBeCloseTo(empty.result.loss, 5);
    for (const [name, gradient] of Object.entries(empty.gradients)) {
      expect(relativeDifference(gradients[name], gradient), name).toBeLessThan(GRADIENT_TOLERANCE);
    }
  });

  it("a mask of ones is no mask", async () => {
    const batch = trainingBatch(tensors, "", {});
    const { lossMask: _, ...unmasked } = batch;
    const ones = masks.map((mask) => mask.map(() => 1));
    const expected = await stepOf(unmasked);
    expect(await stepOf({ ...batch, lossMask: ones })).toEqual(expected);
    expect(await stepOf(batch)).not.toEqual(expected);
  });

  it("attends to tokens that do not count", async () => {
    const batch = trainingBatch(tensors, "", {});
    const row = masks.findIndex((mask) => mask[0] === 0 && mask.includes(1));
    const other = batch.completionIds.map((ids, i) => (i === row ? [ids[0] === 5 ? 6 : 5, ...ids.slice(1)] : ids));
    const { gradients } = await stepOf(batch);
    const changed = await stepOf({ ...batch, completionIds: other });
    for (const [name, gradient] of Object.entries(gradients)) {
      expect(relativeDifference(changed.gradients[name], gradient), name).toBeGreaterThan(1e-3);
    }
  });

  it("counts and measures only tokens that count", async () => {
    const batch = trainingBatch(tensors, "", {});
    const current = await model.logprobs(batch);
    // TRL: the mean and the largest of |current - sampling| where the mask is 1.
    const counted = numbers(tensors, "lossMask").filter((counts) => counts === 1).length;
    let seen = 0;
    const samplingLogprobs = current.map((list, row) =>
      list.map((value, i) => value + (masks[row]?.[i] ? ++seen / 128 : 9)),
    );
    const { result } = await stepOf({ ...batch, samplingLogprobs });
    expect(result.tokens).toBe(counted);
    expect(json.lossTokens).toBe(counted);
    expect(result.logpDifferenceMean).toBeCloseTo((counted + 1) / 2 / 128, 4);
    expect(result.logpDifferenceMax).toBeCloseTo(counted / 128, 4);
  });
});
