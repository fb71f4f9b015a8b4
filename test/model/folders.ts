// Small model and adapter folders for tests, made from nothing, so that each test can break one thing.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll } from "vitest";
import type { JsonObject } from "../../lib/json.js";
import { expectedTensors, readModelConfig } from "../../lib/model/families/families.js";
import { buildHeader } from "../../lib/model/files/safetensors.js";
import type { NativeTensorInfo } from "../../lib/native/native.js";

const made: string[] = [];

afterAll(async () => {
  for (const folder of made) await rm(folder, { recursive: true, force: true });
});

export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), "grpo-test-"));
  made.push(folder);
  return folder;
}

/** Two layers, grouped queries, biases on q, k and v. */
export const qwen2: JsonObject = {
  architectures: ["Qwen2ForCausalLM"],
  model_type: "qwen2",
  vocab_size: 10,
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 32,
  rms_norm_eps: 1e-6,
  tie_word_embeddings: true,
  use_sliding_window: false,
  rope_theta: 10000,
  torch_dtype: "float32",
  eos_token_id: 9,
};

export const llama: JsonObject = { ...qwen2, architectures: ["LlamaForCausalLM"], model_type: "llama" };

/** The tensors of a model, all zeros. */
export function tensorsOf(config: JsonObject): NativeTensorInfo[] {
  const { native } = readModelConfig(config);
  return [...expectedTensors(native)].map(([name, shape]) => ({ name, dtype: "F32", shape: [...shape] }));
}

/** A safetensors file of float32 zeros. */
export async function writeTensors(file: string, tensors: readonly NativeTensorInfo[]): Promise<void> {
  const size = (shape: readonly number[]) => shape.reduce((product, n) => product * n, 4);
  const data = Buffer.alloc(tensors.reduce((sum, { shape }) => sum + size(shape), 0));
  await writeFile(file, Buffer.concat([buildHeader(tensors), data]));
}

export async function writeModel(config: JsonObject, tensors = tensorsOf(config)): Promise<string> {
  const folder = await temporaryFolder();
  await writeFile(path.join(folder, "config.json"), JSON.stringify(config));
  await writeTensors(path.join(folder, "model.safetensors"), tensors);
  return folder;
}
