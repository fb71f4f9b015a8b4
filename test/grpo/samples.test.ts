// Whole trainings whose rollouts are more than a completion: conversations with given tokens in them, branches with a context
// of their own, attempts in which nothing counts. The fake policy shows what the engine would get.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { GRPOConfig, type GRPOConfigOptions } from "../../lib/grpo/config.js";
import type { TrainerEvent } from "../../lib/grpo/setup.js";
import { GRPOTrainer } from "../../lib/grpo/trainer.js";
import type { TrainBatch } from "../../lib/model/learner.js";
import type { SampledCompletion } from "../../lib/model/sampled.js";
import { readRun } from "../../lib/report/read-run.js";
import type { Sample } from "../../lib/rollout/sample.js";
import type { SampledAttempt } from "../../lib/rollout/sampler.js";
import type { RewardBatch, TokenIds } from "../../lib/types.js";
import { FakePolicy, type FakeRow, FakeTokenizer, fakeRows } from "./fake-policy.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "grpo-samples-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const toolResult = [48, 49];
const branchContext = [60, 61, 62];

/** Of every four attempts one each: a completion, a conversation with a tool, a branch, and one in which nothing was drawn. */
function attempt(completion: SampledCompletion, promptIds: TokenIds, sample: number): SampledAttempt {
  const { ids, finishReason } = completion;
  const kind = sample % 4;
  if (kind === 0) return { ...completion, logprobs: logprobsOf(ids) };
  if (kind === 1) return { samples: [conversation(ids, promptIds, finishReason)], completion: "asked a tool" };
  if (kind === 2) {
    const branch = { promptIds: branchContext, completionIds: ids.slice(0, 1), finishReason: "stop" as const };
    return { samples: [drawn({ promptIds, completionIds: ids, finishReason }), drawn(branch)], completion: "branched" };
  }
  const given: Sample = {
    promptIds,
    completionIds: toolResult,
    samplingLogprobs: new Float32Array(2),
    lossMask: new Uint8Array(2),
    finishReason: "stop",
  };
  return { samples: [given], completion: "gave up" };
}

function logprobsOf(ids: TokenIds): Float32Array {
  return Float32Array.from(ids, (id) => -(1 + (id % 7)) / 3);
}

function drawn(sample: Pick<Sample, "promptIds" | "completionIds" | "finishReason">): Sample {
  return { ...sample, samplingLogprobs: logprobsOf(sample.completionIds) };
}

/** The completion, what a tool says, the completion backwards, and what the tool says again. */
function conversation(ids: TokenIds, promptIds: TokenIds, finishReason: Sample["finishReason"]): Sample {
  const turns: [TokenIds, number][] = [
    [ids, 1],
    [toolResult, 0],
    [ids.toReversed(), 1],
    [toolResult, 0],
  ];
  return {
    promptIds,
    completionIds: turns.flatMap(([turn]) => turn),
    samplingLogprobs: Float32Array.from(
      turns.flatMap(([turn, counts]) => (counts ? [...logprobsOf(turn)] : turn.map(() => 0))),
    ),
    lossMask: Uint8Array.from(turns.flatMap(([turn, counts]) => turn.map(() => counts))),
    finishReason,
  };
}

/** Longer is better, what a tool said included; no two rewards are alike. */
function lengthReward({ completionIds, answer }: RewardBatch<FakeRow>): number[] {
  return completionIds.map((ids, i) => ids.length + i / 10 + (answer[i] ?? 0) / 100);
}

interface BenchOptions {
  readonly rewardFuncs?: ((batch: RewardBatch<FakeRow>) => number[])[];
  readonly callbacks?: object[];
  readonly attempt?: FakePolicy["attempt"];
}

function bench(args: GRPOConfigOptions = {}, options: BenchOptions = {}) {
  const policy = new FakePolicy();
  policy.attempt = options.attempt ?? attempt;
  const trainer = new GRPOTrainer<FakeRow>({
    model: policy,
    processingClass: new FakeTokenizer(),
    args: new GRPOConfig({
      perDeviceTrainBatchSize: 2,
      gradientAccumulationSteps: 4,
      numGenerations: 4,
      maxSteps: 1,
      maxCompletionLength: 8,
      learningRate: 0.01,
      loggingSteps: 1,
      shuffleDataset: false,
      outputDir: folder,
      ...args,
    }),
    rewardFuncs: options.rewardFuncs ?? [lengthReward],
    trainDataset: fakeRows(10),
    callbacks: options.callbacks ?? [],
    output: { write: () => true },
  });
  return { trainer, policy };
}

const lines = (outputDir: string, file: string): Record<string, unknown>[] =>
  readFileSync(path.join(outputDir, file), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));

