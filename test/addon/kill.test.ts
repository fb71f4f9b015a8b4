// A run killed with SIGKILL, in rollout, reward, update and while writing, and resumed equals one that was never killed, bit
// for bit: adapter, optimizer, log history, evaluations, and every completion with its rewards and advantages.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { listCheckpoints } from "../../lib/run/checkpoint.js";
import { killableRun } from "./killable-run.js";

const script = fileURLToPath(new URL("./killable-run.ts", import.meta.url));

let folder: string;
let moments: string[];
let whole: Awaited<ReturnType<typeof outcomeOf>>;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "grpo-kill-"));
  const run = await runProcess(path.join(folder, "whole"));
  expect(run.stderr).toBe("");
  moments = JSON.parse(run.stdout);
  whole = await outcomeOf(path.join(folder, "whole"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function runProcess(outputDir: string, ...moment: string[]) {
  const child = spawn(process.execPath, ["--import", "tsx", script, outputDir, ...moment]);
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "close")]);
  return { stdout, stderr, signal: child.signalCode };
}

/** What a run leaves behind, without times. A step that was done twice counts as it was done last. */
async function outcomeOf(outputDir: string) {
  const last = path.join(outputDir, "checkpoint-5");
  const bytes = async (name: string) => (await readFile(path.join(last, name))).toString("base64");
  const state = JSON.parse(await readFile(path.join(last, "trainer_state.json"), "utf8"));
  const timeless = (entry: object) =>
    Object.fromEntries(Object.entries(entry).filter(([name]) => !/time|_per_second|^memory|^saved_at$/.test(name)));
  const lines = (await readFile(path.join(outputDir, "completions.jsonl"), "utf8")).trimEnd().split("\n");
  const bySteps = new Map<string, string[]>();
  for (const line of lines.filter((line) => line.endsWith("}"))) {
    const { step, split } = JSON.parse(line);
    const key = `${split} ${step}`;
    bySteps.set(key, [...(bySteps.get(key) ?? []), line].slice(split === "train" ? -8 : -2));
  }
  return {
    adapter: await bytes("adapter_model.safetensors"),
    optimizer: await bytes("optimizer.safetensors"),
    state: { ...timeless(state), log_history: state.log_history.map(timeless) },
    completions: [...bySteps].sort(([a], [b]) => a.localeCompare(b)),
  };
}

/** One moment of every kind, some early and some late in the run, and more of those around a checkpoint's last steps. */
function chosenMoments(): number[] {
  const kinds = [...new Set(moments)];
  const chosen = kinds.flatMap((kind, k) => {
    const all = [...moments.keys()].filter((i) => moments[i] === kind);
    const one = all[Math.floor((all.length * k) / kinds.length)];
    return kind === "after rename" || kind === "after writeFile" ? [one, all.at(-1)] : [one];
  });
  return [...new Set(chosen.filter((i) => i !== undefined))].sort((a, b) => a - b);
}

describe("a run killed", () => {
  it("has moments of every kind to be killed at", () => {
    const kinds = new Set(moments);
    const needed = [
      "reward",
      "before sample",
      "reward of an evaluation",
      "after forwardBackward",
      "before optimizerStep",
      "after takeCheckpoint",
    ];
    for (const kind of [...needed, "before rename", "after writeFile", "before appendFile"])
      expect(kinds).toContain(kind);
    expect(chosenMoments().length).toBeGreaterThanOrEqual(20);
  });

  it("at any of them and resumed equals a run never killed, bit for bit", async () => {
    for (const moment of chosenMoments()) {
      const name = `${moment}: ${moments[moment]}`;
      const outputDir = path.join(folder, String(moment));
      const { signal, stderr } = await runProcess(outputDir, String(moment));
      expect([signal, stderr], name).toEqual(["SIGKILL", ""]);
      const saved = await listCheckpoints(outputDir);
      await killableRun(outputDir, saved.length > 0);
      expect(await outcomeOf(outputDir), name).toEqual(whole);
      const left = (await readdir(outputDir)).filter((file) => file.startsWith(".tmp-"));
      expect(left, name).toEqual([]);
      await rm(outputDir, { recursive: true });
    }
  });
});
