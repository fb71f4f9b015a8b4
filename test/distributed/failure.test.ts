// A rank that is killed, stopped or fails ends the run on all ranks within the timeout, with an error that names it; and the last
// checkpoint goes on with another number of ranks, to the numbers of a run that nothing disturbed.

import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { launch } from "../../lib/distributed/launch.js";
import { readTensors } from "../../lib/model/files/safetensors.js";
import { largestDifference, numbers } from "../addon/golden.js";

const script = fileURLToPath(new URL("./failing-run.ts", import.meta.url));

let folder: string;
beforeAll(async () => {
  vi.stubEnv("NODE_OPTIONS", `--import ${import.meta.resolve("tsx")}`);
  folder = await mkdtemp(path.join(tmpdir(), "grpo-failure-"));
  expect(await run(1, "undisturbed", "none", 0)).toMatchObject({ status: 0 });
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

async function run(ranks: number, name: string, what: string, failing: number) {
  const lines: string[] = [];
  const status = await launch({
    ranks,
    script,
    args: [path.join(folder, name), what, `${failing}`],
    maxRestarts: 0,
    grace: 12_000,
    onLine: (rank, line) => lines.push(`[${rank}] ${line}`),
    note: (text) => lines.push(text),
    signal: new AbortController().signal,
  });
  return { status, text: lines.join("\n") };
}

/** Steps of the checkpoints that are whole. */
async function checkpointsOf(name: string): Promise<number[]> {
  const found = (await readdir(path.join(folder, name))).map((entry) => /^checkpoint-(\d+)$/.exec(entry)?.[1]);
  return found.flatMap((step) => (step === undefined ? [] : Number(step)));
}

const weights = (name: string) => readTensors(path.join(folder, name, "final", "adapter_model.safetensors"));

describe.each([
  ["kill", 1, 2, 137, /\[0\] RANK_FAILED rank 1 does not answer any more/],
  ["kill", 0, 2, 137, /\[1\] RANK_FAILED rank 0, which holds the store, does not answer any more/],
  ["stop", 1, 2, 1, /\[0\] RANK_FAILED rank 1 does not answer any more/],
  ["throw", 1, 3, 1, /\[0\] RANK_FAILED rank 1 has failed: .*the judge is down/],
] as const)("where %s comes to rank %i of %i", (what, failing, ranks, status, message) => {
  const name = `${what}-${failing}`;

  it("all end with an error that names it", async () => {
    const ended = await run(ranks, name, what, failing);
    expect(ended.text).toMatch(message);
    expect(ended.status).toBe(status);
  });

  it("the last checkpoint goes on with another number of ranks", async () => {
    // Rank 0 writes them while it goes on: killed in step 3, it may not have ended that of step 2.
    const least = what === "kill" && failing === 0 ? 1 : 2;
    expect(Math.max(...(await checkpointsOf(name)))).toBeGreaterThanOrEqual(least);
    expect(await run(ranks === 2 ? 3 : 1, name, "resume", failing)).toEqual({ status: 0, text: "" });
    const [one, other] = [await weights("undisturbed"), await weights(name)];
    for (const tensor of one.keys()) {
      expect(largestDifference(numbers(one, tensor), numbers(other, tensor)), tensor).toBeLessThan(1e-6);
    }
  });
});
