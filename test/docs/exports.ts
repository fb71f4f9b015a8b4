// Puts to use what a block of the pages only defines: reward functions judge, callbacks are called, loggers log. What is exported
// and of no such kind needs an entry in `uses`.

import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import { GRPOConfig, type Logger, type RewardFn, type TrainerCallback, type TrainerState } from "../../lib/index.js";

const state: TrainerState = {
  globalStep: 1,
  maxSteps: 2,
  epoch: 0.5,
  numInputTokensSeen: 10,
  bestMetric: null,
  bestModelCheckpoint: null,
  evaluationsWithoutGain: 0,
  logHistory: [],
};

const texts = ["<think>1 + 1 = 2</think><answer>\\boxed{2}</answer>", "It is \\boxed{3}."];
/** Every column that a reward function of the pages asks for. */
const columns = {
  solution: "$2$",
  answer: "#### 2",
  question: "1 + 1 = ?",
  problem: "1 + 1 = ?",
  limit: 40,
  rolloutResults: { searches: 2 },
};

async function judge(name: string, reward: RewardFn): Promise<void> {
  const values = await reward({
    prompts: texts.map(() => [{ role: "user", content: columns.question }]),
    completions: texts.map((content) => [{ role: "assistant", content }]),
    completionIds: [[1, 2, 3], [4]],
    finishReasons: ["eos", "length"],
    trainerState: state,
    signal: new AbortController().signal,
    logMetric: () => {},
    logExtra: () => {},
    ...Object.fromEntries(Object.entries(columns).map(([column, value]) => [column, texts.map(() => value)])),
  });
  expect(values, name).toHaveLength(texts.length);
  for (const value of values) expect(value === null || Number.isFinite(value), `${name} gave ${value}`).toBe(true);
}

async function call(callback: TrainerCallback): Promise<void> {
  const control = { shouldTrainingStop: false, shouldLog: false, shouldEvaluate: false, shouldSave: false };
  const event = { state, args: new GRPOConfig(), control, metrics: { "rewards/accuracy/mean": 1, reward: 1 } };
  for (const hook of Object.values(callback)) if (typeof hook === "function") await hook.call(callback, event);
}

/** What to do with an export of this name. */
const uses: Readonly<Record<string, (value: never) => unknown>> = {
  async fileLogger(make: (file: string) => Logger) {
    const file = join(mkdtempSync(join(tmpdir(), "grpo-docs-")), "log.jsonl");
    const logger = make(file);
    await logger.begin?.({ config: { seed: 1 } }, 0);
    await logger.log(1, { reward: 0.5 });
    expect(readFileSync(file, "utf8")).toBe('{"config":{"seed":1}}\n{"step":1,"reward":0.5}\n');
  },
  async load(load: () => Promise<{ length: number }>) {
    expect((await load()).length).toBeGreaterThan(0);
  },
};

/** Rewards and callbacks by their shape. */
export async function use(name: string, value: unknown): Promise<void> {
  const own = uses[name];
  if (own) return void (await own(value as never));
  if (value instanceof GRPOConfig) return;
  if (Array.isArray(value)) for (const [i, item] of value.entries()) await use(`${name}[${i}]`, item);
  else if (typeof value === "function") await judge(name, value as RewardFn);
  else if (typeof value === "object" && value !== null && Object.keys(value).some((key) => /^on[A-Z]/.test(key))) {
    await call(value as TrainerCallback);
  } else throw new Error(`the page exports ${name}; say in test/docs/exports.ts what is done with it`);
}
