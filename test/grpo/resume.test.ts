import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { readGeneration } from "../../lib/grpo/carryover.js";
import { GRPOConfig, type GRPOConfigOptions } from "../../lib/grpo/config.js";
import type { GRPOTrainerOptions, TrainerEvent } from "../../lib/grpo/setup.js";
import { GRPOTrainer } from "../../lib/grpo/trainer.js";
import { listCheckpoints } from "../../lib/run/checkpoint.js";
import type { RewardBatch } from "../../lib/types.js";
import { FakePolicy, type FakeRow, FakeTokenizer, fakeRows } from "./fake-policy.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "grpo-resume-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function lengthReward({ completionIds }: RewardBatch<FakeRow>): number[] {
  return completionIds.map((ids) => ids.length);
}

function bench(outputDir: string, args: GRPOConfigOptions = {}, options: Partial<GRPOTrainerOptions<FakeRow>> = {}) {
  const policy = new FakePolicy();
  const printed: string[] = [];
  const trainer = new GRPOTrainer<FakeRow>({
    model: policy,
    processingClass: new FakeTokenizer(),
    args: new GRPOConfig({
      gradientAccumulationSteps: 2,
      numGenerations: 8,
      maxSteps: 9,
      maxCompletionLength: 6,
      learningRate: 0.01,
      loggingSteps: 1,
      saveSteps: 4,
      outputDir,
      ...args,
    }),
    rewardFuncs: [lengthReward],
    trainDataset: fakeRows(7),
    output: { write: (text: string) => printed.push(text) },
    ...options,
  });
  return { trainer, policy, printed };
}

const completionsOf = (outputDir: string) =>
  readFileSync(path.join(outputDir, "completions.jsonl"), "utf8").trimEnd().split("\n");

test("killed in the middle of a rollout and resumed equals never killed", async () => {
  const whole = bench(path.join(folder, "whole"));
  await whole.trainer.train();

  const outputDir = path.join(folder, "cut");
  const cut = bench(outputDir);
  const stop = new AbortController();
  const next = cut.policy.betweenGroups;
  cut.policy.betweenGroups = async () => {
    await next();
    if (cut.trainer.state.globalStep === 5) stop.abort();
  };
  await expect(cut.trainer.train({ signal: stop.signal })).rejects.toMatchObject({
    code: "CANCELLED",
    message: expect.stringContaining("stopped after step 5 of 9"),
  });
  expect(cut.printed.join("")).toContain(`train({ resumeFromCheckpoint: "${outputDir}/checkpoint-5" })`);

  const resumed = bench(outputDir);
  const result = await resumed.trainer.train({ resumeFromCheckpoint: true });
  expect(result.globalStep).toBe(9);
  expect(resumed.policy.samples).toHaveLength(4);
  expect(resumed.policy.weights).toEqual(whole.policy.weights);
  expect(resumed.policy.momentum).toEqual(whole.policy.momentum);
  expect(completionsOf(outputDir)).toEqual(completionsOf(path.join(folder, "whole")));
  expect(resumed.trainer.state.numInputTokensSeen).toBe(whole.trainer.state.numInputTokensSeen);
  expect(resumed.trainer.state.logHistory.map(({ step, reward }) => [step, reward])).toEqual(
    whole.trainer.state.logHistory.map(({ step, reward }) => [step, reward]),
  );
});

/** Four steps a generation, and an entropy bonus that moves. */
const reusing: GRPOConfigOptions = {
  stepsPerGeneration: 4,
  numIterations: 2,
  gradientAccumulationSteps: 2,
  numGenerations: 16,
  beta: 0.1,
  useAdaptiveEntropy: true,
  entropyCoef: 0.1,
  entropyTarget: 2,
  perDeviceTrainBatchSize: 4,
  saveSteps: 1,
};

