// `grpo merge` in a process of its own, with the bundled model. That a merged model has PEFT's logits is in addon/adapters.test.ts.

import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CausalLM, LoraConfig, Tokenizer } from "../../lib/index.js";
import { DEVICE } from "../support/device.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const base = join(root, "scripts/assets/tiny-qwen2");
const ids = [[5, 9, 200, 31, 7]];

let work = "";
let adapter = "";

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), "grpo-merge-"));
  adapter = join(work, "adapter");
  await using model = await CausalLM.fromPretrained(base, { device: DEVICE });
  // As a fresh one leaves the model as it is: random on both sides.
  model.applyLora(new LoraConfig({ r: 4, loraAlpha: 16, targetModules: "all-linear", initLoraWeights: false }));
  await model.savePretrained(adapter);
});

afterAll(() => rmSync(work, { recursive: true, force: true }));

function merge(...args: string[]) {
  return spawnSync(process.execPath, [join(root, "dist/cli.js"), "merge", "--device", "cpu", ...args], {
    encoding: "utf8",
  });
}

async function logits(folder: string, options: { adapter?: string } = {}): Promise<Float32Array> {
  await using model = await CausalLM.fromPretrained(folder, { device: DEVICE, dtype: "float32", ...options });
  return (await model.forward(ids))[0] ?? new Float32Array();
}

const largestDifference = (a: Float32Array, b: Float32Array): number =>
  a.reduce((most, value, i) => Math.max(most, Math.abs(value - (b[i] ?? Number.NaN))), 0);

describe("grpo merge", () => {
  it("writes a model that computes what base and adapter do, with the tokenizer, and names the folder", async () => {
    const output = join(work, "merged");
    const args = ["--model", base, "--adapter", adapter, "--output", output, "--dtype", "float32", "--safe-merge"];
    const { status, stdout, stderr } = merge(...args);
    expect([status, stdout], stderr).toEqual([0, `${output}\n`]);
    expect(stderr).toMatch(/ s {2}loading .*\n.* s {2}merging, and writing float32 to .*\n.* s {2}done\n$/);
    const [merged, apart, plain] = [await logits(output), await logits(base, { adapter }), await logits(base)];
    expect(largestDifference(merged, apart)).toBeLessThan(1e-4);
    expect(largestDifference(merged, plain)).toBeGreaterThan(0.1);
    const [own, other] = [await Tokenizer.fromPretrained(output), await Tokenizer.fromPretrained(base)];
    expect(own.encode("74 - 49 = 25")).toEqual(other.encode("74 - 49 = 25"));
    expect(existsSync(join(output, "adapter_config.json"))).toBe(false);
  });

  it("keeps the type of the model and cuts its files where it is asked to", async () => {
    const output = join(work, "shards");
    const args = ["--model", base, "--adapter", adapter, "--output", output, "--max-shard-size", "1MB"];
    expect(merge(...args).status).toBe(0);
    expect(readdirSync(output).filter((name) => name.endsWith(".safetensors")).length).toBeGreaterThan(1);
    await using model = await CausalLM.fromPretrained(output, { device: DEVICE });
    expect(model.dtype).toBe("bfloat16");
  });

  it("refuses to write over what it reads", () => {
    const [model, lora] = [join(work, "base"), join(work, "adapter")];
    cpSync(base, model, { recursive: true });
    const before = readFileSync(join(model, "model.safetensors"));
    for (const output of [model, lora]) {
      const { status, stderr } = merge("--model", model, "--adapter", lora, "--output", `${output}/.`);
      expect([status, stderr]).toEqual([1, expect.stringMatching(/would be overwritten[\s\S]*\[BAD_OPTION\]/)]);
    }
    expect(readFileSync(join(model, "model.safetensors")).equals(before)).toBe(true);
  });

  it.each([
    [["--model", "m"], "found no --adapter and no --output"],
    [[], "expected --model, --adapter and --output; found none of them"],
    [["--model", "./no/such/model", "--adapter", "a", "--output", "OUT"], "no/such/model"],
    [["--model", base, "--adapter", "./no/such/adapter", "--output", "OUT"], "no/such/adapter"],
    [["--model", base, "--adapter", base, "--output", "OUT"], "adapter_config.json"],
    [["--model", base, "--adapter", "ADAPTER", "--output", "FILE"], "cannot be made"],
    [["--model", base, "--adapter", "ADAPTER", "--output", "OUT", "--max-shard-size", "few"], "maxShardSize"],
    [["--model", base, "--adapter", "ADAPTER", "--output", "OUT", "--dtype", "int3"], "dtype"],
  ])("refuses %j with a message", (args, message) => {
    const file = join(work, "file");
    writeFileSync(file, "");
    const places: Readonly<Record<string, string>> = { OUT: join(work, "refused"), ADAPTER: adapter, FILE: file };
    const { status, stderr } = merge(...args.map((word) => places[word] ?? word));
    expect([status, stderr]).toEqual([1, expect.stringContaining(message)]);
    expect(stderr).toMatch(/\[[A-Z_]+\]\n$/);
    expect(stderr).not.toContain("    at ");
    expect(existsSync(join(work, "refused", "model.safetensors"))).toBe(false);
  });
});
