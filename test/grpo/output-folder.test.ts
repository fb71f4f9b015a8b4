// One folder, one run: an earlier run is moved aside or refused, two do not write at once, and what cannot be written to, or is written
// as ~, is known from the beginning.

import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { GRPOConfig, type GRPOConfigOptions } from "../../lib/grpo/config.js";
import type { GRPOTrainerOptions } from "../../lib/grpo/setup.js";
import { readRun } from "../../lib/report/read-run.js";
import { expandHome } from "../../lib/run/home.js";
import { FakePolicy, type FakeRow, fakeRows } from "./fake-policy.js";
import { fakeTrainer } from "./fake-trainer.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "grpo-folder-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const bench = (args: GRPOConfigOptions = {}, options: Partial<GRPOTrainerOptions<FakeRow>> = {}) =>
  fakeTrainer({ outputDir: folder, ...args }, options);

const runFiles = (at: string) => readdirSync(at).sort();
const stepsOf = async (at: string) => (await readRun(at, 100)).steps.map(({ step }) => step);

describe("an earlier run in outputDir", () => {
  it("is moved into a folder of its own, whole, when another begins", async () => {
    await bench({ logTo: ["jsonl", "tensorboard"] }).trainer.train();
    writeFileSync(path.join(folder, "notes.txt"), "mine");
    const { trainer, printed } = bench({ maxSteps: 2, seed: 1 });
    await trainer.train();
    const aside = path.join(folder, "earlier-run-1");
    expect(printed.join("")).toContain(`an earlier run was moved to ${aside}\n`);
    expect(runFiles(aside)).toEqual(["checkpoint-2", "checkpoint-4", "completions.jsonl", "metrics.jsonl", "runs"]);
    expect(readdirSync(path.join(aside, "runs"))).toHaveLength(1);
    const left = ["checkpoint-2", "completions.jsonl", "earlier-run-1", "metrics.jsonl", "notes.txt", "runs"];
    expect(runFiles(folder)).toEqual(left);
    expect([await stepsOf(folder), await stepsOf(aside)]).toEqual([
      [1, 2],
      [1, 2, 3, 4],
    ]);
    expect((await readRun(folder, 100)).completionCount).toBe(8);
    await trainer.train();
    expect(existsSync(path.join(folder, "earlier-run-2", "checkpoint-2"))).toBe(true);
  });

  it("is refused with earlierRun refuse, before anything is done", async () => {
    await bench({ maxSteps: 1 }).trainer.train();
    const policy = new FakePolicy();
    const { trainer } = bench({ earlierRun: "refuse" }, { model: policy });
    await expect(trainer.train()).rejects.toMatchObject({
      code: "BAD_OPTION",
      message: expect.stringMatching(/has an earlier run.*\n.*resumeFromCheckpoint: true/),
    });
    expect(policy.calls).toEqual([]);
    await expect(trainer.train({ resumeFromCheckpoint: true })).resolves.toMatchObject({ globalStep: 4 });
  });

  it("stays where it is when it goes on, also from an earlier step, and when there were only evaluations", async () => {
    const { trainer } = bench({ evalStrategy: "no" }, { evalDataset: fakeRows(1) });
    await trainer.evaluate();
    await trainer.train();
    const again = bench();
    await again.trainer.train({ resumeFromCheckpoint: path.join(folder, "checkpoint-2") });
    expect(runFiles(folder).filter((name) => name.startsWith("earlier"))).toEqual([]);
    const { evaluations, steps } = await readRun(folder, 100);
    expect([evaluations.length, steps.length]).toEqual([1, 4]);
  });

  describe("and an evaluation before another", () => {
    const logTo: GRPOConfigOptions["logTo"] = ["jsonl", "tensorboard"];
    const evalDataset = fakeRows(1);
    const evaluationsOf = async (at: string) => (await readRun(at, 100)).evaluations.length;
    const eventsOf = (at: string) => readdirSync(path.join(at, "runs")).map((name) => path.join(at, "runs", name));
    const contentOf = (at: string) =>
      [path.join(at, "metrics.jsonl"), ...eventsOf(at)].map((f) => readFileSync(f, "hex"));

    it("has it apart, so that the earlier run is as it was", async () => {
      await bench({ logTo }).trainer.train();
      const before = contentOf(folder);
      for (const apart of ["evaluation-1", "evaluation-2"]) {
        const { trainer } = bench({ logTo, earlierRun: "refuse" }, { evalDataset });
        await trainer.evaluate();
        await trainer.evaluate({ doSample: false });
        expect(await evaluationsOf(path.join(folder, apart))).toBe(2);
        expect(eventsOf(path.join(folder, apart))).toHaveLength(1);
      }
      expect(contentOf(folder)).toEqual(before);
    });

    it("has it with the run that begins", async () => {
      await bench({ logTo }).trainer.train();
      const before = contentOf(folder);
      const { trainer } = bench({ logTo, maxSteps: 2 }, { evalDataset });
      await trainer.evaluate();
      await trainer.train();
      await trainer.evaluate();
      expect(contentOf(path.join(folder, "earlier-run-1"))).toEqual(before);
      expect([await evaluationsOf(folder), await stepsOf(folder)]).toEqual([2, [1, 2]]);
      expect(
        eventsOf(folder)
          .map((file) => readFileSync(file, "latin1"))
          .join(""),
      ).toContain("eval/reward");
      expect(runFiles(folder)).not.toContain("evaluation-1");
    });

    it("has it apart from a run that goes on", async () => {
      await bench({ logTo, maxSteps: 2 }).trainer.train();
      const { trainer } = bench({ logTo }, { evalDataset });
      await trainer.evaluate();
      await trainer.train({ resumeFromCheckpoint: true });
      expect([await evaluationsOf(folder), await stepsOf(folder)]).toEqual([0, [1, 2, 3, 4]]);
      expect(await evaluationsOf(path.join(folder, "evaluation-1"))).toBe(1);
    });

    it("makes no folder where nothing is logged into files", async () => {
      await bench().trainer.train();
      const before = runFiles(folder);
      await bench({ logTo: ["console"] }, { evalDataset }).trainer.evaluate();
      expect(runFiles(folder)).toEqual(before);
    });
  });

  it("makes way for a run that goes on from elsewhere", async () => {
    const elsewhere = path.join(folder, "elsewhere");
    await bench({ outputDir: elsewhere, maxSteps: 2 }).trainer.train();
    const here = path.join(folder, "here");
    await bench({ outputDir: here, maxSteps: 3, seed: 3 }).trainer.train();
    await bench({ outputDir: here }).trainer.train({ resumeFromCheckpoint: path.join(elsewhere, "checkpoint-2") });
    expect(await stepsOf(here)).toEqual([3, 4]);
    expect(await stepsOf(path.join(here, "earlier-run-1"))).toEqual([1, 2, 3]);
  });
});

