// Runs of the bundled model whose reward functions misbehave: each finishes by the policy, and metrics.jsonl says exactly how
// often what happened. The functions keep their own count of it.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { GRPOConfig, type GRPOConfigOptions } from "../../lib/grpo/config.js";
import { GRPOTrainer } from "../../lib/grpo/trainer.js";
import { LoraConfig } from "../../lib/model/lora/lora.js";
import { CausalLM } from "../../lib/model/model.js";
import { type FailureKind, failureKinds } from "../../lib/rewards/failure.js";
import { rewards } from "../../lib/rewards/index.js";
import { Tokenizer } from "../../lib/tokenizer/tokenizer.js";
import type { Prompt, RewardBatch, RewardFn } from "../../lib/types.js";
import { DEVICE } from "../support/device.js";
import { tinyQwen2 } from "./golden.js";

type Row = { prompt: Prompt; solution: string };
type Reward = RewardFn<Row>;

const trainDataset: Row[] = readFileSync(path.join(tinyQwen2, "train.jsonl"), "utf8")
  .split("\n", 8)
  .map((line) => JSON.parse(line) as { problem: string; solution: string })
  .map(({ problem, solution }) => ({ prompt: [{ role: "user", content: problem }], solution }));

let model: CausalLM;
let processingClass: Tokenizer;
beforeAll(async () => {
  model = await CausalLM.fromPretrained(tinyQwen2, { dtype: "float32", device: DEVICE, threads: 1 });
  model.applyLora(new LoraConfig({ r: 2, targetModules: ["q_proj"] }));
  processingClass = await Tokenizer.fromPretrained(tinyQwen2);
});
afterAll(() => model.dispose());

let outputDir: string;
beforeEach(() => {
  outputDir = mkdtempSync(path.join(os.tmpdir(), "grpo-unreliable-"));
});
afterEach(() => rmSync(outputDir, { recursive: true, force: true }));

/** [step][function] how often it misbehaved, in its own count. */
type Tally = Map<number, Map<string, number>>;

/** A function that answers well but for every `every`-th call, which it spoils. */
function spoilt(name: string, tally: Tally, every: number, spoil: (batch: RewardBatch<Row>) => unknown): Reward {
  let calls = 0;
  const fn = async (batch: RewardBatch<Row>): Promise<number[]> => {
    if (++calls % every !== 0) return batch.completions.map((_, i) => i % 3);
    const step = batch.trainerState.globalStep + 1;
    const counts = tally.get(step) ?? new Map<string, number>();
    tally.set(step, counts.set(name, (counts.get(name) ?? 0) + 1));
    return (await spoil(batch)) as number[];
  };
  return Object.defineProperty(fn, "name", { value: name });
}

interface Spoilt {
  readonly kind: FailureKind;
  readonly every: number;
  readonly spoil: (batch: RewardBatch<Row>) => unknown;
}

/** Of the six calls of a run. */
const misbehaviours: Readonly<Record<string, Spoilt>> = {
  throws: {
    kind: "exceptions",
    every: 2,
    spoil() {
      throw new Error("no network");
    },
  },
  rejects: { kind: "exceptions", every: 3, spoil: () => Promise.reject("just text") },
  hangs: { kind: "timeouts", every: 3, spoil: () => new Promise(() => {}) },
  answersTooLate: {
    kind: "timeouts",
    every: 4,
    async spoil({ completions, logMetric }) {
      await new Promise((resolve) => setTimeout(resolve, 400));
      logMetric("late", 1);
      return completions.map(() => 100);
    },
  },
  givesNaN: { kind: "invalid", every: 2, spoil: ({ completions }) => completions.map(() => Number.NaN) },
  givesInfinity: { kind: "invalid", every: 5, spoil: ({ completions }) => completions.map((_, i) => 1 / i) },
  givesText: { kind: "invalid", every: 3, spoil: ({ completions }) => completions.map(String) },
  givesTooFew: { kind: "invalid", every: 6, spoil: () => [1] },
  givesNothing: { kind: "invalid", every: 4, spoil: () => undefined },
};

