// What callbacks see, in which order, and what their flags change.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { GRPOConfig, type GRPOConfigOptions } from "../../lib/grpo/config.js";
import type { TrainerCallback, TrainerEvent } from "../../lib/grpo/setup.js";
import { GRPOTrainer } from "../../lib/grpo/trainer.js";
import type { TrainerControl } from "../../lib/run/callbacks.js";
import type { RewardBatch } from "../../lib/types.js";
import { FakePolicy, type FakeRow, FakeTokenizer, fakeRows } from "./fake-policy.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "grpo-callbacks-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const hooks = ["onTrainBegin", "onStepBegin", "onStepEnd", "onLog", "onEvaluate", "onSave", "onTrainEnd"] as const;

/** A run of four steps with a callback that writes down every moment, beside the given one. */
async function run(callback: TrainerCallback, args: GRPOConfigOptions = {}) {
  const seen: string[] = [];
  const watch = Object.fromEntries(hooks.map((hook) => [hook, note(hook)]));
  function note(hook: string) {
    return ({ state }: TrainerEvent) => void seen.push(`${hook} ${state.globalStep}`);
  }
  const trainer = new GRPOTrainer<FakeRow>({
    model: new FakePolicy(),
    processingClass: new FakeTokenizer(),
    args: new GRPOConfig({
      maxSteps: 4,
      maxCompletionLength: 4,
      loggingSteps: 2,
      saveStrategy: "no",
      outputDir: folder,
      logTo: [],
      ...args,
    }),
    rewardFuncs: [({ completionIds }: RewardBatch<FakeRow>) => completionIds.map((ids) => ids.length)],
    trainDataset: fakeRows(4),
    evalDataset: fakeRows(2),
    callbacks: [callback, watch],
  });
  const result = await trainer.train();
  return { seen, trainer, result };
}

test("they see every moment, in its order", async () => {
  const { seen } = await run({}, { evalStrategy: "steps", evalSteps: 2, saveStrategy: "steps", saveSteps: 3 });
  // A checkpoint is on the disk when it is: later steps may have begun.
  expect(seen.filter((moment) => !moment.startsWith("onSave"))).toEqual([
    "onTrainBegin 0",
    "onStepBegin 0",
    "onStepEnd 1",
    "onStepBegin 1",
    "onStepEnd 2",
    "onLog 2",
    "onEvaluate 2",
    "onStepBegin 2",
    "onStepEnd 3",
    "onStepBegin 3",
    "onStepEnd 4",
    "onLog 4",
    "onEvaluate 4",
    "onTrainEnd 4",
  ]);
  expect(seen.filter((moment) => moment.startsWith("onSave"))).toEqual(["onSave 3", "onSave 4"]);
  expect(seen.indexOf("onSave 3")).toBeGreaterThan(seen.indexOf("onStepEnd 3"));
  expect(seen.slice(-2)).toEqual(["onSave 4", "onTrainEnd 4"]);
});

test("the run waits for them, and an error of theirs ends it", async () => {
  const order: string[] = [];
  const slow = async ({ state }: TrainerEvent) => {
    await new Promise((resolve) => setTimeout(resolve, 5));
    order.push(`slow ${state.globalStep}`);
  };
  await run({ onStepEnd: slow, onStepBegin: ({ state }) => void order.push(`begin ${state.globalStep}`) });
  expect(order).toEqual([0, 1, 2, 3].flatMap((step) => [`begin ${step}`, `slow ${step + 1}`]));
  const broken = run({
    onLog() {
      throw new TypeError("no such field");
    },
  });
  await expect(broken).rejects.toThrow("no such field");
});

/** Sets one flag after one step. */
function after(step: number, flags: Partial<TrainerControl>): TrainerCallback {
  return {
    onStepEnd: ({ state, control }) => {
      if (state.globalStep === step) Object.assign(control, flags);
    },
  };
}

test("shouldTrainingStop ends the run after the step, which is logged and saved", async () => {
  const { seen, result } = await run(after(1, { shouldTrainingStop: true }), { saveStrategy: "steps" });
  expect(result.globalStep).toBe(1);
  expect(seen.slice(-4)).toEqual(["onStepEnd 1", "onLog 1", "onSave 1", "onTrainEnd 1"]);
});

test("a flag brings forward what the plan has later or never", async () => {
  const flags = { shouldLog: true, shouldEvaluate: true, shouldSave: true };
  const { seen, trainer } = await run(after(3, flags));
  const ofStep = seen.filter((moment) => moment.endsWith(" 3"));
  expect(ofStep.filter((moment) => moment !== "onSave 3")).toEqual(
    ["onStepEnd", "onLog", "onEvaluate", "onStepBegin"].map((hook) => `${hook} 3`),
  );
  expect(ofStep).toContain("onSave 3");
  expect(seen.filter((moment) => /onSave|onEvaluate/.test(moment))).toHaveLength(2);
  expect(readdirSync(folder)).toContain("checkpoint-3");
  expect(trainer.state.logHistory.filter(({ step }) => step === 3)).toHaveLength(2);
});

test("a flag taken back leaves out what the plan had", async () => {
  const flags = { shouldLog: false, shouldEvaluate: false };
  const { seen } = await run(after(2, flags), { evalStrategy: "steps", evalSteps: 2 });
  expect(seen.filter((moment) => moment.endsWith(" 2"))).toEqual(["onStepEnd 2", "onStepBegin 2"]);
  expect(seen).toContain("onEvaluate 4");
});

test("what an evaluation asks for is done with its step, and flags last for one step", async () => {
  const onEvaluate = ({ state, control }: TrainerEvent) => {
    if (state.globalStep === 1) control.shouldSave = true;
  };
  const { seen } = await run({ onEvaluate }, { evalStrategy: "steps", evalSteps: 1 });
  expect(seen.filter((moment) => moment.startsWith("onSave"))).toEqual(["onSave 1"]);
});

test("what a callback changes in its metrics reaches neither the logs nor the history", async () => {
  const spoil = ({ metrics }: TrainerEvent) => {
    for (const name of Object.keys(metrics)) Reflect.set(metrics, name, -1);
  };
  const callback = { onStepEnd: spoil, onLog: spoil, onEvaluate: spoil };
  const { trainer } = await run(callback, { logTo: ["jsonl"], evalStrategy: "steps", evalSteps: 2 });
  const written = readFileSync(path.join(folder, "metrics.jsonl"), "utf8").trim().split("\n");
  const logged = [...written.slice(1).map((line) => JSON.parse(line)), ...trainer.state.logHistory];
  expect(logged).toHaveLength(10);
  for (const metrics of logged) expect(Object.values(metrics)).not.toContain(-1);
});
