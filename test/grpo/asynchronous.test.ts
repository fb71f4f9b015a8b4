// Sampling ahead of the trainer: which weights draw what each step is trained on, how far ahead the sampling may be, and that a run
// which goes on from a checkpoint is the run that was not stopped.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { GRPOConfig, type GRPOConfigOptions } from "../../lib/grpo/config.js";
import { GRPOTrainer } from "../../lib/grpo/trainer.js";
import type { SampledCompletion, SampleOptions } from "../../lib/model/sampled.js";
import type { FollowedPolicy, SampledAttempt, Sampler } from "../../lib/rollout/sampler.js";
import type { RewardBatch, TokenIds } from "../../lib/types.js";
import { FakePolicy, type FakeRow, FakeTokenizer, fakeRows } from "./fake-policy.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "grpo-asynchronous-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const LOGPROB = -0.5;

/** Samples as the policy would with the weights that it was shown last; a call takes a while, and says which weights drew. */
class RemoteSampler implements Sampler {
  readonly elsewhere = true;
  readonly maxPositions = 256;
  /** Steps that had made the weights of each call, and the generation that it drew, in the order of the calls. */
  readonly calls: { readonly generation: number; readonly step: number }[] = [];
  inFlight = 0;
  mostInFlight = 0;
  /** The steps that a call says, in place of its own. */
  says: (call: number, step: number) => number = (_, step) => step;
  milliseconds: (call: number) => number = (call) => (call * 7) % 5;
  /** Whether it does not know the log-probability of first tokens. */
  unknown = false;
  readonly #policy: FakePolicy;
  readonly #copy = new FakePolicy();
  #step = -1;

  constructor(policy: FakePolicy) {
    this.#policy = policy;
  }

  async follow({ step }: FollowedPolicy): Promise<void> {
    this.#copy.weights = [...this.#policy.weights];
    this.#step = step;
  }

