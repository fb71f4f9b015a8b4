// TensorBoard's event files, byte for byte as its own classes write them.

import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { trackerTag } from "../../lib/log/metrics.js";
import { RunLog } from "../../lib/log/run-log.js";
import { TensorBoardFile } from "../../lib/log/tensorboard.js";
import { goldenPath } from "../addon/golden.js";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "grpo-tensorboard-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

it("writes the bytes that TensorBoard writes", async () => {
  const file = new TensorBoardFile(folder, () => 1_700_000_000_250);
  await file.begin(7);
  const values = { "train/reward": 0.5, "train/rewards/format/mean": -1.25, "eval/reward": 3e-8, none: Number.NaN };
  await file.scalars(300, values);
  expect(path.basename(file.path)).toMatch(/^events\.out\.tfevents\.1700000000\./);
  expect(await readFile(file.path)).toEqual(await readFile(goldenPath("tensorboard.tfevents")));
});

/** Steps of the events in all files of a folder; those that make readers drop what comes at that step or later say so. */
async function events(): Promise<string[]> {
  const names = (await readdir(path.join(folder, "runs"))).sort();
  const found: string[] = [];
  for (const name of names) {
    const bytes = await readFile(path.join(folder, "runs", name));
    for (let at = 0; at < bytes.length; ) {
      const length = Number(bytes.readBigUInt64LE(at));
      // After the wall time: field 2 is the step, which is below 128 here; 5 a summary, 7 a session.
      const event = bytes.subarray(at + 12 + 9, at + 12 + length);
      const kind = { 42: "values", 58: "start" }[event[2] ?? 0];
      if (event[0] === 0x10 && kind) found.push(`${kind} ${event[1]}`);
      at += length + 16;
    }
  }
  return found;
}

describe("a run's events", () => {
  const open = () => new RunLog({ outputDir: folder, logTo: ["tensorboard"] });

  it("drop what an earlier run had of later steps, and keep the step it goes on after", async () => {
    const log = open();
    await log.begin({}, 5);
    log.window(6, { reward: 1 });
    await log.close();
    expect(await events()).toEqual(["start 6", "values 6"]);
  });

  it("drop everything where a run begins anew", async () => {
    const log = open();
    await log.begin({}, 0);
    await log.close();
    expect(await events()).toEqual(["start 0"]);
  });

  it("drop nothing for an evaluation before the run, which still says where it goes on", async () => {
    const log = open();
    log.evaluation(0, { metrics: { eval_reward: 1 }, completions: [] });
    await log.begin({}, 5);
    log.window(6, { reward: 1 });
    await log.close();
    expect(await events()).toEqual(["values 0", "start 6", "values 6"]);
  });
});

it("names tags as transformers does", () => {
  expect(["reward", "eval_rewards/format/mean"].map(trackerTag)).toEqual(["train/reward", "eval/rewards/format/mean"]);
});
