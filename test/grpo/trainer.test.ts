import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { GrpoError } from "../../lib/errors.js";
import { GRPOConfig, type GRPOConfigOptions } from "../../lib/grpo/config.js";
import type { GRPOTrainerOptions } from "../../lib/grpo/setup.js";
import { GRPOTrainer } from "../../lib/grpo/trainer.js";
import { PromptSampler } from "../../lib/rollout/prompt-sampler.js";
import type { RewardBatch } from "../../lib/types.js";
import { FakePolicy, type FakeRow, FakeTokenizer, fakeRows } from "./fake-policy.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "grpo-trainer-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const small: GRPOConfigOptions = {
  perDeviceTrainBatchSize: 4,
  gradientAccumulationSteps: 2,
  numGenerations: 4,
  maxSteps: 6,
  maxCompletionLength: 8,
  learningRate: 0.01,
  loggingSteps: 1,
};

/** Longer is better, and the row's answer counts. */
function lengthReward({ completionIds, answer }: RewardBatch<FakeRow>): number[] {
  return completionIds.map((ids, i) => ids.length + (answer[i] ?? 0) / 100);
}

interface Bench {
  readonly trainer: GRPOTrainer<FakeRow>;
  readonly policy: FakePolicy;
  readonly printed: string[];
}

function bench(args: GRPOConfigOptions = {}, options: Partial<GRPOTrainerOptions<FakeRow>> = {}): Bench {
  const policy = new FakePolicy();
  const printed: string[] = [];
  const trainer = new GRPOTrainer<FakeRow>({
    model: policy,
    processingClass: new FakeTokenizer(),
    args: new GRPOConfig({ ...small, outputDir: folder, ...args }),
    rewardFuncs: [lengthReward],
    trainDataset: fakeRows(10),
    output: { write: (text: string) => printed.push(text) },
    ...options,
  });
  return { trainer, policy, printed };
}

function jsonLines(name: string): Record<string, unknown>[] {
  const text = readFileSync(path.join(folder, name), "utf8");
  expect(text.endsWith("\n")).toBe(true);
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
}

async function rejection(promise: Promise<unknown>): Promise<GrpoError> {
  const error = await promise.then(
    () => new Error("it resolved"),
    (thrown: unknown) => thrown,
  );
  if (error instanceof GrpoError) return error;
  throw error;
}

test("each step samples the prompts of the seed's permutation, with the options of the config", async () => {
  const { trainer, policy } = bench({ temperature: 0.7, topP: 0.9, seed: 5, minP: 0.1 });
  await trainer.train();
  const sampler = new PromptSampler({ rows: 10, promptsPerGeneration: 2, shuffle: true, seed: 5 });
  expect(policy.samples.map(({ options }) => options.promptKeys)).toEqual(
    [0, 1, 2, 3, 4, 5].map((s) => sampler.take(2 * s, 2)),
  );
  expect(policy.samples[3]?.options).toMatchObject({
    groupSize: 4,
    maxNewTokens: 8,
    doSample: true,
    temperature: 0.7,
    topP: 0.9,
    minP: 0.1,
    topK: 0,
    repetitionPenalty: 1,
    seed: 5,
    step: 3,
    stopIds: [3],
  });
});

