// One model and several trainers: one at a time, and one after the other.

import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { GRPOConfig, type GRPOConfigOptions } from "../../lib/grpo/config.js";
import { GRPOTrainer } from "../../lib/grpo/trainer.js";
import { FakePolicy, type FakeRow, FakeTokenizer, fakeRows } from "./fake-policy.js";

let folder: string;
let made = 0;
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "grpo-trainers-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function trainerOf(model: FakePolicy, args: GRPOConfigOptions = {}): GRPOTrainer<FakeRow> {
  return new GRPOTrainer<FakeRow>({
    model,
    processingClass: new FakeTokenizer(),
    args: new GRPOConfig({
      outputDir: path.join(folder, String(made++)),
      perDeviceTrainBatchSize: 4,
      numGenerations: 4,
      maxSteps: 3,
      maxCompletionLength: 4,
      ...args,
    }),
    rewardFuncs: [({ completionIds }) => completionIds.map((ids) => ids.length)],
    trainDataset: fakeRows(6),
    output: { write: () => true },
  });
}

test("a second trainer is refused while the first trains, without a call of the model, and welcome afterwards", async () => {
  const model = new FakePolicy();
  const second = trainerOf(model);
  let refused: unknown;
  let calls: number | undefined;
  model.betweenGroups = async () => {
    const before = model.calls.length;
    refused ??= await second.train().catch((error: unknown) => error);
    calls ??= model.calls.length - before;
  };
  await trainerOf(model).train();
  expect(refused).toMatchObject({ code: "BAD_INPUT", message: expect.stringContaining("is training this model") });
  expect(calls).toBe(0);
  await second.train();
  expect([second.state.globalStep, model.begun.length]).toEqual([3, 2]);
});

test("a trainer that failed gives the model back", async () => {
  const model = new FakePolicy();
  const first = trainerOf(model);
  const { sample } = model;
  model.sample = () => Promise.reject(new Error("broken"));
  await expect(first.train()).rejects.toThrow("broken");
  model.sample = sample;
  await trainerOf(model).train();
});

test("a trainer trains again as long as no other has trained its model", async () => {
  const model = new FakePolicy();
  const first = trainerOf(model);
  await first.train();
  await first.train();
  expect(model.begun).toHaveLength(1);
  await trainerOf(model).train();
  await expect(first.train()).rejects.toMatchObject({
    code: "BAD_INPUT",
    message: expect.stringMatching(/another trainer has trained this model[\s\S]*make a new trainer/),
  });
});

test("models of their own train at once", async () => {
  const [a, b] = [new FakePolicy(), new FakePolicy()];
  await Promise.all([trainerOf(a).train(), trainerOf(b).train()]);
  expect(a.weights).toEqual(b.weights);
});
