// Every kind of adapter that PEFT writes: read with PEFT's logits, gradients and counts, saved again as the same file; and how
// fresh ones begin. scripts/check-adapters.ts goes the other way and loads into PEFT what this engine trained.

import { readFileSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { JsonObject } from "../../lib/json.js";
import { readTensors } from "../../lib/model/files/safetensors.js";
import { readAdapterConfig } from "../../lib/model/lora/adapter-files.js";
import type { LoraConfig } from "../../lib/model/lora/lora.js";
import { CausalLM } from "../../lib/model/model.js";
import { DEVICE } from "../support/device.js";
import { goldenPath, largestDifference, numbers, rowsOf, sequences } from "./golden.js";

interface Variant {
  readonly name: string;
  readonly base: string;
  readonly options: JsonObject;
  readonly line: string;
}
interface Variants {
  readonly variants: readonly Variant[];
  readonly inits: Readonly<Record<string, JsonObject>>;
  readonly bfloat16: { readonly options: JsonObject; readonly tensors: Readonly<Record<string, string>> };
}
const fixture: Variants = JSON.parse(readFileSync(goldenPath("adapter-variants.json"), "utf8"));
const variants = fixture.variants.map((variant): [string, Variant] => [variant.name, variant]);

// Float32 sums in another order than torch's; logits are of the order of 5, gradients of 10 to 90.
const [ABSOLUTE, RELATIVE] = [1e-4, 1e-4];
const f32 = { dtype: "float32", device: DEVICE } as const;

const folders: string[] = [];
async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), "grpo-test-"));
  folders.push(folder);
  return folder;
}
afterAll(async () => {
  for (const folder of folders) await rm(folder, { recursive: true, force: true });
});

const open = ({ name, base }: Variant): Promise<CausalLM> =>
  CausalLM.fromPretrained(goldenPath(`models/${base}`), { ...f32, adapter: goldenPath(`adapters/${name}`) });
/** Options as a configuration file has them. */
const config = (options: JsonObject): LoraConfig =>
  readAdapterConfig({ peft_type: "LORA", task_type: "CAUSAL_LM", ...options }, "fixture");

/** The largest amount by which a number leaves the tolerance. */
function excess(found: ArrayLike<number>, expected: readonly number[]): number {
  if (found.length !== expected.length) return Number.POSITIVE_INFINITY;
  const leaves = expected.map(
    (want, i) => Math.abs((found[i] ?? Number.NaN) - want) - ABSOLUTE - RELATIVE * Math.abs(want),
  );
  return leaves.some(Number.isNaN) ? Number.POSITIVE_INFINITY : Math.max(...leaves);
}

describe("an adapter that PEFT saved", () => {
  it.each(variants)("of kind %s gives its logits, gradients and counts", async (name, variant) => {
    const golden = await readTensors(goldenPath(`adapter-${name}.safetensors`));
    await using model = await open(variant);
    const ids = sequences(golden);
    const logits = rowsOf(await model.forward(ids), model.vocabSize);
    expect(excess(logits, numbers(golden, "logits"))).toBeLessThan(0);

    const { trainable, all } = model.trainableParameters();
    const [a, b] = [trainable.toLocaleString("en-US"), all.toLocaleString("en-US")];
    expect(variant.line).toMatch(`trainable params: ${a} || all params: ${b} ||`);

    // The DAPO loss of equal advantages is minus the mean log-probability, up to a constant.
    const batch = { promptIds: ids.map((row) => row.slice(0, 1)), completionIds: ids.map((row) => row.slice(1)) };
    await model.forwardBackward({ ...batch, advantages: ids.map(() => 1) }, { lossType: "dapo", beta: 0 });
    const tokens = ids.reduce((sum, { length }) => sum + length - 1, 0);
    const gradients = await model.gradients();
    const names = [...golden.keys()].filter((key) => key.startsWith("gradient."));
    expect(Object.keys(gradients).sort()).toEqual(names.map((key) => key.slice("gradient.".length)).sort());
    for (const key of names) {
      const gradient = Array.from(gradients[key.slice("gradient.".length)] ?? [], (value) => -tokens * value);
      expect(excess(gradient, numbers(golden, key)), key).toBeLessThan(0);
    }
  });

  it.each(variants)("of kind %s is saved as the same file", async (name, variant) => {
    await using model = await open(variant);
    const folder = await temporaryFolder();
    await model.savePretrained(folder);
    const theirFolder = goldenPath(`adapters/${name}`);
    const file = "adapter_model.safetensors";
    const [ours, theirs] = [
      await readTensors(path.join(folder, file)),
      await readTensors(path.join(theirFolder, file)),
    ];
    // PEFT adds the base model's matrix of targeted embeddings.
    const keys = [...theirs.keys()].filter((key) => !key.endsWith(".base_layer.weight"));
    expect([...ours.keys()].sort()).toEqual(keys.sort());
    for (const key of keys) expect(ours.get(key), key).toEqual(theirs.get(key));
    const read = async (where: string): Promise<JsonObject> => {
      const json: JsonObject = JSON.parse(await readFile(path.join(where, "adapter_config.json"), "utf8"));
      const sorted = Array.isArray(json.target_modules) ? [...json.target_modules].sort() : json.target_modules;
      return { ...json, target_modules: sorted, base_model_name_or_path: "" };
    };
    const [mine, peft] = [await read(folder), await read(theirFolder)];
    expect(mine).toEqual(peft);
    expect(Object.keys(mine)).toEqual(Object.keys(peft));
  });
});

