// What reward functions are given, send and leave in the logs of a run, and what a run says of rewards that teach nothing.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { GRPOConfig, type GRPOConfigOptions } from "../../lib/grpo/config.js";
import { isRunMetric } from "../../lib/grpo/metric-names.js";
import type { GRPOTrainerOptions } from "../../lib/grpo/setup.js";
import { GRPOTrainer } from "../../lib/grpo/trainer.js";
import type { Message, RewardBatch } from "../../lib/types.js";
import { FakePolicy, FakeTokenizer } from "./fake-policy.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "grpo-reward-logs-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

interface ChatRow {
  readonly prompt: readonly Message[];
  readonly facts: { readonly tags: string[] };
}

const chatRows = (count: number): ChatRow[] =>
  Array.from({ length: count }, (_, i) => ({
    prompt: [{ role: "user", content: `question ${i}` }],
    facts: { tags: [`t${i}`] },
  }));

const lengths = ({ completionIds }: RewardBatch) => completionIds.map((ids) => ids.length);

function bench(args: GRPOConfigOptions = {}, options: Partial<GRPOTrainerOptions<ChatRow>> = {}) {
  const policy = new FakePolicy();
  const printed: string[] = [];
  const trainer = new GRPOTrainer<ChatRow>({
    model: policy,
    processingClass: new FakeTokenizer(),
    args: new GRPOConfig({
      outputDir: folder,
      perDeviceTrainBatchSize: 4,
      numGenerations: 2,
      maxSteps: 2,
      maxCompletionLength: 6,
      learningRate: 0.01,
      loggingSteps: 1,
      ...args,
    }),
    rewardFuncs: [lengths],
    trainDataset: chatRows(8),
    output: { write: (text: string) => void printed.push(...text.trimEnd().split("\n")) },
    ...options,
  });
  const notes = () => printed.filter((line) => line.startsWith("note"));
  return { trainer, policy, printed, notes };
}

const lines = (file: string): Record<string, unknown>[] =>
  readFileSync(path.join(folder, file), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));

it("what a function does to its arguments is not in the rows, the logs or the next evaluation", async () => {
  const [rows, evalRows] = [chatRows(8), chatRows(2)];
  function talkative({ prompts, completions, facts }: RewardBatch<ChatRow>): number[] {
    prompts.forEach((prompt, i) => {
      (prompt as Message[]).push(...(completions[i] as Message[]));
    });
    for (const { tags } of facts) tags.push("seen");
    return prompts.map((prompt, i) => prompt.length + (facts[i]?.tags.length ?? 0) / 10);
  }
  const { trainer } = bench(
    { evalStrategy: "steps", evalSteps: 1 },
    { trainDataset: rows, evalDataset: evalRows, rewardFuncs: [talkative, lengths] },
  );
  await trainer.train();
  await trainer.evaluate();
  expect([rows, evalRows]).toEqual([chatRows(8), chatRows(2)]);
  const completions = lines("completions.jsonl");
  expect(completions.length).toBeGreaterThan(12);
  for (const { prompt, rewards } of completions) {
    expect(prompt).toHaveLength(1);
    expect(rewards).toMatchObject({ talkative: 2.2 });
  }
});

