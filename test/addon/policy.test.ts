// One policy in every role: what the sampler recorded, what logprobs() computes and what training differentiates are the same
// numbers; the reference is the base model; dropout is active in training only.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { SequenceBatch } from "../../lib/model/learner.js";
import { LoraConfig, type LoraOptions } from "../../lib/model/lora/lora.js";
import { CausalLM } from "../../lib/model/model.js";
import type { SampleResult } from "../../lib/model/sampled.js";
import type { NativeDtype } from "../../lib/native/native.js";
import { DEVICE } from "../support/device.js";
import { largestDifference, tinyQwen2 } from "./golden.js";

const prompts = [[1], [100, 200], [33, 34, 35], [466, 302, 198]];
const sampling = { groupSize: 4, maxNewTokens: 24, seed: 3 } as const;

const base = (dtype: NativeDtype = "float32") => CausalLM.fromPretrained(tinyQwen2, { dtype, device: DEVICE });

async function withAdapter(options: LoraOptions, dtype?: NativeDtype): Promise<CausalLM> {
  const model = await base(dtype);
  model.applyLora(new LoraConfig({ targetModules: "all-linear", initLoraWeights: false, ...options }));
  return model;
}

/** The sampled completions as a batch, with what the sampler recorded. */
function batchOf({ groups }: SampleResult): SequenceBatch & { readonly recorded: readonly Float32Array[] } {
  const all = groups.flatMap(({ prompt, completions }) => {
    return completions.map(({ ids, logprobs }) => ({ prompt: prompts[prompt] ?? [], ids, logprobs }));
  });
  return {
    promptIds: all.map(({ prompt }) => prompt),
    completionIds: all.map(({ ids }) => ids),
    recorded: all.map(({ logprobs }) => logprobs),
  };
}

const flat = (lists: readonly Float32Array[]) => lists.flatMap((values) => Array.from(values));

describe("what the sampler recorded", () => {
  it.each([
    { temperature: 1 },
    { temperature: 0.7, topP: 0.9, topK: 20 },
    { temperature: 1.5, repetitionPenalty: 1.3 },
  ])("is what logprobs() computes in float32, for %o", async (options) => {
    await using model = await withAdapter({});
    const { recorded, ...batch } = batchOf(await model.sample(prompts, { ...sampling, ...options }));
    const computed = await model.logprobs(batch, { temperature: options.temperature });
    // The cache and the packed pass sum in another order: a few units of float32's seventh digit, on values up to 20.
    expect(largestDifference(flat(recorded), flat(computed))).toBeLessThan(5e-5);
  });

  it("is nearly what logprobs() computes in bfloat16", async () => {
    await using model = await withAdapter({}, "bfloat16");
    const { recorded, ...batch } = batchOf(await model.sample(prompts, sampling));
    const [ours, theirs] = [flat(recorded), flat(await model.logprobs(batch))];
    // bfloat16 keeps 8 bits, so hidden states that were summed in another order differ by 0.4 % here and there; a wrong
    // position or a stale cache row shifts the mean, which rounding does not.
    expect(largestDifference(ours, theirs)).toBeLessThan(0.25);
    const mean = ours.reduce((sum, value, i) => sum + value - (theirs[i] ?? Number.NaN), 0) / ours.length;
    expect(Math.abs(mean)).toBeLessThan(5e-3);
  });
});

describe("the first pass over fresh completions", () => {
  it("has ratio 1 and clips nothing, whether the old log-probabilities are the sampler's, computed or left out", async () => {
    await using model = await withAdapter({});
    const { recorded, ...batch } = batchOf(await model.sample(prompts, sampling));
    const advantages = batch.completionIds.map((_, i) => (i % 2 === 0 ? 1 : -1));
    const computed = await model.logprobs(batch);
    for (const oldLogprobs of [recorded, computed]) {
      const result = await model.forwardBackward({ ...batch, advantages, oldLogprobs });
      expect(result).toMatchObject({ clipLow: 0, clipHigh: 0, clipRegion: 0, clipLowMin: 0, clipHighMax: 0 });
      expect(result.logpDifferenceMax).toBeLessThan(5e-5);
    }
    const result = await model.forwardBackward({ ...batch, advantages }, { lossType: "grpo" });
    expect(result).toMatchObject({ clipRegion: 0, logpDifferenceMax: 0, logpDifferenceMean: 0 });
    // As many advantages of 1 as of -1, each the mean over a completion.
    expect(result.loss).toBeCloseTo(0, 6);
  });

  it("has a KL term of zero against itself, and above zero against the base", async () => {
    await using model = await withAdapter({});
    const { recorded: _, ...batch } = batchOf(await model.sample(prompts, sampling));
    const advantages = batch.completionIds.map(() => 0);
    const own = await model.logprobs(batch);
    const reference = await model.disableAdapter(() => model.logprobs(batch));
    const itself = await model.forwardBackward({ ...batch, advantages, referenceLogprobs: own }, { beta: 0.1 });
    expect(itself.kl).toBeCloseTo(0, 9);
    const other = await model.forwardBackward({ ...batch, advantages, referenceLogprobs: reference }, { beta: 0.1 });
    expect(other.kl).toBeGreaterThan(1e-4);
    expect(other.loss).toBeCloseTo(0.1 * other.kl, 6);
  });
});

