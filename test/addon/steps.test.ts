// Ten optimizer steps of the real engine against ten of TRL's, from the same adapter on the same batches.

import { describe, expect, it } from "vitest";
import type { CausalLM } from "../../lib/model/model.js";
import { numbers, type Tensors } from "./golden.js";
import {
  adapterNames,
  adapterWeights,
  expectMetrics,
  modelWithAdapter,
  readFixture,
  relativeDifference,
  SETS,
  trainingBatch,
} from "./training-fixtures.js";

interface Step {
  readonly batch: number;
  readonly loss: number;
  readonly gradNorm: number;
  readonly learningRate: number;
  readonly metrics: Readonly<Record<string, number>>;
}
interface StepsFixture {
  readonly lossType: "dapo" | "grpo";
  readonly beta: number;
  readonly useBiasCorrectionKl: boolean;
  readonly epsilon: number;
  readonly temperature: number;
  readonly maxGradNorm: number;
  readonly steps: readonly Step[];
}

// Float32: a single step's noise is 4e-6 of a gradient (loss.test.ts), and AdamW's normalization keeps it from growing.
const TOLERANCE = 1e-5;

describe.each(SETS)("ten optimizer steps on %s", async (set) => {
  const { json, tensors } = await readFixture<StepsFixture>(`steps-${set}`);

  it("follow TRL in loss, metrics, gradient norm and weights", async () => {
    await using model = await modelWithAdapter(json, tensors);
    expect(json.steps).toHaveLength(10);
    for (const [i, step] of json.steps.entries()) {
      await expectStep(model, step, json, tensors);
      if (i === 0) await expectWeights(model, "after1", tensors);
    }
    await expectWeights(model, "after10", tensors);
  });
});

async function expectStep(model: CausalLM, step: Step, fixture: StepsFixture, tensors: Tensors): Promise<void> {
  const names = fixture.beta > 0 ? { old: "old", reference: "reference" } : {};
  const { lossType, beta, useBiasCorrectionKl, epsilon, temperature, maxGradNorm } = fixture;
  // One group has advantage 0; TRL's entropy includes it.
  const options = { lossType, beta, useBiasCorrectionKl, epsilon, temperature, skipIdleRows: false };
  const result = await model.forwardBackward(trainingBatch(tensors, `batch${step.batch}.`, names), options);
  // Without a KL term the loss is zero by construction; then only its rounding is left to compare.
  const lossTolerance = beta === 0 ? 1e-6 : TOLERANCE * Math.abs(step.loss) + 1e-7;
  expect(Math.abs(result.loss - step.loss)).toBeLessThan(lossTolerance);
  expectMetrics(result, step.metrics);
  const { gradNorm, applied } = await model.optimizerStep({ learningRate: step.learningRate, maxGradNorm });
  expect(applied).toBe(true);
  expect(Math.abs(gradNorm - step.gradNorm) / step.gradNorm).toBeLessThan(TOLERANCE);
}

async function expectWeights(model: CausalLM, when: string, tensors: Tensors): Promise<void> {
  const weights = await adapterWeights(model);
  for (const name of adapterNames(tensors)) {
    const difference = relativeDifference(numbers(weights, name), numbers(tensors, `${when}.${name}`));
    expect(difference, `${when} ${name}`).toBeLessThan(TOLERANCE);
  }
}
