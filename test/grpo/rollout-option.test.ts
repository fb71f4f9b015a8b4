// The trainer's `rollout`: its rewards, its metrics, what is logged, and evaluations.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import {
  GRPOConfig,
  type GRPOConfigOptions,
  GRPOTrainer,
  type GRPOTrainerOptions,
  type RewardBatch,
  type RolloutContext,
} from "grpo";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { SampleOptions } from "../../lib/model/sampled.js";
import { LoggingGenerator } from "../agents/logging-generator.js";
import { clientOf, type Row, toolTokenizer } from "../agents/rollout-bench.js";
import { FakePolicy } from "./fake-policy.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "grpo-rollout-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const ask = (content: string) => ({ role: "user", content });

/** Asks twice; the second time with what was said trimmed. */
async function twoTurns(context: RolloutContext<Row>) {
  const { chat } = clientOf(context);
  const first = (await chat({ messages: [ask(context.row.prompt)] })).message;
  const back = { role: "assistant", content: first.content.trim() };
  const last = await chat({ messages: [ask(context.row.prompt), back, ask("Sure?")] });
  return last.message.content.length;
}

async function bench(options: Partial<GRPOTrainerOptions<Row>>, args: GRPOConfigOptions = {}) {
  const tokenizer = await toolTokenizer();
  const generator = new LoggingGenerator(tokenizer, (_, draw) => ` Number ${"1".repeat(1 + draw(9))}.`);
  const policy = new FakePolicy();
  const sampler = Object.assign(generator, {
    sample: (): never => {
      throw new Error("turns are drawn one by one");
    },
  } satisfies { sample: (prompts: unknown, options: SampleOptions) => never });
  const printed: string[] = [];
  const trainer = new GRPOTrainer<Row>({
    model: policy,
    sampler,
    processingClass: tokenizer,
    args: new GRPOConfig({
      outputDir: folder,
      perDeviceTrainBatchSize: 4,
      numGenerations: 4,
      maxSteps: 2,
      maxCompletionLength: 40,
      saveStrategy: "no",
      logTo: ["console", "jsonl"],
      loggingSteps: 1,
      ...args,
    }),
    trainDataset: [0, 1, 2].map((n) => ({ prompt: `question ${n}`, n })),
    output: { write: (text: string) => printed.push(text) },
    ...options,
  });
  return { trainer, policy, printed };
}

const lines = (name: string) =>
  readFileSync(path.join(folder, name), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));

it("needs no reward function, trains on every drawn token, and logs turns, samples and tokens", async () => {
  const { trainer, policy } = await bench({
    rollout: async (context) => ({ reward: await twoTurns(context), metrics: { asked: 2 } }),
  });
  await trainer.train();
  const steps = lines("metrics.jsonl").filter(({ type }) => type === "step");
  expect(steps).toHaveLength(2);
  for (const [i, step] of steps.entries()) {
    expect(step).toMatchObject({
      "rewards/rollout/errors": 0,
      "rollout/turns": 2,
      "rollout/samples": 1,
      "rollout/continued": 0,
      "rollout/realigned": 4,
      "rollout/forked": 0,
      "rollout/repeated": 0,
      asked: 2,
    });
    expect(step["rewards/rollout/mean"]).toBe(step.reward);
    const batch = policy.batches[i];
    const counted = batch?.completionIds.map((ids, row) => {
      return ids.filter((_, t) => batch.lossMask?.[row]?.[t] !== 0).length;
    });
    expect(step["tokens/trained"]).toBe(counted?.reduce((a, b) => a + b, 0));
    expect(step["tokens/sampled"]).toBe(step["tokens/trained"]);
    expect(Object.keys(step).filter((name) => name.startsWith("tokens/dropped"))).toEqual([]);
  }
  const [record] = lines("completions.jsonl");
  expect(record.rewards).toEqual({ rollout: record.reward });
  const [{ messages, sampled }] = record.samples;
  expect(messages.map(({ role }: { role: string }) => role)).toEqual(["user", "assistant", "user", "assistant"]);
  expect(sampled).toEqual([1, 3]);
  expect(record.loss_mask).toContain(0);
});

it("gives what rollouts return to reward functions, which may look at a group as a whole", async () => {
  const seen: unknown[] = [];
  const best = ({ rolloutResults = [] }: { rolloutResults?: unknown[] }) => {
    const lengths = rolloutResults.map((result) => (result as { length: number }).length);
    seen.push(lengths.length);
    return lengths.map((length) => (length === Math.max(...lengths) ? 1 : 0));
  };
  const { trainer } = await bench(
    { rollout: async (context) => ({ length: await twoTurns(context) }), rewardFuncs: [best] },
    { rewardWeights: [2] },
  );
  await trainer.train();
  expect(seen).toEqual([4, 4]);
  const [step] = lines("metrics.jsonl").filter(({ type }) => type === "step");
  expect(step.reward).toBe(2 * step["rewards/best/mean"]);
  expect(step).not.toHaveProperty("rewards/rollout/mean");
});

it("scores the recorded conversation where a rollout returns nothing", async () => {
  const { trainer } = await bench({
    rollout: async (context) => void (await twoTurns(context)),
    rewardFuncs: [
      ({ completions }) => completions.map((completion) => (completion as unknown as { role: string }[]).length),
    ],
  });
  await trainer.train();
  expect(lines("metrics.jsonl").at(-1).reward).toBe(3);
});