test("the whole step goes into one forwardBackward, completions beside their prompts and advantages", async () => {
  const { trainer, policy } = bench({ maxSteps: 1, epsilonHigh: 0.28, lossType: "grpo" });
  await trainer.train();
  expect(policy.calls).toEqual(["sample", "forwardBackward", "optimizerStep"]);
  const [batch] = policy.batches;
  const [sampled] = policy.samples;
  expect(batch?.promptIds).toHaveLength(8);
  expect(batch?.promptIds[0]).toEqual(sampled?.prompts[0]);
  expect(batch?.promptIds[7]).toEqual(sampled?.prompts[1]);
  const lengths = (batch?.completionIds ?? []).map((ids) => ids.length);
  const advantages = Array.from(batch?.advantages ?? []);
  const mean = (lengths[0] ?? 0) + (lengths[1] ?? 0) + (lengths[2] ?? 0) + (lengths[3] ?? 0);
  for (let i = 0; i < 4; i++) expect(Math.sign(advantages[i] ?? 0)).toBe(Math.sign((lengths[i] ?? 0) - mean / 4));
  expect(policy.losses[0]).toMatchObject({
    lossType: "grpo",
    beta: 0,
    epsilon: 0.2,
    epsilonHigh: 0.28,
    rowsPerSlice: 4,
    temperature: 1,
  });
  expect(batch?.oldLogprobs).toBeUndefined();
  expect(batch?.referenceLogprobs).toBeUndefined();
});

test("LoRA+ reaches the optimizer with the embedding's rate on the schedule of the other", async () => {
  const plus = { loraplusLrRatio: 8, loraplusLrEmbedding: 1e-4, learningRate: 0.01 };
  const { trainer, policy } = bench({ maxSteps: 2, ...plus });
  await trainer.train();
  expect(policy.optimizerSteps).toMatchObject([
    { learningRate: 0.01, loraPlusRatio: 8, loraPlusEmbeddingRate: 1e-4 },
    { learningRate: 0.005, loraPlusRatio: 8, loraPlusEmbeddingRate: expect.closeTo(5e-5, 12) },
  ]);
  const without = bench({ maxSteps: 1, outputDir: path.join(folder, "without") });
  await without.trainer.train();
  expect(without.policy.optimizerSteps[0]).not.toHaveProperty("loraPlusRatio");
});

test("with beta the reference is fixed before the first step, and its log-probabilities go into the loss", async () => {
  const { trainer, policy } = bench({ maxSteps: 1, beta: 0.04 });
  await trainer.train();
  expect(policy.calls).toEqual(["sample", "reference", "forwardBackward", "optimizerStep"]);
  expect(policy.batches[0]?.referenceLogprobs).toHaveLength(8);
  expect(policy.begun).toEqual([{ reference: true, mixed: false }]);
  expect(trainer.state.logHistory[0]?.kl).toBe(0.25);
});

test("the old log-probabilities of groups without spread, which the update leaves out, are not computed", async () => {
  const [first] = new PromptSampler({ rows: 10, promptsPerGeneration: 2, shuffle: true, seed: 42 }).take(0, 2);
  const sameForFirst = ({ completionIds, prompts }: RewardBatch<FakeRow>): number[] =>
    completionIds.map((ids, i) => (prompts[i] === fakeRows(10)[first ?? 0]?.prompt ? 1 : ids.length));
  const { trainer, policy } = bench({ maxSteps: 1, numIterations: 2 }, { rewardFuncs: [sameForFirst] });
  await trainer.train();
  const [batch] = policy.batches;
  const lengths = (ids: readonly ArrayLike<number>[] | undefined) => (ids ?? []).map(({ length }) => length);
  const active = Array.from(batch?.advantages ?? [], (advantage) => advantage !== 0);
  expect(active.filter(Boolean).length).toBeGreaterThan(0);
  expect(active.slice(0, 4)).toEqual([false, false, false, false]);
  expect(lengths(policy.scored[0]?.completionIds)).toEqual(
    lengths(batch?.completionIds).map((length, row) => (active[row] ? length : 0)),
  );
  expect(lengths(batch?.oldLogprobs)).toEqual(lengths(batch?.completionIds));
  expect(policy.scored[0]?.contextLength).toBe(batch?.contextLength);
  // A term that reaches every token needs them all.
  const withBonus = bench({ maxSteps: 1, numIterations: 2, entropyCoef: 0.01 }, { rewardFuncs: [sameForFirst] });
  await withBonus.trainer.train();
  expect(lengths(withBonus.policy.scored[0]?.completionIds)).toEqual(
    lengths(withBonus.policy.batches[0]?.completionIds),
  );
});