  async sample(prompts: readonly TokenIds[], options: SampleOptions<SampledAttempt>) {
    const drawing = new FakePolicy();
    drawing.weights = [...this.#copy.weights];
    const call = this.calls.push({ generation: options.step ?? 0, step: this.#step }) - 1;
    const policyStep = this.says(call, this.#step);
    drawing.attempt = (completion: SampledCompletion) => {
      const logprobs = completion.logprobs.map((_, i) => (this.unknown && i === 0 ? Number.NaN : LOGPROB));
      return { ...completion, logprobs, policyStep };
    };
    this.mostInFlight = Math.max(this.mostInFlight, ++this.inFlight);
    await sleep(this.milliseconds(call), undefined, { signal: options.signal }).catch(() => {});
    this.inFlight--;
    return drawing.sample(prompts, options);
  }
}

function run(options: GRPOConfigOptions = {}, prepare: (sampler: RemoteSampler) => void = () => {}) {
  const policy = new FakePolicy();
  const sampler = new RemoteSampler(policy);
  prepare(sampler);
  const trainer = new GRPOTrainer<FakeRow>({
    model: policy,
    sampler,
    processingClass: new FakeTokenizer(),
    args: new GRPOConfig({
      numGenerations: 4,
      maxSteps: 8,
      maxCompletionLength: 16,
      learningRate: 0.01,
      saveStrategy: "no",
      loggingSteps: 1,
      outputDir: folder,
      ...options,
    }),
    rewardFuncs: [({ completionIds }: RewardBatch<FakeRow>) => completionIds.map((ids) => (ids.at(1) ?? 0) % 5)],
    trainDataset: fakeRows(6),
    output: { write: () => true },
  });
  return { policy, sampler, trainer };
}

/** Everything that a step is trained on. */
const trainedOn = ({ batches }: FakePolicy) =>
  batches.map(({ completionIds, advantages, oldLogprobs }) => ({ completionIds, advantages, oldLogprobs }));

describe.each([1, 2, 4])("with maxStaleness %i", (maxStaleness) => {
  it("every generation is drawn from weights so many steps old, and trained on in its turn", async () => {
    const { policy, sampler, trainer } = run({ maxStaleness });
    await trainer.train();
    const expected = Array.from({ length: 8 }, (_, generation) => ({
      generation,
      step: Math.max(0, generation - maxStaleness),
    }));
    expect(sampler.calls).toEqual(expected);
    expect(policy.batches).toHaveLength(8);
    const ages = trainer.state.logHistory.flatMap((line) => line["sample/staleness_max"] ?? []);
    expect(ages).toEqual(expected.map(({ generation, step }) => generation - step));
  });

  it("a trainer that is slow holds the sampling up", async () => {
    const { policy, sampler, trainer } = run({ maxStaleness }, (one) => {
      one.milliseconds = () => 0;
    });
    const ahead: number[] = [];
    policy.optimizerStep = async (options) => {
      await sleep(20);
      ahead.push(sampler.calls.length - policy.optimizerSteps.length);
      return FakePolicy.prototype.optimizerStep.call(policy, options);
    };
    await trainer.train();
    expect(Math.max(...ahead)).toBe(maxStaleness + 1);
    const history = trainer.state.logHistory.filter((line) => "sample/rollout_queue_size" in line);
    expect(Math.max(...history.map((line) => line["sample/rollout_queue_size"] ?? 0))).toBe(maxStaleness * 2);
    expect(history[3]?.["time/sampler_idle"]).toBeGreaterThan(0);
  });

  it("a run that goes on from a checkpoint is the run that was not stopped", async () => {
    const options = { maxStaleness, saveStrategy: "steps", saveSteps: 3, saveTotalLimit: null } as const;
    const whole = run(options);
    await whole.trainer.train();
    const again = run({ ...options, outputDir: path.join(folder, "again") });
    await again.trainer.train({ resumeFromCheckpoint: path.join(folder, "checkpoint-3") });
    expect(trainedOn(again.policy)).toEqual(trainedOn(whole.policy).slice(3));
    expect(again.policy.weights).toEqual(whole.policy.weights);
  });
});

it("maxStaleness 0 takes turns", async () => {
  const { policy, sampler, trainer } = run({ maxStaleness: 0 });
  await trainer.train();
  const without = run();
  await without.trainer.train();
  expect(sampler.calls.map(({ generation, step }) => generation - step)).toEqual(new Array(8).fill(0));
  expect(sampler.mostInFlight).toBe(1);
  expect(trainedOn(policy)).toEqual(trainedOn(without.policy));
});

it("the ratio of the loss is to whoever drew", async () => {
  const { policy, trainer } = run({ maxStaleness: 2 });
  await trainer.train();
  for (const { oldLogprobs, importanceRatios, completionIds } of policy.batches) {
    expect(oldLogprobs).toEqual(completionIds.map((ids) => new Float32Array(ids.length).fill(LOGPROB)));
    expect(importanceRatios).toBeUndefined();
  }
  expect(policy.scored).toEqual([]);
});

it("what the sampler does not know is asked of the policy", async () => {
  const { policy, trainer } = run({ maxStaleness: 2, maxSteps: 1 }, (one) => {
    one.unknown = true;
  });
  await trainer.train();
  const [{ oldLogprobs, completionIds } = { oldLogprobs: [], completionIds: [] }] = policy.batches;
  expect(policy.scored).toHaveLength(1);
  for (const [i, values] of (oldLogprobs ?? []).entries()) {
    expect(values).toHaveLength(completionIds[i]?.length ?? -1);
    expect(values.some(Number.isNaN)).toBe(false);
    expect(values.slice(1)).toEqual(new Float32Array(values.length - 1).fill(LOGPROB));
  }
});

it("the steps that made the weights of every token are recorded", async () => {
  const { trainer } = run({ maxStaleness: 2 });
  await trainer.train();
  const lines = readFileSync(path.join(folder, "completions.jsonl"), "utf8").trim().split("\n");
  const records = lines.map((line) => JSON.parse(line) as { step: number; ids: number[]; policy_steps: number[] });
  expect(records).toHaveLength(8 * 8);
  for (const { step, ids, policy_steps } of records) {
    expect(policy_steps).toEqual(ids.map(() => Math.max(0, step - 1 - 2)));
  }
});

it("a generation of several steps counts from its first", async () => {
  const { policy, sampler, trainer } = run({
    maxStaleness: 1,
    perDeviceTrainBatchSize: 4,
    gradientAccumulationSteps: 1,
    stepsPerGeneration: 2,
  });
  await trainer.train();
  expect(policy.batches).toHaveLength(8);
  expect(sampler.calls).toEqual([0, 1, 3, 5].map((step, generation) => ({ generation, step })));
});

it("what older weights drew is thrown away, counted and drawn again", async () => {
  const { trainer, sampler } = run({ maxStaleness: 1 }, (one) => {
    // As of a replica that missed its versions.
    one.says = (call, step) => (call === 4 ? step - 2 : step);
  });
  await trainer.train();
  expect(sampler.calls.map(({ generation }) => generation).toSorted()).toEqual([0, 1, 2, 3, 4, 4, 5, 6, 7]);
  const dropped = trainer.state.logHistory.map((line) => line["sample/dropped_stale_total"] ?? 0);
  expect(dropped.reduce((a, b) => a + b, 0)).toBe(2);
  expect(Math.max(...trainer.state.logHistory.map((line) => line["sample/staleness_max"] ?? 0))).toBe(1);
});

it("a sampler that never takes over the weights ends the run", async () => {
  const { trainer } = run({ maxStaleness: 1 }, (one) => {
    one.says = () => 0;
  });
  await expect(trainer.train()).rejects.toMatchObject({
    code: "SERVER_ERROR",
    message: expect.stringContaining("at most 1 optimizer steps old"),
  });
});

it("what fails while it is sampled ahead ends the run when its turn comes, and nothing goes on behind it", async () => {
  const { sampler, trainer, policy } = run({ maxStaleness: 2 }, (one) => {
    one.milliseconds = (call) => {
      if (call === 3) throw new Error("the fleet is gone");
      return call > 3 ? 60_000 : 1;
    };
  });
  await expect(trainer.train()).rejects.toThrow("the fleet is gone");
  expect(policy.batches).toHaveLength(3);
  expect(sampler.inFlight).toBeLessThanOrEqual(1);
});

it("a stop ends what is being sampled", async () => {
  const { sampler, trainer } = run({ maxStaleness: 4 }, (one) => {
    one.milliseconds = (call) => (call === 0 ? 1 : 60_000);
  });
  const stop = new AbortController();
  setTimeout(() => stop.abort(), 100);
  await expect(trainer.train({ signal: stop.signal })).rejects.toMatchObject({ code: "CANCELLED" });
  await sleep(10);
  expect(sampler.inFlight).toBe(0);
});

describe("what cannot be ahead", () => {
  const trainer = (options: GRPOConfigOptions, more: object = {}) => {
    const args = new GRPOConfig({ maxStaleness: 1, outputDir: folder, ...options });
    const model = new FakePolicy();
    return new GRPOTrainer({
      model,
      args,
      processingClass: new FakeTokenizer(),
      rewardFuncs: [() => []],
      trainDataset: fakeRows(2),
      ...more,
    });
  };

  it("is refused by name: the engine that trains, dynamic sampling, environments", () => {
    expect(() => trainer({})).toThrow("cannot be ahead of itself");
    expect(() => new GRPOConfig({ maxStaleness: 1, dynamicSampling: true })).toThrow("dynamicSampling");
    const sampler = new RemoteSampler(new FakePolicy());
    const environmentFactory = () => ({ reset: () => undefined });
    expect(() => trainer({}, { sampler, environmentFactory })).toThrow("environmentFactory");
    expect(() => new GRPOConfig({ maxStaleness: -1 })).toThrow("maxStaleness");
  });
});