test.each([1, 2, 3, 4, 5, 7])(
  "stopped after step %i, in the middle of a generation or at its end, and resumed equals never stopped",
  async (step) => {
    const whole = bench(path.join(folder, "whole"), reusing);
    await whole.trainer.train();
    expect(whole.policy.samples).toHaveLength(3);

    const outputDir = path.join(folder, "cut");
    const callbacks = [
      {
        onStepEnd: ({ state, control }: TrainerEvent) => {
          control.shouldTrainingStop = state.globalStep === step;
        },
      },
    ];
    await bench(outputDir, reusing, { callbacks }).trainer.train();
    const { trainer, policy } = bench(outputDir, reusing);
    await trainer.train({ resumeFromCheckpoint: true });
    expect(policy.samples).toHaveLength(3 - Math.ceil(step / 4));
    expect(policy.weights).toEqual(whole.policy.weights);
    expect(policy.losses.at(-1)).toEqual(whole.policy.losses.at(-1));
    expect(completionsOf(outputDir)).toEqual(completionsOf(path.join(folder, "whole")));
    const entropy = (at: GRPOTrainer<FakeRow>) => at.state.logHistory.map(({ entropy_coef }) => entropy_coef);
    expect(entropy(trainer)).toEqual(entropy(whole.trainer));
  },
);

test("cut while a new generation is sampled, a run resumes with the one before", async () => {
  // Steps of two slices from generations of three: every second step ends one generation and begins another.
  const across = { ...reusing, stepsPerGeneration: 3, numIterations: 1, numGenerations: 12 };
  const whole = bench(path.join(folder, "whole"), across);
  await whole.trainer.train();
  const outputDir = path.join(folder, "cut");
  const cut = bench(outputDir, across);
  const stop = new AbortController();
  cut.policy.betweenGroups = async () => {
    if (cut.trainer.state.globalStep === 1) stop.abort();
  };
  await expect(cut.trainer.train({ signal: stop.signal })).rejects.toMatchObject({ code: "CANCELLED" });
  const resumed = bench(outputDir, across);
  await resumed.trainer.train({ resumeFromCheckpoint: true });
  expect(resumed.policy.weights).toEqual(whole.policy.weights);
  expect(completionsOf(outputDir)).toEqual(completionsOf(path.join(folder, "whole")));
});

test("a checkpoint that lacks the completions it goes on with is refused, and so is a broken store of them", async () => {
  await bench(folder, { ...reusing, maxSteps: 1 }).trainer.train();
  const file = path.join(folder, "checkpoint-1", "generation.json");
  writeFileSync(file, readFileSync(file, "utf8").replace('"index":0', '"index":-1'));
  const resume = () => bench(folder, reusing).trainer.train({ resumeFromCheckpoint: true });
  await expect(resume()).rejects.toThrow("generation.json is not a stored generation");
  rmSync(file);
  await expect(resume()).rejects.toThrow("lacks the completions that step 2 needs");
});

test("checkpoints come every saveSteps and at the end, whole, with the oldest removed", async () => {
  const { trainer } = bench(folder, { saveSteps: 2, saveTotalLimit: 2 });
  await trainer.train();
  expect(readdirSync(folder).sort()).toEqual(["checkpoint-8", "checkpoint-9", "completions.jsonl", "metrics.jsonl"]);
  expect(readdirSync(path.join(folder, "checkpoint-9")).sort()).toEqual([
    "adapter_model.json",
    "optimizer.json",
    "tokenizer.json",
    "trainer_state.json",
  ]);
  const state = JSON.parse(readFileSync(path.join(folder, "checkpoint-9", "trainer_state.json"), "utf8"));
  expect(state).toMatchObject({ schema_version: 1, global_step: 9, max_steps: 9, bad_steps: 0 });
  expect(state.log_history).toHaveLength(9);
});

test("a checkpoint that fails to be written leaves nothing behind", async () => {
  const { trainer, policy } = bench(folder);
  policy.takeCheckpoint = async () => async (directory) => {
    mkdirSync(directory, { recursive: true });
    writeFileSync(path.join(directory, "half"), "");
    throw new Error("disk full");
  };
  await expect(trainer.train()).rejects.toMatchObject({
    code: "BAD_CHECKPOINT",
    message: expect.stringContaining("disk full"),
  });
  expect(readdirSync(folder).filter((name) => name.includes("checkpoint"))).toEqual([]);
});

