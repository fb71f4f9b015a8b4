// The golden losses (loss-*, masked-loss-*, token-advantages-*): the batch and the options of a case as the public API takes them, and what of the
// engine's answer must equal TRL's.

import { expect } from "vitest";
import type { CausalLM } from "../../lib/model/model.js";
import type { LossOptions } from "../../lib/options/loss.js";
import { largestDifference, numbers, type Tensors } from "./golden.js";
import {
  type AdapterFixture,
  adapterNames,
  expectMetrics,
  modelWithAdapter,
  type RaggedBatch,
  relativeDifference,
  trainingBatch,
} from "./training-fixtures.js";

export interface LossCase {
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
export interface LossFixture extends AdapterFixture {
  readonly maxCompletionLength: number;
  /** Completion tokens that count in the loss. */
  readonly lossTokens: number;
  readonly cases: readonly LossCase[];
}
/** One set of cases, as readFixture gives it. */
export interface LossSet {
  readonly json: LossFixture;
  readonly tensors: Tensors;
}

// TRL's own gradients move by up to 9e-6 of a tensor's largest entry when padding is added (`noise` in the fixture), because
// float32 sums in another order; 1e-5 is the smallest round number above that. vespo at temperature 0.7 moves most: TRL's gradient
// is 1.1e-5 off what float64 gives, ours 0.5e-5 with one order of sums and 1.3e-5 with another. What is further from TRL's must be
// as near to float64's, or nearer than TRL's is, or than the loss itself carries rounding: `rounding` below.
export const GRADIENT_TOLERANCE = 1e-5;
/** Nothing in these cases but the size of what is summed: TRL's tokens have losses of the order of 1, cispo's and vespo's of 10. */
const ROUNDING = 1e-6;

/** Of every completion token, those included that do not count. */
export async function expectLogprobs(model: CausalLM, { tensors }: LossSet, temperature: number): Promise<void> {
  const batch = trainingBatch(tensors, "", {});
  const logprobs = async () => {
    return (await model.logprobs(batch, { temperature })).flatMap((values) => Array.from(values));
  };
  // Log-probabilities are of the order of 10; float32 carries seven digits.
  expect(largestDifference(await logprobs(), numbers(tensors, `logprobs.${temperature}`))).toBeLessThan(1e-5);
  const off = await model.disableAdapter(logprobs);
  expect(largestDifference(off, numbers(tensors, `reference.${temperature}`))).toBeLessThan(1e-5);
}

export async function expectStep(model: CausalLM, set: LossSet, testCase: LossCase): Promise<void> {
  const options = { ...optionsOf(testCase, set), skipIdleRows: false };
  await model.zeroGrad();
  const result = await model.forwardBackward(batchOf(testCase, set), options);
  const tolerance = 1e-5 * Math.abs(testCase.loss) + testCase.lossNoise + ROUNDING;
  if (Math.abs(result.loss - testCase.loss) > tolerance) {
    const { loss } = await inFloat64(testCase, set);
    expect(Math.abs(result.loss - loss)).toBeLessThan(Math.abs(testCase.loss - loss));
  }
  expectMetrics(result, testCase.metrics);
  await expectGradients(model, set, testCase);
}

/** `idleRows`: completions with tokens that count, none of which has an advantage. */
export async function expectSmallMicroBatches(
  model: CausalLM,
  set: LossSet,
  testCase: LossCase,
  idleRows = 4, // the last of the four groups
): Promise<void> {
  const options = { ...optionsOf(testCase, set), maxTokensPerMicroBatch: 30 };
  await model.zeroGrad();
  const result = await model.forwardBackward(batchOf(testCase, set), options);
  expect(result.microBatches).toBeGreaterThan(2);
  const { beta, entropyCoef, topEntropyQuantile } = testCase.options;
  const reached = beta || entropyCoef || topEntropyQuantile;
  expect(result.idleRows).toBe(reached ? 0 : idleRows);
  await expectGradients(model, set, testCase);
}

async function expectGradients(model: CausalLM, set: LossSet, testCase: LossCase): Promise<void> {
  const { tensors } = set;
  const gradients = await model.gradients();
  expect(Object.keys(gradients).sort()).toEqual(adapterNames(tensors).sort());
  for (const name of adapterNames(tensors)) {
    const trl = numbers(tensors, `grad.${testCase.name}.${name}`);
    if (relativeDifference(gradients[name], trl) < GRADIENT_TOLERANCE) continue;
    const exact = (await inFloat64(testCase, set)).gradients;
    const carried = (await rounding(testCase, set, exact))(name);
    const allowed = Math.max(GRADIENT_TOLERANCE, relativeDifference(trl, exact[name] ?? []), carried);
    expect(relativeDifference(gradients[name], exact[name] ?? []), name).toBeLessThan(allowed);
  }
}

/** Operator by operator through autograd. */
async function inFloat64(testCase: LossCase, set: LossSet, batch = batchOf(testCase, set)) {
  await using exact = await modelWithAdapter(set.json, set.tensors, "float64");
  const { loss } = await exact.forwardBackward(batch, optionsOf(testCase, set));
  return { loss, gradients: await exact.gradients() };
}

/**
 * How far float64's gradients move where the log-probabilities come in float32: each old one is moved by a unit in its last
 * place, all of a completion in one direction, which a ratio of sequences adds up.
 */
async function rounding(testCase: LossCase, set: LossSet, exact: Readonly<Record<string, Float32Array>>) {
  const batch = batchOf(testCase, set);
  const oldLogprobs = batch.oldLogprobs?.map((row) => row.map((value) => value * (1 + 2 ** -23)));
  const moved = await inFloat64(testCase, set, { ...batch, ...(oldLogprobs ? { oldLogprobs } : {}) });
  return (name: string) => relativeDifference(moved.gradients[name], exact[name] ?? []);
}

export function batchOf({ options, old, truncated }: LossCase, { tensors }: LossSet): RaggedBatch {
  const { temperature = 1, beta } = options;
  const batch = trainingBatch(tensors, "", {
    ...(old ? { old: `old.${temperature}` } : {}),
    ...(beta === undefined ? {} : { reference: `reference.${temperature}` }),
  });
  return withoutTokens(batch, truncated);
}

/** The batch with empty completions in those rows. */
export function withoutTokens(batch: RaggedBatch, rows: readonly number[]): RaggedBatch {
  const keep = <T extends { slice(start: number, end: number): T }>(lists: readonly T[]) =>
    lists.map((list, i) => (rows.includes(i) ? list.slice(0, 0) : list));
  return {
    ...batch,
    completionIds: keep(batch.completionIds),
    ...(batch.oldLogprobs ? { oldLogprobs: keep(batch.oldLogprobs) } : {}),
    ...(batch.referenceLogprobs ? { referenceLogprobs: keep(batch.referenceLogprobs) } : {}),
    ...(batch.lossMask ? { lossMask: keep(batch.lossMask) } : {}),
    ...(batch.tokenAdvantages ? { tokenAdvantages: keep(batch.tokenAdvantages) } : {}),
  };
}

export function optionsOf({ options, slices }: LossCase, { json }: LossSet): LossOptions {
  return { ...options, maxCompletionLength: json.maxCompletionLength, rowsPerSlice: 16 / slices };
}
