import { expect, test } from "vitest";
import { rewards } from "../../lib/rewards/index.js";
import { type RewardInput, RewardRuntime, type RewardRuntimeOptions } from "../../lib/rewards/runtime.js";
import { type AnyRewardFn, freshState, type RewardBatch } from "../../lib/types.js";

const input: RewardInput = {
  prompts: ["p", "p"],
  completions: ["a", "b"],
  completionIds: [[1], [2, 3]],
  finishReasons: ["eos", "length"],
  columns: { answer: [7, 8] },
  trainerState: { ...freshState(9), globalStep: 4 },
};

function score(fn: AnyRewardFn | AnyRewardFn[], options: Partial<RewardRuntimeOptions> = {}, signal?: AbortSignal) {
  const functions = Array.isArray(fn) ? fn : [fn];
  return new RewardRuntime({ functions, ...options }).score(input, signal ?? new AbortController().signal);
}

test("a reward function receives TRL's arguments and the columns", async () => {
  let seen: RewardBatch<{ answer: number }> | undefined;
  const { rewards } = await score((batch: RewardBatch<{ answer: number }>) => {
    seen = batch;
    return batch.answer;
  });
  expect(rewards).toEqual([[7, 8]]);
  const { columns, ...rest } = input;
  expect(seen).toMatchObject({ ...rest, ...columns });
  expect(seen?.signal.aborted).toBe(false);
});

test("a function may answer later, abstain, and change its arguments without disturbing another", async () => {
  const spoil = ({ completions }: RewardBatch) => completions.splice(0, 2).map(() => 1);
  const later = async ({ completions }: RewardBatch) => completions.map((c) => (c === "a" ? null : 0.5));
  expect((await score([spoil, later])).rewards).toEqual([
    [1, 1],
    [null, 0.5],
  ]);
});

test("every completion has values of its own, at any depth, and what a function changes there stays with it", async () => {
  const row = { tests: [{ input: "1", limits: { seconds: 2 } }], image: new Uint8Array([1, 2]) };
  const prompt = [{ role: "user", content: "p" }];
  const own: RewardInput = {
    ...input,
    prompts: [prompt, prompt],
    completions: [[{ role: "assistant", content: "a" }], [{ role: "assistant", content: "b" }]],
    columns: { row: [row, row] },
    trainerState: { ...input.trainerState, logHistory: [{ step: 1 }] },
  };
  const before = structuredClone(own);
  type Batch = RewardBatch<{ row: typeof row }>;
  function spoil(batch: Batch): number[] {
    batch.prompts.forEach((messages, i) => {
      (messages as object[]).push(...(batch.completions[i] as object[]));
    });
    for (const message of batch.completions.flat()) Object.assign(message, { content: "spoilt" });
    for (const { tests, image } of batch.row) {
      Object.assign(tests[0]?.limits ?? {}, { seconds: 0 });
      tests.length = 0;
      image.fill(9);
    }
    for (const ids of batch.completionIds) ids.reverse().push(0);
    batch.finishReasons.fill("stop");
    batch.trainerState.globalStep = 99;
    batch.trainerState.logHistory.length = 0;
    return batch.prompts.map((messages) => messages.length);
  }
  const seen: unknown[] = [];
  async function see({ logMetric: _, logExtra: __, signal: ___, ...batch }: Batch): Promise<number[]> {
    await new Promise((resolve) => setImmediate(resolve));
    seen.push(structuredClone(batch));
    return [0, 0];
  }
  const runtime = new RewardRuntime({ functions: [spoil, see, spoil] });
  const { rewards } = await runtime.score(own, new AbortController().signal);
  // Two messages each: the completions of one row do not share their prompt.
  expect(rewards[0]).toEqual([2, 2]);
  expect(rewards[2]).toEqual([2, 2]);
  expect(own).toEqual(before);
  const { columns, ...rest } = before;
  expect(seen).toEqual([{ ...rest, ...columns }]);
});

test("a column that no function reads is not copied", async () => {
  let copies = 0;
  const large = {
    get text() {
      copies++;
      return "x";
    },
  };
  const own = { ...input, columns: { large: [large, large], answer: [7, 8] } };
  const functions = [
    ({ answer }: RewardBatch<{ answer: number }>) => answer,
    rewards.perSample<{ answer: number }>(({ answer }) => answer),
    rewards.perSample<{ large: { text: string } }>(({ large }) => large.text.length),
  ];
  const scored = await new RewardRuntime({ functions }).score(own, new AbortController().signal);
  expect(scored.rewards).toEqual([
    [7, 8],
    [7, 8],
    [1, 1],
  ]);
  expect(copies).toBe(2);
});