test("a run goes on while a checkpoint is written, which has what was there when it was taken", async () => {
  const { trainer, policy } = bench(folder, { maxSteps: 3, saveSteps: 1 });
  const whole = bench(path.join(folder, "whole"), { maxSteps: 3, saveSteps: 1 });
  await whole.trainer.train();
  const written: string[] = [];
  const take = policy.takeCheckpoint.bind(policy);
  policy.takeCheckpoint = async () => {
    const write = await take();
    const step = trainer.state.globalStep;
    return async (directory) => {
      // Had the run waited for the first one, its second update would never come.
      if (step === 1) await vi.waitUntil(() => policy.optimizerSteps.length > 1);
      written.push(`${step} after update ${policy.optimizerSteps.length}`);
      await write(directory);
    };
  };
  await trainer.train();
  expect(written[0]).toMatch(/^1 after update [23]$/);
  expect(written).toHaveLength(3);
  for (const step of [1, 2, 3]) {
    const saved = (at: string) => readFileSync(path.join(at, `checkpoint-${step}`, "adapter_model.json"), "utf8");
    expect(saved(folder)).toBe(saved(path.join(folder, "whole")));
  }
});

test("a checkpoint that fails while the run goes on ends it after the step, with what kept it from being written", async () => {
  const { trainer, policy } = bench(folder, { saveSteps: 1 });
  const take = policy.takeCheckpoint.bind(policy);
  policy.takeCheckpoint = async () => {
    const write = await take();
    if (trainer.state.globalStep !== 2) return write;
    return async () => {
      await vi.waitUntil(() => policy.samples.length > 2);
      throw new Error("disk full");
    };
  };
  await expect(trainer.train()).rejects.toMatchObject({
    code: "BAD_CHECKPOINT",
    message: expect.stringMatching(/checkpoint-2: disk full/),
  });
  // What could be saved was: the step that ran meanwhile.
  expect((await listCheckpoints(folder)).map(([step]) => step)).toEqual([1, 3]);
});

test("without room for a copy the run waits for each checkpoint", async () => {
  const { trainer, policy, printed } = bench(folder, { maxSteps: 2, saveSteps: 1, memoryCheck: "warn" });
  const { memory } = policy;
  policy.memory = async () => {
    const facts = await memory.call(policy);
    const trained = os.freemem() / 8;
    return { ...facts, model: { ...facts.model, trained } };
  };
  const updates: number[] = [];
  policy.takeCheckpoint = async (options) => {
    expect(options?.copy).toBe(false);
    return async () => {
      await new Promise((resolve) => setTimeout(resolve, 20));
      updates.push(policy.optimizerSteps.length);
    };
  };
  await trainer.train();
  expect(updates).toEqual([1, 2]);
  expect(printed.join("")).toContain("checkpoints are written between steps");
});

test("a second run into the same folder replaces checkpoints of the same step", async () => {
  await bench(folder, { maxSteps: 1 }).trainer.train();
  const again = bench(folder, { maxSteps: 1, seed: 9 });
  await again.trainer.train();
  const saved = JSON.parse(readFileSync(path.join(folder, "checkpoint-1", "adapter_model.json"), "utf8"));
  expect(saved).toEqual(again.policy.weights);
  expect(readdirSync(folder).filter((name) => name.includes("checkpoint"))).toEqual(["checkpoint-1"]);
});

test("a folder without state is not taken for a checkpoint", async () => {
  mkdirSync(path.join(folder, "checkpoint-7"));
  mkdirSync(path.join(folder, ".tmp-checkpoint-9-1"));
  expect(await listCheckpoints(folder)).toEqual([]);
  await expect(bench(folder).trainer.train({ resumeFromCheckpoint: true })).rejects.toMatchObject({
    code: "BAD_CHECKPOINT",
    message: expect.stringContaining("no checkpoint to resume from"),
  });
  await expect(
    bench(folder).trainer.train({ resumeFromCheckpoint: path.join(folder, "checkpoint-7") }),
  ).rejects.toThrow("not a complete checkpoint");
});

