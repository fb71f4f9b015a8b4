// Evaluation settings, pass@k, the best model and early stopping, with a model that stands in for the engine.

import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { GRPOConfig, type GRPOConfigOptions } from "../../lib/grpo/config.js";
import { passAtK } from "../../lib/grpo/evaluation.js";
import type { GRPOTrainerOptions } from "../../lib/grpo/setup.js";
import { GRPOTrainer } from "../../lib/grpo/trainer.js";
import type { RewardBatch } from "../../lib/types.js";
import { FakePolicy, type FakeRow, FakeTokenizer, fakeRows } from "./fake-policy.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "grpo-evaluation-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Rewards by step: what the evaluation after each step earns. */
function trainerOf(
  args: GRPOConfigOptions,
  byStep: readonly (number | null)[] = [],
  options: Partial<GRPOTrainerOptions<FakeRow>> = {},
) {
  const policy = new FakePolicy();
  const printed: string[] = [];
  const ofStep = ({ completionIds, trainerState }: RewardBatch<FakeRow>) =>
    completionIds.map((ids) => {
      const fixed = byStep[trainerState.globalStep];
      return fixed === undefined ? (ids.length % 2 === 0 ? 1 : 0) : fixed;
    });
  const trainer = new GRPOTrainer<FakeRow>({
    model: policy,
    processingClass: new FakeTokenizer(),
    args: new GRPOConfig({
      outputDir: folder,
      perDeviceTrainBatchSize: 4,
      numGenerations: 4,
      maxSteps: 6,
      maxCompletionLength: 8,
      learningRate: 0.01,
      evalStrategy: "steps",
      evalSteps: 1,
      saveSteps: 100,
      ...args,
    }),
    rewardFuncs: [ofStep],
    trainDataset: fakeRows(10),
    evalDataset: fakeRows(3),
    output: { write: (text: string) => printed.push(text) },
    ...options,
  });
  return { trainer, policy, printed };
}

const checkpoints = () => readdirSync(folder).filter((name) => name.startsWith("checkpoint-"));

describe("evaluation", () => {
  it("has transformers' figures of speed: prompts a second, and batches, of which there is one", async () => {
    const { metrics } = await trainerOf({}).trainer.evaluate();
    const runtime = metrics.eval_runtime ?? Number.NaN;
    expect(metrics.eval_samples_per_second).toBeCloseTo(3 / runtime, 9);
    expect(metrics.eval_steps_per_second).toBeCloseTo(1 / runtime, 9);
  });

  it("samples with its own settings where they are given, and else with training's", async () => {
    const own = trainerOf({ temperature: 0.9, topP: 0.8, evalTemperature: 0.2, evalTopK: 3, numGenerationsEval: 2 });
    await own.trainer.evaluate();
    expect(own.policy.samples[0]?.options).toMatchObject({
      temperature: 0.2,
      topP: 0.8,
      topK: 3,
      groupSize: 2,
      doSample: true,
    });
    const greedy = trainerOf({ evalDoSample: false });
    await greedy.trainer.evaluate();
    expect(greedy.policy.samples[0]?.options).toMatchObject({ doSample: false, groupSize: 1 });
  });

  it("reports pass@k of every reward function", async () => {
    const { trainer } = trainerOf({ numGenerationsEval: 6, evalPassAt: [1, 3] });
    const { metrics, completions } = await trainer.evaluate();
    const groups = [0, 1, 2].map((g) => completions.slice(6 * g, 6 * g + 6).map(({ rewards }) => rewards.ofStep ?? 0));
    const mean = (k: number) =>
      groups.reduce((sum, group) => sum + passAtK(6, group.filter((reward) => reward >= 1).length, k), 0) / 3;
    expect(metrics["eval_rewards/ofStep/pass@1"]).toBeCloseTo(mean(1), 12);
    expect(metrics["eval_rewards/ofStep/pass@3"]).toBeCloseTo(mean(3), 12);
    expect(metrics["eval_rewards/ofStep/pass@1"]).toBeCloseTo(metrics["eval_rewards/ofStep/mean"] ?? 0, 12);
    const few = trainerOf({ numGenerationsEval: 2, evalPassAt: [3] }).trainer;
    await expect(few.evaluate()).rejects.toThrow("numGenerationsEval");
  });
});