it("adds up rewards by name, and logs each", async () => {
  const { trainer } = await bench({
    rollout: async ({ attempt }) => ({ rewards: { right: attempt % 2, short: 0.5 } }),
  });
  await trainer.train();
  const step = lines("metrics.jsonl").at(-1);
  expect(step).toMatchObject({
    reward: 1,
    "rewards/right/mean": 0.5,
    "rewards/short/mean": 0.5,
    "rewards/short/std": 0,
  });
});

it.each([
  ["null", { reward: 1, "rewards/rollout/errors": 1, "rewards/rollout/exceptions": 1 }],
  [-3, { reward: 0, "rewards/rollout/errors": 1, "rewards/rollout/exceptions": 1 }],
] as const)("counts rollouts that fail, with onRewardError %s", async (onRewardError, expected) => {
  const rollout = ({ attempt }: RolloutContext<Row>) => {
    if (attempt === 2) throw new Error("broke");
    return { reward: 1 };
  };
  const { trainer, printed } = await bench({ rollout }, { onRewardError });
  await trainer.train();
  expect(lines("metrics.jsonl").at(-1)).toMatchObject(expected);
  expect(printed.join("")).toContain("rewards/rollout/exceptions says how often");
  expect(lines("completions.jsonl")[2].reward).toBe(onRewardError === "null" ? null : onRewardError);
});

it("evaluates with the same function, greedily if it is asked to", async () => {
  const { trainer } = await bench({
    rollout: async (context) => ({ reward: await twoTurns(context) }),
    evalDataset: [{ prompt: "question 7", n: 7 }],
  });
  const { metrics, completions } = await trainer.evaluate({ doSample: false });
  expect(metrics).toMatchObject({ "eval_rollout/turns": 2, "eval_rollout/realigned": 1 });
  expect(metrics["eval_rewards/rollout/mean"]).toBe(metrics.eval_reward);
  expect(completions).toHaveLength(1);
  expect(metrics).not.toHaveProperty("eval_tokens/trained");
});

it("says why tokens that were drawn are not trained on", async () => {
  const { trainer } = await bench(
    { rollout: async (context) => ({ reward: await twoTurns(context) }) },
    { maxCompletionLength: 8, maskTruncatedCompletions: true },
  );
  await trainer.train();
  const step = lines("metrics.jsonl").at(-1);
  expect(step["tokens/dropped/truncated"]).toBeGreaterThan(0);
  expect(step["tokens/sampled"] - step["tokens/dropped/truncated"]).toBe(step["tokens/trained"]);
});

it("refuses what cannot hold a conversation", async () => {
  const rollout = () => ({ reward: 1 });
  await expect(bench({ rollout: "python agent.py" as never })).rejects.toThrow('write command("python agent.py")');
  const plain = new FakePolicy();
  await expect(bench({ rollout, sampler: plain })).rejects.toThrow("must draw single turns");
  await expect(bench({})).rejects.toThrow("GRPOTrainer has no reward function");
});

it("needs no prompts: rows are whatever the rollout takes, and logs and reward functions have what it asked", async () => {
  interface Question {
    readonly question: string;
    readonly answer: number;
  }
  const seen: unknown[] = [];
  const rows: Question[] = [0, 1, 2].map((n) => ({ question: `How much is ${n}?`, answer: n }));
  const rollout = async ({ row, endpoint, signal, attempt }: RolloutContext<Question>) => {
    if (attempt === 3) return { reward: row.answer };
    const headers = { authorization: `Bearer ${endpoint.apiKey}`, "content-type": "application/json" };
    const body = JSON.stringify({ model: endpoint.model, messages: [{ role: "user", content: row.question }] });
    await fetch(`${endpoint.baseURL}/chat/completions`, { method: "POST", headers, body, signal });
    return { reward: attempt };
  };
  const given = {
    rollout,
    rewardFuncs: ({ prompts, answer }: RewardBatch<Question>) => {
      seen.push(...prompts.map((prompt, i) => [prompt, answer[i]]));
      return prompts.map(() => 0);
    },
    trainDataset: rows,
    evalDataset: rows.slice(0, 1),
  };
  const { trainer } = await bench(given as never, {
    maxSteps: 1,
    shuffleDataset: false,
    evalStrategy: "steps",
    evalSteps: 1,
  });
  await trainer.train();
  const asked = [{ role: "user", content: "How much is 0?" }];
  // The last attempt has asked nothing.
  expect(seen.slice(0, 4)).toEqual([
    [asked, 0],
    [asked, 0],
    [asked, 0],
    ["", 0],
  ]);
  const prompts = lines("completions.jsonl").map(({ prompt }) => prompt);
  expect(prompts).toEqual([asked, asked, asked, "", asked, asked, asked, ""]);
});

it("is what lets rows go without a prompt: without a rollout they are refused, by the compiler too", async () => {
  const trainDataset = [{ question: "Why?" }];
  const { trainer } = await bench({ trainDataset, rewardFuncs: () => [0] } as never, {
    numGenerations: 2,
    perDeviceTrainBatchSize: 2,
  });
  await expect(trainer.train()).rejects.toMatchObject({
    code: "BAD_DATASET",
    message: expect.stringMatching(/row 0: expected a prompt, .*found no prompt \(columns: question\)/),
  });
  const options = { model: new FakePolicy(), trainDataset, rewardFuncs: () => [0] };
  // @ts-expect-error Rows without a prompt need a rollout.
  expect(() => new GRPOTrainer(options)).toThrow(/processingClass/);
});
