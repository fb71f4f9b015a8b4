// The production loss, its metrics and every LoRA gradient against TRL's, on the real engine.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { CausalLM } from "../../lib/model/model.js";
import { lossTypes } from "../../lib/options/loss.js";
import {
  expectLogprobs,
  expectSmallMicroBatches,
  expectStep,
  GRADIENT_TOLERANCE,
  type LossFixture,
} from "./loss-fixtures.js";
import { modelWithAdapter, readFixture, SETS } from "./training-fixtures.js";

describe.each(SETS)("with TRL's batch on %s", async (set) => {
  const fixture = await readFixture<LossFixture>(`loss-${set}`);
  const { json, tensors } = fixture;
  let model: CausalLM;
  beforeAll(async () => {
    model = await modelWithAdapter(json, tensors);
  });
  afterAll(() => model.dispose());

  it("has the noise that the tolerances assume, and every loss", () => {
    expect(Math.max(...json.cases.map(({ noise }) => noise))).toBeLessThan(GRADIENT_TOLERANCE);
    expect(new Set(json.cases.map(({ options }) => options.lossType))).toEqual(new Set(lossTypes));
    expect(json.cases.length).toBeGreaterThanOrEqual(set === "qwen2-qv" ? 100 : 20);
  });

  it.each([1, 0.7])(
    "the log-probabilities at temperature %f equal TRL's, with the adapter and without",
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
});
