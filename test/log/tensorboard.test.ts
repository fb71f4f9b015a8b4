// TensorBoard's event files, byte for byte as its own classes write them.

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { TensorBoardFile, tensorBoardTag } from "../../lib/log/tensorboard.js";
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

it("names tags as transformers does", () => {
  expect(["reward", "eval_rewards/format/mean"].map(tensorBoardTag)).toEqual([
    "train/reward",
    "eval/rewards/format/mean",
  ]);
});
