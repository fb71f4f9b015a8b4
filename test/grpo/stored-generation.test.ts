// The store of a generation in a checkpoint: what is in it, which versions are read, and that an older checkpoint resumes exactly.

import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readGeneration } from "../../lib/grpo/carryover.js";
import { GRPOConfig, type GRPOConfigOptions } from "../../lib/grpo/config.js";
import type { Generation } from "../../lib/grpo/generation.js";
import type { GRPOTrainerOptions } from "../../lib/grpo/setup.js";
import { generationFromJson, generationToJson } from "../../lib/grpo/stored-generation.js";
import { GRPOTrainer } from "../../lib/grpo/trainer.js";
import type { SequenceBatch } from "../../lib/model/learner.js";
import { mixSeed } from "../../lib/rollout/prompt-sampler.js";
import type { RewardBatch } from "../../lib/types.js";
import { FakePolicy, type FakeRow, FakeTokenizer, fakeRows } from "./fake-policy.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "grpo-stored-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const generation: Generation = {
  index: 3,
  contextLength: 12,
  rollouts: [
    {
      advantage: Math.fround(0.1),
      samples: [
        {
          promptIds: [1, 2],
          completionIds: [3, 4, 5],
          lossMask: Uint8Array.of(1, 0, 1),
          tokenAdvantages: Float32Array.of(0.1, Number.POSITIVE_INFINITY, -0.7),
          samplingLogprobs: Float32Array.of(-0.1, 0, -1.7),
          oldLogprobs: Float32Array.of(Number.NaN, 0, Number.NEGATIVE_INFINITY),
          referenceLogprobs: Float32Array.of(-0.3, -0.4, -0.5),
        },
        {
          promptIds: [1],
          completionIds: [7],
          lossMask: undefined,
          tokenAdvantages: Float32Array.of(0),
          samplingLogprobs: Float32Array.of(-0.2),
          oldLogprobs: Float32Array.of(-0.2),
          referenceLogprobs: Float32Array.of(-0.2),
        },
      ],
    },
    { advantage: 0, samples: [{ promptIds: [1, 2], completionIds: [] }] },
  ],
};

test("rollouts with masks and several samples come back as they were, number by number", () => {
  expect(generationFromJson(generationToJson(generation))).toEqual(generation);
});

test("advantages that are infinite or no number come back, and a run goes on with them", async () => {
  const advantages = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN, 1e308];
  const rollouts = advantages.map((advantage) => ({ advantage, samples: [] }));
  const stored = generationFromJson(generationToJson({ ...generation, rollouts }));
  expect(stored.rollouts.map(({ advantage }) => advantage)).toEqual(advantages);

  // The sum of such rewards is beyond all numbers.
  const rewardFuncs = [
    ({ completionIds }: RewardBatch<FakeRow>) => completionIds.map((ids) => 1e308 + ids.length * 1e307),
  ];
  const args: GRPOConfigOptions = { scaleRewards: "none", maxBadSteps: 9 };
  const run = async (outputDir: string, more: GRPOConfigOptions, resumeFromCheckpoint: boolean) => {
    const { trainer, policy } = bench(outputDir, { ...args, ...more }, { rewardFuncs });
    policy.lossAt = () => Number.NaN;
    await trainer.train({ resumeFromCheckpoint });
    return policy.batches.map(({ advantages }) => [...(advantages as number[])]);
  };
  const whole = await run(path.join(folder, "whole"), {}, false);
  const cut = [await run(folder, { maxSteps: 1 }, false), await run(folder, {}, true)];
  expect(cut.flat()).toEqual(whole);
});

test("a version that is not known is refused by its number, with what to do", async () => {
  const { trainer } = bench(folder, { maxSteps: 1 });
  await trainer.train();
  const file = path.join(folder, "checkpoint-1", "generation.json");
  writeFileSync(file, readFileSync(file, "utf8").replace('"schema_version":2', '"schema_version":3'));
  await expect(readGeneration(file)).rejects.toMatchObject({
    code: "BAD_CHECKPOINT",
    message: expect.stringMatching(
      /generation\.json.*expected schema_version 1 or 2, found 3[\s\S]*resume with the version/,
    ),
  });
});