test("with several iterations the policy's own log-probabilities are kept from the time of sampling", async () => {
  const { trainer, policy } = bench({ maxSteps: 4, numIterations: 2, beta: 0.04 });
  await trainer.train();
  const cycle = [
    "sample",
    "logprobs",
    "reference",
    "forwardBackward",
    "optimizerStep",
    "forwardBackward",
    "optimizerStep",
  ];
  expect(policy.calls).toEqual([...cycle, ...cycle]);
  expect(policy.batches[0]?.oldLogprobs).toHaveLength(8);
  expect(policy.batches[1]).toEqual(policy.batches[0]);
  expect(policy.losses[1]?.dropoutSeed).not.toBe(policy.losses[0]?.dropoutSeed);
  // The second of two steps has no completions of its own, so neither rewards nor lengths.
  const [first, second] = jsonLines("metrics.jsonl").filter((line) => line.type === "step");
  expect(first).toHaveProperty("reward");
  expect(second).not.toHaveProperty("reward");
  expect(jsonLines("completions.jsonl").map(({ step }) => step)).toEqual([...Array(8).fill(1), ...Array(8).fill(3)]);
});

test("a generation is cut into steps that share its token count", async () => {
  const { trainer, policy } = bench({ maxSteps: 2, stepsPerGeneration: 4 });
  await trainer.train();
  expect(policy.samples.map(({ prompts }) => prompts.length)).toEqual([4]);
  const lengths = policy.batches.map(({ completionIds }) => completionIds.reduce((sum, ids) => sum + ids.length, 0));
  expect(policy.losses.map(({ lossTokens }) => lossTokens)).toEqual(
    Array(2).fill(((lengths[0] ?? 0) + (lengths[1] ?? 0)) / 2),
  );
  expect(policy.losses[0]).toMatchObject({ gradientAccumulationSteps: 2, rowsPerSlice: 4 });
});

test("truncated completions count in the rewards and are empty in the loss", async () => {
  const { trainer, policy } = bench({ maxSteps: 1, maskTruncatedCompletions: true });
  await trainer.train();
  const [batch] = policy.batches;
  const [logged] = trainer.state.logHistory;
  const lengths = (batch?.completionIds ?? []).map((ids) => ids.length);
  const cut = lengths.filter((length) => length === 0).length;
  expect(cut).toBeGreaterThan(0);
  expect(cut / 8).toBe(logged?.["completions/clipped_ratio"]);
  expect(policy.losses[0]?.lossTokens).toBe(lengths.reduce((a, b) => a + b, 0));
  expect(logged?.["completions/max_length"]).toBe(8);
});

test("the entropy bonus follows its controller: nothing at first, then up to the target and down above it", async () => {
  const control = { useAdaptiveEntropy: true, entropyCoef: 0.1, entropyCoefDelta: 0.05, entropyCoefMax: 0.18 };
  const below = bench({ ...control, maxSteps: 4, entropyTarget: 1.5 });
  await below.trainer.train();
  expect(below.policy.losses.map(({ entropyCoef }) => entropyCoef)).toEqual([0, 0.15000000000000002, 0.18, 0.18]);
  const above = bench({ ...control, maxSteps: 3, entropyTarget: 1.4, entropyCoefMin: 0.01 });
  await above.trainer.train();
  expect(above.policy.losses.map(({ entropyCoef }) => entropyCoef)).toEqual([0, 0, 0]);
  expect(above.trainer.state.logHistory.map(({ entropy_coef }) => entropy_coef)).toEqual([0.05, 0.01, 0.01]);
  // The controller measures all tokens, also those of completions without advantage.
  expect(above.policy.losses.every(({ skipIdleRows }) => skipIdleRows === false)).toBe(true);
});

