// Files of JSON lines after a kill: what is appended to them, and what a reader makes of lines that are torn or written twice.

import { appendFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { JsonlFile } from "../../lib/log/jsonl.js";
import { type CompletionRecord, RunLog } from "../../lib/log/run-log.js";
import { readRun } from "../../lib/report/read-run.js";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "grpo-jsonl-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const place = (name: string) => path.join(folder, name);

describe("a file of JSON lines", () => {
  it("goes on in a line of its own after one that a kill has torn", async () => {
    await writeFile(place("torn"), '{"step":1}\n{"step":2,"rew');
    const torn = new JsonlFile(place("torn"));
    await torn.append([{ step: 2 }]);
    await torn.append([{ step: 3 }]);
    expect(await readFile(place("torn"), "utf8")).toBe('{"step":1}\n{"step":2,"rew\n{"step":2}\n{"step":3}\n');
    await writeFile(place("whole"), '{"step":1}\n');
    await new JsonlFile(place("whole")).append([{ step: 2 }]);
    expect(await readFile(place("whole"), "utf8")).toBe('{"step":1}\n{"step":2}\n');
  });

  it("holds numbers that JavaScript calls bigint, as texts", async () => {
    await new JsonlFile(place("big")).append([{ id: 2n ** 60n, ids: [1n] }]);
    expect(await readFile(place("big"), "utf8")).toBe('{"id":"1152921504606846976","ids":["1"]}\n');
  });
});

function completions(step: number, split: "train" | "eval", rewards: readonly number[]): CompletionRecord[] {
  return rewards.map((reward, row) => ({
    step,
    split,
    row,
    prompt: "p",
    completion: "c",
    ids: [1],
    rewards: { r: reward },
    reward,
    advantage: 0,
    finish_reason: "eos",
  }));
}

/** A run that writes some steps with a reward, as if it then had been killed. */
async function run(reward: number, steps: readonly number[]): Promise<void> {
  const log = new RunLog({ outputDir: folder, logTo: ["jsonl"] });
  await log.begin({ reward_functions: ["r"] }, (steps[0] ?? 1) - 1);
  for (const step of steps) {
    await log.step(step, { reward }, completions(step, "train", [reward, reward, reward]));
    log.evaluation(step, { metrics: { eval_reward: reward }, completions: completions(step, "eval", [reward]) });
  }
  await log.close();
}

describe("the run in them", () => {
  const shown = ({ completions }: Awaited<ReturnType<typeof readRun>>) =>
    completions.map(({ step, split, reward }) => [step, split, reward]);

  it.each([
    ["that were done again one by one", [4]],
    ["that were done again in a row", [3, 4]],
  ])("has steps %s once, with their last completions", async (_, again) => {
    await run(1, [1, 2, 3, 4]);
    await run(2, again);
    const data = await readRun(folder, 100);
    const of = (step: number) => (again.includes(step) ? 2 : 1);
    const expected = [1, 2, 3, 4].flatMap((step) => [
      ...[0, 1, 2].map(() => [step, "train", of(step)]),
      [step, "eval", of(step)],
    ]);
    expect(shown(data)).toEqual(expected);
    expect(data.completionCount).toBe(16);
    expect(data.steps.map(({ reward }) => reward)).toEqual([1, 2, 3, 4].map(of));
  });

  it("has each of several evaluations at one step, and one that a resumed run did again only once", async () => {
    const evaluate = async (log: RunLog, do_sample: boolean, reward: number) => {
      const sampled = completions(2, "eval", [reward]).map((record) => ({ ...record, do_sample }));
      log.evaluation(2, { metrics: { eval_reward: reward }, record: { do_sample }, completions: sampled });
    };
    const open = async (after: number) => {
      const log = new RunLog({ outputDir: folder, logTo: ["jsonl"] });
      await log.begin({ resumed_after_step: after }, after);
      return log;
    };
    const first = await open(0);
    await evaluate(first, true, 1);
    await evaluate(first, false, 2);
    await first.close();
    const resumed = await open(2);
    await evaluate(resumed, true, 3);
    await resumed.close();
    const { evaluations, completions: found } = await readRun(folder, 100);
    const expected = [
      [false, 2],
      [true, 3],
    ];
    expect(evaluations.map((line) => [line.do_sample, line.eval_reward])).toEqual(expected);
    expect(found.map((line) => [line.do_sample, line.reward])).toEqual(expected);
  });

  it("passes over lines that were torn, counts them, and lets the last one be", async () => {
    await run(1, [1, 2]);
    await appendFile(place("metrics.jsonl"), '{"type":"step","st');
    await appendFile(place("completions.jsonl"), '{"step":3,"split":"train","index":0,"row":0}\n{"step":3,"spl');
    await run(2, [3]);
    await appendFile(place("completions.jsonl"), '{"step":4,"spl');
    const data = await readRun(folder, 100);
    expect(data.damagedLines).toBe(2);
    expect(data.completionCount).toBe(12);
    expect(shown(data).slice(-4)).toEqual([
      [3, "train", 2],
      [3, "train", 2],
      [3, "train", 2],
      [3, "eval", 2],
    ]);
  });
});