describe("two runs at once in outputDir", () => {
  it("are refused, with who has it; afterwards it is free", async () => {
    const policy = new FakePolicy();
    let refused: unknown;
    policy.betweenGroups = async () => {
      refused ??= await bench({ seed: 2 })
        .trainer.train()
        .catch((error: unknown) => error);
    };
    await bench({}, { model: policy }).trainer.train();
    expect(refused).toMatchObject({
      code: "BAD_INPUT",
      message: expect.stringContaining(`another run is writing into ${folder}: process ${process.pid} on`),
    });
    expect(runFiles(folder)).not.toContain(".run.lock");
    await bench().trainer.train({ resumeFromCheckpoint: true });
  });

  it.each([
    ["of a process that is gone", { pid: 2 ** 22 + 1 }, 0],
    ["of a process whose number another one has by now", { pid: process.ppid, began: "0" }, 0],
    ["that has been silent for long, of another machine", { pid: 1, host: "elsewhere" }, 120],
    ["that its writer never filled", undefined, 120],
  ])("takes over a lock %s", async (_, holder, age) => {
    const lock = path.join(folder, ".run.lock");
    writeFileSync(lock, holder ? JSON.stringify({ id: "old", host: os.hostname(), ...holder }) : "");
    const then = Date.now() / 1000 - age;
    utimesSync(lock, then, then);
    await bench().trainer.train();
    expect(existsSync(lock)).toBe(false);
  });

  it("waits for no lock of another machine that still beats", async () => {
    writeFileSync(path.join(folder, ".run.lock"), JSON.stringify({ id: "x", pid: 7, host: "elsewhere" }));
    await expect(bench().trainer.train()).rejects.toThrow("process 7 on elsewhere");
    expect(existsSync(path.join(folder, ".run.lock"))).toBe(true);
  });
});

