// What must not cost a run: a callback, a logger or a reward function that never comes back, a console or a terminal that is closed. Each
// in a process of its own, as it happens to users.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "grpo-interrupted-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const url = (file: string) => JSON.stringify(new URL(file, import.meta.url).href);

/** A program that makes a trainer with options and more, trains, and says that it is done. */
function program(options: string, more: string, train = "await trainer.train()"): string {
  return `
    import { GRPOConfig } from ${url("../../lib/grpo/config.ts")};
    import { GRPOTrainer } from ${url("../../lib/grpo/trainer.ts")};
    import { IterableDataset } from ${url("../../lib/dataset/iterable-dataset.ts")};
    import { FakePolicy, FakeTokenizer, fakeRows } from ${url("./fake-policy.ts")};
    const never = () => { process.stdout.write("waiting\\n"); return new Promise(() => {}); };
    const reward = ({ completionIds }) => completionIds.map((ids) => ids.length);
    const trainer = new GRPOTrainer({
      model: new FakePolicy(),
      processingClass: new FakeTokenizer(),
      args: new GRPOConfig({
        outputDir: ${JSON.stringify(folder)}, perDeviceTrainBatchSize: 4, numGenerations: 4, maxSteps: 6,
        maxCompletionLength: 4, loggingSteps: 1, ${options}
      }),
      rewardFuncs: [reward],
      trainDataset: fakeRows(6),
      evalDataset: fakeRows(2),
      ${more}
    });
    ${train};
    process.exitCode = 5;
  `;
}

interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly out: string;
}

/** Runs it; with the text that ends with a line in `signals`, sends that signal. `hangUp`: closes the pipe at its first line. */
async function run(
  text: string,
  { signals = [], hangUp = false }: { signals?: readonly NodeJS.Signals[]; hangUp?: boolean } = {},
): Promise<Ended> {
  const tsx = fileURLToPath(import.meta.resolve("tsx"));
  const node = spawn(process.execPath, ["--import", tsx, "--input-type=module", "-e", text], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let out = "";
  let sent = false;
  node.stdout.on("data", async (chunk) => {
    out += chunk;
    if (hangUp) node.stdout.destroy();
    if (sent || !out.includes("waiting\n")) return;
    sent = true;
    for (const signal of signals) {
      // Whoever waits has been waiting for a while.
      await new Promise((resolve) => setTimeout(resolve, 100));
      node.kill(signal);
    }
  });
  const [code, signal] = await once(node, "exit");
  return { code, signal, out };
}

const checkpoints = () => readdirSync(folder).filter((name) => name.startsWith("checkpoint"));
const ofStep = (step: number) => `state.globalStep === ${step} ? never() : undefined`;

test.each([
  ["onStepEnd", `callbacks: [{ onStepEnd: ({ state }) => ${ofStep(3)} }]`, 3],
  ["onStepBegin", `callbacks: [{ onStepBegin: ({ state }) => ${ofStep(2)} }]`, 2],
  ["onLog", `callbacks: [{ onLog: ({ state }) => ${ofStep(4)} }]`, 4],
  ["onSave", `callbacks: [{ onSave: ({ state }) => ${ofStep(2)} }]`, 4],
  ["a logger", `loggers: [{ name: "mine", log: (step) => (step === 2 ? never() : undefined) }]`, 4],
  ["a reward function", `rewardFuncs: [(batch) => (batch.trainerState.globalStep === 2 ? never() : reward(batch))]`, 2],
  [
    "a sampler",
    "sampler: { maxPositions: 99, sample: (p, o) => (o.step === 2 ? never() : new FakePolicy().sample(p, o)) }",
    2,
  ],
])("%s that never comes back keeps the process waiting, and Ctrl-C saves", async (_, more, step) => {
  const { code, signal, out } = await run(program("saveSteps: 2", more), { signals: ["SIGINT"] });
  expect(out).toContain("press Ctrl-C again");
  expect(out).toMatch(/step \d is saved/);
  expect(checkpoints()).toContain(`checkpoint-${step}`);
  expect([code, signal]).toEqual([null, "SIGINT"]);
});

const endless = "IterableDataset.from(async function* () { yield fakeRows(1)[0]; await never(); })";

test.each([
  ["onSave, which is called for the last checkpoint again,", "", "callbacks: [{ onSave: never }]", [2, 4]],
  [
    "the close of a reward function",
    "",
    "rewardFuncs: [Object.assign((batch) => reward(batch), { close: never })]",
    [2, 4, 6],
  ],
  ["a stream to train on", "", `trainDataset: ${endless}`, []],
  ["a stream to evaluate", 'evalStrategy: "steps"', `evalDataset: ${endless}`, []],
])(
  "%s that never comes back does not keep a stopped run from its end",
  async (_, options, more, saved) => {
    const text = program(`saveSteps: 2, ${options}`, more);
    expect(await run(text, { signals: ["SIGTERM"] })).toMatchObject({ code: null, signal: "SIGTERM" });
    expect(checkpoints().sort()).toEqual(saved.map((step) => `checkpoint-${step}`));
  },
  30_000,
);

test("an evaluation outside of a run waits for its rewards, and ends when asked", async () => {
  const text = program("", `rewardFuncs: [never]`, "await trainer.evaluate()");
  expect(await run(text, { signals: ["SIGTERM"] })).toMatchObject({ code: null, signal: "SIGTERM" });
});

test("a terminal that is closed, and says so several times, saves the last step", async () => {
  const text = program("", `callbacks: [{ onStepEnd: ({ state }) => ${ofStep(3)} }]`);
  const { code, signal } = await run(text, { signals: ["SIGHUP", "SIGHUP", "SIGHUP"] });
  expect([code, signal]).toEqual([null, "SIGHUP"]);
  expect(checkpoints()).toEqual(["checkpoint-3"]);
  expect(existsSync(path.join(folder, ".run.lock"))).toBe(false);
});

test("a closed console does not end a run, nor what comes after it", async () => {
  const text = program("saveSteps: 2, maxSteps: 40", "", "await trainer.train(); await trainer.saveModel()");
  expect(await run(text, { hangUp: true })).toMatchObject({ code: 5 });
  expect(checkpoints()).toContain("checkpoint-40");
  expect(existsSync(path.join(folder, "adapter_model.json"))).toBe(true);
});