describe("a fresh adapter", () => {
  const fresh = async (options: JsonObject, base = "qwen2-random") => {
    const model = await CausalLM.fromPretrained(goldenPath(`models/${base}`), f32);
    const before = await model.forward([[5, 6, 7, 8]]);
    model.applyLora(config(options));
    const after = await model.forward([[5, 6, 7, 8]]);
    const folder = await temporaryFolder();
    await model.savePretrained(folder);
    model.dispose();
    return { before, after, tensors: await readTensors(path.join(folder, "adapter_model.safetensors")) };
  };

  it.each(["pissa", "olora"])("of %s has the pairs that PEFT's has, up to signs", async (init) => {
    const golden = await readTensors(goldenPath("lora-init.safetensors"));
    const options = fixture.inits[init] ?? {};
    const { before, after, tensors } = await fresh({ ...options, init_lora_weights: init });
    expect(largestDifference(after[0] ?? [], before[0] ?? [])).toBeLessThan(1e-5);
    const modules = [...golden.keys()].filter((key) => key.startsWith(`${init}.`) && key.endsWith(".product"));
    expect(modules).toHaveLength(3);
    for (const key of modules) {
      const module = key.slice(init.length + 1, -".product".length);
      const found = pair(tensors, module);
      const scaling = (module.endsWith("q_proj") && init === "olora" ? 10 : 6) / found.rank;
      expect(
        excess(
          found.product.map((value) => scaling * value),
          numbers(golden, key),
        ),
        key,
      ).toBeLessThan(0);
      expect(excess(found.squares, numbers(golden, `${init}.${module}.squares`)), key).toBeLessThan(0);
    }
  });

  it("of pissa_niter_N has nearly as much of the weight as the full decomposition", async () => {
    const golden = await readTensors(goldenPath("lora-init.safetensors"));
    const module = "model.layers.0.self_attn.q_proj";
    const norm = (values: readonly number[]) => Math.hypot(...values);
    const { tensors } = await fresh({ ...fixture.inits.pissa_niter_8, init_lora_weights: "pissa_niter_8" });
    // alpha 6, r 4, √r
    const product = pair(tensors, module).product.map((value) => 3 * value);
    const best = norm(numbers(golden, `pissa.${module}.product`));
    expect(norm(product)).toBeGreaterThan(0.97 * best);
    expect(norm(product)).toBeLessThan(1.001 * best);
  });

  it("of orthogonal has BA = 0 with neither zero, and elements of PEFT's deviation", async () => {
    const { before, after, tensors } = await fresh({
      r: 8,
      target_modules: "all-linear",
      init_lora_weights: "orthogonal",
    });
    expect(largestDifference(after[0] ?? [], before[0] ?? [])).toBeLessThan(1e-4);
    const { a, b, product } = pair(tensors, "model.layers.0.mlp.down_proj");
    expect(Math.max(...product.map(Math.abs))).toBeLessThan(1e-6);
    const deviation = (values: readonly number[]) => Math.hypot(...values) / Math.sqrt(values.length);
    // Half of an orthogonal 8 × 8 matrix times a standard normal one, over 10: √(4 / 8) / 10.
    for (const values of [a, b]) expect(deviation(values)).toBeCloseTo(Math.SQRT1_2 / 10, 2);
  });

  it("of gaussian has A of deviation 1 / r and B zero", async () => {
    const { tensors } = await fresh({ r: 4, target_modules: "all-linear", init_lora_weights: "gaussian" });
    const values = [...tensors].filter(([key]) => key.includes("lora_A")).flatMap(([key]) => numbers(tensors, key));
    expect(Math.hypot(...values) / Math.sqrt(values.length)).toBeCloseTo(0.25, 1);
    expect(Math.max(...values.map(Math.abs))).toBeGreaterThan(0.5);
    const b = [...tensors].filter(([key]) => key.includes("lora_B")).flatMap(([key]) => numbers(tensors, key));
    expect(b.every((value) => value === 0)).toBe(true);
  });

  it.each([
    ["DoRA", { use_dora: true }],
    ["modules in full", { modules_to_save: ["lm_head", "norm", "0.mlp"] }],
    ["token rows", { trainable_token_indices: { embed_tokens: [5, 6], lm_head: [7] } }],
    ["biases", { bias: "all" }],
  ])("with %s changes nothing", async (_, options) => {
    const { before, after } = await fresh({ target_modules: ["q_proj"], ...options });
    expect(largestDifference(after[0] ?? [], before[0] ?? [])).toBeLessThan(1e-5);
  });

  it("on a bfloat16 model is saved in the types that PEFT saves", async () => {
    const { options, tensors: theirs } = fixture.bfloat16;
    await using model = await CausalLM.fromPretrained(goldenPath("models/qwen2-bf16"), { device: DEVICE });
    model.applyLora(config(options));
    const folder = await temporaryFolder();
    await model.savePretrained(folder);
    const ours = await readTensors(path.join(folder, "adapter_model.safetensors"));
    expect(Object.fromEntries([...ours].map(([key, { dtype }]) => [key, dtype]))).toEqual(theirs);
  });
});

/** B A of a module, and the squared norm of every row of A. */
function pair(tensors: Awaited<ReturnType<typeof readTensors>>, module: string) {
  const name = (which: string) => `base_model.model.${module}.lora_${which}.weight`;
  const [a, b] = [numbers(tensors, name("A")), numbers(tensors, name("B"))];
  const [rank = 0, inSize = 0] = tensors.get(name("A"))?.shape ?? [];
  const rows = Array.from({ length: rank }, (_, r) => a.slice(r * inSize, (r + 1) * inSize));
  const product = Array.from({ length: b.length / rank }, (_, o) =>
    Array.from({ length: inSize }, (_, i) =>
      rows.reduce((sum, row, r) => sum + (b[o * rank + r] ?? 0) * (row[i] ?? 0), 0),
    ),
  ).flat();
  return { a, b, rank, product, squares: rows.map((row) => row.reduce((sum, value) => sum + value * value, 0)) };
}
