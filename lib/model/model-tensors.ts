// The tensors of a model: its linear layers, the name and shape of everything that its files must hold, and the strict match of
// files with them. Every stored tensor is used or listed here as ignorable, or the files are refused.

import { closeSync, openSync, readSync } from "node:fs";
import { GrpoError } from "../errors.js";
import type { NativeModelConfig, NativeTensorRef, NativeTensorTable } from "../native/native.js";

/** A linear layer that can carry an adapter: y [out] = W x [in]. */
export interface LinearLayer {
  readonly module: string;
  readonly in: number;
  readonly out: number;
  readonly bias: boolean;
}

/** Every linear layer of the decoder blocks, in the order of the model. */
export function linearLayers(config: NativeModelConfig): LinearLayer[] {
  const layers = Array.from({ length: config.numLayers }, (_, layer) => blockLayers(config, `model.layers.${layer}`));
  return layers.flat();
}

function blockLayers(config: NativeModelConfig, block: string): LinearLayer[] {
  const { hiddenSize: C, intermediateSize: F, headDim: D, qkvBias, outputBias, mlpBias } = config;
  const queries = config.numHeads * D;
  const keys = config.numKvHeads * D;
  const linear = (name: string, inSize: number, out: number, bias: boolean): LinearLayer => {
    return { module: `${block}.${name}`, in: inSize, out, bias };
  };
  const output = linear("self_attn.o_proj", queries, C, outputBias);
  const down = linear("mlp.down_proj", F, C, mlpBias);
  if (config.fusedProjections) {
    const qkv = linear("self_attn.qkv_proj", C, queries + 2 * keys, qkvBias);
    return [qkv, output, linear("mlp.gate_up_proj", C, 2 * F, mlpBias), down];
  }
  return [
    linear("self_attn.q_proj", C, queries, qkvBias),
    linear("self_attn.k_proj", C, keys, qkvBias),
    linear("self_attn.v_proj", C, keys, qkvBias),
    output,
    linear("mlp.gate_proj", C, F, mlpBias),
    linear("mlp.up_proj", C, F, mlpBias),
    down,
  ];
}

/** Name and shape of every tensor of the model, with the names of the Hugging Face checkpoint. */
export function expectedTensors(config: NativeModelConfig): Map<string, readonly number[]> {
  const { hiddenSize: C, vocabSize: V } = config;
  const expected = new Map<string, readonly number[]>([["model.embed_tokens.weight", [V, C]]]);
  for (const { module, in: inSize, out, bias } of linearLayers(config)) {
    expected.set(`${module}.weight`, [out, inSize]);
    if (bias) expected.set(`${module}.bias`, [out]);
  }
  for (let layer = 0; layer < config.numLayers; layer++) {
    for (const [name, width] of blockNorms(config)) expected.set(`model.layers.${layer}.${name}.weight`, [width]);
  }
  expected.set("model.norm.weight", [C]);
  if (config.numLabels > 0) expected.set("score.weight", [config.numLabels, C]);
  else if (!config.tieWordEmbeddings) expected.set("lm_head.weight", [V, C]);
  return expected;
}

/** Where outputs are normed too, the norm before the MLP has a name of its own. */
function blockNorms(config: NativeModelConfig): [string, number][] {
  const { hiddenSize: C, headDim: D, qkNorm, preNorms, postNorms } = config;
  const norms: [string, number][] = [];
  if (preNorms) norms.push(["input_layernorm", C]);
  if (preNorms || postNorms) norms.push(["post_attention_layernorm", C]);
  if (preNorms && postNorms) norms.push(["pre_feedforward_layernorm", C]);
  if (postNorms) norms.push(["post_feedforward_layernorm", C]);
  if (qkNorm === "none") return norms;
  const heads = qkNorm === "full" ? [config.numHeads, config.numKvHeads] : [1, 1];
  return [...norms, ["self_attn.q_norm", (heads[0] ?? 1) * D], ["self_attn.k_norm", (heads[1] ?? 1) * D]];
}

export function parameterCount(config: NativeModelConfig): number {
  const sizes = [...expectedTensors(config).values()];
  return sizes.reduce((sum, shape) => sum + shape.reduce((product, n) => product * n, 1), 0);
}

