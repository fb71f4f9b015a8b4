// Evaluations of the bundled model: through the engine and through `grpo serve` alike, and by the command, killed and gone on with.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { CausalLM, type EvaluationOptions, evaluate, LoraConfig, rewards, Tokenizer, tinyModel } from "grpo";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { DEVICE } from "../support/device.js";

const cli = fileURLToPath(new URL("../../dist/cli.js", import.meta.url));
const running: ChildProcess[] = [];
let folder: string;
let model: CausalLM;
let tokenizer: Tokenizer;
beforeAll(async () => {
  model = await CausalLM.fromPretrained(tinyModel, { device: DEVICE, dtype: "float32" });
  tokenizer = await Tokenizer.fromPretrained(tinyModel);
});
afterAll(() => model.dispose());
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "grpo-eval-"));
});
afterEach(async () => {
  for (const child of running.splice(0)) child.kill("SIGKILL");
  await rm(folder, { recursive: true, force: true });
});

const out = (name: string) => path.join(folder, name);
const rows = Array.from({ length: 12 }, (_, i) => ({
  prompt: [
    { role: "user", content: `Ada has ${i + 2} cards and gets ${11 - i} more. How many cards does Ada have now?` },
  ],
  solution: i % 3 === 0 ? "1" : "13",
}));
const last = rewards.perSample<{ solution: string }>(
  ({ text, solution }) => text.includes(`<answer>${solution}<`),
  "last",
);
const task = { name: "sums", dataset: rows, rewardFuncs: last };

