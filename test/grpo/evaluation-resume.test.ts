// Evaluations and what follows from them (the best model, patience, the logging window) in runs that are cut and resumed: as if the
// run had never been stopped.

import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { GRPOConfig, type GRPOConfigOptions } from "../../lib/grpo/config.js";
import type { GRPOTrainerOptions, TrainerEvent } from "../../lib/grpo/setup.js";
import { GRPOTrainer } from "../../lib/grpo/trainer.js";
import type { RewardBatch } from "../../lib/types.js";
import { FakePolicy, type FakeRow, FakeTokenizer, fakeRows } from "./fake-policy.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "grpo-evaluation-resume-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Evaluation is the only sampling of two prompts. */
const evalRows = 2;

function bench(
  name: string,
  args: GRPOConfigOptions,
  byStep: readonly number[] = [],
  options: Partial<GRPOTrainerOptions<FakeRow>> = {},
) {
  const policy = new FakePolicy();
  const printed: string[] = [];
  const byLength = ({ completionIds, trainerState }: RewardBatch<FakeRow>) =>
    completionIds.map((ids) => byStep[trainerState.globalStep] ?? ids.length % 5);
  const trainer = new GRPOTrainer<FakeRow>({
    model: policy,
    processingClass: new FakeTokenizer(),
    args: new GRPOConfig({
      perDeviceTrainBatchSize: 4,
      numGenerations: 4,
      maxSteps: 6,
      maxCompletionLength: 8,
      learningRate: 0.01,
      loggingSteps: 1,
      saveSteps: 100,
      outputDir: path.join(folder, name),
      ...args,
    }),
    rewardFuncs: [byLength],
    trainDataset: fakeRows(10),
    evalDataset: fakeRows(evalRows),
    output: { write: (text: string) => printed.push(text) },
    ...options,
  });
  return { trainer, policy, printed };
}

type Trainer = GRPOTrainer<FakeRow>;

/** What was logged, without times. */
const logged = ({ state }: Trainer) =>
  state.logHistory.map((entry) =>
    Object.fromEntries(Object.entries(entry).filter(([name]) => !/time|_per_second|^memory/.test(name))),
  );
const evaluated = ({ state }: Trainer) =>
  state.logHistory.filter((entry) => "eval_reward" in entry).map(({ step }) => step);
const savedState = (name: string, step: number) =>
  JSON.parse(readFileSync(path.join(folder, name, `checkpoint-${step}`, "trainer_state.json"), "utf8"));
/** The loss of every step, from metrics.jsonl. */
const lossesOf = (name: string): number[] =>
  readFileSync(path.join(folder, name, "metrics.jsonl"), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { type?: string; loss?: number })
    .flatMap(({ type, loss }) => (type === "step" && loss !== undefined ? [loss] : []));

const evaluating: GRPOConfigOptions = { evalStrategy: "steps", evalSteps: 2, loadBestModelAtEnd: true };

it("resumes in the middle of a logging window with what is in it, and sums up its own steps only", async () => {
  const args = { maxSteps: 8, loggingSteps: 4, saveSteps: 3 };
  const whole = bench("whole", args);
  await whole.trainer.train();
  const losses = lossesOf("whole");
  expect(losses).toHaveLength(8);
  for (const step of [3, 6]) {
    cpSync(path.join(folder, "whole", `checkpoint-${step}`), path.join(folder, "cut", `checkpoint-${step}`), {
      recursive: true,
    });
    const { trainer } = bench("cut", args);
    const resumed = await trainer.train({ resumeFromCheckpoint: path.join(folder, "cut", `checkpoint-${step}`) });
    expect(logged(trainer)).toEqual(logged(whole.trainer));
    const own = losses.slice(step);
    expect(resumed.metrics.train_loss).toBeCloseTo(own.reduce((a, b) => a + b) / own.length, 12);
  }
});

it.each([
  ["stopped", 2],
  ["stopped", 6],
  ["failed", 4],
] as const)("makes up for an evaluation that was %s after step %i", async (how, step) => {
  const whole = bench("whole", { ...evaluating, saveSteps: 3 });
  await whole.trainer.train();

  const stop = new AbortController();
  const cut = bench("cut", { ...evaluating, saveSteps: 3 });
  cut.policy.betweenGroups = async () => {
    const evaluation = cut.policy.samples.at(-1)?.prompts.length === evalRows;
    if (cut.trainer.state.globalStep !== step || !evaluation) return;
    if (how === "failed") throw new Error("the machine is out of luck");
    stop.abort();
  };
  await expect(cut.trainer.train({ signal: stop.signal })).rejects.toThrow();
  expect(savedState("cut", step).control).toEqual({ should_log: false, should_evaluate: true });

  const { trainer, policy } = bench("cut", { ...evaluating, saveSteps: 3 });
  await trainer.train({ resumeFromCheckpoint: true });
  expect(logged(trainer)).toEqual(logged(whole.trainer));
  expect(trainer.state.bestMetric).toBe(whole.trainer.state.bestMetric);
  expect(trainer.state.evaluationsWithoutGain).toBe(whole.trainer.state.evaluationsWithoutGain);
  expect(policy.weights).toEqual(whole.policy.weights);
  const last = savedState("cut", 6);
  expect(last.log_history).toHaveLength(whole.trainer.state.logHistory.length);
  expect(last).toMatchObject({ control: { should_evaluate: false }, best_metric: whole.trainer.state.bestMetric });
});