test("the reference moves every refModelSyncSteps", async () => {
  const sync = { syncRefModel: true, beta: 0.1, refModelSyncSteps: 2, refModelMixupAlpha: 0.25 };
  const { trainer, policy } = bench({ maxSteps: 5, ...sync });
  await trainer.train();
  expect(policy.begun).toEqual([{ reference: true, mixed: true }]);
  const once = ["sample", "reference", "forwardBackward", "optimizerStep"];
  const mixed = [...once, ...once, "mixReference 0.25"];
  expect(policy.calls).toEqual([...mixed, ...mixed, ...once]);
});

test.each([
  ["cispo", ["cispo_clip_ratio"]],
  ["vespo", ["vespo/phi_seq_mean"]],
  ["sapo", []],
] as const)("%s reports what TRL reports of it", async (lossType, names) => {
  const { trainer } = bench({ maxSteps: 1, lossType });
  await trainer.train();
  const own = Object.keys(trainer.state.logHistory[0] ?? {}).filter((name) => /clip_|vespo/.test(name));
  expect(own).toEqual(names);
});

test("rewards run while other groups are still sampled, and the order of finishing changes nothing", async () => {
  const events: string[] = [];
  const rewardFuncs = [
    ({ completionIds }: RewardBatch) => {
      events.push(`reward of ${completionIds.length}`);
      return completionIds.map((ids) => ids.length);
    },
  ];
  const first = bench({ maxSteps: 1 }, { rewardFuncs });
  first.policy.betweenGroups = async () => {
    await new Promise((resolve) => setImmediate(resolve));
    events.push("group");
  };
  await first.trainer.train();
  expect(events).toEqual(["group", "reward of 4", "group", "reward of 4"]);
  const second = bench({ maxSteps: 1, rewardBatching: "batch" }, { rewardFuncs });
  second.policy.finishOrder = (prompts) => Array.from({ length: prompts }, (_, i) => i);
  events.length = 0;
  await second.trainer.train();
  expect(events).toEqual(["reward of 8"]);
  expect(second.policy.weights).toEqual(first.policy.weights);
});

test("the same seed gives the same weights, another seed other ones", async () => {
  const runs = [bench(), bench(), bench({ seed: 1 })];
  for (const { trainer } of runs) await trainer.train();
  expect(runs[1]?.policy.weights).toEqual(runs[0]?.policy.weights);
  expect(runs[2]?.policy.weights).not.toEqual(runs[0]?.policy.weights);
  expect(runs[0]?.policy.weights.some((weight) => weight !== 0)).toBe(true);
});

test("metrics have TRL's names and the step's values", async () => {
  const { trainer, policy } = bench({ maxSteps: 2, rewardWeights: [0.5] });
  const result = await trainer.train();
  expect(result.globalStep).toBe(2);
  const [logged] = trainer.state.logHistory;
  const lengths = (policy.batches[0]?.completionIds ?? []).map((ids) => ids.length);
  const mean = lengths.reduce((a, b) => a + b, 0) / 8;
  expect(logged?.["completions/mean_length"]).toBeCloseTo(mean, 10);
  expect(logged?.["completions/max_length"]).toBe(Math.max(...lengths));
  expect(logged?.["completions/clipped_ratio"]).toBe(lengths.filter((length) => length === 8).length / 8);
  expect(logged?.reward).toBeCloseTo((logged?.["rewards/lengthReward/mean"] ?? 0) / 2, 10);
  expect(logged).toMatchObject({ entropy: 1.5, learning_rate: 0.01, epoch: 0.2, "rewards/lengthReward/errors": 0 });
  expect(trainer.state.logHistory[1]?.learning_rate).toBe(0.005);
  const prompts = (policy.batches[0]?.promptIds ?? []).reduce((sum, ids) => sum + ids.length, 0);
  expect(logged?.num_tokens).toBe(prompts + mean * 8);
  for (const name of [
    "loss",
    "grad_norm",
    "reward_std",
    "frac_reward_zero_std",
    "completions/min_length",
    "step_time",
    "completions/mean_terminated_length",
    "completions/min_terminated_length",
    "completions/max_terminated_length",
    "clip_ratio/low_mean",
    "clip_ratio/high_mean",
    "clip_ratio/region_mean",
    "rewards/lengthReward/std",
    "sampling/sampling_logp_difference/mean",
    "sampling/sampling_logp_difference/max",
    "skipped_completions",
    "clip_ratio/low_min",
    "clip_ratio/high_max",
    "time/rollout",
    "time/reward",
    "time/update",
    "tokens_per_second",
    "memory/resident",
    "memory/peak",
  ]) {
    expect(logged?.[name], name).toEqual(expect.any(Number));
  }
});

