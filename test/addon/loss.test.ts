// The production loss, its metrics and every LoRA gradient against TRL's, on the real engine.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LOSS_TYPES, type LossOptions } from "../../lib/model/loss.js";
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
  readonly options: LossOptions;
  /** Old log-probabilities are given. */
  readonly old: boolean;
  readonly slices: number;
  /** Rows that maskTruncatedCompletions takes out. */
  readonly truncated: readonly number[];
  readonly loss: number;
  readonly metrics: Readonly<Record<string, number>>;
  readonly noise: number;
  readonly lossNoise: number;
}
interface LossFixture {
  readonly maxCompletionLength: number;
  readonly cases: readonly LossCase[];
}

// TRL's own gradients move by up to 9e-6 of a tensor's largest entry when padding is added (`noise` in the fixture), because
// float32 sums in another order; 1e-5 is the smallest round number above that. vespo at temperature 0.7 moves most: TRL's gradient
// is 1.1e-5 off what float64 gives, ours 0.5e-5 with one order of sums and 1.3e-5 with another. What is further from TRL's must be
// nearer to float64's than TRL's is, or than the loss itself carries rounding: `rounding` below.
const GRADIENT_TOLERANCE = 1e-5;
/** Nothing in these cases but the size of what is summed: TRL's tokens have losses of the order of 1, cispo's and vespo's of 10. */
const ROUNDING = 1e-6;

describe.each(SETS)("with TRL's batch on %s", async (set) => {
  const { json, tensors } = await readFixture<LossFixture>(`loss-${set}`);
  let model: CausalLM;
  beforeAll(async () => {
    model = await modelWithAdapter(json, tensors);
  });
  afterAll(() => model.dispose());

  it("has the noise that the tolerances assume, and every loss", () => {
    expect(Math.max(...json.cases.map(({ noise }) => noise))).toBeLessThan(GRADIENT_TOLERANCE);
    expect(new Set(json.cases.map(({ options }) => options.lossType))).toEqual(new Set(LOSS_TYPES));
    expect(json.cases.length).toBeGreaterThanOrEqual(set === "qwen2-qv" ? 100 : 20);
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

  /** Operator by operator through autograd. */
  async function inFloat64(testCase: LossCase) {
    await using exact = await modelWithAdapter(json, tensors, "float64");
    const { loss } = await exact.forwardBackward(
      batchOf(testCase, tensors),
      optionsOf(testCase, json.maxCompletionLength),
    );
    return { loss, gradients: await exact.gradients() };
  }

  /**
   * How far float64's gradients move where the log-probabilities come in float32: each old one is moved by a unit in its last
   * place, all of a completion in one direction, which a ratio of sequences adds up.
   */
  async function rounding(testCase: LossCase, exact: Readonly<Record<string, Float32Array>>) {
    const batch = batchOf(testCase, tensors);
    await using moved = await modelWithAdapter(json, tensors, "float64");
    const oldLogprobs = batch.oldLogprobs?.map((row) => row.map((value) => value * (1 + 2 ** -23)));
    await moved.forwardBackward(
      { ...batch, ...(oldLogprobs ? { oldLogprobs } : {}) },
      optionsOf(testCase, json.maxCompletionLength),
    );
    const gradients = await moved.gradients();
    return (name: string) => relativeDifference(gradients[name], exact[name] ?? []);
  }

  async function expectGradients(testCase: LossCase): Promise<void> {
    const gradients = await model.gradients();
    expect(Object.keys(gradients).sort()).toEqual(adapterNames(tensors).sort());
    for (const name of adapterNames(tensors)) {
      const trl = numbers(tensors, `grad.${testCase.name}.${name}`);
      if (relativeDifference(gradients[name], trl) < GRADIENT_TOLERANCE) continue;
      const exact = (await inFloat64(testCase)).gradients;
      const carried = (await rounding(testCase, exact))(name);
      const allowed = Math.max(relativeDifference(trl, exact[name] ?? []), carried);
      expect(relativeDifference(gradients[name], exact[name] ?? []), name).toBeLessThan(allowed);
    }
  }

  it.each(json.cases)("$name: loss, metrics and gradients equal TRL's", async (testCase) => {
    const options = { ...optionsOf(testCase, json.maxCompletionLength), skipIdleRows: false };
    await model.zeroGrad();
    const result = await model.forwardBackward(batchOf(testCase, tensors), options);
    const tolerance = 1e-5 * Math.abs(testCase.loss) + testCase.lossNoise + ROUNDING;
    if (Math.abs(result.loss - testCase.loss) > tolerance) {
      const { loss } = await inFloat64(testCase);
      expect(Math.abs(result.loss - loss)).toBeLessThan(Math.abs(testCase.loss - loss));
    }
    expectMetrics(result, testCase.metrics);
    await expectGradients(testCase);
  });

  it.each(set === "qwen2-qv" ? json.cases : [])(
    "$name: the same in small micro-batches and without idle rows",
    async (testCase) => {
      const options = { ...optionsOf(testCase, json.maxCompletionLength), maxTokensPerMicroBatch: 30 };
      await model.zeroGrad();
      const result = await model.forwardBackward(batchOf(testCase, tensors), options);
      expect(result.microBatches).toBeGreaterThan(2);
      const { beta, entropyCoef, topEntropyQuantile } = testCase.options;
      const reached = beta || entropyCoef || topEntropyQuantile;
      // The last of the four groups has advantage 0.
      expect(result.idleRows).toBe(reached ? 0 : 4);
      await expectGradients(testCase);
    },
  );
});

function batchOf({ options, old, truncated }: LossCase, tensors: Tensors) {
  const { temperature = 1, beta } = options;
  const batch = trainingBatch(tensors, "", {
    ...(old ? { old: `old.${temperature}` } : {}),
    ...(beta === undefined ? {} : { reference: `reference.${temperature}` }),
  });
  const keep = <T>(lists: readonly (readonly T[])[]) => lists.map((list, i) => (truncated.includes(i) ? [] : list));
  return {
    ...batch,
    completionIds: keep(batch.completionIds),
    ...(batch.oldLogprobs ? { oldLogprobs: keep(batch.oldLogprobs) } : {}),
    ...(batch.referenceLogprobs ? { referenceLogprobs: keep(batch.referenceLogprobs) } : {}),
  };
}

function optionsOf({ options, slices }: LossCase, maxCompletionLength: number): LossOptions {
  return { ...options, maxCompletionLength, rowsPerSlice: 16 / slices };
}
