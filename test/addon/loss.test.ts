// The production loss, its metrics and every LoRA gradient against TRL's, on the real engine.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LossOptions } from "../../lib/model/loss.js";
import type { CausalLM } from "../../lib/model/model.js";
import { largestDifference, numbers, type Tensors } from "./golden.js";
import {
  adapterNames,
  expectMetrics,
  modelWithAdapter,
  readFixture,
  relativeDifference,
  SETS,
  trainingBatch,
} from "./training-fixtures.js";

interface LossCase {
  readonly name: string;
  readonly lossType: "dapo" | "grpo";
  readonly beta: number;
  readonly useBiasCorrectionKl: boolean;
  readonly old: boolean;
  readonly temperature: number;
  readonly slices: number;
  readonly loss: number;
  readonly metrics: Readonly<Record<string, number>>;
  readonly noise: number;
  readonly lossNoise: number;
}
interface LossFixture {
  readonly epsilon: number;
  readonly cases: readonly LossCase[];
}

// TRL's own gradients move by up to 4e-6 of a tensor's largest entry when padding is added (`noise` in the fixture), because
// float32 sums in another order; 1e-5 is the smallest round number above that.
const GRADIENT_TOLERANCE = 1e-5;

function lossTolerance({ loss, lossType, beta, old, lossNoise }: LossCase): number {
  // Advantages of a group sum to zero and every ratio is 1, so what TRL reports here is only the rounding of its sum.
  if (lossType === "grpo" && beta === 0 && !old) return 1e-6;
  // Token losses cancel, so TRL's own loss is no better than lossNoise, however small the loss is.
  return 1e-5 * Math.abs(loss) + lossNoise;
}

describe.each(SETS)("with TRL's batch on %s", async (set) => {
  const { json, tensors } = await readFixture<LossFixture>(`loss-${set}`);
  let model: CausalLM;
  beforeAll(async () => {
    model = await modelWithAdapter(json, tensors);
  });
  afterAll(() => model.dispose());

  it("has the noise that the tolerances assume", () => {
    expect(json.cases).toHaveLength(28);
    expect(Math.max(...json.cases.map(({ noise }) => noise))).toBeLessThan(GRADIENT_TOLERANCE);
  });

  it.each([1, 0.7])(
    "the log-probabilities at temperature %f equal TRL's, with the adapter and without",
    async (temperature) => {
      const batch = trainingBatch(tensors, "", {});
      const logprobs = async () => {
        return (await model.logprobs(batch, { temperature })).flatMap((values) => Array.from(values));
      };
      // Log-probabilities are of the order of 10; float32 carries seven digits.
      expect(largestDifference(await logprobs(), numbers(tensors, `logprobs.${temperature}`))).toBeLessThan(1e-5);
      const off = await model.disableAdapter(logprobs);
      expect(largestDifference(off, numbers(tensors, `reference.${temperature}`))).toBeLessThan(1e-5);
    },
  );

  it.each(json.cases)("$name: loss, metrics and gradients equal TRL's", async (testCase) => {
    await model.zeroGrad();
    const result = await model.forwardBackward(batchOf(testCase, tensors), optionsOf(testCase, json.epsilon));
    expect(Math.abs(result.loss - testCase.loss)).toBeLessThanOrEqual(lossTolerance(testCase));
    expectMetrics(result, testCase.metrics);
    const gradients = await model.gradients();
    expect(Object.keys(gradients).sort()).toEqual(adapterNames(tensors).sort());
    for (const name of adapterNames(tensors)) {
      const expected = numbers(tensors, `grad.${testCase.name}.${name}`);
      expect(relativeDifference(gradients[name], expected), name).toBeLessThan(GRADIENT_TOLERANCE);
    }
  });
});

function batchOf({ old, beta, temperature }: LossCase, tensors: Tensors) {
  return trainingBatch(tensors, "", {
    ...(old ? { old: `old.${temperature}` } : {}),
    ...(beta > 0 ? { reference: `reference.${temperature}` } : {}),
  });
}

function optionsOf(testCase: LossCase, epsilon: number): LossOptions {
  const { lossType, beta, useBiasCorrectionKl, temperature, slices } = testCase;
  return { lossType, beta, useBiasCorrectionKl, temperature, epsilon, rowsPerSlice: 16 / slices };
}