test("a log line averages its window", async () => {
  const { trainer } = bench({ maxSteps: 3, loggingSteps: 2 });
  await trainer.train();
  const steps = jsonLines("metrics.jsonl").filter((line) => line.type === "step");
  expect(trainer.state.logHistory.map(({ step }) => step)).toEqual([2, 3]);
  const mean = (Number(steps[0]?.reward) + Number(steps[1]?.reward)) / 2;
  expect(trainer.state.logHistory[0]?.reward).toBeCloseTo(mean, 12);
});

test("metrics.jsonl opens with a run record and completions.jsonl has every completion of every step", async () => {
  const { trainer } = bench({ maxSteps: 2 });
  await trainer.train();
  const [run, ...steps] = jsonLines("metrics.jsonl");
  expect(run).toMatchObject({
    schema_version: 1,
    type: "run",
    reward_functions: ["lengthReward"],
    plan: { totalSteps: 2 },
  });
  expect(steps.map(({ step }) => step)).toEqual([1, 2]);
  const completions = jsonLines("completions.jsonl");
  expect(completions).toHaveLength(16);
  expect(completions.filter(({ step }) => step === 2)).toHaveLength(8);
  const [first] = completions;
  expect(first).toMatchObject({ split: "train", finish_reason: expect.any(String), advantage: expect.any(Number) });
  expect(first?.prompt).toBe(`question ${first?.row}`);
  expect(first?.completion).toBe(String.fromCharCode(...((first?.ids ?? []) as number[])));
  expect(first?.rewards).toEqual({ lengthReward: first?.reward });
});

test("the plan has one prompt, and not one prompts", async () => {
  const { trainer, printed } = bench({ perDeviceTrainBatchSize: 4, gradientAccumulationSteps: 1 });
  await trainer.train();
  expect(printed.join("")).toContain("1 prompt × 4 completions = 4 completions");
});

test("the plan is printed before the first step, and each line fits 120 columns", async () => {
  const { trainer, printed } = bench();
  await trainer.train();
  const text = printed.join("");
  expect(text.indexOf("2 prompts × 4 completions = 8 completions")).toBeGreaterThanOrEqual(0);
  expect(text.indexOf("2 prompts × 4")).toBeLessThan(text.indexOf("1/6  reward"));
  expect(text).toContain("10 rows / 2 = 5 steps");
  for (const line of text.split("\n")) expect(line.length).toBeLessThanOrEqual(120);
  expect(text).not.toContain("\x1b");
});

test("conversations go through the chat template, and completions come back as messages", async () => {
  const seen: unknown[] = [];
  const policy = new FakePolicy();
  const trainer = new GRPOTrainer({
    model: policy,
    processingClass: new FakeTokenizer(),
    args: new GRPOConfig({ ...small, outputDir: folder, maxSteps: 1 }),
    trainDataset: [0, 1].map((i) => ({ prompt: [{ role: "user", content: `q${i}` }] })),
    rewardFuncs: ({ completions }) => {
      seen.push(completions[0]);
      return completions.map(() => 1);
    },
    output: { write: () => true },
  });
  await trainer.train();
  expect(policy.samples[0]?.prompts[0]).toEqual(
    new FakeTokenizer().encode(`user:q${policy.samples[0]?.options.promptKeys?.[0]}`),
  );
  expect(seen[0]).toEqual([{ role: "assistant", content: expect.any(String) }]);
});

