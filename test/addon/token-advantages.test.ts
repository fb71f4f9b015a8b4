// Advantages of single tokens, in place of their completion's: loss, metrics and every LoRA gradient against TRL's with advantages of
// shape (B, T), on the real engine.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { CausalLM } from "../../lib/model/model.js";
import { LOSS_TYPES } from "../../lib/options/loss.js";
import {
  batchOf,
  expectSmallMicroBatches,
  expectStep,
  GRADIENT_TOLERANCE,
  type LossCase,
  type LossFixture,
  optionsOf,
} from "./loss-fixtures.js";
import { modelWithAdapter, type RaggedBatch, readFixture } from "./training-fixtures.js";

// Row 15 has none; in row 7, which has none either, nothing counts.
const IDLE_ROWS = 1;

describe("with TRL's batch", async () => {
  const fixture = await readFixture<LossFixture>("token-advantages-qwen2-qv");
  const { json, tensors } = fixture;
  let model: CausalLM;
  beforeAll(async () => {
    model = await modelWithAdapter(json, tensors);
  });
  afterAll(() => model.dispose());

  async function stepOf(batch: RaggedBatch, testCase: LossCase) {
    await model.zeroGrad();
    const result = await model.forwardBackward(batch, { ...optionsOf(testCase, fixture), skipIdleRows: false });
    return { result, gradients: await model.gradients() };
  }

  it("has the noise that the tolerances assume, every loss, and advantages of both signs in a completion", () => {
    expect(Math.max(...json.cases.map(({ noise }) => noise))).toBeLessThan(GRADIENT_TOLERANCE);
    expect(new Set(json.cases.map(({ options }) => options.lossType))).toEqual(new Set(LOSS_TYPES));
    const rows = batchOf(json.cases[0] as LossCase, fixture).tokenAdvantages ?? [];
    const mixed = rows.filter((row) => row.some((value) => value > 0) && row.some((value) => value < 0));
    expect(mixed.length).toBeGreaterThan(5);
  });

  it.each(json.cases)("$name: loss, metrics and gradients equal TRL's", async (testCase) => {
    await expectStep(model, fixture, testCase);
  });

  it.each(json.cases)("$name: the same in small micro-batches and without idle rows", async (testCase) => {
    await expectSmallMicroBatches(model, fixture, testCase, IDLE_ROWS);
  });

  it.each(json.cases)("$name: those of tokens that do not count are ignored", async (testCase) => {
    const batch = batchOf(testCase, fixture);
    const tokenAdvantages = (batch.tokenAdvantages ?? []).map((row, i) => {
      return row.map((value, t) => (batch.lossMask?.[i]?.[t] === 1 ? value : Number.NaN));
    });
    expect(await stepOf({ ...batch, tokenAdvantages }, testCase)).toEqual(await stepOf(batch, testCase));
  });

  it.each(json.cases)(
    "$name: gradients are the same bit for bit where they are their completion's",
    async (testCase) => {
      const { tokenAdvantages: _, ...batch } = batchOf(testCase, fixture);
      const same = batch.completionIds.map((ids, i) => Array.from(ids, () => Number(batch.advantages[i])));
      const expected = await stepOf(batch, testCase);
      const { result, gradients } = await stepOf({ ...batch, tokenAdvantages: same }, testCase);
      expect(gradients).toEqual(expected.gradients);
      expect(result.loss).toBe(expected.result.loss);
    },
  );

  it("is refused where a completion has another number of them than of tokens", async () => {
    const batch = batchOf(json.cases[0] as LossCase, fixture);
    const [, ...others] = batch.tokenAdvantages ?? [];
    await expect(model.forwardBackward({ ...batch, tokenAdvantages: [[1], ...others] })).rejects.toThrow(
      /tokenAdvantages\[0\]: expected \d+ values, found 1/,
    );
    await expect(model.forwardBackward({ ...batch, tokenAdvantages: others })).rejects.toThrow(
      /expected 16 tokenAdvantages, found 15/,
    );
  });
});
