// Rewards of turns in whole trainings: the advantages of tokens against the formula of MT-GRPO's code written down anew, what is logged, and
// resuming.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { at } from "../../lib/at.js";
import { GRPOConfig, type GRPOConfigOptions } from "../../lib/grpo/config.js";
import { GRPOTrainer } from "../../lib/grpo/trainer.js";
import type { SampledCompletion } from "../../lib/model/sampled.js";
import type { SampledAttempt } from "../../lib/rollout/sampler.js";
import type { RewardBatch, TokenIds } from "../../lib/types.js";
import { FakePolicy, type FakeRow, FakeTokenizer, fakeRows } from "./fake-policy.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "grpo-turns-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const RESULT = [48, 49];
type Given = (attempt: number) => readonly (number | null)[];

/** As many turns as there are rewards, all of what the policy drew, with a result behind each. */
function attemptWith(given: Given) {
  return ({ ids, logprobs, finishReason }: SampledCompletion, promptIds: TokenIds, attempt: number): SampledAttempt => {
    const rewards = given(attempt);
    const lengthOf = (list: TokenIds) => list.length + RESULT.length;
    const completionIds = rewards.flatMap(() => [...ids, ...RESULT]);
    const turns = rewards.map((reward, index) => {
      return { start: index * lengthOf(ids), end: index * lengthOf(ids) + ids.length, index, reward };
    });
    const sample = {
      promptIds,
      completionIds,
      samplingLogprobs: Float32Array.from(rewards.flatMap(() => [...logprobs, 0, 0])),
      lossMask: Uint8Array.from(rewards.flatMap(() => [...ids.map(() => 1), 0, 0])),
      finishReason,
      ...(rewards.length > 0 ? { turns } : {}),
    };
    return { samples: [sample], completion: `${attempt}` };
  };
}

const outcome = ({ completions }: RewardBatch<FakeRow>) => completions.map((text) => [1, 0, 4, 2][Number(text)] ?? 0);
// Not every attempt has every turn, and in not every turn it has a reward.
const SOME: Given = (attempt) => [[0, 1, 5], [1, null], [1, 3, null], [0.5]][attempt] ?? [];

function bench(given: Given, args: GRPOConfigOptions = {}) {
  const policy = new FakePolicy();
  policy.attempt = attemptWith(given);
  const trainer = new GRPOTrainer<FakeRow>({
    model: policy,
    processingClass: new FakeTokenizer(),
    args: new GRPOConfig({
      perDeviceTrainBatchSize: 4,
      numGenerations: 4,
      maxSteps: 1,
      maxCompletionLength: 8,
      learningRate: 0.01,
      loggingSteps: 1,
      logTo: ["jsonl"],
      shuffleDataset: false,
      outputDir: folder,
      ...args,
    }),
    rewardFuncs: [outcome],
    trainDataset: fakeRows(10),
  });
  return { trainer, policy };
}

function lines(name: string): Record<string, unknown>[] {
  const text = readFileSync(path.join(folder, name), "utf8").trimEnd();
  return text.split("\n").map((line) => JSON.parse(line) as Record<string, unknown>);
}

/** (r − mean) / (std + 1e-4) of those that are numbers, 0 for the others. */
function normalized(values: readonly (number | null)[], divides = true): number[] {
  const known = values.filter((value) => value !== null);
  const mean = known.reduce((a, b) => a + b, 0) / known.length;
  const squares = known.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  const std = known.length > 1 ? Math.sqrt(squares / (known.length - 1)) : 0;
  return values.map((value) => (value === null || std === 0 ? 0 : (value - mean) / (divides ? std + 1e-4 : 1)));
}