async function train(
  rewardFuncs: readonly Reward[],
  options: GRPOConfigOptions,
): Promise<{ printed: string; steps: Record<string, unknown>[] }> {
  const printed: string[] = [];
  const args = new GRPOConfig({
    outputDir,
    maxSteps: 3,
    perDeviceTrainBatchSize: 8,
    numGenerations: 4,
    maxCompletionLength: 8,
    saveStrategy: "no",
    ...options,
  });
  const output = { write: (text: string) => printed.push(text) };
  const trainer = new GRPOTrainer<Row>({ model, processingClass, args, rewardFuncs, trainDataset, output });
  const { globalStep } = await trainer.train();
  expect(globalStep).toBe(args.maxSteps);
  const lines = readFileSync(path.join(outputDir, "metrics.jsonl"), "utf8").trim().split("\n");
  return {
    printed: printed.join(""),
    steps: lines.map((line) => JSON.parse(line)).filter(({ type }) => type === "step"),
  };
}

/** Every count that metrics.jsonl has of a function's failures. */
function counted(step: Record<string, unknown>, name: string): Record<string, unknown> {
  const kinds = ["errors", ...failureKinds].map((kind): [string, unknown] => [kind, step[`rewards/${name}/${kind}`]]);
  return Object.fromEntries(kinds.filter(([, count]) => count !== undefined));
}

function expected(tally: Tally, step: number, name: string, kind: FailureKind): Record<string, number> {
  const count = tally.get(step)?.get(name) ?? 0;
  return count === 0 ? { errors: 0 } : { errors: count, [kind]: count };
}

test.each<GRPOConfigOptions>([
  { onRewardError: "null" },
  { onRewardError: -1 },
  { onRewardError: 0.5, rewardConcurrency: 2, rewardBatching: "batch", gradientAccumulationSteps: 2 },
])("rewards that throw, hang, give garbage or take random times: %j", async (policy) => {
  const tally: Tally = new Map();
  const names = Object.keys(misbehaviours);
  const random: Reward = async function randomTimes({ completions }) {
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 40));
    return completions.map((_, i) => i);
  };
  const every = (name: string) => (policy.rewardBatching ? 2 : (misbehaviours[name]?.every ?? 1));
  const functions = Object.entries(misbehaviours).map(([name, { spoil }]) => spoilt(name, tally, every(name), spoil));
  const { printed, steps } = await train([...functions, random], { rewardTimeout: 0.25, ...policy });
  expect(steps).toHaveLength(3);
  steps.forEach((step, i) => {
    for (const name of names) {
      const { kind } = misbehaviours[name] as Spoilt;
      expect(counted(step, name), `${name} in step ${i + 1}`).toEqual(expected(tally, i + 1, name, kind));
    }
    expect(counted(step, "randomTimes")).toEqual({ errors: 0 });
    expect(step["rewards/randomTimes/mean"]).toBe(policy.rewardBatching ? 7.5 : 1.5);
    expect(step.reward).toEqual(expect.any(Number));
    expect(step).not.toHaveProperty("late");
  });
  for (const name of names) {
    const { kind } = misbehaviours[name] as Spoilt;
    const notes = printed.split("\n").filter((line) => line.includes(`rewards/${name}/${kind} says how often`));
    expect(notes, name).toHaveLength(1);
    expect(notes[0]).toContain(`its rewards count as ${policy.onRewardError}`);
  }
});

test("worker processes that crash or never come back", async () => {
  const evil = (name: string, timeout: number) =>
    rewards.worker<Row>(new URL("../rewards/evil-rewards.mjs", import.meta.url), { export: name, timeout });
  const functions = [evil("exits", 60), evil("loopsForever", 0.1), evil("whereItRuns", 60)];
  const { steps } = await train(functions, { onRewardError: "null", maxSteps: 2, numGenerations: 8 });
  for (const step of steps) {
    expect(counted(step, "exits")).toEqual({ errors: 1, crashes: 1 });
    expect(counted(step, "loopsForever")).toEqual({ errors: 1, timeouts: 1 });
    expect(counted(step, "whereItRuns")).toEqual({ errors: 0 });
  }
  // The trainer ends the processes with the run.
  const pid = Number(steps.at(-1)?.["rewards/whereItRuns/mean"]);
  expect(() => process.kill(pid, 0)).toThrow("ESRCH");
});
