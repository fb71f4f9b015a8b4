// What runs in a worker process of rewards.worker: imports the reward function once, calls it with each batch, and answers with
// what it returned, logged or threw.

import { Worker } from "node:worker_threads";
import { reasonOf } from "../errors.js";
import { importFunction } from "../modules.js";
import type { RewardBatch } from "../types.js";
import { checkRewards, RewardError } from "./failure.js";
import { pack, unpack } from "./worker-message.js";

export interface WorkerTask {
  readonly file: string;
  readonly exported: string | undefined;
  /** What messages call the function. */
  readonly name: string;
  /** The batch without what cannot be sent to another process. */
  readonly batch: Omit<RewardBatch, "logMetric" | "logExtra" | "signal">;
}

export type WorkerAnswer =
  | {
      readonly rewards: (number | null)[];
      readonly metrics: readonly (readonly [name: string, value: number])[];
      readonly extras: readonly (readonly [column: string, values: unknown[]])[];
    }
  | { readonly failure: "exceptions" | "invalid"; readonly message: string };

/** Said once the function is imported: its time begins. */
export const STARTED = "started";

// A terminal sends Ctrl-C to this process too; when it ends is for the trainer to say.
process.on("SIGINT", () => {});
process.on("disconnect", () => process.exit());
endWithParent();

export async function callReward(packed: string): Promise<string> {
  const task = unpack(packed) as WorkerTask;
  try {
    return pack(await answer(task));
  } catch (error) {
    const failure = error instanceof RewardError && error.kind === "invalid" ? "invalid" : "exceptions";
    return pack({ failure, message: reasonOf(error) } satisfies WorkerAnswer);
  }
}

async function answer({ file, exported, name, batch }: WorkerTask): Promise<WorkerAnswer> {
  const { fn } = await importFunction(file, exported);
  process.send?.(STARTED);
  const metrics: [string, number][] = [];
  const extras: [string, unknown[]][] = [];
  const whole: RewardBatch = {
    ...batch,
    // Never aborted: a call that is to stop ends with its process.
    signal: new AbortController().signal,
    logMetric: (metric, value) => void metrics.push([metric, value]),
    logExtra: (column, values) => void extras.push([column, [...values]]),
  };
  const result = await fn(whole as never);
  return { rewards: checkRewards(name, result, batch.completions.length), metrics, extras };
}

/** Ends this process soon after its parent, even where that was killed and this one never comes back from a loop. */
function endWithParent(): void {
  const watch = `const parent = ${process.ppid};
    setInterval(() => { if (process.ppid !== parent) process.kill(process.pid, "SIGKILL"); }, 250);`;
  new Worker(watch, { eval: true, execArgv: [] }).unref();
}
