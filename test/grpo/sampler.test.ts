// A sampler of one's own: who samples and who is trained may be two.

import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { GRPOConfig, type GRPOConfigOptions } from "../../lib/grpo/config.js";
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

interface BenchOptions {
  readonly args?: GRPOConfigOptions;
  readonly tokenizer?: FakeTokenizer;
}

function bench(
  policy: FakePolicy,
  sampler?: Sampler,
  { args = {}, tokenizer = new FakeTokenizer() }: BenchOptions = {},
) {
  return new GRPOTrainer<FakeRow>({
    model: policy,
    ...(sampler ? { sampler } : {}),
    processingClass: tokenizer,
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
      ...args,
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

/** A token for each ASCII character. */
class SpelledTokenizer extends FakeTokenizer {
  tokenBytes() {
    return {
      bytes: Uint8Array.from({ length: 128 }, (_, byte) => byte),
      offsets: Int32Array.from({ length: 129 }, (_, id) => id),
    };
  }
}

test("tells the sampler what completions may be, in steps and in evaluations", async () => {
  const policy = new FakePolicy();
  const sampler = new OtherSampler(policy);
  const firsts: string[] = [];
  const sample = sampler.sample.bind(sampler);
  sampler.sample = (prompts, options) => {
    const mask = new Int32Array(4);
    const constraint = options.constraint?.(0, 0);
    constraint?.fill(mask);
    const allowed = Array.from({ length: 128 }, (_, id) => id).filter(
      (id) => ((mask[id >> 5] as number) >>> (id & 31)) & 1,
    );
    firsts.push(String.fromCharCode(...allowed));
    const { constraint: _, ...rest } = options;
    return sample(prompts, rest);
  };
  const args = { vllmStructuredOutputsRegex: "[xyz]{2,}!", evalTemperature: 0.5 };
  await bench(policy, sampler, { args, tokenizer: new SpelledTokenizer() }).train();
  expect(firsts).toEqual(["xyz", "xyz", "xyz", "xyz"]);
});

test("needs to know how tokens are spelled for that", async () => {
  const args = { vllmStructuredOutputsRegex: "a" };
  await expect(bench(new FakePolicy(), undefined, { args }).train()).rejects.toThrow("tokenBytes");
});