describe("a metric that a function sends", () => {
  const sending = (metric: string) =>
    bench(
      {},
      {
        rewardFuncs: [
          Object.assign(({ completionIds, logMetric }: RewardBatch) => {
            logMetric(metric, 7);
            return completionIds.map((_, i) => i);
          }),
        ],
      },
    );

  it.each(["type", "step", "reward", "loss", "kl", "epoch", "rewards/reward_0/mean", "eval_reward", "eval_runtime"])(
    "cannot be %s",
    async (metric) => {
      await expect(sending(metric).trainer.train()).rejects.toMatchObject({
        code: "BAD_REWARD",
        message: expect.stringContaining(`logMetric("${metric}")`),
      });
    },
  );

  it.each(["steps", "judge/reward", "rewards/other/mean", "__proto__", "constructor"])("can be %s", async (metric) => {
    await sending(metric).trainer.train();
    const steps = lines("metrics.jsonl").filter(({ type }) => type === "step");
    expect(steps.map(({ step }) => step)).toEqual([1, 2]);
    for (const step of steps) expect(Object.getOwnPropertyDescriptor(step, metric)?.value).toBe(7);
  });

  it("cannot have the name of anything that runs of any kind log", async () => {
    const kinds: GRPOConfigOptions[] = [
      { beta: 0.1, entropyCoef: 0.1, evalPassAt: [1, 2] },
      { dynamicSampling: true, useAdaptiveEntropy: true },
      { lossType: "cispo" },
      { lossType: "vespo" },
      { onRewardError: "null" },
    ];
    const failing = ({ trainerState }: RewardBatch) => {
      throw new Error(`step ${trainerState.globalStep}`);
    };
    const seen = new Set<string>();
    for (const kind of kinds) {
      const { trainer } = bench(
        { evalStrategy: "steps", evalSteps: 1, ...kind },
        { evalDataset: chatRows(2), rewardFuncs: kind.onRewardError ? [lengths, failing] : [lengths] },
      );
      await trainer.train();
      for (const entry of trainer.state.logHistory) for (const name of Object.keys(entry)) seen.add(name);
    }
    for (const line of lines("metrics.jsonl"))
      if (line.type !== "run") for (const name of Object.keys(line)) seen.add(name);
    expect(seen.size).toBeGreaterThan(60);
    expect([...seen].filter((name) => !isRunMetric(name, ["lengths", "failing"]))).toEqual([]);
  });

  it("cannot have a name of the page of metrics", () => {
    const page = readFileSync(new URL("../../docs/metrics.md", import.meta.url), "utf8");
    const table = page.slice(page.indexOf("## Every metric"), page.indexOf("| any other name |"));
    const names = [...table.matchAll(/^\| (.*?) \|/gm)].flatMap(([, cell = ""]) =>
      [...cell.matchAll(/`([a-z_]+(?:\/[a-z_]+)*)`/g)].map(([, name = ""]) => name),
    );
    expect(names.length).toBeGreaterThan(25);
    expect(names.filter((name) => !isRunMetric(name, []))).toEqual([]);
  });
});

it("a column that a function sends lies beside the fields of a completion, whatever it is called", async () => {
  const fields = [
    "step",
    "split",
    "index",
    "row",
    "prompt",
    "ids",
    "rewards",
    "reward",
    "advantage",
    "extra",
    "samples",
  ];
  const sending = ({ completions, logExtra }: RewardBatch) => {
    for (const field of fields)
      logExtra(
        field,
        completions.map(() => "sent"),
      );
    return completions.map((_, i) => i);
  };
  await bench({}, { rewardFuncs: [sending] }).trainer.train();
  const sent = Object.fromEntries(fields.map((field) => [field, "sent"]));
  const completions = lines("completions.jsonl");
  expect(completions.map(({ step, index }) => [step, index])).toEqual(
    [1, 2].flatMap((step) => [0, 1, 2, 3].map((index) => [step, index])),
  );
  for (const { extra, ...own } of completions) {
    expect(extra).toEqual(sent);
    expect(Object.values(own)).not.toContain("sent");
  }
});