describe("evaluations of a run", () => {
  const steps = (trainer: GRPOTrainer<FakeRow>) =>
    trainer.state.logHistory.filter((entry) => "eval_reward" in entry).map(({ step }) => step);

  it.each<[GRPOConfigOptions, number[]]>([
    [{ maxSteps: 5, evalSteps: 2 }, [2, 4, 5]],
    [{ maxSteps: 4, evalSteps: 2 }, [2, 4]],
    [{ maxSteps: 2, evalSteps: 3 }, [2]],
    [{ maxSteps: 5, evalStrategy: "epoch" }, [5]],
    [{ maxSteps: -1, numTrainEpochs: 1.3, evalStrategy: "epoch" }, [10, 13]],
  ])("with %j come after steps %j: also after the last one, as in transformers", async (args, expected) => {
    const { trainer } = trainerOf(args);
    await trainer.train();
    expect(steps(trainer)).toEqual(expected);
  });

  it("need rows, which is said when the trainer is made", () => {
    const without = { evalDataset: undefined } as unknown as Partial<GRPOTrainerOptions<FakeRow>>;
    expect(() => trainerOf({}, [], without)).toThrow("evalDataset");
    expect(() => trainerOf({ evalStrategy: "no", evalOnStart: true }, [], without)).toThrow("evalDataset");
    expect(() => trainerOf({ evalStrategy: "no" }, [], without)).not.toThrow();
  });

  it.each<[string, GRPOConfigOptions, Partial<GRPOTrainerOptions<FakeRow>>]>([
    ["no usable rows", {}, { evalDataset: [] }],
    [
      "3 were dropped, as their prompts have more than 4 tokens (maxPromptLength)",
      { maxPromptLength: 4, promptOverflow: "drop" },
      { trainDataset: [{ prompt: "abc", answer: 1 }] },
    ],
    ["has 100 tokens", { maxPromptLength: 60 }, { evalDataset: [{ prompt: "x".repeat(100), answer: 1 }] }],
    ["numGenerationsEval", { evalPassAt: [64] }, {}],
    ["rewards/other/mean", { loadBestModelAtEnd: true, metricForBestModel: "rewards/other/mean" }, {}],
  ])("that cannot be end the run before its first step: %s", async (message, args, options) => {
    const { trainer, policy } = trainerOf({ evalSteps: 4, ...args }, [], options);
    await expect(trainer.train()).rejects.toThrow(message);
    expect(policy.samples).toEqual([]);
  });
});

it("passAtK is the share of the k-subsets that hold a passing completion", () => {
  const cases = fc.integer({ min: 1, max: 8 }).chain((n) => {
    return fc.tuple(fc.constant(n), fc.integer({ min: 0, max: n }), fc.integer({ min: 1, max: n }));
  });
  fc.assert(
    fc.property(cases, ([n, c, k]) => {
      let subsets = 0;
      let passing = 0;
      for (let mask = 0; mask < 2 ** n; mask++) {
        const members = Array.from({ length: n }, (_, i) => i).filter((i) => mask & (1 << i));
        if (members.length !== k) continue;
        subsets++;
        if (members.some((i) => i < c)) passing++;
      }
      expect(passAtK(n, c, k)).toBeCloseTo(passing / subsets, 12);
    }),
  );
});