describe.each(["float32", "bfloat16"] as const)("in %s, bit for bit the base model", (dtype) => {
  let plain: CausalLM;
  let sampled: SampleResult;
  let batch: SequenceBatch;
  beforeAll(async () => {
    plain = await base(dtype);
    sampled = await plain.sample(prompts, sampling);
    const { recorded: _, ...sequences } = batchOf(sampled);
    batch = sequences;
  });
  afterAll(() => plain.dispose());

  async function expectBase(model: CausalLM): Promise<void> {
    expect((await model.sample(prompts, sampling)).groups).toEqual(sampled.groups);
    expect(await model.logprobs(batch)).toEqual(await plain.logprobs(batch));
    expect(await model.forward(prompts)).toEqual(await plain.forward(prompts));
  }

  it("is a model with a fresh adapter", async () => {
    await using fresh = await withAdapter({ initLoraWeights: true }, dtype);
    await expectBase(fresh);
  });

  it("is a model with its adapter off, and on again it is not", async () => {
    await using model = await withAdapter({}, dtype);
    const before = await model.logprobs(batch);
    await model.disableAdapter(() => expectBase(model));
    expect(await model.logprobs(batch)).toEqual(before);
    expect(before).not.toEqual(await plain.logprobs(batch));
  });

  it("is not the model whose disableAdapter() threw: its adapter is on again", async () => {
    await using model = await withAdapter({}, dtype);
    const before = await model.forward(prompts);
    const failing = model.disableAdapter(() => Promise.reject(new Error("inside")));
    await expect(failing).rejects.toThrow("inside");
    expect(await model.forward(prompts)).toEqual(before);
  });
});

describe("dropout", () => {
  const training = {
    promptIds: [[1, 2], [3]],
    completionIds: [
      [4, 5, 6],
      [7, 8],
    ],
    advantages: [1, -1],
  };
  let model: CausalLM;
  beforeAll(async () => {
    model = await withAdapter({ loraDropout: 0.5 });
  });
  afterAll(() => model.dispose());

  async function gradients(lm: CausalLM, dropoutSeed: number) {
    await lm.zeroGrad();
    const { entropy } = await lm.forwardBackward(training, { dropoutSeed });
    return { entropy, gradients: await lm.gradients() };
  }

  it("is off in sampling, logprobs() and forward()", async () => {
    await using without = await withAdapter({ loraDropout: 0 });
    const outputs = async (lm: CausalLM) => {
      const { groups } = await lm.sample(prompts, sampling);
      return [groups, await lm.logprobs(training), await lm.forward(prompts)];
    };
    expect(await outputs(model)).toEqual(await outputs(without));
  });

  it("in training is a function of the seed, bit for bit", async () => {
    const once = await gradients(model, 1);
    expect(await gradients(model, 1)).toEqual(once);
    const other = await gradients(model, 2);
    expect(other.entropy).not.toBe(once.entropy);
    expect(other.gradients).not.toEqual(once.gradients);
  });

  it("in training keeps the expected gradient", async () => {
    // While B is zero the adapter changes nothing, so its gradient is linear in the mask: the mean over masks must be the
    // gradient without dropout, exactly, which it is only if kept inputs are scaled by 1 / (1 - dropout).
    await using fresh = await withAdapter({ loraDropout: 0.5, initLoraWeights: true });
    await using without = await withAdapter({ loraDropout: 0, initLoraWeights: true });
    const exact = flat(Object.values((await gradients(without, 0)).gradients));
    const draws: number[][] = [];
    for (let seed = 0; seed < 32; seed++) draws.push(flat(Object.values((await gradients(fresh, seed)).gradients)));
    let squaredError = 0;
    let expectedError = 0;
    exact.forEach((expected, i) => {
      const mean = draws.reduce((sum, draw) => sum + (draw[i] ?? 0), 0) / draws.length;
      const variance = draws.reduce((sum, draw) => sum + ((draw[i] ?? 0) - mean) ** 2, 0) / (draws.length - 1);
      squaredError += (mean - expected) ** 2;
      expectedError += variance / draws.length;
    });
    expect(expectedError).toBeGreaterThan(0);
    // The ratio is 1 on average and varies little over so many entries; without the scaling it is above five.
    expect(squaredError / expectedError).toBeGreaterThan(0.5);
    expect(squaredError / expectedError).toBeLessThan(2);
  });
});
