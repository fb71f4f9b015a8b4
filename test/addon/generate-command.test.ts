// `grpo generate` in a process of its own, with the bundled model.

import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const file = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const question = "Ada has 5 cards and gets 3 more. How many cards does Ada have now?";

function generate(args: readonly string[], input = "") {
  const all = [
    file("dist/cli.js"),
    "generate",
    "--model",
    file("scripts/assets/tiny-qwen2"),
    "--device",
    "cpu",
    ...args,
  ];
  return spawnSync(process.execPath, all, { encoding: "utf8", input });
}

describe("grpo generate", () => {
  it("answers a question, on stdout alone", () => {
    const { status, stdout, stderr } = generate([question]);
    expect([status, stdout]).toEqual([0, "<think>5 + 3 = 8</think><answer>8</answer>\n"]);
    expect(stderr).toMatch(/^\d+ tokens in .* tokens\/s\n$/);
  });

  it("reads the question from a pipe and ends at a stop text", () => {
    const { stdout, stderr } = generate(["--stop", "</think>", "--quiet"], `${question}\n`);
    expect(stdout).toMatch(/^<think>5 \+ 3 = 8<\/think>/);
    expect(stdout).not.toContain("answer>8");
    expect(stderr).toBe("");
  });

  it("gives several answers as JSON lines, the same ones for the same seed", () => {
    const args = ["-n", "4", "--temperature", "1", "--seed", "9", "--json", "--quiet", question];
    const first = generate(args).stdout;
    const answers = first
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(answers).toHaveLength(4);
    for (const answer of answers)
      expect(answer).toMatchObject({ finish_reason: expect.any(String), tokens: expect.any(Number) });
    expect(generate(args).stdout).toBe(first);
  });

  it("answers greedily at temperature 0, also where the model's own settings sample", () => {
    const args = ["--temperature", "0", "--top-p", "0.5", "--quiet", "--seed"];
    const answers = ["1", "2"].map((seed) => generate([...args, seed, question]).stdout);
    expect(answers).toEqual(Array(2).fill("<think>5 + 3 = 8</think><answer>8</answer>\n"));
  });

  it.each([
    [["--temperature", "hot", "x"], /--temperature must be a number/],
    [["--adapter", "./no/such/adapter-folder", "x"], /no\/such\/adapter-folder/],
  ])("refuses %j with a message", (args, message) => {
    const { status, stderr } = generate(args);
    expect(status).toBe(1);
    expect(stderr).toMatch(message);
    expect(stderr).not.toContain("    at ");
  });
});