test("what a function logs is what it was then", async () => {
  const notes = [{ tries: 1 }, { tries: 2 }];
  const logging = async ({ logExtra }: RewardBatch) => {
    logExtra("notes", notes);
    await new Promise((resolve) => setImmediate(resolve));
    for (const note of notes) note.tries = 0;
    return [1, 1];
  };
  expect((await score(logging)).extras).toEqual({ notes: [{ tries: 1 }, { tries: 2 }] });
});

function named(...names: string[]): AnyRewardFn[] {
  return names.map((name) => Object.defineProperty(() => [1], "name", { value: name }));
}

test.each([
  [
    ["same", "", "same"],
    ["same", "reward_1", "same_2"],
  ],
  [
    ["g", "g", "g_2"],
    ["g", "g_3", "g_2"],
  ],
  [
    ["g_2", "g", "g", "g"],
    ["g_2", "g", "g_3", "g_4"],
  ],
  [
    ["reward_1", "", ""],
    ["reward_1", "reward_1_2", "reward_2"],
  ],
  [
    ["g", "g", "g_2", "g_2"],
    ["g", "g_3", "g_2", "g_2_2"],
  ],
])("functions called %j are told apart as %j", (own, names) => {
  expect(new RewardRuntime({ functions: named(...own) }).names).toEqual(names);
});

test("a metric of the run's own is refused by its name, and any other is taken", async () => {
  const reserved = (metric: string) => metric === "loss";
  const judge =
    (metric: string) =>
    ({ logMetric }: RewardBatch) => {
      logMetric(metric, 1);
      return [0, 0];
    };
  await expect(score(judge("loss"), { reserved })).rejects.toMatchObject({
    code: "BAD_REWARD",
    message: expect.stringContaining('logMetric("loss")'),
  });
  expect(await score(judge("loss"), { reserved, onError: "null" })).toMatchObject({
    failures: ["invalid"],
    metrics: [],
  });
  for (const other of ["lost", "__proto__", "constructor"]) {
    expect((await score(judge(other), { reserved })).metrics).toEqual([{ name: other, value: 1 }]);
  }
});

test.each([
  ["", 1, 'logMetric takes a name, found ""'],
  [null, 1, "logMetric takes a name, found null"],
  ["share", null, 'logMetric("share") takes a number, found null'],
  ["share", [1], 'logMetric("share") takes a number, found [1]'],
])("a metric %j of value %j is no metric", async (name, value, message) => {
  const sending = ({ logMetric }: RewardBatch) => {
    logMetric(name as string, value as number);
    return [0, 0];
  };
  await expect(score(sending)).rejects.toThrow(message);
});

test("a column called __proto__ is a column", async () => {
  const logging = ({ logExtra }: RewardBatch) => {
    logExtra("__proto__", ["x", "y"]);
    return [0, 0];
  };
  expect(Object.entries((await score(logging)).extras)).toEqual([["__proto__", ["x", "y"]]]);
});

test.each([
  ["throws", () => Promise.reject(new Error("no network")), "REWARD_FAILED", "no network"],
  ["returns too few", () => [1], "BAD_REWARD", "returned 1 rewards for 2 completions"],
  ["returns too many", () => [1, 2, 3], "BAD_REWARD", "returned 3 rewards for 2 completions"],
  ["returns NaN", () => [1, Number.NaN], "BAD_REWARD", "NaN for completion 1 of 2"],
  ["returns infinity", () => [Number.POSITIVE_INFINITY, 1], "BAD_REWARD", "Infinity for completion 0"],
  ["returns a bigint", () => [1, 2n], "BAD_REWARD", "bigint 2n for completion 1 of 2"],
  ["returns text", () => [1, "2"], "BAD_REWARD", 'string "2" for completion 1'],
  ["returns holes", () => new Array(2), "BAD_REWARD", "undefined for completion 0"],
  ["returns a number", () => 1, "BAD_REWARD", "returned 1, expected an array"],
  ["returns nothing", () => undefined, "BAD_REWARD", "returned undefined"],
])("a function that %s fails with its name", async (_, answer, code, text) => {
  const failing = Object.defineProperty(answer as AnyRewardFn, "name", { value: "judge" });
  const error = await score(failing).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code });
  expect(String(error)).toContain('"judge"');
  expect(String(error)).toContain(text);
});