/** Known ignorable: buffers that old versions of transformers saved, and that are recomputed. */
const IGNORABLE = /(^|\.)rotary_emb\.inv_freq$/;
const WEIGHT_DTYPES: readonly string[] = ["F32", "BF16", "F16", "F64"];

/** The part of the stored tensors that the model reads, after every name, shape and dtype has been checked. */
export function matchTensors(table: NativeTensorTable, config: NativeModelConfig): NativeTensorTable {
  const expected = expectedTensors(config);
  const stored = new Map(table.tensors.map((tensor) => [tensor.name, tensor]));
  const where = table.files.length === 1 ? String(table.files[0]) : `${table.files.length} weight files`;
  if (config.tieWordEmbeddings) useOnlyEmbedding(where, stored, table.files);
  const missing = [...expected.keys()].filter((name) => !stored.has(name));
  if (missing.length > 0) {
    const first = missing[0] ?? "";
    const more = missing.length > 1 ? ` and ${missing.length - 1} more` : "";
    const found = `tensor ${first} of shape ${shapeText(expected.get(first))}${more} missing`;
    throw badCheckpoint(`${where}: ${found}.`);
  }
  const tensors: NativeTensorRef[] = [];
  for (const tensor of stored.values()) {
    const shape = expected.get(tensor.name);
    if (shape === undefined && IGNORABLE.test(tensor.name)) continue;
    const file = table.files[tensor.file] ?? where;
    if (shape === undefined) throw badCheckpoint(`${file}: tensor ${tensor.name} has no place in this model.`);
    checkTensor(file, tensor, shape);
    tensors.push(tensor);
  }
  return { files: table.files, tensors };
}

/** Tied models may store the shared matrix under either name, or under both. */
function useOnlyEmbedding(where: string, stored: Map<string, NativeTensorRef>, files: readonly string[]): void {
  const name = "model.embed_tokens.weight";
  const head = stored.get("lm_head.weight");
  const embedding = stored.get(name);
  if (head === undefined) return;
  stored.delete("lm_head.weight");
  if (embedding === undefined) stored.set(name, { ...head, name });
  else if (!sameBytes(head, embedding, files)) {
    // transformers then leaves them apart, with a warning: the config is wrong.
    throw badCheckpoint(
      `${where}: tensor lm_head.weight differs from ${name}, but config.json has tie_word_embeddings true.`,
      "Set tie_word_embeddings to false in config.json, or leave lm_head.weight out.",
    );
  }
}

function sameBytes(a: NativeTensorRef, b: NativeTensorRef, files: readonly string[]): boolean {
  if (a.dtype !== b.dtype || a.bytes !== b.bytes) return false;
  const chunk = 1 << 24;
  for (let at = 0; at < a.bytes; at += chunk) {
    const length = Math.min(chunk, a.bytes - at);
    const read = ({ file, offset }: NativeTensorRef) => readRange(files[file] ?? "", offset + at, length);
    if (!read(a).equals(read(b))) return false;
  }
  return true;
}

function readRange(file: string, offset: number, length: number): Buffer {
  const handle = openSync(file, "r");
  try {
    const bytes = Buffer.alloc(length);
    return bytes.subarray(0, readSync(handle, bytes, 0, length, offset));
  } finally {
    closeSync(handle);
  }
}

function checkTensor(file: string, tensor: NativeTensorRef, shape: readonly number[]): void {
  if (shapeText(tensor.shape) !== shapeText(shape)) {
    const found = `expected shape ${shapeText(shape)}, found ${shapeText(tensor.shape)}`;
    throw badCheckpoint(`${file}: tensor ${tensor.name}: ${found}.`);
  }
  if (!WEIGHT_DTYPES.includes(tensor.dtype)) {
    throw badCheckpoint(
      `${file}: tensor ${tensor.name}: dtype ${tensor.dtype} is not supported (${WEIGHT_DTYPES.join(", ")} are).`,
    );
  }
}

export function shapeText(shape: readonly number[] | undefined): string {
  return `[${(shape ?? []).join(", ")}]`;
}

function badCheckpoint(message: string, hint = "Check that config.json and the weights belong together."): GrpoError {
  return new GrpoError("BAD_CHECKPOINT", message, { hint });
}
