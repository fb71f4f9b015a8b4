// Dynamic sampling: which groups are trained on, which prompts replace the others, and that a resumed run does the same.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { GRPOConfig, type GRPOConfigOptions } from "../../lib/grpo/config.js";
import type { TrainerEvent } from "../../lib/grpo/setup.js";
import { GRPOTrainer } from "../../lib/grpo/trainer.js";
import { sampleGroups } from "../../lib/rollout/dynamic-sampling.js";
import type { RewardBatch } from "../../lib/types.js";
import { FakePolicy, type FakeRow, FakeTokenizer, fakeRows } from "./fake-policy.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "grpo-dynamic-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Rounds of groups without content, by whether each group's rewards have spread. */
async function rounds(groups: number, maxRounds: number, spread: readonly boolean[]) {
  const asked: number[] = [];
  let row = 0;
  const result = await sampleGroups({
    groups,
    maxRounds,
    sample: async (_round, prompts) => {
      asked.push(prompts);
      const sampled = Array.from({ length: prompts }, () => ({ row: row++, prompt: "", promptIds: [], rollouts: [] }));
      return { groups: sampled, calls: [], seconds: { rollout: 0, reward: 0 } };
    },
    hasSpread: (group) => spread[group.row] ?? false,
  });
  return { asked, kept: result.kept.map((group) => group.row), rounds: result.rounds.length };
}
const [yes, no] = [true, false];

test.each([
  ["all are useful", 3, 10, [yes, yes, yes], [3], [0, 1, 2]],
  // Two of four were useful, so two more take four prompts.
  ["half are", 4, 10, [yes, no, no, yes, no, yes, yes, yes], [4, 4], [0, 3, 5, 6]],
  ["none are at first", 2, 10, [no, no, no, no, yes, yes], [2, 2, 2], [4, 5]],
  ["the rounds end", 3, 2, [no, yes, no, no, no, no], [3, 3], [0, 1, 2]],
  ["there is one round", 2, 1, [no, yes], [2], [0, 1]],
] as const)("rounds where %s", async (_name, groups, maxRounds, spread, asked, kept) => {
  expect(await rounds(groups, maxRounds, spread)).toEqual({ asked, kept, rounds: asked.length });
});

/** Rows 0, 3, 6 … are solved by every completion: their rewards have no spread. */
function reward({ completionIds, answer }: RewardBatch<FakeRow>): number[] {
  return completionIds.map((ids, i) => ((answer[i] ?? 0) % 3 === 0 ? 1 : ids.length + i / 100));
}

function bench(outputDir: string, args: GRPOConfigOptions = {}, callbacks: object[] = [], rows = 16) {
  const policy = new FakePolicy();
  const trainer = new GRPOTrainer<FakeRow>({
    model: policy,
    processingClass: new FakeTokenizer(),
    args: new GRPOConfig({
      perDeviceTrainBatchSize: 8,
      numGenerations: 2,
      maxSteps: 5,
      maxCompletionLength: 6,
      learningRate: 0.01,
      loggingSteps: 1,
      saveSteps: 1,
      shuffleDataset: false,
      dynamicSampling: true,
      logTo: ["jsonl"],
      outputDir,
      ...args,
    }),
    rewardFuncs: [reward],
    trainDataset: fakeRows(rows),
    callbacks,
  });
  return { trainer, policy };
}

const lines = (outputDir: string, file: string): Record<string, unknown>[] =>
  readFileSync(path.join(outputDir, file), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));

test("groups without spread make way for those of the next prompts, and no group that is trained on is flat", async () => {
  const { trainer, policy } = bench(folder);
  await trainer.train();
  // Of rows 0 to 3 two are useful, so two more take four prompts; the next step goes on where they end.
  const first = lines(folder, "completions.jsonl").filter(({ step }) => step === 1);
  expect(first.map(({ row }) => row)).toEqual([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7]);
  expect(policy.batches[0]?.promptIds.map((ids) => String.fromCharCode(...ids))).toEqual(
    [1, 1, 2, 2, 4, 4, 5, 5].map((row) => `question ${row}`),
  );
  for (const { advantages, promptIds } of policy.batches) {
    expect(promptIds).toHaveLength(8);
    expect(Array.from(advantages).every((advantage) => advantage !== 0)).toBe(true);
  }
  expect(lines(folder, "completions.jsonl").find(({ step }) => step === 2)?.row).toBe(8);
});

