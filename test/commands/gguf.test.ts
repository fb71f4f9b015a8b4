// `grpo gguf` in a process of its own, with the bundled model. What is in the file: gguf/gguf.test.ts.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { gguf } from "@huggingface/gguf";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));
const model = path.join(root, "scripts/assets/tiny-qwen2");

let work = "";
beforeAll(() => {
  work = mkdtempSync(path.join(tmpdir(), "grpo-gguf-command-"));
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

function run(...args: string[]) {
  return spawnSync(process.execPath, [path.join(root, "dist/cli.js"), "gguf", ...args], { encoding: "utf8" });
}

describe("grpo gguf", () => {
  it("writes Q8_0 unless it is told otherwise, names the file, and leaves nothing beside it", async () => {
    const output = path.join(work, "new/tiny.gguf");
    const { status, stdout, stderr } = run("--model", model, "--output", output);
    expect([status, stdout, stderr]).toEqual([0, `${output}\n`, `writing ${model} as q8_0\n`]);
    expect(readdirSync(path.dirname(output))).toEqual(["tiny.gguf"]);
    const { metadata } = await gguf(output, { allowLocalFile: true });
    expect(metadata).toMatchObject({ "general.file_type": 7, "general.name": "tiny" });
  });

  it.each([
    [["--output", "x.gguf"], "expected --model and --output"],
    [["--model", model, "--output", "x.gguf", "--type", "q4_0"], 'there is no type "q4_0"'],
    [["--model", "nowhere/at-all/here", "--output", "x.gguf"], "nowhere/at-all/here"],
  ])("says what is wrong with %j, and writes no file", (args, message) => {
    const { status, stderr } = run(...args);
    expect(status).toBe(1);
    expect(stderr).toContain(message);
    expect(readdirSync(root)).not.toContain("x.gguf");
  });
});
