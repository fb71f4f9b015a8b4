// The mathematics data sets with prompt and solution, in their own columns, and whether the accuracy reward can judge by them.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, expectTypeOf, it } from "vitest";
import { datasets, type Message, rewards } from "../../lib/index.js";

const NUMINA = new URL("../fixtures/hub/", import.meta.url).pathname;

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "grpo-ready-"));
});

afterEach(() => rm(folder, { recursive: true, force: true }));

async function write(rows: readonly object[]): Promise<string> {
  const file = path.join(folder, "train.jsonl");
  await writeFile(file, rows.map((row) => JSON.stringify(row)).join("\n"));
  return file;
}

const judge = (text: string, solution: string) =>
  rewards.accuracy({ completions: [[{ role: "assistant", content: text }]], solution: [solution] });

describe("gsm8k", () => {
  it("has the number after #### as solution", async () => {
    const source = await write([
      { question: "How many?", answer: "48/2 = <<48/2=24>>24\n48+24 = 72\n#### 72" },
      { question: "How much?", answer: "A lot.\n#### 1,080" },
      { question: "And then?", answer: "Less.\n#### -3.5" },
    ]);
    const rows = await datasets.gsm8k({ source, systemPrompt: "Be brief." });
    expect(rows.columnNames).toEqual(["prompt", "solution", "reasoning"]);
    expect(rows.at(0)).toEqual({
      prompt: [
        { role: "system", content: "Be brief." },
        { role: "user", content: "How many?" },
      ],
      solution: "72",
      reasoning: "48/2 = <<48/2=24>>24\n48+24 = 72",
    });
    expect(rows.column("solution")).toEqual(["72", "1080", "-3.5"]);
    for (const solution of rows.column("solution")) {
      expect(judge(`So it is $\\boxed{${solution}}$.`, solution)).toEqual([1]);
      expect(judge("So it is $\\boxed{999}$.", solution)).toEqual([0]);
    }
    expectTypeOf(rows.at(0).prompt).toEqualTypeOf<Message[]>();
  });

  it("names a row without the mark", async () => {
    const source = await write([{ question: "How many?", answer: "72" }]);
    await expect(datasets.gsm8k({ source })).rejects.toThrow('row 0 has no "#### number"');
    await expect(datasets.gsm8k({ spilt: "train" } as object)).rejects.toThrow("did you mean split?");
  });
});

it("math keeps level and type beside prompt and solution", async () => {
  const solution = "The sum is $\\boxed{\\frac{1}{2}}$.";
  const source = await write([{ problem: "What is the sum?", level: "Level 5", type: "Algebra", solution }]);
  const rows = await datasets.math({ source });
  expect(rows.at(0)).toEqual({
    level: "Level 5",
    type: "Algebra",
    solution,
    prompt: [{ role: "user", content: "What is the sum?" }],
  });
  expect(judge("$\\boxed{0.5}$", solution)).toEqual([1]);
});

it("numinaMathTir has prompt and solution only", async () => {
  const rows = await datasets.numinaMathTir({ source: NUMINA, split: "test[:2]" });
  expect(rows.columnNames).toEqual(["solution", "prompt"]);
  expect(rows.length).toBe(2);
});