function run(args: readonly string[]) {
  const child = spawn(process.execPath, [cli, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  running.push(child);
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (part) => {
    stdout += part;
  });
  child.stderr.on("data", (part) => {
    stderr += part;
  });
  const ended = once(child, "close").then(([status]) => ({ status, stdout, stderr }));
  return { child, ended, stdout: () => stdout };
}

async function serve(): Promise<string> {
  const served = run(["serve", "--model", tinyModel, "--device", "cpu", "--dtype", "float32", "--quiet"]);
  while (!served.stdout().includes("\n")) await sleep(50);
  return served.stdout().trim();
}

const linesOf = async (name: string) =>
  (await readFile(path.join(out(name), "completions.jsonl"), "utf8"))
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

describe("the engine", () => {
  const options = (name: string): EvaluationOptions => ({ tasks: task, model, tokenizer, outputDir: out(name) });

  it("gives the scores, texts and lengths that a server of the same model gives greedily", async () => {
    const own = await evaluate({ ...options("engine"), samples: 0 });
    const { model: _, ...rest } = options("server");
    const served = await evaluate({ ...rest, samples: 0, server: { baseURL: await serve() } });
    expect(served.tasks).toEqual(own.tasks);
    expect(own.tasks[0]?.greedy?.metrics.score?.value).toBe(0.5);
    const [mine, theirs] = [await linesOf("engine"), await linesOf("server")];
    expect(theirs).toEqual(mine.map(({ ids: _ids, ...line }) => line));
  });

  it("draws the same samples whichever problems are done already, and others for another seed", async () => {
    const whole = await evaluate({ ...options("whole"), greedy: false, samples: 4, temperature: 1.5 });
    const completions = await readFile(path.join(out("whole"), "completions.jsonl"), "utf8");
    const half = { ...options("half"), greedy: false, samples: 4, temperature: 1.5 };
    await evaluate(half);
    const { settings, schema_version } = JSON.parse(await readFile(path.join(out("half"), "eval.json"), "utf8"));
    const kept = completions.split("\n").filter((line) => /"problem":(3|7|8),/.test(line));
    expect(kept).toHaveLength(12);
    await writeFile(path.join(out("half"), "completions.jsonl"), `${kept.join("\n")}\n`);
    await writeFile(path.join(out("half"), "eval.json"), JSON.stringify({ schema_version, settings }));
    expect(await evaluate(half)).toEqual(whole);
    expect(await readFile(path.join(out("half"), "completions.jsonl"), "utf8")).toBe(completions);
    await evaluate({ ...half, outputDir: out("other"), seed: 1 });
    expect(await readFile(path.join(out("other"), "completions.jsonl"), "utf8")).not.toBe(completions);
    const texts = (await linesOf("whole")).map(({ completion }) => completion);
    expect(new Set(texts).size).toBeGreaterThan(12);
  });

  it("does not take a model that was trained further for the one before", async () => {
    const other = await CausalLM.fromPretrained(tinyModel, { device: DEVICE, dtype: "float32" });
    await evaluate({ ...options("out"), samples: 0, limit: 2 });
    other.applyLora(new LoraConfig({ r: 2, targetModules: "all-linear", initLoraWeights: false }));
    const again = evaluate({ ...options("out"), model: other, samples: 0, limit: 2 });
    await expect(again).rejects.toThrow(/an evaluation with another weights/);
    other.dispose();
  });

  it("refuses conversations without a chat template, and asks in plain text where it is told to", async () => {
    const bare = await Tokenizer.fromPretrained(tinyModel);
    Object.defineProperty(bare, "chatTemplate", { value: undefined });
    const asked = { ...options("bare"), tokenizer: bare, samples: 0, limit: 2, maxNewTokens: 8 };
    await expect(evaluate(asked)).rejects.toMatchObject({ code: "BAD_TEMPLATE" });
    const { notices, settings } = await evaluate({ ...asked, chatTemplate: false });
    expect(notices).toContain("the chat template was not applied: the numbers are those of a base model");
    expect(settings).toMatchObject({ chat_template: null, chat_template_applied: false });
  });
});

describe("grpo eval", () => {
  const command = async (name: string, ...more: string[]) => {
    const file = out("rows.jsonl");
    const lines = rows.map(({ prompt: [first], ...row }) => JSON.stringify({ ...row, problem: first?.content }));
    await writeFile(file, lines.join("\n"));
    await writeFile(
      out("last.mjs"),
      "export const last = ({ completions, solution }) => completions.map(([{ content }], i) => content.includes('<answer>' + solution[i] + '<'));\n",
    );
    const data = ["--reward", `${out("last.mjs")}#last`, "--split", "train", "--prompt-column", "problem"];
    const drawn = ["--samples", "4", "--temperature", "1.5", "--device", "cpu", "--dtype", "float32"];
    return run(["eval", file, "--model", tinyModel, ...data, ...drawn, "--output", out(name), "--quiet", ...more]);
  };

  it("killed and run again gives the numbers and files of a run that was not", async () => {
    // Long enough to be killed on the way.
    const asked = ["--json", "--samples", "40"];
    const whole = await (await command("whole", ...asked)).ended;
    expect(whole).toMatchObject({ status: 0, stderr: "" });
    const killed = await command("killed", ...asked);
    const file = path.join(out("killed"), "completions.jsonl");
    while (!existsSync(file) || !(await readFile(file, "utf8")).includes('"do_sample":true')) await sleep(5);
    killed.child.kill("SIGKILL");
    await killed.ended;
    expect((await readFile(file, "utf8")).split("\n").length).toBeLessThan(41 * rows.length);
    const again = await (await command("killed", ...asked)).ended;
    expect(again.stdout).toBe(whole.stdout);
    for (const name of ["eval.json", "completions.jsonl", "problems.jsonl", "report.html"]) {
      const [one, other] = await Promise.all(
        ["killed", "whole"].map((run) => readFile(path.join(out(run), name), "utf8")),
      );
      expect(one, name).toBe(other);
    }
  });

  it("compares with an evaluation before, and says what differs", async () => {
    await (await command("before", "--limit", "6")).ended;
    const { status, stdout } = await (await command("after", "--limit", "6", "--seed", "1", "--against", out("before")))
      .ended;
    expect(status).toBe(0);
    expect(stdout).toMatch(
      /rows\.jsonl greedy score +0\.0000 {2}\[0\.0000, 0\.0000\] {2}p = 1\.0 {2}better 0, worse 0/,
    );
    expect(stdout).toContain("differing settings: seed");
    expect(stdout.trim().endsWith(path.join(out("after"), "report.html"))).toBe(true);
    const { status: shown, stdout: page } = await run([
      "report",
      out("before"),
      out("after"),
      "--output",
      out("both.html"),
    ]).ended;
    expect([shown, page]).toEqual([0, `${out("both.html")}\n`]);
  });

  it.each([
    [[], /on what\?/],
    [["gsm8k"], /which model\?/],
    [["gsm9k", "--model", tinyModel], /did you mean gsm8k\?/],
    [["./rows.jsonl", "--model", tinyModel], /is a data set; how are answers to it graded\?/],
    [["gsm8k", "--model", tinyModel, "--samples", "few"], /--samples must be a number, found "few"/],
  ])("refuses %j with a message", async (args, message) => {
    const { status, stdout, stderr } = await run(["eval", ...args]).ended;
    expect([status, stdout]).toEqual([1, ""]);
    expect(stderr).toMatch(message);
    expect(stderr).not.toContain("    at ");
  });
});