test("broken or foreign state is refused with what is wrong", async () => {
  await bench(folder, { maxSteps: 2 }).trainer.train();
  const file = path.join(folder, "checkpoint-2", "trainer_state.json");
  const text = readFileSync(file, "utf8");
  await expect(bench(folder, { seed: 1 }).trainer.train({ resumeFromCheckpoint: true })).rejects.toThrow(
    "was written with seed 42, this run has 1",
  );
  writeFileSync(file, text.slice(0, 40));
  await expect(bench(folder).trainer.train({ resumeFromCheckpoint: true })).rejects.toThrow("is not JSON");
  writeFileSync(file, text.replace('"global_step": 2', '"global_step": -2'));
  await expect(bench(folder).trainer.train({ resumeFromCheckpoint: true })).rejects.toThrow("global_step");
});

test("without a saveStrategy nothing is saved, also when the run is stopped", async () => {
  const { trainer, policy } = bench(folder, { saveStrategy: "no" });
  const stop = new AbortController();
  policy.betweenGroups = async () => {
    if (trainer.state.globalStep === 2) stop.abort();
  };
  await expect(trainer.train({ signal: stop.signal })).rejects.toThrow("nothing was saved");
  expect(readdirSync(folder).sort()).toEqual(["completions.jsonl", "metrics.jsonl"]);
});

test("Ctrl-C saves the last finished step, and the handlers are gone afterwards", async () => {
  let seen = 0;
  const own = () => void seen++;
  process.on("SIGINT", own);
  try {
    const before = process.listenerCount("SIGINT");
    const { trainer, policy, printed } = bench(folder);
    policy.betweenGroups = async () => {
      if (trainer.state.globalStep === 3 && seen === 0) process.emit("SIGINT");
    };
    await expect(trainer.train()).rejects.toMatchObject({ code: "CANCELLED" });
    expect(existsSync(path.join(folder, "checkpoint-3", "trainer_state.json"))).toBe(true);
    expect(printed.join("")).toContain("press Ctrl-C again");
    expect(process.listenerCount("SIGINT")).toBe(before);
  } finally {
    process.off("SIGINT", own);
  }
});

test("a signal that is aborted already stops before sampling", async () => {
  const { trainer, policy } = bench(folder);
  await expect(trainer.train({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "CANCELLED" });
  expect(policy.calls).toEqual([]);
});

test("a stop is seen while steps reuse a generation", async () => {
  const stop = new AbortController();
  const callbacks = [{ onStepEnd: () => stop.abort() }];
  const { trainer } = bench(folder, { maxSteps: 8, numIterations: 8, saveSteps: 100 }, { callbacks });
  await expect(trainer.train({ signal: stop.signal })).rejects.toMatchObject({
    code: "CANCELLED",
    message: expect.stringContaining("stopped after step 1 of 8"),
  });
});

test("the last good state can be resumed from, whatever its log-probabilities are", async () => {
  const broken = (policy: FakePolicy) => {
    policy.completionLogprobs = async ({ completionIds }) =>
      completionIds.map((ids) => new Float32Array(ids.length).fill(Number.NaN).fill(Number.NEGATIVE_INFINITY, 1));
  };
  const args: GRPOConfigOptions = { ...reusing, maxSteps: 8 };
  const first = bench(folder, args);
  broken(first.policy);
  first.policy.lossAt = (call) => (call < 2 ? 0 : Number.NaN);
  await expect(first.trainer.train()).rejects.toThrow("the last good state is in");
  const { trainer, policy } = bench(folder, args);
  const [rollout] = (await readGeneration(path.join(folder, "checkpoint-5", "generation.json")))?.rollouts ?? [];
  const carried = rollout?.samples[0]?.oldLogprobs;
  expect([...(carried ?? [])].slice(0, 2)).toEqual([Number.NaN, Number.NEGATIVE_INFINITY].slice(0, carried?.length));
  await trainer.train({ resumeFromCheckpoint: true });
  expect(trainer.state.globalStep).toBe(8);
  expect(policy.optimizerSteps).toHaveLength(3);
});
