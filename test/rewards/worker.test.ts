// Worker processes: what crosses, what becomes of those that crash, hang or eat memory, and that none is left. As built, since a
// process that has to read TypeScript first takes a second to start; one test is from the sources.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { afterEach, expect, test } from "vitest";
import { rewards as fromSources } from "../../lib/rewards/index.js";
import type { RewardRuntimeOptions, RewardRuntime as Runtime } from "../../lib/rewards/runtime.js";
import type { WorkerOptions, WorkerReward } from "../../lib/rewards/worker.js";
import { type AnyRewardFn, freshState } from "../../lib/types.js";

const built = new URL("../../dist/rewards/index.js", import.meta.url).href;
const { rewards }: { rewards: typeof fromSources } = await import(built);
const { RewardRuntime }: { RewardRuntime: typeof Runtime } = await import(new URL("runtime.js", built).href);
const file = new URL("./evil-rewards.mjs", import.meta.url);

const opened: WorkerReward<never>[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((fn) => fn.close()));
});

function evil(name: string, options: WorkerOptions = {}): AnyRewardFn {
  const fn = rewards.worker<never>(file, { export: name, concurrency: 1, ...options });
  opened.push(fn);
  return fn as AnyRewardFn;
}

const input = {
  prompts: ["p", "p"],
  completions: ["a", "bcd"],
  completionIds: [[1], [2, 3]],
  finishReasons: ["eos", "length"] as const,
  columns: { answer: [7n, 8n] },
  trainerState: { ...freshState(9), globalStep: 4 },
};

function score(fn: AnyRewardFn | AnyRewardFn[], options: Partial<RewardRuntimeOptions> = {}, signal?: AbortSignal) {
  const functions = Array.isArray(fn) ? fn : [fn];
  return new RewardRuntime({ functions, ...options }).score(input, signal ?? new AbortController().signal);
}

test("a function in TypeScript receives the batch and gives back rewards, abstentions, metrics and columns", async () => {
  const fn = fromSources.worker<never>(new URL("./typed-rewards.ts", import.meta.url));
  opened.push(fn);
  expect(fn.name).toBe("typed-rewards");
  const output = await score(fn as AnyRewardFn);
  expect(output).toMatchObject({ rewards: [[null, 7]], metrics: [{ name: "seen", value: 2 }], failures: [undefined] });
  expect(output.extras).toEqual({ answer: [7n, 8n] });
});

test("so many processes run as are allowed, and each serves one call after the other", async () => {
  const two = evil("whereItRuns", { concurrency: 2 });
  const { rewards: where } = await score([two, two, two, two, two]);
  const processes = new Set(where.flat());
  expect(processes.size).toBe(2);
  expect(processes.has(process.pid)).toBe(false);
});

test.each([
  ["throws", "exceptions", 'reward function "throws" threw: no such answer'],
  ["throwsText", "exceptions", "just text"],
  ["notNumbers", "invalid", "returned NaN for completion 0 of 2"],
  ["sendsWhatCannotCross", "exceptions", "could not be cloned"],
  ["missing", "exceptions", "has no function missing; it exports "],
  ["exits", "crashes", "ended before it answered"],
])("one that %s is an ordinary failure", async (name, kind, message) => {
  const failed: string[] = [];
  const onFailure = (_name: string, _kind: string, error: Error) => failed.push(error.message);
  const output = await score(evil(name), { onError: "null", onFailure });
  expect(output).toMatchObject({ rewards: [[null, null]], failures: [kind] });
  expect(failed.join()).toContain(message);
});

test("one that ends its process is replaced for the calls that wait", async () => {
  const fn = evil("exits");
  expect((await score([fn, fn, fn], { onError: -1 })).failures).toEqual(["crashes", "crashes", "crashes"]);
});

test("one that never comes back ends at its own time limit, at the trainer's, or with the run", async () => {
  const own = evil("loopsForever", { timeout: 0.2 });
  expect((await score([own, own], { onError: "null" })).failures).toEqual(["timeouts", "timeouts"]);
  const fn = evil("loopsForever");
  expect((await score(fn, { onError: "null", timeout: 0.7 })).failures).toEqual(["timeouts"]);
  const stop = new AbortController();
  setTimeout(() => stop.abort(), 700);
  await expect(score(fn, { onError: "null" }, stop.signal)).rejects.toMatchObject({ code: "CANCELLED" });
});

test("what is wrong about a worker is said when it is made", () => {
  expect(() => rewards.worker("./none.mjs")).toThrow("there is no file");
  expect(() => rewards.worker(file, { timeout: 0 })).toThrow("timeout must be a number above 0");
  expect(() => rewards.worker(file, { concurrency: 0 })).toThrow("concurrency must be a whole number at least 1");
  expect(() => rewards.worker(file, { workers: 2 } as object)).toThrow("unknown option workers");
});

/** Calls the named functions in a process of its own, one after the other, and prints how each failed. */
function program(names: readonly string[], options: WorkerOptions): ChildProcess {
  const code = `
    import { rewards } from ${JSON.stringify(built)};
    for (const name of ${JSON.stringify(names)}) {
      const fn = rewards.worker(${JSON.stringify(file.href)}, { ...${JSON.stringify(options)}, export: name });
      const { signal } = new AbortController();
      await fn({ completions: [1], trainerState: {}, signal }).catch((error) => console.log(name, error.kind));
      await fn.close();
    }
  `;
  return spawn(process.execPath, ["--input-type=module", "-e", code], { env: { ...process.env, SAY_PROCESS: "1" } });
}

test("one that eats memory, crashes or throws where nobody waits ends its process only", async () => {
  const node = program(["eatsMemory", "aborts", "throwsLater"], { memoryLimitMb: 32 });
  const ended = once(node, "exit");
  const [out, error] = await Promise.all([node.stdout && text(node.stdout), node.stderr && text(node.stderr)]);
  expect(await ended).toEqual([0, null]);
  expect(out).toBe("eatsMemory crashes\naborts crashes\nthrowsLater crashes\n");
  // Node's own words on why are passed on.
  expect(error).toContain("heap out of memory");
  expect(error).toContain("nobody waits for this");
});

const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

async function untilGone(pid: number): Promise<void> {
  for (let i = 0; alive(pid); i++) {
    if (i > 200) throw new Error(`process ${pid} is still there`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

test.each(["SIGKILL", "SIGTERM"] as const)(
  "no worker outlives a process that %s ended, not even one in a loop",
  async (signal) => {
    const node = program(["loopsForever"], {});
    const [line] = (await once(node.stdout ?? node, "data")) as [Buffer];
    const worker = Number(/process (\d+)/.exec(String(line))?.[1]);
    // What a terminal's Ctrl-C sends to every process; the worker leaves it to its parent.
    process.kill(worker, "SIGINT");
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(alive(worker)).toBe(true);
    node.kill(signal);
    await once(node, "exit");
    await untilGone(worker);
  },
);

test("close() ends the processes, and the next call starts new ones", async () => {
  const fn = evil("whereItRuns") as AnyRewardFn & { close(): Promise<void> };
  const pids: number[] = [];
  for (let i = 0; i < 2; i++) {
    pids.push((await score(fn)).rewards[0]?.[0] ?? 0);
    expect(alive(pids[i] ?? 0)).toBe(true);
    await fn.close();
    expect(alive(pids[i] ?? 0)).toBe(false);
  }
  expect(pids[0]).not.toBe(pids[1]);
  await fn.close();
});
