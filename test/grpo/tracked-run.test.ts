// Runs that report to trackers: how each part ends, that one that goes on stays the tracker's run, and that a dead server costs nothing.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { GRPOConfigOptions } from "../../lib/grpo/config.js";
import type { Outcome } from "../../lib/log/logger.js";
import { fakeTrainer } from "./fake-trainer.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "grpo-tracked-"));
  for (const name of Object.keys(process.env)) if (/^(MLFLOW|TRACKIO|WANDB)_/.test(name)) vi.stubEnv(name, undefined);
  vi.stubEnv("TRACKIO_DIR", path.join(folder, "trackio"));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

type StepEnd = (step: number) => void;

function bench(args: GRPOConfigOptions = {}, onStep: StepEnd = () => {}) {
  const outcomes: Outcome[] = [];
  const made = fakeTrainer(
    { outputDir: path.join(folder, "run"), ...args },
    {
      callbacks: [{ onStepEnd: ({ state }) => onStep(state.globalStep) }],
      loggers: [{ name: "own", log: () => {}, end: (outcome) => void outcomes.push(outcome) }],
    },
  );
  return { ...made, outcomes };
}

const runOf = (tracker: string): unknown =>
  JSON.parse(readFileSync(path.join(folder, "run", `${tracker}-run.json`), "utf8"));

it("tells loggers how it ended", async () => {
  const finished = bench();
  await finished.trainer.train();
  expect(finished.outcomes).toEqual(["finished"]);

  const stop = new AbortController();
  const stopped = bench({}, (step) => step === 2 && stop.abort());
  await expect(stopped.trainer.train({ signal: stop.signal })).rejects.toMatchObject({ code: "CANCELLED" });
  expect(stopped.outcomes).toEqual(["stopped"]);

  const failed = bench({}, () => {
    throw new Error("by a callback");
  });
  await expect(failed.trainer.train()).rejects.toThrow("by a callback");
  expect(failed.outcomes).toEqual(["failed"]);
});

it("goes on in the trackers' runs when it is resumed, and begins others when it is not", async () => {
  const reportTo = ["trackio", "wandb"] as const;
  const first = bench({ reportTo }, (step) => {
    if (step === 3) throw new Error("cut");
  });
  await expect(first.trainer.train()).rejects.toThrow("cut");
  const runs = [runOf("trackio"), runOf("wandb")];
  await bench({ reportTo }).trainer.train({ resumeFromCheckpoint: true });
  expect([runOf("trackio"), runOf("wandb")]).toEqual(runs);
  await bench({ reportTo }).trainer.train();
  expect(runOf("trackio")).not.toEqual(runs[0]);
  expect(runOf("wandb")).not.toEqual(runs[1]);
});

it("does all its steps beside a server that is not there, and says so once", async () => {
  vi.stubEnv("MLFLOW_TRACKING_URI", "http://127.0.0.1:2");
  const { trainer, printed } = bench({ reportTo: "mlflow" });
  expect((await trainer.train()).globalStep).toBe(4);
  const said = printed.join("").match(/^.*mlflow.*$/gm);
  expect(said).toEqual([
    expect.stringContaining("mlflow cannot be reached, its entries wait: no answer from http://127.0.0.1:2"),
    "mlflow did not get 7 of the entries of this run",
  ]);
});
