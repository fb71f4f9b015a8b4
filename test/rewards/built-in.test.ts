import { expect, test } from "vitest";
import { rewards } from "../../lib/rewards/index.js";
import { RewardRuntime } from "../../lib/rewards/runtime.js";
import { type Completion, freshState, type RewardBatch } from "../../lib/types.js";

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

const solved = { completions: ["\\boxed{4}", "\\boxed{5}", "\\boxed{4}"], solution: ["$4$", "$4$", "none"] };

test("cosineScaled counts tokens, stays at its bound beyond the longest, and abstains where TRL does", () => {
  const tokens = (count: number) => new Array<number>(count).fill(1);
  const scaled = rewards.cosineScaled({ maxLength: 40 });
  const rewardsAt = (count: number) => scaled({ ...solved, completionIds: [count, count, count].map(tokens) });
  expect(rewardsAt(0)).toEqual([1, -1, null]);
  for (const count of [40, 41, 60, 80, 4000]) expect(rewardsAt(count)).toEqual([0.5, -0.5, null]);
  expect(rewards.cosineScaled({ maxLength: 1 }).name).toBe("cosineScaled");
});

test("openR1CosineScaled counts characters, turns back beyond the longest, and gives 1 for an unreadable solution", () => {
  const [half] = rewards.openR1CosineScaled({ maxLength: 18 })(solved);
  expect(half).toBeCloseTo(0.75, 12);
  expect(rewards.openR1CosineScaled({ maxLength: 4.5 })(solved)).toEqual([1, -1, 1]);
});

test.each([
  [() => rewards.cosineScaled(undefined as never), "write { maxLength: … }"],
  [() => rewards.cosineScaled({ max_len: 9 } as never), "write maxLength"],
  [() => rewards.cosineScaled({} as never), "maxLength must be a number above 0, found undefined"],
  [() => rewards.cosineScaled({ maxLength: 0 }), "maxLength must be a number above 0, found 0"],
  [() => rewards.cosineScaled({ maxLength: 5, minValue: 1 } as never), "unknown option minValue"],
  [() => rewards.openR1CosineScaled({ maxLength: -1 }), "rewards.openR1CosineScaled: maxLength"],
])("a cosine reward refuses options that make none", (make, message) => {
  expect(make).toThrow(message);
});

const unsolved = { completions: ["\\boxed{4}"], completionIds: [[1]], answer: ["4"] };
const oneOf: readonly (readonly [string, string, (batch: never) => unknown])[] = [
  ["accuracy", "solution", rewards.accuracy],
  ["reasoningAccuracy", "solution", rewards.reasoningAccuracy],
  ["cosineScaled", "solution", rewards.cosineScaled({ maxLength: 9 })],
  ["openR1CosineScaled", "solution", rewards.openR1CosineScaled()],
  ["lengthPenalty", "solution", rewards.lengthPenalty],
  ["binaryCode", "verification_info", rewards.binaryCode({ e2bRouterUrl: "http://localhost:1" })],
];

test.each(oneOf)("%s names the column %s that it lacks, and those that there are", async (name, column, reward) => {
  const call = (batch: object) => Promise.resolve().then(() => reward(batch as never));
  await expect(call(unsolved)).rejects.toMatchObject({
    code: "BAD_DATASET",
    message: expect.stringContaining(`rewards.${name} needs the column "${column}"`),
  });
  await expect(call(unsolved)).rejects.toThrow("found answer");
  await expect(call({ ...unsolved, [column]: [] })).rejects.toThrow("found 0 values for 1 completions");
});

test("a solution that is no text cannot be read, as in TRL", () => {
  const solution = [null, 4, ["4"], true] as never;
  expect(rewards.accuracy({ completions: new Array<string>(4).fill("\\boxed{4}"), solution })).toEqual([
    null,
    null,
    null,
    null,
  ]);
});

test("perSample does without the lists that a call leaves out", async () => {
  const seen = rewards.perSample(({ text, completionIds, finishReason, prompt }) => {
    expect([completionIds, finishReason, prompt]).toEqual([undefined, undefined, undefined]);
    return text.length > 1;
  });
  const few = { completions: ["a", said("ab")] } as unknown as RewardBatch;
  expect(await seen(few)).toEqual([false, true]);
});

test("rewards.test gives a function the rows of a test, and the rest of a batch", async () => {
  const whole = (batch: RewardBatch<{ answer: string }>): (number | boolean | null)[] => {
    expect(batch.trainerState.globalStep).toBe(0);
    expect(batch.signal.aborted).toBe(false);
    expect(batch.prompts).toEqual(["", [], "2 + 2 = ?", ""]);
    expect(batch.completionIds).toEqual([[52], [0x1f600], [1, 2], []]);
    expect(batch.finishReasons).toEqual(["eos", "length", "eos", "eos"]);
    batch.logMetric("seen", 1);
    batch.logExtra("answer", batch.answer);
    return batch.completions.map((completion, i) => (completion === "" ? null : completion === batch.answer[i]));
  };
  const rows = [
    { completion: "4", answer: "4" },
    { completion: said("\u{1f600}"), answer: "5", finishReason: "length" },
    { completion: "5", answer: "4", prompt: "2 + 2 = ?", completionIds: [1, 2] },
    { completion: "", answer: "4" },
  ] as const;
  expect(await rewards.test(whole, rows)).toEqual([1, 0, 0, null]);
});

test.each([
  ["accuracy", rewards.accuracy, { solution: "$4$" }],
  ["cosineScaled", rewards.cosineScaled({ maxLength: 10 }), { solution: "$4$" }],
] as const)("rewards.test takes the library's own: %s", async (_, reward, columns) => {
  expect(await rewards.test(reward, [{ completion: "\\boxed{4}", ...columns }])).toEqual([expect.any(Number)]);
});

test("rewards.test refuses what a run refuses", async () => {
  await expect(rewards.test(() => [Number.NaN], [{ completion: "a" }])).rejects.toThrow("finite number");
  await expect(rewards.test(() => [], [{ completion: "a" }])).rejects.toThrow("0 rewards for 1 completions");
  const lacking = [{ completion: "4", answer: "4" }] as unknown as { completion: string; solution: string }[];
  await expect(rewards.test(rewards.accuracy, lacking)).rejects.toThrow('needs the column "solution"');
});