// Of a run whose generation.json had version 1: checkpoint-2, and what it did from there on.
const version1 = new URL("../fixtures/checkpoint-v1/", import.meta.url);

interface Expected {
  readonly weights: readonly number[];
  readonly momentum: readonly number[];
  /** Of the two steps that go on with the stored generation, without samplingLogprobs, which were not stored. */
  readonly batches: readonly object[];
  readonly losses: readonly { readonly lossTokens: number; readonly dropoutSeed: number }[];
  readonly completions: readonly object[];
}

test("a checkpoint of version 1 resumes in the middle of its generation, and ends where its own version did", async () => {
  const expected: Expected = JSON.parse(readFileSync(new URL("expected.json", version1), "utf8"));
  cpSync(new URL("checkpoint-2", version1), path.join(folder, "checkpoint-2"), { recursive: true });
  const { trainer, policy } = bench(folder);
  await trainer.train({ resumeFromCheckpoint: true });
  expect(policy.batches.slice(0, 2).map(asJson)).toEqual(expected.batches);
  expect(policy.losses.map(({ lossTokens, dropoutSeed }) => ({ lossTokens, dropoutSeed }))).toEqual(expected.losses);
  expect([policy.weights, policy.momentum]).toEqual([expected.weights, expected.momentum]);
  const completions = readFileSync(path.join(folder, "completions.jsonl"), "utf8").trimEnd().split("\n");
  expect(completions.map((line) => JSON.parse(line))).toEqual(expected.completions);
});

function asJson(value: object): unknown {
  const number = (one: number) => (Number.isFinite(one) ? one : String(one));
  return JSON.parse(JSON.stringify(value, (_, one) => (one instanceof Float32Array ? Array.from(one, number) : one)));
}

/** Every log-probability is another, and some are no numbers. */
class ScoringPolicy extends FakePolicy {
  override async completionLogprobs({ completionIds }: SequenceBatch, { reference }: { readonly reference?: boolean }) {
    const scored = completionIds.map((ids) =>
      Float32Array.from(ids, (id, t) => -(mixSeed(id + (reference ? 1000 : 0), t) % 4096) / 1013),
    );
    if (!reference) scored.find(({ length }) => length > 1)?.set([Number.NaN, Number.NEGATIVE_INFINITY]);
    return scored;
  }
}

function lengthReward({ completionIds, answer }: RewardBatch<FakeRow>): (number | null)[] {
  return completionIds.map((ids, i) => (ids.length === 3 ? null : ids.length / 7 + (answer[i] ?? 0) / 10));
}

/** Two steps a pass over each generation, and two passes. */
function bench(outputDir: string, args: GRPOConfigOptions = {}, options: Partial<GRPOTrainerOptions<FakeRow>> = {}) {
  const policy = new ScoringPolicy();
  const trainer = new GRPOTrainer<FakeRow>({
    model: policy,
    processingClass: new FakeTokenizer(),
    args: new GRPOConfig({
      perDeviceTrainBatchSize: 4,
      stepsPerGeneration: 4,
      numIterations: 2,
      gradientAccumulationSteps: 2,
      numGenerations: 4,
      beta: 0.1,
      useAdaptiveEntropy: true,
      entropyCoef: 0.1,
      entropyTarget: 2,
      maskTruncatedCompletions: true,
      maxSteps: 6,
      maxCompletionLength: 6,
      learningRate: 0.01,
      loggingSteps: 1,
      saveSteps: 1,
      outputDir,
      ...args,
    }),
    rewardFuncs: [lengthReward],
    trainDataset: fakeRows(10),
    output: { write: () => true },
    ...options,
  });
  return { trainer, policy };
}