test("a prompt over maxPromptLength is refused, dropped or cut, as asked", async () => {
  const trainDataset = [...fakeRows(4), { prompt: "a very much longer question", answer: 0 }];
  const options = { maxPromptLength: 12, maxSteps: 2, shuffleDataset: false };
  const refused = bench({ ...options, maxSteps: 3, numTrainEpochs: 2 }, { trainDataset: trainDataset.toReversed() });
  expect(await rejection(refused.trainer.train())).toMatchObject({
    code: "BAD_DATASET",
    message: expect.stringContaining("row 0 has 27 tokens; at most 12 fit (maxPromptLength)"),
  });
  const dropped = bench({ ...options, promptOverflow: "drop" }, { trainDataset: trainDataset.toReversed() });
  await dropped.trainer.train();
  expect(dropped.policy.samples.map(({ options }) => options.promptKeys)).toEqual([
    [1, 2],
    [3, 4],
  ]);
  const cut = bench({ ...options, promptOverflow: "truncate" }, { trainDataset: trainDataset.toReversed() });
  await cut.trainer.train();
  expect(cut.policy.samples[0]?.prompts[0]).toEqual(new FakeTokenizer().encode("ger question"));
});

test("completions and prompts that exceed the model's positions are refused before the first step", async () => {
  expect(() => bench({ maxCompletionLength: 256 })).toThrow("leaves no room for a prompt in the model's 256 positions");
  const { trainer, policy } = bench({ maxCompletionLength: 250 });
  expect((await rejection(trainer.train())).message).toContain("256 positions − maxCompletionLength 250");
  expect(policy.calls).toEqual([]);
});

test("a row without a prompt is refused by its number", async () => {
  const rows = [{ answer: 1 }, { answer: 2 }] as unknown as FakeRow[];
  const { trainer } = bench({ shuffleDataset: false }, { trainDataset: rows });
  expect(await rejection(trainer.train())).toMatchObject({
    code: "BAD_DATASET",
    message: expect.stringContaining("row 0: expected a prompt"),
  });
});

test("a column named like an argument of reward functions is refused", () => {
  const rows = [{ prompt: "p", answer: 1, completions: 3 }];
  expect(() => bench({}, { trainDataset: rows })).toThrow('the column "completions"');
});

test("reward functions and weights must be there and match", () => {
  expect(() => bench({}, { rewardFuncs: [] })).toThrow("no reward function");
  expect(() => bench({ rewardWeights: [1, 2] })).toThrow("rewardWeights has 2 numbers for 1 reward functions");
  expect(() => bench({ rewardFuncs: [() => [1]] })).toThrow("differ");
});

test("reward functions may be given in the config, with the guide's name for their weights", async () => {
  const policy = new FakePolicy();
  const trainer = new GRPOTrainer({
    model: policy,
    processingClass: new FakeTokenizer(),
    args: new GRPOConfig({
      ...small,
      maxSteps: 1,
      outputDir: folder,
      rewardFuncs: [lengthReward],
      rewardFuncsWeights: [2],
    }),
    trainDataset: fakeRows(4),
    output: { write: () => true },
  });
  await trainer.train();
  const [logged] = trainer.state.logHistory;
  expect(logged?.reward).toBeCloseTo(2 * (logged?.["rewards/lengthReward/mean"] ?? 0), 10);
});

test("a failing reward stops the sampling, saves the last finished step and names the function", async () => {
  let calls = 0;
  function judge({ completions }: RewardBatch): number[] {
    if (++calls > 4) throw new Error("no answer");
    return completions.map((_, i) => i);
  }
  const { trainer, policy } = bench({}, { rewardFuncs: [judge] });
  const error = await rejection(trainer.train());
  expect(error).toMatchObject({ code: "REWARD_FAILED", message: expect.stringContaining('"judge"') });
  expect(policy.samples).toHaveLength(3);
  expect(policy.samples[2]?.options.signal?.aborted).toBe(true);
  expect(trainer.state.globalStep).toBe(2);
  expect(readdirSync(folder)).toContain("checkpoint-2");
});

