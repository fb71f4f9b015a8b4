// Logits of loaded checkpoints and adapters against transformers and PEFT, and adapters on their way to disk and back.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readTensors } from "../../lib/model/files/safetensors.js";
import { LoraConfig } from "../../lib/model/lora/lora.js";
import { CausalLM } from "../../lib/model/model.js";
import { DEVICE } from "../support/device.js";
import { goldenPath, largestDifference, numbers, rowsOf, sequences, tinyQwen2 } from "./golden.js";

// Float32 sums in another order than torch's differ in the sixth digit; logits here are of the order of 10.
const TOLERANCE = 1e-4;

const folders: string[] = [];
async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), "grpo-test-"));
  folders.push(folder);
  return folder;
}
afterAll(async () => {
  for (const folder of folders) await rm(folder, { recursive: true, force: true });
});

const f32 = { dtype: "float32", device: DEVICE } as const;

describe("logits in float32", () => {
  const models = [
    "qwen2-random",
    "qwen2-v4",
    "qwen2-bf16",
    "llama-random-tied",
    "llama-random-bias",
    "llama-mha",
    "llama-rope3",
    "llama-rope3-v4",
  ];
  it.each(models)("of %s equal transformers'", async (name) => {
    const golden = await readTensors(goldenPath(`logits-${name}.safetensors`));
    await using model = await CausalLM.fromPretrained(goldenPath(`models/${name}`), f32);
    const logits = rowsOf(await model.forward(sequences(golden)), model.vocabSize);
    expect(largestDifference(logits, numbers(golden, "logits"))).toBeLessThan(TOLERANCE);
  });

  it("of the bundled model equal transformers'", async () => {
    const golden = await readTensors(goldenPath("logits-tiny-qwen2.safetensors"));
    await using model = await CausalLM.fromPretrained(tinyQwen2, f32);
    const logits = rowsOf(await model.forward(sequences(golden)), model.vocabSize, numbers(golden, "positions"));
    expect(largestDifference(logits, numbers(golden, "logits"))).toBeLessThan(TOLERANCE);
  });
});

describe("logits in bfloat16", () => {
  it("are about as far from float32 as transformers' own in bfloat16", async () => {
    const golden = await readTensors(goldenPath("logits-qwen2-bf16.safetensors"));
    await using model = await CausalLM.fromPretrained(goldenPath("models/qwen2-bf16"), { device: DEVICE });
    expect(model.dtype).toBe("bfloat16");
    const logits = rowsOf(await model.forward(sequences(golden)), model.vocabSize);
    const exact = numbers(golden, "logits");
    const theirs = numbers(golden, "logits_bf16");
    const mean = (values: ArrayLike<number>) =>
      exact.reduce((sum, value, i) => sum + Math.abs(value - (values[i] ?? Number.NaN)), 0) / exact.length;
    // Both round, at different places: alike on average, less so in the single worst entry.
    expect(mean(logits)).toBeLessThan(1.5 * mean(theirs));
    expect(largestDifference(logits, exact)).toBeLessThan(2 * largestDifference(theirs, exact));
  });
});

describe("adapters", () => {
  const adapters = [
    ["tiny-qwen2-qv", tinyQwen2],
    ["qwen2-rslora", goldenPath("models/qwen2-random")],
    ["llama-all-linear", goldenPath("models/llama-random-bias")],
  ] as const;

  it.each(adapters)("saved by PEFT as %s give its logits, and the base's when off", async (name, base) => {
    const golden = await readTensors(goldenPath(`adapter-${name}.safetensors`));
    await using model = await CausalLM.fromPretrained(base, { ...f32, adapter: goldenPath(`adapters/${name}`) });
    const logits = async () => {
      return rowsOf(await model.forward(sequences(golden)), model.vocabSize, numbers(golden, "positions"));
    };
    expect(largestDifference(await logits(), numbers(golden, "logits"))).toBeLessThan(TOLERANCE);
    const off = await model.disableAdapter(logits);
    expect(largestDifference(off, numbers(golden, "logits_base"))).toBeLessThan(TOLERANCE);
  });

  it.each(adapters)("loaded from PEFT's %s are saved with the same tensors and keys", async (name, base) => {
    await using model = await CausalLM.fromPretrained(base, { ...f32, adapter: goldenPath(`adapters/${name}`) });
    const folder = await temporaryFolder();
    await model.savePretrained(folder);
    const ours = await readTensors(path.join(folder, "adapter_model.safetensors"));
    const theirs = await readTensors(path.join(goldenPath(`adapters/${name}`), "adapter_model.safetensors"));
    expect([...ours.keys()].sort()).toEqual([...theirs.keys()].sort());
    for (const [key, tensor] of theirs) expect(ours.get(key)).toEqual(tensor);
  });

  it("that are fresh change nothing, bit for bit; with random B they do", async () => {
    await using model = await CausalLM.fromPretrained(tinyQwen2, f32);
    const before = await model.forward([[1, 2, 3]]);
    model.applyLora(new LoraConfig({ targetModules: "all-linear" }));
    expect(await model.forward([[1, 2, 3]])).toEqual(before);
    await using other = await CausalLM.fromPretrained(tinyQwen2, f32);
    other.applyLora(new LoraConfig({ targetModules: "all-linear", initLoraWeights: false }));
    expect(await other.forward([[1, 2, 3]])).not.toEqual(before);
  });

  it("are a function of the seed", async () => {
    const lora = new LoraConfig({ initLoraWeights: false });
    const logits = async (seed: number) => {
      await using model = await CausalLM.fromPretrained(tinyQwen2, f32);
      model.applyLora(lora, { seed });
      return await model.forward([[1, 2, 3]]);
    };
    expect(await logits(5)).toEqual(await logits(5));
    expect(await logits(6)).not.toEqual(await logits(5));
  });
});

describe("a whole model", () => {
  it.each(["float32", "bfloat16"] as const)("saved in %s and loaded again gives the same logits", async (dtype) => {
    await using model = await CausalLM.fromPretrained(goldenPath("models/llama-mha"), { dtype, device: DEVICE });
    const folder = await temporaryFolder();
    await model.savePretrained(folder);
    await using again = await CausalLM.fromPretrained(folder, { device: DEVICE });
    expect(again.dtype).toBe(dtype);
    expect(await again.forward([[1, 2, 3]])).toEqual(await model.forward([[1, 2, 3]]));
  });

  it("made from a config is a function of the seed", async () => {
    const config = {
      model_type: "llama",
      vocab_size: 16,
      hidden_size: 8,
      intermediate_size: 8,
      num_hidden_layers: 1,
      num_attention_heads: 2,
      max_position_embeddings: 32,
    };
    const logits = async (seed: number) => {
      await using model = await CausalLM.fromConfig(config, { seed, device: DEVICE, dtype: "float64" });
      return await model.forward([[1, 2, 3]]);
    };
    expect(await logits(1)).toEqual(await logits(1));
    expect(await logits(2)).not.toEqual(await logits(1));
  });
});
