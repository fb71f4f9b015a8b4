// What a run is, shown by a trainer that has nothing to do with GRPO: whatever trains gets steps, schedules, logging windows, callbacks,
// checkpoints, resuming, the best model, early stopping, interrupts and uploads from lib/run.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { open } from "node:fs/promises";
import path from "node:path";
import { expect, test, vi } from "vitest";
import type { TrainerCallback, TrainerEvent } from "../../lib/run/callbacks.js";
import type { RunOptions } from "../../lib/run/options.js";
import { useHub } from "../support/use-hub.js";
import { Line, type Point, ToyTrainer, toyOptions } from "./toy-trainer.js";

// Pauses between attempts take a hundredth of their time.
vi.mock("node:timers/promises", async (load) => {
  const timers = await load<typeof import("node:timers/promises")>();
  return { ...timers, setTimeout: (ms: number, ...rest: []) => timers.setTimeout(ms / 100, ...rest) };
});

const at = useHub();

const points: readonly Point[] = Array.from({ length: 16 }, (_, i) => ({
  x: i / 8 - 1,
  y: (3 * i) / 8 - 1 + (i % 3) / 9,
}));

function bench(name: string, options: Partial<RunOptions> = {}, callback: TrainerCallback<RunOptions> = {}) {
  const printed: string[] = [];
  const line = new Line();
  const args = toyOptions({
    outputDir: path.join(at.home, name),
    learningRate: 0.05,
    maxSteps: 10,
    loggingSteps: 1,
    saveSteps: 4,
    hubToken: at.hub.token,
    ...options,
  });
  const trainer = new ToyTrainer({ line, args, points, callbacks: [callback], print: (text) => printed.push(text) });
  return { trainer, line, args, printed };
}

function lines(file: string): Record<string, unknown>[] {
  const text = readFileSync(file, "utf8").trimEnd();
  return text.split("\n").map((line) => JSON.parse(line) as Record<string, unknown>);
}