describe("logCompletions", () => {
  const shown = (printed: readonly string[]) => printed.filter((line) => /^ {2}\[.*advantage/.test(line)).length;

  it("shows the latest generation at every logging step, whichever step it began in", async () => {
    const args = { logCompletions: true, numIterations: 3, maxSteps: 7, loggingSteps: 2 };
    const { trainer, printed } = bench(args);
    await trainer.train();
    // Generations begin in steps 1, 4 and 7; it is logged after 2, 4, 6 and, as the last one, 7.
    const records = lines("completions.jsonl");
    const expected = [1, 4, 4, 7].flatMap((step) => records.filter((record) => record.step === step));
    const texts = printed.filter((line) => line.startsWith('    "')).map((line) => JSON.parse(line.trim()));
    expect(texts).toEqual(expected.map(({ completion }) => completion));
  });

  it("shows one generation where a step has several, and no more than numCompletionsToPrint of it", async () => {
    const several = { logCompletions: true, gradientAccumulationSteps: 3, stepsPerGeneration: 1, maxSteps: 1 };
    const all = bench(several);
    await all.trainer.train();
    expect(lines("completions.jsonl")).toHaveLength(12);
    expect(shown(all.printed)).toBe(4);
    const texts = all.printed.filter((line) => line.startsWith('    "')).map((line) => JSON.parse(line.trim()));
    expect(texts).toEqual(
      lines("completions.jsonl")
        .slice(-4)
        .map(({ completion }) => completion),
    );
    const few = bench({ ...several, numCompletionsToPrint: 3 });
    await few.trainer.train();
    expect(shown(few.printed)).toBe(3);
  });

  it("shows those of an evaluation with it, at most as many as a generation has", async () => {
    const evaluating = {
      logCompletions: true,
      maxSteps: 2,
      loggingSteps: 5,
      evalStrategy: "steps",
      evalSteps: 2,
    } as const;
    const { trainer, printed } = bench(evaluating, { evalDataset: chatRows(3) });
    await trainer.train();
    const records = lines("completions.jsonl");
    const evaluated = records.filter(({ split }) => split === "eval");
    expect(evaluated).toHaveLength(6);
    const expected = [
      ...records.filter(({ split, step }) => split === "train" && step === 2),
      ...evaluated.slice(0, 4),
    ];
    const texts = printed.filter((line) => line.startsWith('    "')).map((line) => JSON.parse(line.trim()));
    expect(texts).toEqual(expected.map(({ completion }) => completion));
    const few = bench({ ...evaluating, numCompletionsToPrint: 1 }, { evalDataset: chatRows(3) });
    await few.trainer.evaluate();
    expect(shown(few.printed)).toBe(1);
  });
});

it("functions of one name each keep their rewards and metrics", async () => {
  const worth = (value: number, name: string) =>
    Object.defineProperty(({ completions }: RewardBatch) => completions.map(() => value), "name", { value: name });
  const { trainer } = bench({}, { rewardFuncs: [worth(1, "g"), worth(2, "g"), worth(3, "g_2"), worth(4, "g")] });
  await trainer.train();
  expect(lines("completions.jsonl")[0]?.rewards).toEqual({ g: 1, g_3: 2, g_2: 3, g_4: 4 });
  expect(trainer.state.logHistory[0]).toMatchObject({ "rewards/g_2/mean": 3, "rewards/g_3/mean": 2 });
});

describe("a note, once,", () => {
  const abstaining = ({ completions }: RewardBatch) => completions.map((_, i) => (i === 0 ? null : i));
  const always = ({ completions }: RewardBatch) => completions.map(() => null);

  it("says that no function scored some completions, of training and of evaluation", async () => {
    const { trainer, notes } = bench(
      { maxSteps: 3, shuffleDataset: false, evalStrategy: "steps", evalSteps: 1 },
      { rewardFuncs: [abstaining, always], evalDataset: chatRows(1) },
    );
    await trainer.train();
    expect(notes()).toEqual([
      expect.stringContaining("null for 2 of 4 completions, the first for row 0 of trainDataset"),
      expect.stringContaining("null for 1 of 2 completions, the first for row 0 of evalDataset"),
    ]);
  });

  it("says nothing where each completion has a reward of some function", async () => {
    const { trainer, notes } = bench({}, { rewardFuncs: [abstaining, lengths] });
    await trainer.train();
    expect(notes()).toEqual([]);
  });

  it("says that dynamic sampling found too few groups with spread", async () => {
    const flat = ({ completions }: RewardBatch) => completions.map(() => 1);
    const args = { dynamicSampling: true, dynamicSamplingMaxRounds: 3, maxSteps: 4 };
    const { trainer, notes } = bench(args, { rewardFuncs: [flat] });
    await trainer.train();
    expect(notes()).toEqual([expect.stringContaining("after 3 rounds and 6 groups with 2 of 2 groups without spread")]);
    const useful = bench(args);
    await useful.trainer.train();
    expect(useful.notes()).toEqual([]);
  });
});

it("large equal rewards move nothing", async () => {
  const large = ({ completions }: RewardBatch) => completions.map(() => 1e15 / 3);
  const { trainer, policy } = bench(
    { numGenerations: 4, rewardWeights: [0.7] },
    { rewardFuncs: [large], evalDataset: chatRows(1) },
  );
  await trainer.train();
  expect(trainer.state.logHistory[0]).toMatchObject({ grad_norm: 0, frac_reward_zero_std: 1, reward_std: 0 });
  expect(policy.weights).toEqual([0, 0, 0, 0]);
  expect((await trainer.evaluate()).completions.map(({ advantage }) => advantage)).toEqual([0, 0, 0, 0]);
});