/** The completions that the fake policy draws for the first two rows, before they become attempts. */
async function drawnIds(): Promise<TokenIds[]> {
  const seen: TokenIds[] = [];
  const { trainer } = bench(
    { outputDir: path.join(folder, "plain") },
    {
      attempt: (completion) => {
        seen.push(completion.ids);
        return completion;
      },
    },
  );
  await trainer.train();
  // The groups finish in the order from the last to the first.
  return [...seen.slice(4), ...seen.slice(0, 4)];
}

describe("the batch of the engine", () => {
  it("has a row per sample, in slices of rollouts, whose samples share an advantage", async () => {
    const ids = await drawnIds();
    const { trainer, policy } = bench();
    await trainer.train();
    const [batch] = policy.batches;
    const prompts = [0, 1].map((row) => new FakeTokenizer().encode(`question ${row}`));
    expect(batch?.promptIds).toEqual(prompts.flatMap((prompt) => [prompt, prompt, prompt, branchContext, prompt]));
    expect(batch?.sliceOffsets).toEqual([0, 2, 5, 7, 10]);
    expect(policy.losses[0]).toMatchObject({ rowsPerSlice: 0, gradientAccumulationSteps: 4 });
    const advantages = Array.from(batch?.advantages ?? []);
    for (const branch of [3, 8]) expect(advantages[branch]).toBe(advantages[branch - 1]);
    expect(new Set(advantages.slice(0, 5)).size).toBe(4);
    expect(batch?.completionIds.filter((_, i) => i === 0 || i === 2 || i === 3)).toEqual([
      ids[0],
      ids[2],
      ids[2]?.slice(0, 1),
    ]);
  });

  it("goes up to the last token that counts, with a mask where others come before it", async () => {
    const [, ids = []] = await drawnIds();
    const { trainer, policy } = bench();
    await trainer.train();
    const [batch] = policy.batches;
    expect(batch?.completionIds[1]).toEqual([...ids, ...toolResult, ...ids.toReversed()]);
    expect([...(batch?.lossMask?.[1] ?? [])]).toEqual([...ids.map(() => 1), 0, 0, ...ids.map(() => 1)]);
    expect([...(batch?.samplingLogprobs?.[1] ?? [])]).toEqual([
      ...logprobsOf(ids),
      0,
      0,
      ...logprobsOf(ids.toReversed()),
    ]);
    expect([...(batch?.lossMask?.[0] ?? [])]).toEqual((batch?.completionIds[0] ?? []).map(() => 1));
    // An attempt in which nothing counts is a row without tokens.
    expect(batch?.completionIds[4]).toEqual([]);
    expect(batch?.lossMask?.[4]).toHaveLength(0);
  });

  it("has the lengths of its completions in every column, and asks for the log-probabilities of the same tokens", async () => {
    const { trainer, policy } = bench({ numIterations: 2, beta: 0.1, maxSteps: 2 });
    await trainer.train();
    const lengths = (lists: readonly ArrayLike<unknown>[] | undefined) => lists?.map(({ length }) => length);
    for (const batch of policy.batches) {
      const expected = lengths(batch.completionIds);
      for (const column of ["lossMask", "samplingLogprobs", "oldLogprobs", "referenceLogprobs"] as const) {
        expect(lengths(batch[column]), column).toEqual(expected);
      }
    }
    expect(policy.scored.map(({ completionIds }) => completionIds)).toEqual([
      policy.batches[0]?.completionIds,
      policy.batches[0]?.completionIds,
    ]);
  });

  it("divides by the tokens of the generation that count", async () => {
    const ids = await drawnIds();
    const { trainer, policy } = bench();
    await trainer.train();
    const length = (i: number) => ids[i]?.length ?? Number.NaN;
    const counted = [0, 4].reduce((sum, g) => sum + length(g) + 2 * length(g + 1) + length(g + 2) + 1, 0);
    expect(policy.losses[0]?.lossTokens).toBe(counted);
  });

  it("is that of plain completions where every token counts, mask or not", async () => {
    const plain = bench({}, { attempt: (completion) => completion });
    await plain.trainer.train();
    const masked = bench(
      { outputDir: path.join(folder, "masked") },
      {
        attempt: ({ ids, logprobs, finishReason }, promptIds) => ({
          samples: [
            {
              promptIds,
              completionIds: ids,
              samplingLogprobs: logprobs,
              lossMask: new Uint8Array(ids.length).fill(1),
              finishReason,
            },
          ],
          completion: String.fromCharCode(...ids),
        }),
      },
    );
    await masked.trainer.train();
    expect(masked.policy.batches).toStrictEqual(plain.policy.batches);
    expect(masked.policy.losses).toEqual(plain.policy.losses);
    expect(plain.policy.batches[0]).not.toHaveProperty("lossMask");
    expect(plain.policy.batches[0]).not.toHaveProperty("sliceOffsets");
  });

  it("leaves out the samples that were cut, with maskTruncatedCompletions, and no other of their rollout", async () => {
    const cut = ({ finishReason }: SampledCompletion) => finishReason === "length";
    const seen: boolean[] = [];
    const { trainer, policy } = bench(
      { maskTruncatedCompletions: true, maxCompletionLength: 3 },
      {
        attempt: (completion, promptIds) => {
          const { ids: completionIds, finishReason } = completion;
          seen.push(cut(completion));
          const turn = drawn({ promptIds, completionIds, finishReason });
          return { samples: [turn, { ...turn, promptIds: branchContext, finishReason: "stop" }], completion: "" };
        },
      },
    );
    await trainer.train();
    const rows = policy.batches[0]?.completionIds ?? [];
    const wasCut = [...seen.slice(4), ...seen.slice(0, 4)];
    expect(new Set(wasCut).size).toBe(2);
    expect(rows.map(({ length }) => length === 0)).toEqual(wasCut.flatMap((one) => [one, false]));
    expect(policy.losses[0]?.lossTokens).toBe(rows.reduce((sum, { length }) => sum + length, 0));
  });

  it("has an engine's context for the longest conversation", async () => {
    const long = Array.from({ length: 40 }, () => 97);
    const { trainer, policy } = bench(
      {},
      {
        attempt: (_, promptIds) => ({
          samples: [drawn({ promptIds, completionIds: long, finishReason: "eos" })],
          completion: "",
        }),
      },
    );
    await trainer.train();
    expect(policy.batches[0]?.contextLength).toBe("question 0".length + long.length);
  });
});