it("makes up for a log line whose callback failed", async () => {
  const whole = bench("whole", evaluating);
  await whole.trainer.train();
  const onStepEnd = ({ state }: TrainerEvent) => {
    if (state.globalStep === 2) throw new Error("no callback today");
  };
  await expect(bench("cut", evaluating, [], { callbacks: [{ onStepEnd }] }).trainer.train()).rejects.toThrow("today");
  const { trainer } = bench("cut", evaluating);
  await trainer.train({ resumeFromCheckpoint: true });
  expect(logged(trainer)).toEqual(logged(whole.trainer));
});

it("does not go on after an early stop, unless there is more patience now", async () => {
  const byStep = [0, 0, 0.5, 0, 0.4, 0, 0.3, 0, 0.2, 0, 0.1];
  const args: GRPOConfigOptions = { ...evaluating, maxSteps: 20, earlyStoppingPatience: 1 };
  const first = bench("run", args, byStep);
  await first.trainer.train();
  expect(first.trainer.state.globalStep).toBe(4);
  const again = bench("run", args, byStep);
  await again.trainer.train({ resumeFromCheckpoint: true });
  expect(again.trainer.state.globalStep).toBe(4);
  expect(again.policy.samples).toEqual([]);
  expect(again.policy.weights).toEqual(first.policy.weights);
  expect(again.printed.join("")).toContain("earlyStoppingPatience");
  const patient = bench("run", { ...args, earlyStoppingPatience: 2 }, byStep);
  await patient.trainer.train({ resumeFromCheckpoint: true });
  expect(patient.trainer.state.globalStep).toBe(6);
});

describe("the evaluation before the first step", () => {
  const atStart: GRPOConfigOptions = { ...evaluating, evalOnStart: true, maxSteps: 4, earlyStoppingPatience: 9 };

  it("is logged and no candidate for the best model, as in transformers", async () => {
    const { trainer } = bench("run", atStart, [0.9, 0, 0.5, 0, 0.4]);
    await trainer.train();
    expect(evaluated(trainer)).toEqual([0, 2, 4]);
    expect(trainer.state).toMatchObject({ bestMetric: 0.5, evaluationsWithoutGain: 1 });
    expect(readdirSync(path.join(folder, "run"))).not.toContain("checkpoint-0");
  });

  it("leaves nothing to be written when the run is stopped in it", async () => {
    const stop = new AbortController();
    const { trainer, policy } = bench("run", atStart);
    policy.betweenGroups = async () => stop.abort();
    await expect(trainer.train({ signal: stop.signal })).rejects.toThrow("nothing was saved");
    expect(readdirSync(path.join(folder, "run"))).toEqual(["metrics.jsonl"]);
  });
});

it("keeps and takes back the best checkpoint when outputDir is spelled otherwise", async () => {
  const byStep = [0, 0.1, 0.9, 0.5, 0.4, 0.3, 0.2];
  const args: GRPOConfigOptions = { ...evaluating, evalSteps: 1, saveSteps: 1, saveTotalLimit: 1 };
  const absolute = path.join(folder, "run");
  const outputDir = path.relative(process.cwd(), absolute);
  const first = bench("run", { ...args, maxSteps: 3, outputDir }, byStep);
  await first.trainer.train();
  expect(savedState("run", 3).best_model_checkpoint).toBe("checkpoint-2");
  const { trainer, policy } = bench("run", args, byStep);
  await trainer.train({ resumeFromCheckpoint: true });
  expect(readdirSync(absolute).filter((name) => name.startsWith("checkpoint-"))).toEqual([
    "checkpoint-2",
    "checkpoint-6",
  ]);
  expect(trainer.state.bestModelCheckpoint).toBe(path.join(absolute, "checkpoint-2"));
  expect(policy.weights).toEqual(first.policy.weights);
});

it("finds the best checkpoint beside the one it resumes from, whatever its own outputDir", async () => {
  const byStep = [0, 0.1, 0.9, 0.5, 0.4, 0.3, 0.2];
  const args: GRPOConfigOptions = { ...evaluating, evalSteps: 1, saveSteps: 1 };
  const first = bench("first", { ...args, maxSteps: 3 }, byStep);
  await first.trainer.train();
  const { trainer, policy } = bench("second", args, byStep);
  await trainer.train({ resumeFromCheckpoint: path.join(folder, "first", "checkpoint-3") });
  expect(trainer.state.bestModelCheckpoint).toBe(path.join(folder, "first", "checkpoint-2"));
  expect(policy.weights).toEqual(first.policy.weights);
});
