// A model with its tokenizer as a GGUF file for llama.cpp: which metadata and tensors, and under which names. Only what has been
// compared with llama.cpp's own converter and run in llama.cpp is written; what is not, is refused by name.

import path from "node:path";
import { at } from "../at.js";
import { GrpoError } from "../errors.js";
import { readResolved, resolveModelFiles } from "../hub/hub.js";
import type { JsonObject } from "../json.js";
import { ropeSettingsOf } from "../model/families/families.js";
import { ropeType } from "../model/families/rope.js";
import type { HubSource } from "../model/model-options.js";
import { type ModelOnDisk, readModel } from "../model/read-model.js";
import type { NativeModelConfig, NativeTensorRef } from "../native/native.js";
import { Tokenizer } from "../tokenizer/tokenizer.js";
import { readTokenizerFiles, TOKENIZER_PATTERNS } from "../tokenizer/tokenizer-files.js";
import { type GgufTensor, type Metadata, writeGguf } from "./gguf-file.js";
import { TENSOR_TYPES, type TensorTypeName } from "./tensor-types.js";
import { readValues } from "./tensor-values.js";
import { vocabularyMetadata } from "./vocabulary.js";

/** What llama.cpp calls the modules. */
const OUTER: Readonly<Record<string, string>> = {
  "model.embed_tokens": "token_embd",
  "model.norm": "output_norm",
  lm_head: "output",
};
const INNER: Readonly<Record<string, string>> = {
  input_layernorm: "attn_norm",
  "self_attn.q_proj": "attn_q",
  "self_attn.k_proj": "attn_k",
  "self_attn.v_proj": "attn_v",
  "self_attn.o_proj": "attn_output",
  "self_attn.q_norm": "attn_q_norm",
  "self_attn.k_norm": "attn_k_norm",
  post_attention_layernorm: "ffn_norm",
  "mlp.gate_proj": "ffn_gate",
  "mlp.up_proj": "ffn_up",
  "mlp.down_proj": "ffn_down",
};

/** The families, which llama.cpp calls as transformers does, and their biases. */
const FAMILIES: Readonly<Record<string, { readonly bias?: RegExp; readonly ropes: readonly string[] }>> = {
  llama: { ropes: ["default", "llama3"] },
  qwen2: { bias: /\.(q|k|v)_proj\.bias$/, ropes: ["default"] },
  qwen3: { ropes: ["default"] },
};

/**
 * Writes `file`; matrices have the type `type`, the rest is float32. Throws UNSUPPORTED_ARCHITECTURE or BAD_TOKENIZER for a model
 * that only llama.cpp's own converter can convert, and what loading a model throws.
 */
export async function modelToGguf(
  idOrPath: string,
  file: string,
  type: TensorTypeName,
  source: HubSource = {},
): Promise<void> {
  const model = await readModel(idOrPath, source);
  const rope = checkModel(model);
  const resolved = await resolveModelFiles(idOrPath, { ...source, patterns: TOKENIZER_PATTERNS });
  const files = await readResolved(resolved, () => readTokenizerFiles(resolved.folder, resolved.files));
  const tokenizer = await Tokenizer.fromPretrained(idOrPath, source);
  const metadata = {
    ...modelMetadata(model.description, path.basename(file, ".gguf"), type, Number(rope.rope_theta)),
    ...vocabularyMetadata(tokenizer, files, model.description.native.vocabSize),
  };
  const tensors = model.table.tensors.map((tensor) => tensorOf(tensor, model, type));
  const factors = ropeType(rope) === "llama3" ? [ropeFactors(model.description.native, Number(rope.rope_theta))] : [];
  await writeGguf(file, metadata, [...factors, ...tensors]);
}