test("a function that throws at once fails like one that rejects", async () => {
  const failing = () => {
    throw new TypeError("oops");
  };
  await expect(score(failing)).rejects.toMatchObject({ code: "REWARD_FAILED", cause: expect.any(TypeError) });
});

test("the error policy turns failures into abstentions or a number, and counts them", async () => {
  const failing = () => Promise.reject(new Error("down"));
  expect(await score(failing, { onError: "null" })).toMatchObject({
    rewards: [[null, null]],
    failures: ["exceptions"],
  });
  expect(await score(failing, { onError: -1 })).toMatchObject({ rewards: [[-1, -1]], failures: ["exceptions"] });
  expect(await score(() => [1, Number.NaN], { onError: 0 })).toMatchObject({
    rewards: [[0, 0]],
    failures: ["invalid"],
  });
});

test("a call over the timeout fails, and its signal tells it to stop", async () => {
  let told: unknown;
  const slow = ({ signal }: RewardBatch) =>
    new Promise<number[]>(() => signal.addEventListener("abort", () => (told = signal.reason)));
  await expect(score(slow, { timeout: 0.02 })).rejects.toThrow('"slow" took longer than 0.02 s for 2 completions');
  expect(told).toMatchObject({ code: "REWARD_FAILED" });
});

test("aborting the run ends a call that never answers, whatever the error policy", async () => {
  const stop = new AbortController();
  const never = () => new Promise<number[]>(() => {});
  const scored = score(never, { onError: "null" }, stop.signal);
  stop.abort();
  await expect(scored).rejects.toMatchObject({ code: "CANCELLED" });
});

test("no more calls are in flight than allowed", async () => {
  let now = 0;
  let most = 0;
  const busy = async () => {
    most = Math.max(most, ++now);
    await new Promise((resolve) => setTimeout(resolve, 5));
    now--;
    return [1, 1];
  };
  const functions = Array.from({ length: 7 }, () => busy);
  expect((await score(functions, { concurrency: 3 })).rewards).toHaveLength(7);
  expect(most).toBe(3);
});

test("functions can log metrics and columns, one value per completion", async () => {
  const logging = ({ logMetric, logExtra }: RewardBatch) => {
    logMetric("parsed", 0.5);
    logExtra("found", ["x", "y"]);
    return [0, 0];
  };
  const output = await score(logging);
  expect(output.metrics).toEqual([{ name: "parsed", value: 0.5 }]);
  expect(output.extras).toEqual({ found: ["x", "y"] });
  const short = ({ logExtra }: RewardBatch) => {
    logExtra("found", ["x"]);
    return [0, 0];
  };
  await expect(score(short)).rejects.toThrow('logExtra("found") got 1 values for 2 completions');
});

test("a time limit longer than timers can hold is none that ends at once", async () => {
  const slow = async () => {
    await new Promise((resolve) => setTimeout(resolve, 20));
    return [1, 2];
  };
  expect((await score(slow, { timeout: 1e7 })).rewards).toEqual([[1, 2]]);
});

test("what JSON cannot hold is refused when it is logged, and a bigint is no such thing", async () => {
  const circular: unknown[] = [];
  circular.push(circular);
  const logging = ({ logExtra }: RewardBatch) => {
    logExtra("loop", [circular, 1]);
    return [1, 2];
  };
  await expect(score(logging)).rejects.toMatchObject({
    code: "BAD_REWARD",
    message: expect.stringContaining('"loop"'),
  });
  expect(await score(logging, { onError: "null" })).toMatchObject({ failures: ["invalid"], extras: {} });
  const big = ({ logExtra }: RewardBatch) => {
    logExtra("id", [2n ** 60n, 1n]);
    return [1, 2];
  };
  expect((await score(big)).extras).toEqual({ id: [2n ** 60n, 1n] });
});

test("true counts as 1 and false as 0", async () => {
  const { rewards } = await new RewardRuntime({ functions: [() => [true, false]] }).score(
    input,
    new AbortController().signal,
  );
  expect(rewards).toEqual([[1, 0]]);
});
