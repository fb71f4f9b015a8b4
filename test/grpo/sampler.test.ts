// A sampler of one's own: who samples and who is trained may be two.

import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { GRPOConfig } from "../../lib/grpo/config.js";
import { GRPOTrainer } from "../../lib/grpo/trainer.js";
import type { SampleOptions } from "../../lib/model/sampled.js";
import type { SampledAttempt, Sampler } from "../../lib/rollout/sampler.js";
import type { RewardBatch, TokenIds } from "../../lib/types.js";
import { FakePolicy, type FakeRow, FakeTokenizer, fakeRows } from "./fake-policy.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "grpo-sampler-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Hands every call on to a model, as an agent that asks the policy would. */
class OtherSampler implements Sampler {
  readonly maxPositions: number;
  readonly prompts: number[] = [];
  readonly #model: FakePolicy;

  constructor(model: FakePolicy, maxPositions = model.maxPositions) {
    this.#model = model;
    this.maxPositions = maxPositions;
  }

  async sample(prompts: readonly TokenIds[], options: SampleOptions<SampledAttempt>) {
    this.prompts.push(prompts.length);
    return this.#model.sample(prompts, options);
  }
}

function bench(policy: FakePolicy, sampler?: Sampler) {
  return new GRPOTrainer<FakeRow>({
    model: policy,
    ...(sampler ? { sampler } : {}),
    processingClass: new FakeTokenizer(),
    args: new GRPOConfig({
      numGenerations: 4,
      maxSteps: 3,
      maxCompletionLength: 6,
      learningRate: 0.01,
      evalStrategy: "steps",
      evalSteps: 3,
      saveStrategy: "no",
      logTo: [],
      outputDir: folder,
    }),
    rewardFuncs: [({ completionIds }: RewardBatch<FakeRow>) => completionIds.map((ids) => ids.length)],
    trainDataset: fakeRows(6),
    evalDataset: fakeRows(3),
  });
}

test("samples in place of the model, in steps and in evaluations", async () => {
  const alone = new FakePolicy();
  await bench(alone).train();
  const [policy, drawn] = [new FakePolicy(), new FakePolicy()];
  // It draws from the weights that are trained.
  drawn.weights = policy.weights;
  const sampler = new OtherSampler(drawn);
  await bench(policy, sampler).train();
  expect(sampler.prompts).toEqual([2, 2, 2, 3]);
  expect(policy.samples).toEqual([]);
  expect(policy.weights).toEqual(alone.weights);
});

test("whoever of the two has fewer positions bounds the prompts", async () => {
  const policy = new FakePolicy();
  expect(() => bench(policy, new OtherSampler(policy, 6))).toThrow("no room for a prompt in the model's 6 positions");
});