it("reward functions see one completion per rollout, with all its tokens and how it ended", async () => {
  const seen: RewardBatch<FakeRow>[] = [];
  const { trainer } = bench(
    {},
    {
      rewardFuncs: [
        (batch) => {
          seen.push(batch);
          return batch.completions.map((_, i) => i);
        },
      ],
    },
  );
  const ids = await drawnIds();
  await trainer.train();
  const batch = seen.find(({ answer }) => answer[0] === 0);
  const [, asked = [], branched = []] = ids;
  const talk = [...asked, ...toolResult, ...asked.toReversed(), ...toolResult];
  expect(batch?.completionIds.slice(1)).toEqual([talk, [...branched, ...branched.slice(0, 1)], toolResult]);
  expect(batch?.completions).toEqual([String.fromCharCode(...(ids[0] ?? [])), "asked a tool", "branched", "gave up"]);
  expect(batch?.finishReasons.slice(2)).toEqual(["stop", "stop"]);
});

it("metrics of lengths and num_tokens are of the tokens that count", async () => {
  const ids = await drawnIds();
  const { trainer } = bench();
  await trainer.train();
  const length = (i: number) => ids[i]?.length ?? Number.NaN;
  const counted = [0, 4].flatMap((g) => [length(g), 2 * length(g + 1), length(g + 2) + 1, 0]);
  const total = counted.reduce((a, b) => a + b, 0);
  // Of the four rollouts of a group each has a sample in the context of the prompt, and one has a branch.
  const contexts = 2 * (4 * "question 0".length + branchContext.length);
  expect(trainer.state.logHistory[0]).toMatchObject({
    "completions/mean_length": total / 8,
    "completions/min_length": 0,
    "completions/max_length": Math.max(...counted),
    num_tokens: contexts + total,
  });
});

describe("completions.jsonl", () => {
  it("says which tokens count, and which sequences they are of; a plain completion has neither", async () => {
    const ids = await drawnIds();
    const { trainer } = bench();
    await trainer.train();
    const [plain, talked, branched, gaveUp] = lines(folder, "completions.jsonl");
    const [, asked = [], split = []] = ids;
    expect(Object.keys(plain ?? {})).toEqual([
      "step",
      "split",
      "index",
      "row",
      "prompt",
      "completion",
      "ids",
      "rewards",
      "reward",
      "advantage",
      "finish_reason",
    ]);
    expect(talked?.ids).toEqual([...asked, ...toolResult, ...asked.toReversed(), ...toolResult]);
    expect(talked?.loss_mask).toEqual([...asked.map(() => 1), 0, 0, ...asked.map(() => 1), 0, 0]);
    expect(talked).not.toHaveProperty("samples");
    expect(branched?.ids).toEqual([...split, ...split.slice(0, 1)]);
    expect(branched).not.toHaveProperty("loss_mask");
    expect(branched?.samples).toEqual([
      { tokens: split.length, finish_reason: expect.any(String) },
      { prompt_ids: branchContext, tokens: 1, finish_reason: "stop" },
    ]);
    expect(gaveUp).toMatchObject({ completion: "gave up", loss_mask: [0, 0], finish_reason: "stop" });
  });

  it("is read by the report, which shows the completions without their tokens", async () => {
    const { trainer } = bench();
    await trainer.train();
    const { completions } = await readRun(folder, 100);
    expect(completions).toHaveLength(8);
    for (const name of ["ids", "loss_mask", "samples"]) {
      expect(completions.some((line) => name in line)).toBe(false);
    }
  });
});

