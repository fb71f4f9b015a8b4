// docs/pipeline.md as its reader follows it, at the sizes that it gives: the form of the answers comes from fine-tuning, and more of
// them are right after GRPO.

import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, expect, it } from "vitest";
import type { EvaluationResult } from "../../lib/index.js";
import { blocksOf, pages, root } from "../docs/pages.js";

const page = pages().find(({ file }) => file === "docs/pipeline.md");
if (page === undefined) throw new Error("docs/pipeline.md is not there");
const blocks = blocksOf(page);

mkdirSync(path.join(root, "build"), { recursive: true });
const folder = mkdtempSync(path.join(root, "build", "pipeline-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What the commands of the page mean in this checkout. */
const programs: Readonly<Record<string, readonly string[]>> = {
  grpo: [path.join(root, "dist/cli.js")],
  tsx: ["--import", import.meta.resolve("tsx")],
};

async function run(command: string): Promise<void> {
  const [, program = "", ...args] = command.split(/\s+/);
  const child = spawn(process.execPath, [...(programs[program] ?? []), ...args], { cwd: folder });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (said += String(data)));
  const code = await new Promise((resolve, reject) => child.once("error", reject).once("close", resolve));
  expect(code, said).toBe(0);
}

function scores(output: string): { greedy: number; sampled: number; format: number } {
  const { tasks } = JSON.parse(readFileSync(path.join(folder, output, "eval.json"), "utf8")) as EvaluationResult;
  const { greedy, sampled } = tasks[0] ?? {};
  const value = (metrics: typeof greedy, name: string) => metrics?.metrics[name]?.value ?? Number.NaN;
  return {
    greedy: value(greedy, "score"),
    sampled: value(sampled, "avg@4"),
    format: value(sampled, "rewards/format_reward"),
  };
}

it("fine-tuning teaches the form, and GRPO makes more answers right", async () => {
  mkdirSync(path.join(folder, "node_modules"));
  symlinkSync(root, path.join(folder, "node_modules", "grpo"));
  writeFileSync(path.join(folder, "package.json"), '{ "type": "module" }\n');
  for (const { code } of blocks) {
    const [, name] = /^(?:\/\/|#) ([\w-]+\.\w+)\n/.exec(code) ?? [];
    if (name !== undefined) writeFileSync(path.join(folder, name), code);
  }
  const commands = blocks
    .filter(({ language }) => language === "sh")
    .flatMap(({ code }) => code.replaceAll("\\\n", " ").trim().split("\n"));
  expect(commands.map((command) => command.split(" ").slice(0, 3).join(" "))).toEqual([
    "npx tsx lessons.ts",
    "npx grpo sft",
    "npx grpo train",
    "npx grpo eval",
    "npx grpo eval",
  ]);
  for (const command of commands) await run(command);
  const [before, after] = [scores("sums/sft"), scores("sums/grpo")];
  expect(before.format).toBeGreaterThan(0.5);
  expect(after.sampled).toBeGreaterThan(before.sampled + 0.05);
  expect(after.format).toBeGreaterThan(before.format);
}, 600_000);