describe("outputDir", () => {
  it.each([
    ["a file", "file"],
    ["below a file", "file/below"],
  ])("that is %s is found when the trainer is made, and ends train and evaluate before they begin", async (_, name) => {
    writeFileSync(path.join(folder, "file"), "");
    const policy = new FakePolicy();
    const outputDir = path.join(folder, name);
    const options = { model: policy, evalDataset: fakeRows(1) };
    const { trainer, printed } = bench({ outputDir, logTo: ["console"] }, options);
    expect(printed.join("")).toContain(`outputDir ${outputDir} cannot be written to`);
    const error = { code: "BAD_OPTION", message: expect.stringContaining("give a folder that you may write to") };
    await expect(trainer.train()).rejects.toMatchObject(error);
    await expect(trainer.evaluate()).rejects.toMatchObject(error);
    expect(policy.calls).toEqual([]);
  });

  it("in which a log cannot be written ends a run before its first step, with the file's name", async () => {
    mkdirSync(path.join(folder, "metrics.jsonl"));
    const { trainer } = bench();
    await expect(trainer.train()).rejects.toMatchObject({
      code: "BAD_OPTION",
      message: expect.stringContaining(`cannot write ${path.join(folder, "metrics.jsonl")}`),
    });
    expect(trainer.state.globalStep).toBe(0);
  });

  it("is made when the trainer is, unless nothing will be written there", () => {
    bench({ outputDir: path.join(folder, "new/run") });
    bench({ outputDir: path.join(folder, "unused"), logTo: ["console"], saveStrategy: "no" });
    expect(readdirSync(folder)).toEqual(["new"]);
    expect(existsSync(path.join(folder, "new/run"))).toBe(true);
  });

  it("has ~ written out, as Python's expanduser does", () => {
    vi.stubEnv("HOME", folder);
    const { username, homedir } = os.userInfo();
    expect(new GRPOConfig({ outputDir: "~/a run" }).outputDir).toBe(path.join(folder, "a run"));
    expect(["~", "~/", `~${username}/x`, "~no one/x", "a/~/b", "/~", "~x~/y"].map(expandHome)).toEqual([
      folder,
      `${folder}/`,
      `${homedir}/x`,
      "~no one/x",
      "a/~/b",
      "/~",
      "~x~/y",
    ]);
    vi.unstubAllEnvs();
  });

  it("with a run of an earlier version, whose files two runs share, has the later one in its report", async () => {
    mkdirSync(path.join(folder, "mixed"));
    const run = (after: number) => ({ type: "run", resumed_after_step: after });
    const metrics = [run(0), ...[1, 2, 3, 4].map((step) => ({ type: "step", step, reward: 0 }))];
    const later = [
      run(0),
      { type: "eval", step: 0 },
      { type: "step", step: 1, reward: 1 },
      { type: "step", step: 2, reward: 1 },
    ];
    const resumed = [run(1), { type: "step", step: 2, reward: 2 }];
    const completions = [1, 2, 3, 4, 1, 2, 2].flatMap((step, at) => {
      return [0, 1].map((index) => ({ step, split: "train", index, reward: at }));
    });
    const write = (name: string, lines: readonly object[]) =>
      writeFileSync(path.join(folder, "mixed", name), lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
    write("metrics.jsonl", [...metrics, ...later, ...resumed]);
    write("completions.jsonl", completions);
    const data = await readRun(path.join(folder, "mixed"), 100);
    expect(data.steps.map(({ step, reward }) => [step, reward])).toEqual([
      [1, 1],
      [2, 2],
    ]);
    expect(data.evaluations).toHaveLength(1);
    expect([data.completionCount, data.completions.map(({ reward }) => reward)]).toEqual([4, [4, 4, 6, 6]]);
    expect(readFileSync(path.join(folder, "mixed", "metrics.jsonl"), "utf8").split("\n")).toHaveLength(12);
  });
});
