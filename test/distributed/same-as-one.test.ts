// A run on several ranks is the run on one with the same batch: the same completions and rewards, and losses and weights but for the
// rounding of sums in another order.

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { launch } from "../../lib/distributed/launch.js";
import { readTensors } from "../../lib/model/files/safetensors.js";
import { largestDifference, numbers } from "../addon/golden.js";
import { CASES } from "./cases.js";

const script = fileURLToPath(new URL("./ranks-run.ts", import.meta.url));
const names = Object.keys(CASES);

let folder: string;
beforeAll(async () => {
  vi.stubEnv("NODE_OPTIONS", `--import ${import.meta.resolve("tsx")}`);
  folder = await mkdtemp(path.join(tmpdir(), "grpo-ranks-"));
  for (const ranks of [1, 2, 3, 4]) {
    const lines: string[] = [];
    const status = await launch({
      ranks,
      script,
      args: [path.join(folder, `${ranks}`), ...names],
      maxRestarts: 0,
      onLine: (rank, line) => lines.push(`[${rank}] ${line}`),
      note: (text) => lines.push(text),
      signal: new AbortController().signal,
    });
    expect(lines.join("\n")).toBe("");
    expect(status).toBe(0);
  }
}, 900_000);
afterAll(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

async function jsonLines(ranks: number, name: string, file: string): Promise<Record<string, unknown>[]> {
  const text = await readFile(path.join(folder, `${ranks}`, name, file), "utf8");
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
}

/** Numbers of steps and evaluations that do not depend on the clock. */
async function metrics(ranks: number, name: string) {
  const lines = (await jsonLines(ranks, name, "metrics.jsonl")).filter(({ type }) => type !== "run");
  return lines.map((line) =>
    Object.fromEntries(Object.entries(line).filter(([key]) => !/time|per_second|^memory/.test(key))),
  );
}

describe.each(names)("%s", (name) => {
  it.each([2, 3, 4])("has the completions of one process on %i ranks", async (ranks) => {
    const one = await jsonLines(1, name, "completions.jsonl");
    const several = await jsonLines(ranks, name, "completions.jsonl");
    const drawn = (lines: Record<string, unknown>[]) => lines.map(({ advantage: _, ...line }) => line);
    expect(drawn(several)).toEqual(drawn(one));
  });

  it.each([2, 3, 4])("has its losses and metrics on %i ranks", async (ranks) => {
    const one = await metrics(1, name);
    const several = await metrics(ranks, name);
    expect(several.length).toBe(one.length);
    one.forEach((line, i) => {
      for (const [key, value] of Object.entries(line)) {
        const other = several[i]?.[key];
        if (typeof value !== "number") expect(other).toEqual(value);
        else
          expect(Math.abs(Number(other) - value), `${key} of line ${i}`).toBeLessThan(
            5e-5 * Math.max(1, Math.abs(value)),
          );
      }
      expect(Math.abs(Number(several[i]?.loss ?? 0) - Number(line.loss ?? 0))).toBeLessThan(1e-6);
    });
  });

  it.each([2, 3, 4])("has its weights on %i ranks, and all ranks have the same", async (ranks) => {
    const file = CASES[name]?.full ? "model.safetensors" : "adapter_model.safetensors";
    const at = (size: number, rank: number) => path.join(folder, `${size}`, name, `rank-${rank}`, file);
    const first = await readFile(at(ranks, 0));
    for (let rank = 1; rank < ranks; rank++) expect((await readFile(at(ranks, rank))).equals(first)).toBe(true);
    const [one, several] = [await readTensors(at(1, 0)), await readTensors(at(ranks, 0))];
    for (const tensor of one.keys()) {
      expect(largestDifference(numbers(one, tensor), numbers(several, tensor)), tensor).toBeLessThan(1e-6);
    }
  });
});
