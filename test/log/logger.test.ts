// Loggers beside the run's own files: what they are told, and that one which fails does not end the run.

import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { Logger } from "../../lib/log/logger.js";
import { RunLog, type RunLogOptions } from "../../lib/log/run-log.js";

let outputDir: string;
beforeEach(async () => {
  outputDir = await mkdtemp(path.join(tmpdir(), "grpo-logger-"));
});
afterEach(() => rm(outputDir, { recursive: true, force: true }));

async function shortRun(loggers: readonly Logger[], logTo: RunLogOptions["logTo"] = ["console"]): Promise<string> {
  let printed = "";
  const output = { write: (text: string) => (printed += text) };
  const log = new RunLog({ outputDir, logTo, output, loggers });
  await log.begin({ run_name: "short" }, 3);
  await log.step(4, { reward: 0.1 }, []);
  await log.window(4, { reward: 0.1 });
  await log.evaluation(5, { metrics: { eval_reward: 0.2 }, completions: [] });
  await log.close();
  return printed;
}

it("are told the run, each window and each evaluation", async () => {
  const told: unknown[] = [];
  await shortRun([
    {
      name: "list",
      begin: (run, step) => void told.push(["begin", run.run_name, step]),
      log: async (step, metrics) => void told.push([step, metrics]),
      end: () => void told.push(["end"]),
    },
  ]);
  expect(told).toEqual([["begin", "short", 3], [4, { reward: 0.1 }], [5, { eval_reward: 0.2 }], ["end"]]);
});

it("that fail are reported once and left out from then on", async () => {
  let calls = 0;
  const log = () => {
    calls++;
    throw new Error("service is down");
  };
  const printed = await shortRun([{ name: "broken", log }]);
  expect(calls).toBe(1);
  expect(printed.match(/the logger "broken" failed.*service is down/g)).toHaveLength(1);
});

it("include TensorBoard where logTo names it", async () => {
  await shortRun([], ["tensorboard"]);
  expect(await readdir(path.join(outputDir, "runs"))).toEqual([expect.stringMatching(/^events\.out\.tfevents\./)]);
});