/** The settings of its rope. */
function checkModel({ contents, description, table }: ModelOnDisk): JsonObject {
  const { modelType, native } = description;
  const family = Object.hasOwn(FAMILIES, modelType) ? FAMILIES[modelType] : undefined;
  if (family === undefined) throw unsupported(`model_type ${modelType}`, Object.keys(FAMILIES));
  const rope = ropeSettingsOf(contents.config);
  if (!family.ropes.includes(ropeType(rope))) throw unsupported(`the rope type ${ropeType(rope)}`, family.ropes);
  if (native.layers.some(({ window }) => window > 0)) throw unsupported("sliding-window attention");
  if (native.activation !== "silu") throw unsupported(`the activation ${native.activation}`, ["silu"]);
  const bias = table.tensors.find(({ name }) => name.endsWith(".bias") && !family.bias?.test(name));
  if (bias !== undefined) throw unsupported(`the tensor ${bias.name}`);
  return rope;
}

/** `possible`: what can be written in its place. */
function unsupported(what: string, possible: readonly string[] = []): GrpoError {
  const others = possible.length === 0 ? "" : ` (${possible.join(", ")} can)`;
  return new GrpoError("UNSUPPORTED_ARCHITECTURE", `${what} of this model cannot be written to a GGUF file${others}`, {
    hint: "use llama.cpp's convert_hf_to_gguf.py, as docs/using-the-result.md says",
  });
}

function modelMetadata(
  { modelType, native }: ModelOnDisk["description"],
  name: string,
  type: TensorTypeName,
  theta: number,
): Metadata {
  const sizes = {
    block_count: native.numLayers,
    context_length: native.maxPositions,
    embedding_length: native.hiddenSize,
    feed_forward_length: native.intermediateSize,
    "attention.head_count": native.numHeads,
    "attention.head_count_kv": native.numKvHeads,
    "attention.key_length": native.headDim,
    "attention.value_length": native.headDim,
    "rope.dimension_count": native.headDim,
    vocab_size: native.vocabSize,
    "rope.freq_base": Float32Array.of(theta),
    "attention.layer_norm_rms_epsilon": Float32Array.of(native.rmsNormEps),
  };
  return {
    "general.architecture": modelType,
    "general.type": "model",
    "general.name": name,
    "general.file_type": TENSOR_TYPES[type].fileType,
    "general.quantization_version": 2,
    ...Object.fromEntries(Object.entries(sizes).map(([key, value]) => [`${modelType}.${key}`, value])),
  };
}

function tensorOf(tensor: NativeTensorRef, { description, table }: ModelOnDisk, type: TensorTypeName): GgufTensor {
  const { name, shape } = tensor;
  const wanted = shape.length === 1 ? TENSOR_TYPES.f32 : TENSOR_TYPES[type];
  const rowLength = at(shape, shape.length - 1);
  return {
    name: ggufName(name),
    shape,
    // As the converter does with rows that are no whole blocks.
    type: rowLength % wanted.blockSize === 0 ? wanted : TENSOR_TYPES.f16,
    values: () => readValues(at(table.files, tensor.file), tensor, rotatedHeads(name, description)),
  };
}

function ggufName(name: string): string {
  const [, layer, inner = name] = /^model\.layers\.(\d+)\.(.+)$/.exec(name) ?? [];
  const [, module = "", kind] = /^(.+)\.(weight|bias)$/.exec(inner) ?? [];
  const known = layer === undefined ? OUTER[module] : INNER[module] && `blk.${layer}.${INNER[module]}`;
  if (known !== undefined) return `${known}.${kind}`;
  throw new GrpoError("INTERNAL", `the tensor ${name} has no name in a GGUF file`);
}

/** The heads of a tensor whose rows are to be reordered: llama.cpp turns neighbours in Llama, where Hugging Face turns halves. */
function rotatedHeads(name: string, { modelType, native }: ModelOnDisk["description"]): number | undefined {
  if (modelType !== "llama") return undefined;
  if (name.endsWith(".q_proj.weight")) return native.numHeads;
  return name.endsWith(".k_proj.weight") ? native.numKvHeads : undefined;
}

/** By what each frequency of an unscaled rope is divided. */
function ropeFactors({ ropes, headDim }: NativeModelConfig, theta: number): GgufTensor {
  const { invFreq } = at(ropes, 0);
  const factors = invFreq.map((frequency, i) => 1 / (theta ** ((2 * i) / headDim) * frequency));
  const values = async function* () {
    yield factors;
  };
  return { name: "rope_freqs.weight", shape: [factors.length], type: TENSOR_TYPES.f32, values };
}
