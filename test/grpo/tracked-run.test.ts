// Runs that report to trackers: how each part ends, that one that goes on stays the tracker's run, and that a dead server costs nothing.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { GRPOConfigOptions } from "../../lib/grpo/config.js";
import type { Outcome } from "../../lib/log/logger.js";
import { fakeRows } from "./fake-policy.js";
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
      evalDataset: fakeRows(1),
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

/** What MLflow is asked, in words, by a server that knows every run. */
async function mlflowServer(): Promise<{ asked: string[]; close: () => void }> {
  const asked: string[] = [];
  let runs = 0;
  const server = createServer(async (request, response) => {
    let text = "";
    for await (const part of request) text += part;
    const body = text === "" ? {} : JSON.parse(text);
    const said = body.metrics ? Object.keys(body.metrics[0]).includes("key") && body.metrics[0].key : body.status;
    const what = request.url?.replace("/api/2.0/mlflow/runs/", "").replace(/\?.*/, "");
    if (what !== "get" && !body.params) asked.push([what, body.run_id, said].filter((part) => part).join(" "));
    if (body.params && !asked.includes(`params ${body.run_id}`)) asked.push(`params ${body.run_id}`);
    const answer =
      what === "create" ? { run: { info: { run_id: `run${++runs}` } } } : { run: { data: { params: [] } } };
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  vi.stubEnv("MLFLOW_TRACKING_URI", `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  return { asked, close: () => server.close() };
}

it("ends the tracker's run after an evaluation alone, which has the configuration", async () => {
  const mlflow = await mlflowServer();
  const { trainer, outcomes, printed } = bench({ reportTo: ["mlflow", "wandb"] });
  await trainer.evaluate();
  expect(outcomes).toEqual(["finished"]);
  const metric = expect.stringMatching(/^log-batch run1 eval_/);
  expect(mlflow.asked).toEqual(["create", "params run1", metric, "update run1 FINISHED"]);
  expect(printed.join("")).toMatch(/upload the run with: wandb sync .*offline-run/);
  await trainer.evaluate();
  expect(mlflow.asked.slice(4)).toEqual([metric, "update run1 FINISHED"]);
  expect(readdirSync(path.join(folder, "run", "wandb"))).toHaveLength(1);
  mlflow.close();
});

it("has evaluations before and after a run in that run, which ends as it ended", async () => {
  const mlflow = await mlflowServer();
  const { trainer, outcomes } = bench({ reportTo: ["mlflow", "wandb"], maxSteps: 1, saveStrategy: "no" }, () => {
    throw new Error("by a callback");
  });
  await trainer.evaluate();
  await expect(trainer.train()).rejects.toThrow("by a callback");
  await trainer.evaluate();
  expect(outcomes).toEqual(["finished", "failed", "failed"]);
  expect(mlflow.asked.filter((asked) => !asked.startsWith("log-batch") && !asked.startsWith("params"))).toEqual([
    "create",
    "update run1 FINISHED",
    "update run1 RUNNING",
    "update run1 FAILED",
    "update run1 FAILED",
  ]);
  expect(readdirSync(path.join(folder, "run", "wandb"))).toHaveLength(1);
  mlflow.close();
});

it("goes on in the trackers' runs also after an evaluation before it", async () => {
  const mlflow = await mlflowServer();
  const reportTo = ["mlflow", "trackio", "wandb"] as const;
  await bench({ reportTo, maxSteps: 2 }).trainer.train();
  const runs = [runOf("mlflow"), runOf("trackio"), runOf("wandb")];
  const { trainer } = bench({ reportTo });
  await trainer.evaluate();
  await trainer.train({ resumeFromCheckpoint: true });
  expect([runOf("mlflow"), runOf("trackio"), runOf("wandb")]).toEqual(runs);
  mlflow.close();
});

it("waits for loggers after an evaluation also where the run before it was stopped", async () => {
  const stop = new AbortController();
  const { trainer, outcomes } = bench({}, () => stop.abort());
  await expect(trainer.train({ signal: stop.signal })).rejects.toMatchObject({ code: "CANCELLED" });
  await trainer.evaluate();
  expect(outcomes).toEqual(["stopped", "stopped"]);
});