/** What was logged, but for how long it took and what it took of the memory. */
function timeless({ state }: ToyTrainer): unknown {
  return state.logHistory.map((metrics) => Object.entries(metrics).filter(([name]) => !/^(time|memory)\//.test(name)));
}

test("it trains by its own loss, on the schedule of the options", async () => {
  const { trainer, line } = bench("whole", { numTrainEpochs: 30, maxSteps: -1, warmupSteps: 0.25 });
  const { globalStep, metrics } = await trainer.train();
  expect(globalStep).toBe(120);
  expect(line.weights[0]).toBeCloseTo(3, 1);
  expect(metrics.train_loss).toBeGreaterThan(0);
  expect(trainer.state.epoch).toBe(30);
  const rates = trainer.state.logHistory.map(({ learning_rate: rate }) => rate ?? Number.NaN);
  expect([rates[0], rates[15], rates[30], rates[75]]).toEqual([0, 0.025, 0.05, 0.025]);
});

test("windows are means, in the history, in the trainer's own lines and in metrics.jsonl", async () => {
  const { trainer, printed, args } = bench("windows", { maxSteps: 6, loggingSteps: 3 });
  await trainer.train();
  const [run, ...steps] = lines(path.join(args.outputDir, "metrics.jsonl"));
  expect(run).toMatchObject({
    type: "run",
    points: 16,
    model: { device: "cpu", trainable: 2 },
    plan: { totalSteps: 6 },
  });
  expect(steps.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5, 6]);
  const losses = steps.map(({ loss }) => Number(loss));
  const means = [losses.slice(0, 3), losses.slice(3)].map((three) => three.reduce((a, b) => a + b) / 3);
  expect(trainer.state.logHistory.map(({ loss }) => loss)).toEqual(means);
  expect(printed.join("")).toBe(
    `a line through 16 points\n${means.map((mean, i) => `step ${3 * i + 3} loss ${mean.toFixed(4)}\n`).join("")}`,
  );
});

test("a run that was interrupted resumes to the same numbers, and says how", async () => {
  const whole = bench("whole", { loggingSteps: 4 });
  await whole.trainer.train();
  const own = () => {};
  process.on("SIGINT", own);
  try {
    const stop = ({ state }: TrainerEvent<RunOptions>) => void (state.globalStep === 7 && process.emit("SIGINT"));
    const cut = bench("cut", { loggingSteps: 4 }, { onStepEnd: stop });
    await expect(cut.trainer.train()).rejects.toMatchObject({ code: "CANCELLED" });
    expect(cut.printed.join("")).toContain("press Ctrl-C again");
    expect(cut.printed.join("")).toMatch(/stopped after step 7; step 7 is saved; continue with train/);
    const { trainer, line, args } = bench("cut", { loggingSteps: 4 });
    await trainer.train({ resumeFromCheckpoint: true });
    expect([line.weights, line.momentum]).toEqual([whole.line.weights, whole.line.momentum]);
    expect(timeless(trainer)).toEqual(timeless(whole.trainer));
    const stored = (folder: string, file: string) => readFileSync(path.join(folder, "checkpoint-10", file), "utf8");
    expect(stored(args.outputDir, "losses.json")).toBe(stored(whole.args.outputDir, "losses.json"));
  } finally {
    process.off("SIGINT", own);
  }
});

test("checkpoints hold the trainer's own state beside the run's, and refuse a run with another order", async () => {
  const { trainer, args } = bench("saved");
  await trainer.train();
  expect(
    readdirSync(args.outputDir)
      .filter((name) => name.startsWith("checkpoint"))
      .sort(),
  ).toEqual(["checkpoint-10", "checkpoint-4", "checkpoint-8"]);
  const state = JSON.parse(readFileSync(path.join(args.outputDir, "checkpoint-10", "trainer_state.json"), "utf8"));
  expect(state).toMatchObject({ global_step: 10, settings: { seed: 42, rows: 16 }, mean_loss: expect.any(Number) });
  const other = bench("saved", { seed: 1 });
  await expect(other.trainer.train({ resumeFromCheckpoint: true })).rejects.toThrow(
    "written with seed 42, this run has 1",
  );
});

test("checkpoints are written where file handles cannot sync, as in Yarn's Plug'n'Play", async () => {
  await using handle = await open(import.meta.filename);
  const refuse = vi.spyOn(Object.getPrototypeOf(handle), "sync").mockRejectedValue(new Error("not implemented"));
  const { trainer, args } = bench("no-sync");
  await trainer.train();
  expect(existsSync(path.join(args.outputDir, "checkpoint-10"))).toBe(true);
  refuse.mockRestore();
});

test("callbacks see its moments and steer it", async () => {
  const seen: string[] = [];
  const note = (hook: string) => {
    return ({ state, args }: TrainerEvent<RunOptions>) => void seen.push(`${hook} ${state.globalStep} ${args.seed}`);
  };
  const { trainer } = bench(
    "called",
    { maxSteps: 4, loggingSteps: 2, evalStrategy: "steps", evalSteps: 2, saveStrategy: "no" },
    {
      onStepEnd: ({ state, control }) => {
        if (state.globalStep === 3) control.shouldTrainingStop = true;
      },
      onTrainBegin: note("begin"),
      onLog: note("log"),
      onEvaluate: note("evaluate"),
      onTrainEnd: note("end"),
    },
  );
  await trainer.train();
  expect(seen).toEqual(["begin 0 42", "log 2 42", "evaluate 2 42", "log 3 42", "end 3 42"]);
});

test("it stops where evaluations no longer gain, and takes back the best model", async () => {
  const worse: TrainerCallback<RunOptions> = {
    onStepEnd: ({ state }) => {
      if (state.globalStep > 4) line.weights = [-9, -9];
    },
  };
  const { trainer, line, printed, args } = bench(
    "best",
    {
      evalStrategy: "steps",
      evalSteps: 2,
      earlyStoppingPatience: 2,
      loadBestModelAtEnd: true,
      maxSteps: 40,
      saveSteps: 40,
    },
    worse,
  );
  await trainer.train();
  expect(trainer.state.globalStep).toBe(8);
  expect(printed.join("")).toContain("stopping early: 2 evaluations without a gain");
  expect(trainer.state.bestModelCheckpoint).toBe(path.join(args.outputDir, "checkpoint-4"));
  const best = JSON.parse(readFileSync(path.join(args.outputDir, "checkpoint-4", "line.json"), "utf8"));
  expect(line.weights).toEqual(best);
});

test("what it saves goes to the Hub, with a card without rewards", async () => {
  const { trainer } = bench("pushed", { maxSteps: 4, pushToHub: true, hubAlwaysPush: true });
  await trainer.train();
  await trainer.loop.saveModel();
  const files = at.hub.filesOf("ada/pushed");
  expect(at.hub.commits.map(({ summary }) => summary)).toEqual(["Training in progress, step 4", "Model save"]);
  expect([...files.keys()]).toEqual(expect.arrayContaining(["README.md", "line.json", "metrics.jsonl"]));
  const card = files.get("README.md")?.toString() ?? "";
  expect(card).toContain("| points | 16 |");
  expect(card).not.toContain("weighted sum");
});

test("steps that are not finite end it, with the last good state saved", async () => {
  const { trainer, line, args } = bench("bad", { maxBadSteps: 2 });
  const { backward } = line;
  line.backward = (batch) => (trainer.state.globalStep < 3 ? backward.call(line, batch) : Number.NaN);
  await expect(trainer.train()).rejects.toMatchObject({
    code: "NON_FINITE",
    message: expect.stringMatching(/2 steps in a row, up to step 5[\s\S]*last good state is in .*checkpoint-5/),
  });
  expect(existsSync(path.join(args.outputDir, "checkpoint-5", "line.json"))).toBe(true);
});

test("its options are checked in the name of its own config", () => {
  expect(() => toyOptions({ saveSteps: 2.5 })).toThrow("ToyConfig: saveSteps 2.5 is neither a whole number");
  expect(() => toyOptions({ loadBestModelAtEnd: true })).toThrow(
    "ToyConfig: loadBestModelAtEnd true needs evaluations",
  );
  expect(() => toyOptions({ learningRates: 1 } as object)).toThrow(
    /ToyConfig has no option "learningRates"[\s\S]*learningRate/,
  );
  expect(() => toyOptions({ optimArgs: "momentum=0.9" })).toThrow(/ToyConfig: optimArgs/);
});