test("metrics and completions are of all that was sampled; what is left out has no advantage", async () => {
  const { trainer } = bench(folder, { maxSteps: 1 });
  await trainer.train();
  const [, step] = lines(folder, "metrics.jsonl");
  expect(step).toMatchObject({
    "dynamic_sampling/rounds": 2,
    "dynamic_sampling/groups": 8,
    "dynamic_sampling/unfilled": 0,
    "dynamic_sampling/frac_zero_std": 3 / 8,
    frac_reward_zero_std: 3 / 8,
  });
  const completions = lines(folder, "completions.jsonl");
  const mean = completions.reduce((sum, { reward: value }) => sum + Number(value), 0) / completions.length;
  expect(step?.reward).toBeCloseTo(mean, 10);
  expect(completions.filter(({ advantage }) => advantage !== 0).map(({ row }) => row)).toEqual([
    1, 1, 2, 2, 4, 4, 5, 5,
  ]);
});

test("when the rounds end a generation is filled with groups without spread, which is counted", async () => {
  const { trainer, policy } = bench(folder, { maxSteps: 1, dynamicSamplingMaxRounds: 1 });
  await trainer.train();
  expect(policy.batches[0]?.promptIds).toHaveLength(8);
  expect(trainer.state.logHistory[0]).toMatchObject({
    "dynamic_sampling/rounds": 1,
    "dynamic_sampling/unfilled": 2,
  });
});

test("a row that comes again in a later round gets other completions", async () => {
  const { trainer, policy } = bench(folder, { maxSteps: 1, perDeviceTrainBatchSize: 32 });
  await trainer.train();
  const completions = lines(folder, "completions.jsonl").filter(({ row }) => row === 1);
  expect(completions).toHaveLength(4);
  expect(policy.samples).toHaveLength(2);
  expect(completions.slice(0, 2).map(({ ids }) => ids)).not.toEqual(completions.slice(2).map(({ ids }) => ids));
});

test.each([
  ["a generation a step", {}, [1, 2, 3]],
  ["several steps a generation", { stepsPerGeneration: 2, numIterations: 2, gradientAccumulationSteps: 1 }, [1, 2, 4]],
] as const)("stopped and resumed equals never stopped, with %s", async (_name, args, stops) => {
  const whole = bench(path.join(folder, "whole"), args);
  await whole.trainer.train();
  for (const step of stops) {
    const outputDir = path.join(folder, String(step));
    const stop = ({ state, control }: TrainerEvent) => {
      control.shouldTrainingStop = state.globalStep === step;
    };
    await bench(outputDir, args, [{ onStepEnd: stop }]).trainer.train();
    const resumed = bench(outputDir, args);
    await resumed.trainer.train({ resumeFromCheckpoint: true });
    expect(resumed.policy.weights).toEqual(whole.policy.weights);
    expect(lines(outputDir, "completions.jsonl")).toEqual(lines(path.join(folder, "whole"), "completions.jsonl"));
  }
});

test("a row that comes twice in a round, across the end of an epoch, has completions of its own each time", async () => {
  const outputDir = path.join(folder, "run");
  const args = { perDeviceTrainBatchSize: 32, numGenerations: 8, maxSteps: 8, shuffleDataset: true };
  let twice = 0;
  for (const seed of [1, 2, 3]) {
    const { trainer, policy } = bench(`${outputDir}-${seed}`, { ...args, seed, saveStrategy: "no" }, [], 5);
    await trainer.train();
    for (const { prompts, options } of policy.samples) {
      const keys = options.promptKeys ?? [];
      expect(new Set(keys).size).toBe(prompts.length);
      if (new Set(prompts.map(String)).size < prompts.length) twice++;
    }
  }
  expect(twice).toBeGreaterThan(0);
});