describe("the best model", () => {
  const byStep = [0, 0.25, 0.875, 0.5, 0.875, 0.125, 0.25];

  it("is saved at once, kept, and taken back at the end", async () => {
    const { trainer, policy, printed } = trainerOf(
      { loadBestModelAtEnd: true, saveSteps: 3, saveTotalLimit: 1 },
      byStep,
    );
    const kept: number[][] = [];
    const after = policy.optimizerStep.bind(policy);
    policy.optimizerStep = async (options) => {
      const result = await after(options);
      kept.push([...policy.weights]);
      return result;
    };
    await trainer.train();
    expect(trainer.state).toMatchObject({ bestMetric: 0.875, bestModelCheckpoint: path.join(folder, "checkpoint-2") });
    expect(checkpoints().sort()).toEqual(["checkpoint-2", "checkpoint-6"]);
    expect(policy.weights).toEqual(kept[1]);
    expect(printed.join("")).toContain("loaded the best model");
  });

  it("is the one with the smallest metric where less is better", async () => {
    const args = { loadBestModelAtEnd: true, metricForBestModel: "rewards/ofStep/mean", greaterIsBetter: false };
    const { trainer } = trainerOf(args, byStep);
    await trainer.train();
    expect(trainer.state).toMatchObject({ bestMetric: 0.125, bestModelCheckpoint: path.join(folder, "checkpoint-5") });
  });

  it("is never one whose metric is not a number", async () => {
    const args = { maxSteps: 4, loadBestModelAtEnd: true, earlyStoppingPatience: 3 };
    const { trainer } = trainerOf(args, [null, null, 0.5, 0.875, 0.75]);
    await trainer.train();
    const bestModelCheckpoint = path.join(folder, "checkpoint-3");
    expect(trainer.state).toMatchObject({ globalStep: 4, bestMetric: 0.875, bestModelCheckpoint });
  });

  it('is all that is saved with saveStrategy "best"', async () => {
    const { trainer } = trainerOf({ saveStrategy: "best", saveSteps: 1 }, byStep);
    await trainer.train();
    expect(checkpoints().sort()).toEqual(["checkpoint-1", "checkpoint-2"]);
    expect(trainer.state.bestMetric).toBe(0.875);
    expect(() => new GRPOConfig({ saveStrategy: "best" })).toThrow("evalStrategy");
  });

  it('is what a run with saveStrategy "best" takes back, and a stopped one still saves its last step', async () => {
    const stop = new AbortController();
    const { trainer, policy } = trainerOf({ saveStrategy: "best", loadBestModelAtEnd: true }, byStep);
    policy.betweenGroups = async () => {
      if (trainer.state.globalStep === 4) stop.abort();
    };
    await expect(trainer.train({ signal: stop.signal })).rejects.toThrow("step 4 is saved");
    const resumed = trainerOf({ saveStrategy: "best", loadBestModelAtEnd: true }, byStep);
    await resumed.trainer.train({ resumeFromCheckpoint: true });
    expect(resumed.printed.join("")).toContain("loaded the best model");
  });

  it("survives a stop: the resumed run still knows it", async () => {
    await trainerOf({ loadBestModelAtEnd: true, maxSteps: 4 }, byStep).trainer.train();
    const { trainer } = trainerOf({ loadBestModelAtEnd: true }, byStep);
    await trainer.train({ resumeFromCheckpoint: true });
    expect(trainer.state).toMatchObject({ globalStep: 6, bestMetric: 0.875 });
  });

  it("needs a metric that evaluations have, evaluations, and checkpoints", async () => {
    const unknown = trainerOf({ loadBestModelAtEnd: true, metricForBestModel: "accuracy" }).trainer;
    await expect(unknown.train()).rejects.toThrow("no eval_accuracy");
    expect(() => new GRPOConfig({ loadBestModelAtEnd: true })).toThrow("evalStrategy");
    for (const name of ["loss", "eval_loss", "kl", "clip_ratio/low_mean"]) {
      expect(() => new GRPOConfig({ evalStrategy: "steps", metricForBestModel: name })).toThrow("metricForBestModel");
    }
    const unsaved = { loadBestModelAtEnd: true, evalStrategy: "steps", saveStrategy: "no" } as const;
    expect(() => new GRPOConfig(unsaved)).toThrow("saveStrategy");
  });
});

it("stops early after evaluations without a gain above the threshold", async () => {
  const args = { earlyStoppingPatience: 2, earlyStoppingThreshold: 0.05, maxSteps: 20 };
  const { trainer, printed } = trainerOf(args, [0, 0.2, 0.5, 0.53, 0.6, 0.62, 0.64, 0.9]);
  await trainer.train();
  // 0.53 is no gain above 0.05; 0.6 is one over 0.53; 0.62 and 0.64 are none.
  expect(trainer.state.globalStep).toBe(6);
  expect(printed.join("")).toContain("stopping early");
});

describe("a metric that is NaN from the start", () => {
  const noNumber = new Array<null>(30).fill(null);

  it.each([
    [1, 2],
    [3, 4],
  ])("ends a run of patience %d after %d evaluations, as in transformers", async (earlyStoppingPatience, last) => {
    const { trainer } = trainerOf({ earlyStoppingPatience, maxSteps: 12 }, noNumber);
    await trainer.train();
    expect(trainer.state).toMatchObject({
      globalStep: last,
      bestMetric: Number.NEGATIVE_INFINITY,
      evaluationsWithoutGain: earlyStoppingPatience,
      bestModelCheckpoint: null,
    });
  });

  it("ends one where less is better, too", async () => {
    const less = { metricForBestModel: "reward", greaterIsBetter: false, earlyStoppingPatience: 2, maxSteps: 9 };
    const { trainer } = trainerOf(less, noNumber);
    await trainer.train();
    expect(trainer.state).toMatchObject({ globalStep: 3, bestMetric: Number.POSITIVE_INFINITY });
  });

  it("is worse than any number that comes in time", async () => {
    const { trainer } = trainerOf({ earlyStoppingPatience: 2, maxSteps: 9 }, [null, null, null, -5, -6, -7, -8]);
    await trainer.train();
    expect(trainer.state).toMatchObject({ globalStep: 5, bestMetric: -5 });
  });

  it("counts on in a run that is resumed", async () => {
    const args = { earlyStoppingPatience: 3, maxSteps: 12, saveSteps: 1 };
    const stop = new AbortController();
    const first = trainerOf(args, noNumber);
    first.policy.betweenGroups = async () => {
      if (first.trainer.state.globalStep === 2) stop.abort();
    };
    await expect(first.trainer.train({ signal: stop.signal })).rejects.toThrow("step 2 is saved");
    const resumed = trainerOf(args, noNumber);
    await resumed.trainer.train({ resumeFromCheckpoint: true });
    expect(resumed.trainer.state).toMatchObject({ globalStep: 4, evaluationsWithoutGain: 3 });
  });
});