test("a step with a loss that is not finite is skipped, and several in a row end the run", async () => {
  const once = bench();
  once.policy.lossAt = (call) => (call === 1 ? Number.NaN : 0);
  await once.trainer.train();
  expect(once.policy.calls.filter((call) => call === "optimizerStep")).toHaveLength(5);
  expect(once.policy.calls).toContain("zeroGrad");
  expect(once.trainer.state.logHistory[1]).toMatchObject({ bad_steps: 1, loss: Number.NaN });
  expect(once.trainer.state.logHistory[2]).toMatchObject({ bad_steps: 0 });

  const forever = bench({ maxBadSteps: 2, outputDir: path.join(folder, "forever") });
  forever.policy.lossAt = (call) => (call >= 2 ? Number.POSITIVE_INFINITY : 0);
  const error = await rejection(forever.trainer.train());
  expect(error.code).toBe("NON_FINITE");
  expect(error.message).toContain("2 steps in a row, up to step 4");
  expect(error.message).toContain("checkpoint-4");
  expect(forever.policy.optimizerSteps).toHaveLength(2);
});

test("evaluate() scores all rows without training, sampled or greedy", async () => {
  const { trainer, policy } = bench({}, { evalDataset: fakeRows(3) });
  const sampled = await trainer.evaluate();
  expect(policy.calls).toEqual(["sample"]);
  expect(sampled.completions).toHaveLength(12);
  expect(sampled.metrics.eval_reward).toBeCloseTo(
    sampled.completions.reduce((sum, { reward }) => sum + (reward ?? 0), 0) / 12,
    10,
  );
  expect(sampled.metrics["eval_rewards/lengthReward/mean"]).toBe(sampled.metrics.eval_reward);
  const greedy = await trainer.evaluate({ doSample: false });
  expect(policy.samples[1]?.options).toMatchObject({ doSample: false, groupSize: 1 });
  expect(greedy.completions).toHaveLength(3);
  expect((await trainer.evaluate()).metrics.eval_reward).toBe(sampled.metrics.eval_reward);
  await expect(bench().trainer.evaluate()).rejects.toThrow("evaluate() needs rows");
});

test("evaluation during training comes every evalSteps and is logged", async () => {
  const { trainer } = bench({ evalStrategy: "steps", evalSteps: 3 }, { evalDataset: fakeRows(2) });
  await trainer.train();
  const evaluated = trainer.state.logHistory.filter((entry) => entry.eval_reward !== undefined);
  expect(evaluated.map(({ step }) => step)).toEqual([3, 6]);
});

test("train() twice at the same time is refused", async () => {
  const { trainer } = bench();
  const first = trainer.train();
  await expect(trainer.train()).rejects.toThrow("already running");
  await first;
});

test("what the model cannot train ends the run before its first step", async () => {
  const { trainer, policy } = bench();
  policy.beginTraining = () => Promise.reject(new GrpoError("BAD_OPTION", "no place for a reference"));
  await expect(trainer.train()).rejects.toThrow("no place for a reference");
  expect(policy.calls).toEqual([]);
});

test("a step that had no memory fails with what would take less", async () => {
  const { trainer, policy } = bench({ maxCompletionLength: 64, memoryCheck: "off" });
  const { model, ...rest } = await policy.memory();
  const shape = { ...model.shape, hiddenSize: 1024, intermediateSize: 4096, numLayers: 24 };
  policy.memory = () => Promise.resolve({ ...rest, model: { ...model, shape } });
  policy.forwardBackward = () => Promise.reject(new GrpoError("OUT_OF_MEMORY", "the device is full"));
  const error = await rejection(trainer.train());
  expect(error).toMatchObject({
    code: "OUT_OF_MEMORY",
    hint: expect.stringMatching(/gradientCheckpointing true saves \d/),
  });
});
