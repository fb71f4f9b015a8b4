import { expect, test } from "vitest";
import { rewards } from "../../lib/rewards/index.js";
import { RewardRuntime } from "../../lib/rewards/runtime.js";
import { freshState } from "../../lib/run/state.js";
import type { Completion, RewardBatch } from "../../lib/types.js";

const said = (content: string): Completion => [{ role: "assistant", content }];

test.each([
  ["<think>\nreasons\n</think>\nanswer", 1],
  ["<think>no end, answer", 0],
  ["<think>a</think>", 1],
  ["<think></think>", 1],
  ["<think>a<think>b</think>", 0],
  ["<think>a</think> later <think>", 0],
  [" <think>a</think>", 0],
  ["first line\n<think>a</think>", 0],
  ["", 0],
])("thinkFormat of %j is %d", (text, expected) => {
  expect(rewards.thinkFormat({ completions: [said(text)] })).toEqual([expected]);
  expect(rewards.thinkFormat({ completions: [text] })).toEqual([expected]);
});

test("softOverlongPunishment grows from 0 to -1 over the last tokens", () => {
  const punish = rewards.softOverlongPunishment({ maxCompletionLength: 100, softPunishCache: 20 });
  const lengths = [0, 80, 90, 100, 101].map((length) => new Array<number>(length).fill(1));
  expect(punish({ completionIds: lengths })).toEqual([0, 0, -0.5, -1, -1]);
  expect(punish.name).toBe("softOverlongPunishment");
  const hard = rewards.softOverlongPunishment({ maxCompletionLength: 2, softPunishCache: 0 });
  expect(
    hard({
      completionIds: [
        [1, 2],
        [1, 2, 3],
      ],
    }),
  ).toEqual([0, -1]);
});

test("softOverlongPunishment refuses a range that is none", () => {
  expect(() => rewards.softOverlongPunishment({ maxCompletionLength: 10, softPunishCache: 20 })).toThrow(
    "softPunishCache 20",
  );
});

test("perSample hands over one completion with its row, and keeps the name", async () => {
  const isAnswer = rewards.perSample<{ answer: number }>(function isAnswer({ text, answer, finishReason }) {
    return text === String(answer) && finishReason === "eos" ? 1 : 0;
  });
  expect(isAnswer.name).toBe("isAnswer");
  const batch = {
    prompts: ["p", "p", "p"],
    completions: [said("7"), "8", "9"],
    completionIds: [[1], [1], [1]],
    finishReasons: ["eos", "length", "eos"],
    answer: [7, 8, 10],
    trainerState: freshState(1),
    logMetric: () => {},
    logExtra: () => {},
    signal: new AbortController().signal,
  } as RewardBatch<{ answer: number }>;
  expect(await isAnswer(batch)).toEqual([1, 0, 0]);
});

test("an error in perSample is reported under the sample function's name", async () => {
  const broken = rewards.perSample(function broken(): number {
    throw new Error("bad row");
  });
  const input = {
    prompts: ["p"],
    completions: ["c"],
    completionIds: [[1]],
    finishReasons: ["eos" as const],
    columns: {},
    trainerState: freshState(1),
  };
  const scored = new RewardRuntime({ functions: [broken] }).score(input, new AbortController().signal);
  await expect(scored).rejects.toThrow('"broken" threw on 1 completions after step 0: bad row');
});
