// The engine in worker threads and in processes that end while it computes: nothing hangs, nothing crashes.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { describe, expect, it } from "vitest";
import { CausalLM } from "../../lib/model/model.js";
import { DEVICE } from "../support/device.js";
import { tinyQwen2 } from "./golden.js";

const script = new URL("./sample-forever.ts", import.meta.url);

function startWorker(workerData: string): Worker {
  // In a worker, `--import tsx` does not reach the loader of Node 20.
  const code = `import(${JSON.stringify(import.meta.resolve("tsx/esm/api"))}).then(({ tsImport }) => {
    return tsImport(${JSON.stringify(script.href)}, ${JSON.stringify(import.meta.url)});
  })`;
  return new Worker(code, { eval: true, workerData });
}

async function startProcess(
  ...args: string[]
): Promise<{ code: number | null; signal: string | null; stderr: string }> {
  const child = spawn(process.execPath, ["--import", "tsx", fileURLToPath(script), ...args], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  await once(child, "close");
  return { code: child.exitCode, signal: child.signalCode, stderr };
}

async function logitsHere(): Promise<Float32Array | undefined> {
  await using model = await CausalLM.fromPretrained(tinyQwen2, { dtype: "float32", device: DEVICE, threads: 1 });
  const [logits] = await model.forward([[1, 2, 3]]);
  return logits;
}

describe("a worker thread", () => {
  it("computes what the main thread computes, also beside it, and ends by itself", async () => {
    const worker = startWorker("finish");
    const ended = once(worker, "exit");
    const [[logits], here] = await Promise.all([once(worker, "message"), logitsHere()]);
    expect(logits).toEqual(here);
    expect(await ended).toEqual([0]);
  });

  it("can be terminated while it samples; the process goes on", async () => {
    const worker = startWorker("sample");
    const messages: unknown[] = [];
    const sampling = new Promise<void>((resolve, reject) => {
      worker.on("error", reject);
      worker.on("message", (message) => {
        messages.push(message);
        if (message === "sampling") resolve();
      });
    });
    await sampling;
    const before = performance.now();
    await worker.terminate();
    // The job ends at its next check, a decode step away: not after the minutes that the rest would take.
    expect(performance.now() - before).toBeLessThan(5000);
    expect(await logitsHere()).toEqual(messages[0]);
  });
});

describe("a process", () => {
  it("exits with its own code while a job runs", async () => {
    expect(await startProcess("exit")).toEqual({ code: 7, signal: null, stderr: "" });
  });

  it.each(["finish", "idle"])(
    "exits with code 0 when its work is done, whether or not it disposed its model (%s)",
    async (wish) => {
      expect(await startProcess(wish)).toEqual({ code: 0, signal: null, stderr: "" });
    },
  );

  it("fails with the error of a callback that throws", async () => {
    const { code, signal, stderr } = await startProcess("throw");
    expect({ code, signal }).toEqual({ code: 1, signal: null });
    expect(stderr).toContain("thrown by a callback");
  });
});
