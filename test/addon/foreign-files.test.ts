// Adapters and checkpoints that other programs wrote in their own way, and that PEFT and transformers load all the same: the result
// is that of the plain files.

import { cp, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { CausalLM } from "../../lib/model/model.js";
import { temporaryFolder } from "../model/folders.js";
import { DEVICE } from "../support/device.js";
import { goldenPath } from "./golden.js";

const IDS = [
  [5, 6, 7, 8, 9, 10],
  [11, 3, 4],
];

const notes = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
afterEach(() => notes.mockClear());

/** A copy of a folder of fixtures. */
async function copyOf(name: string): Promise<string> {
  const folder = await temporaryFolder();
  await cp(goldenPath(name), folder, { recursive: true });
  return folder;
}

type Header = Record<string, { readonly data_offsets: readonly [number, number] }>;

async function readTensors(file: string): Promise<{ readonly header: Header; readonly data: Buffer }> {
  const content = await readFile(file);
  const end = 8 + Number(content.readBigUInt64LE());
  return { header: JSON.parse(content.subarray(8, end).toString()), data: content.subarray(end) };
}

async function writeTensors(file: string, header: Header, data: Buffer): Promise<void> {
  const text = Buffer.from(JSON.stringify(header));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(text.length));
  await writeFile(file, Buffer.concat([prefix, text, data]));
}

/** Gives the tensors of a safetensors file other names. */
async function rename(file: string, nameOf: (name: string) => string): Promise<void> {
  const { header, data } = await readTensors(file);
  const renamed = Object.entries(header).map(([name, entry]) => [name === "__metadata__" ? name : nameOf(name), entry]);
  await writeTensors(file, Object.fromEntries(renamed), data);
}

/** Adds a tensor of another file under a name. */
async function addTensor(file: string, name: string, from: string, nameThere: string): Promise<void> {
  const { header, data } = await readTensors(file);
  const other = await readTensors(from);
  const entry = other.header[nameThere];
  if (entry === undefined) throw new Error(`${from} has no ${nameThere}`);
  const bytes = other.data.subarray(...entry.data_offsets);
  const placed = { ...entry, data_offsets: [data.length, data.length + bytes.length] as const };
  await writeTensors(file, { ...header, [name]: placed }, Buffer.concat([data, bytes]));
}

async function setKeys(file: string, keys: object): Promise<void> {
  await writeFile(file, JSON.stringify({ ...JSON.parse(await readFile(file, "utf8")), ...keys }));
}

const open = (folder: string, adapter?: string) =>
  CausalLM.fromPretrained(folder, { dtype: "float32", device: DEVICE, ...(adapter === undefined ? {} : { adapter }) });

async function logitsOf(folder: string, adapter?: string): Promise<Float32Array[]> {
  const model = await open(folder, adapter);
  const logits = await model.forward(IDS);
  model.dispose();
  return logits;
}