describe.each<[string, GRPOConfigOptions, number, boolean]>([
  ["by default", {}, 1, true],
  ["with a weight", { turnAdvantageCoef: 0.3 }, 0.3, true],
  ["without a scale", { scaleRewards: "none" }, 1, false],
])("advantages of tokens %s", (_, args, coef, divides) => {
  it("are the rollout's and, where a turn has a reward, that among the turns of its number", async () => {
    const { trainer, policy } = bench(SOME, args);
    await trainer.train();
    const [batch] = policy.batches;
    const rollouts = normalized([1, 0, 4, 2], divides);
    const turns = [0, 1, 2].map((turn) =>
      normalized(
        [0, 1, 2, 3].map((i) => SOME(i)[turn] ?? null),
        divides,
      ),
    );
    expect(batch?.tokenAdvantages).toHaveLength(4);
    batch?.tokenAdvantages?.forEach((found, i) => {
      expect(batch.advantages[i]).toBeCloseTo(at(rollouts, i), 5);
      const { completionIds, lossMask } = { completionIds: at(batch.completionIds, i), lossMask: batch.lossMask?.[i] };
      let turn = 0;
      completionIds.forEach((_id, t) => {
        if (lossMask?.[t] === 1 && lossMask[t - 1] === 0) turn++;
        if (lossMask?.[t] !== 1) return;
        expect(found[t]).toBeCloseTo(at(rollouts, i) + coef * at(at(turns, turn), i), 5);
      });
    });
  });
});

it("are not there, and nothing is logged, where no turn has a reward", async () => {
  const { trainer, policy } = bench((attempt) => SOME(attempt).map(() => null));
  await trainer.train();
  expect(policy.batches[0]?.tokenAdvantages).toBeUndefined();
  expect(lines("metrics.jsonl").some((line) => "turn_reward" in line)).toBe(false);
});

it("are only logged with the weight 0", async () => {
  const { trainer, policy } = bench(SOME, { turnAdvantageCoef: 0 });
  await trainer.train();
  expect(policy.batches[0]?.tokenAdvantages).toBeUndefined();
  expect(lines("metrics.jsonl").find(({ type }) => type === "step")).toMatchObject({ turn_reward: 11.5 / 7 });
});

it("are in completions.jsonl turn by turn, with what they were rewarded", async () => {
  const { trainer, policy } = bench(SOME);
  await trainer.train();
  const [batch] = policy.batches;
  const [first, second] = lines("completions.jsonl").map(({ samples }) => (samples as [{ turns: object[] }])[0].turns);
  // The last result is behind the last token that counts.
  const one = ((batch?.completionIds[0]?.length ?? 0) - 2 * RESULT.length) / 3;
  expect(first).toEqual(
    [0, 1, 5].map((reward, turn) => {
      const start = turn * (one + 2);
      const advantage = batch?.tokenAdvantages?.[0]?.[start];
      return { turn, tokens: [start, start + one], reward, advantage };
    }),
  );
  expect(second).toMatchObject([{ reward: 1 }, { turn: 1, reward: null, advantage: batch?.advantages[1] }]);
});

it("teach where no two outcomes differ, and keep such a group in dynamic sampling", async () => {
  const same = (given: Given) => {
    const made = bench(given, { dynamicSampling: true });
    made.policy.attempt = (completion, prompt, attempt) => {
      return { ...(attemptWith(given)(completion, prompt, attempt) as object), completion: "0" } as SampledAttempt;
    };
    return made;
  };
  const { trainer, policy } = same((attempt) => [attempt, null]);
  await trainer.train();
  expect(policy.batches[0]?.advantages).toEqual([0, 0, 0, 0]);
  expect(policy.batches[0]?.tokenAdvantages?.map((row) => Math.sign(at(row, 0)))).toEqual([-1, -1, 1, 1]);
  expect(lines("metrics.jsonl").find(({ type }) => type === "step")).toMatchObject({ "dynamic_sampling/rounds": 1 });
});

it("are the same where a run is stopped in the middle of a generation and resumed", async () => {
  const args: GRPOConfigOptions = {
    maxSteps: 4,
    gradientAccumulationSteps: 1,
    numIterations: 2,
    stepsPerGeneration: 2,
    saveSteps: 1,
  };
  const run = async (outputDir: string, more: GRPOConfigOptions, resumeFromCheckpoint: boolean) => {
    const { trainer, policy } = bench(SOME, { ...args, saveStrategy: "steps", outputDir, ...more });
    await trainer.train({ resumeFromCheckpoint });
    return { batches: policy.batches, weights: policy.weights };
  };
  const whole = await run(path.join(folder, "whole"), {}, false);
  const first = await run(folder, { maxSteps: 1 }, false);
  const rest = await run(folder, {}, true);
  expect(whole.batches.every(({ tokenAdvantages }) => tokenAdvantages !== undefined)).toBe(true);
  expect([...first.batches, ...rest.batches]).toEqual(whole.batches);
  expect(rest.weights).toEqual(whole.weights);
});