/** Rows 0, 3, 6 … have no spread. */
function someFlat({ completionIds, answer }: RewardBatch<FakeRow>): number[] {
  return completionIds.map((ids, i) => ((answer[i] ?? 0) % 3 === 0 ? 1 : ids.length + i / 100));
}

it("dynamic sampling takes whole groups, with all samples of their rollouts", async () => {
  const { trainer, policy } = bench({ dynamicSampling: true }, { rewardFuncs: [someFlat] });
  await trainer.train();
  const [batch] = policy.batches;
  const texts = batch?.promptIds.map((ids) => String.fromCharCode(...ids));
  const context = String.fromCharCode(...branchContext);
  expect(texts).toEqual([1, 2].flatMap((row) => [0, 0, 0, 1, 0].map((own) => (own ? context : `question ${row}`))));
  expect(Array.from(batch?.advantages ?? []).every((advantage) => advantage !== 0)).toBe(true);
  const left = lines(folder, "completions.jsonl").filter(({ advantage }) => advantage === 0);
  expect(left.map(({ row }) => row)).toEqual([0, 0, 0, 0, 3, 3, 3, 3]);
});

it.each([1, 2, 3])(
  "stopped after step %i, in the middle of such a generation, and resumed equals never stopped",
  async (step) => {
    const args: GRPOConfigOptions = {
      stepsPerGeneration: 4,
      gradientAccumulationSteps: 2,
      numIterations: 2,
      beta: 0.1,
      maxSteps: 6,
      saveSteps: 1,
    };
    const whole = bench({ ...args, outputDir: path.join(folder, "whole") });
    await whole.trainer.train();
    const stop = {
      onStepEnd: ({ state, control }: TrainerEvent) => {
        control.shouldTrainingStop = state.globalStep === step;
      },
    };
    const outputDir = path.join(folder, "cut");
    await bench({ ...args, outputDir }, { callbacks: [stop] }).trainer.train();
    const { trainer, policy } = bench({ ...args, outputDir });
    await trainer.train({ resumeFromCheckpoint: true });
    const tail: TrainBatch[] = whole.policy.batches.slice(step);
    expect(policy.batches).toEqual(tail);
    expect(policy.losses).toEqual(whole.policy.losses.slice(step));
    expect([policy.weights, policy.momentum]).toEqual([whole.policy.weights, whole.policy.momentum]);
    expect(lines(outputDir, "completions.jsonl")).toEqual(lines(path.join(folder, "whole"), "completions.jsonl"));
  },
);

describe("a sampler that is out of step is refused", () => {
  const sample: Sample = {
    promptIds: [1],
    completionIds: [2, 3],
    samplingLogprobs: new Float32Array(2),
    finishReason: "eos",
  };
  it.each([
    ["fewer log-probabilities than tokens", [{ ...sample, samplingLogprobs: new Float32Array(1) }], "2 tokens, 1 log"],
    ["a mask of another length", [sample, { ...sample, lossMask: new Uint8Array(3) }], "sample 1.*a loss mask of 3"],
    ["no sample", [], "at least one sample"],
    [
      "a turn beyond its tokens",
      [{ ...sample, turns: [{ start: 1, end: 3, index: 0, reward: 1 }] }],
      "sample 0.*within its 2 tokens, found the tokens from 1 to 3",
    ],
  ] as const)("%s", async (_name, samples, message) => {
    const { trainer } = bench({}, { attempt: () => ({ samples, completion: "" }) });
    await expect(trainer.train()).rejects.toMatchObject({
      code: "INTERNAL",
      message: expect.stringMatching(message),
    });
  });

  it("another number of attempts than were asked for", async () => {
    const { trainer, policy } = bench();
    const sampleAll = policy.sample.bind(policy);
    policy.sample = (prompts, options) => sampleAll(prompts, { ...options, groupSize: 3 });
    await expect(trainer.train()).rejects.toThrow("expected 4 completions of prompt 1 from the sampler, found 3");
  });
});