describe("an adapter", () => {
  const base = goldenPath("models/qwen2-random");
  const plain = goldenPath("adapters/qwen2-rslora");

  async function withKeys(keys: object): Promise<Float32Array[]> {
    const folder = await copyOf("adapters/qwen2-rslora");
    await setKeys(path.join(folder, "adapter_config.json"), keys);
    return logitsOf(base, folder);
  }

  it.each([
    ["EVA", { init_lora_weights: "eva", eva_config: { rho: 2, tau: 0.99, whiten: false } }],
    ["LoRA-GA", { init_lora_weights: "lora_ga", lora_ga_config: { direction: "ArB2r" } }],
    ["MiCA", { init_lora_weights: "mica" }],
    ["a configuration of LoftQ that was not used", { loftq_config: { loftq_bits: 4, loftq_iter: 1 } }],
    ["weights as Conv1D has them, which a linear layer has not", { fan_in_fan_out: true }],
  ])("that began with %s is what its file says", async (_, keys) => {
    expect(await withKeys(keys)).toEqual(await logitsOf(base, plain));
    expect(notes).not.toHaveBeenCalled();
  });

  it("that began with another base is refused", async () => {
    const loftq = withKeys({ init_lora_weights: "loftq", loftq_config: { loftq_bits: 4 } });
    await expect(loftq).rejects.toThrow(/init_lora_weights.*"loftq"/);
  });

  it("may have keys of its trainer's, which are told", async () => {
    const keys = { lorap_emb_lr: 1e-6, lorap_lr_ratio: null, trainer_state: { kind: "own" } };
    expect(await withKeys(keys)).toEqual(await logitsOf(base, plain));
    expect(notes.mock.calls.map(([note]) => note)).toEqual([
      expect.stringMatching(/adapter_config\.json: lorap_emb_lr 0\.000001 is not an option of PEFT/),
      expect.stringMatching(/adapter_config\.json: trainer_state \{"kind":"own"\} is not an option of PEFT/),
    ]);
  });

  it("may have patterns that match nothing, which are told", async () => {
    const config: { rank_pattern: object; alpha_pattern: object } = JSON.parse(
      await readFile(path.join(plain, "adapter_config.json"), "utf8"),
    );
    const logits = await withKeys({
      rank_pattern: { c_attn: 2, ...config.rank_pattern },
      alpha_pattern: { ...config.alpha_pattern, "mlp.c_proj": 3 },
    });
    expect(logits).toEqual(await logitsOf(base, plain));
    expect(notes.mock.calls.map(([note]) => note)).toEqual([
      expect.stringMatching(/rank_pattern "c_attn" matches none/),
      expect.stringMatching(/alpha_pattern "mlp\.c_proj" matches none/),
    ]);
  });

  it.each([
    ["qwen2-rslora", "qwen2-random"],
    ["dora", "qwen2-random"],
    ["embedding-scaled", "family-gemma3"],
  ])("may name its tensors as PEFT's modules have them in memory: %s", async (name, model) => {
    const folder = await copyOf(`adapters/${name}`);
    await rename(path.join(folder, "adapter_model.safetensors"), (tensor) =>
      tensor
        .replace(/(\.lora_[AB])\.weight$/, "$1.default.weight")
        .replace(/(\.lora_embedding_[AB])$/, "$1.default")
        .replace(/(\.lora_magnitude_vector)$/, "$1.default.weight"),
    );
    const modelFolder = goldenPath(`models/${model}`);
    expect(await logitsOf(modelFolder, folder)).toEqual(await logitsOf(modelFolder, goldenPath(`adapters/${name}`)));
  });

  it("may hold the base model's embeddings, if they are the same", async () => {
    const folder = await copyOf("adapters/qwen2-rslora");
    const file = path.join(folder, "adapter_model.safetensors");
    const embeddings = path.join(base, "model.safetensors");
    const [embedding, head] = ["model.embed_tokens.weight", "lm_head.weight"];
    await addTensor(file, `base_model.model.${embedding}`, embeddings, embedding);
    expect(await logitsOf(base, folder)).toEqual(await logitsOf(base, plain));
    await addTensor(file, `base_model.model.${head}`, embeddings, embedding);
    await expect(logitsOf(base, folder)).rejects.toThrow(/lm_head\S* differs from the base model's/);
  });

  it("with the names of another adapter's modules is refused", async () => {
    const folder = await copyOf("adapters/qwen2-rslora");
    await rename(path.join(folder, "adapter_model.safetensors"), (tensor) =>
      tensor.replace(/\.weight$/, ".other.weight"),
    );
    await expect(logitsOf(base, folder)).rejects.toThrow(/lora_A\.weight.*missing/);
  });
});

describe("a checkpoint", () => {
  const untied = "models/qwen2-random";
  const tied = "models/llama-random-tied";
  const without = (name: string) => name.replace(/^model\./, "");
  const within = (name: string) => `model.${name}`;

  it.each([
    ["of the decoder alone", untied, without],
    ["of the decoder alone, tied", tied, without],
    ["of a model around this one", untied, within],
    ["of a model around this one, tied", tied, within],
    [
      "in which only some names have the prefix",
      untied,
      (name: string) => (/layers\.1/.test(name) ? without(name) : name),
    ],
  ])("%s has its tensors under other names", async (_, model, nameOf) => {
    const folder = await copyOf(model);
    await rename(path.join(folder, "model.safetensors"), nameOf);
    expect(await logitsOf(folder)).toEqual(await logitsOf(goldenPath(model)));
  });

  it("with a tensor under two names is refused", async () => {
    const folder = await copyOf(untied);
    const [norm, other] = ["model.norm.weight", "model.layers.0.input_layernorm.weight"];
    await rename(path.join(folder, "model.safetensors"), (name) => (name === other ? "norm.weight" : name));
    await expect(open(folder)).rejects.toMatchObject({ code: "BAD_CHECKPOINT" });
    await rename(path.join(folder, "model.safetensors"), (name) => (name === norm ? "model.model.norm.weight" : name));
    await expect(open(folder)).rejects.toMatchObject({ code: "BAD_CHECKPOINT" });
  });

  it("is saved under the names that the model has", async () => {
    const folder = await copyOf(untied);
    await rename(path.join(folder, "model.safetensors"), without);
    const model = await open(folder);
    const saved = await temporaryFolder();
    await model.savePretrained(saved);
    model.dispose();
    const again = await open(saved);
    expect(await again.forward(IDS)).toEqual(await logitsOf(goldenPath(untied)));
    again.dispose();
  });
});
