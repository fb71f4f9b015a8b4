// Model families: from a config.json (transformers 4 or 5) to the numbers that the engine needs, and to the tensors that a
// checkpoint must hold. A family is one entry in a table. What a config asks for and the engine cannot do is refused by
// name; keys that transformers' own config class of the family does not read are ignored here too.

import { GrpoError } from "../errors.js";
import type { JsonObject } from "../json.js";
import type {
  NativeDtype,
  NativeModelConfig,
  NativeRope,
  NativeTensorRef,
  NativeTensorTable,
} from "../native/native.js";
import { show } from "../options.js";
import { ropeInverseFrequencies } from "./rope.js";

type Switch = "qkvBias" | "outputBias" | "mlpBias";

interface Family {
  /** The class with the language-model head, as "architectures" names it. */
  readonly architecture: string;
  /** transformers' module path of the family, as PEFT writes it into auto_mapping. */
  readonly module: string;
  /** Defaults of the family's config class, where they are not those of `commonDefaults`. */
  readonly defaults: JsonObject;
  /** Fixed by the family, or read from the named key. */
  readonly switches: Readonly<Record<Switch, boolean | string>>;
  /** Whether the family reads use_sliding_window, sliding_window and max_window_layers. */
  readonly slidingWindow: boolean;
  /** PEFT's default target modules. */
  readonly loraTargets: readonly string[];
}

const families: Readonly<Record<string, Family>> = {
  // transformers: models/qwen2/configuration_qwen2.py
  qwen2: {
    architecture: "Qwen2ForCausalLM",
    module: "transformers.models.qwen2.modeling_qwen2",
    defaults: { num_key_value_heads: 32, max_position_embeddings: 32_768, sliding_window: 4096, max_window_layers: 28 },
    switches: { qkvBias: true, outputBias: false, mlpBias: false },
    slidingWindow: true,
    loraTargets: ["q_proj", "v_proj"],
  },
  // transformers: models/llama/configuration_llama.py
  llama: {
    architecture: "LlamaForCausalLM",
    module: "transformers.models.llama.modeling_llama",
    defaults: { max_position_embeddings: 2048 },
    switches: { qkvBias: "attention_bias", outputBias: "attention_bias", mlpBias: "mlp_bias" },
    slidingWindow: false,
    loraTargets: ["q_proj", "v_proj"],
  },
};

const commonDefaults: JsonObject = { rms_norm_eps: 1e-6, tie_word_embeddings: false, hidden_act: "silu" };

export const SUPPORTED_MODEL_TYPES: readonly string[] = Object.keys(families);

export interface ModelDescription {
  readonly modelType: string;
  readonly architecture: string;
  readonly module: string;
  readonly loraTargets: readonly string[];
  readonly native: NativeModelConfig;
  /** The dtype that the config names; undefined if it names none. */
  readonly dtype: NativeDtype | undefined;
}

/** Throws BAD_CONFIG for a value that is wrong and UNSUPPORTED_ARCHITECTURE for one that is right but not supported. */
export function readModelConfig(json: JsonObject): ModelDescription {
  const modelType = json.model_type;
  if (typeof modelType !== "string") {
    throw new GrpoError("BAD_CONFIG", `config.json: model_type must be a string, found ${show(modelType)}.`);
  }
  const family = Object.hasOwn(families, modelType) ? families[modelType] : undefined;
  if (family === undefined) {
    throw unsupported(`model_type ${show(modelType)}`, `Supported model types: ${SUPPORTED_MODEL_TYPES.join(", ")}.`);
  }
  checkArchitecture(json, family);
  const config: JsonObject = { ...commonDefaults, ...family.defaults, ...json };
  refuseUnsupported(config, family);
  const native = nativeConfig(config, family);
  const { architecture, module, loraTargets } = family;
  return { modelType, architecture, module, loraTargets, native, dtype: configDtype(json) };
}

function checkArchitecture(json: JsonObject, family: Family): void {
  const names = json.architectures;
  if (names === undefined || names === null) return;
  if (Array.isArray(names) && names.includes(family.architecture)) return;
  throw unsupported(`architectures ${show(names)}`, `Expected ${family.architecture}.`);
}

function nativeConfig(config: JsonObject, family: Family): NativeModelConfig {
  const hiddenSize = size(config, "hidden_size");
  const numLayers = size(config, "num_hidden_layers");
  const numHeads = size(config, "num_attention_heads");
  const numKvHeads = config.num_key_value_heads == null ? numHeads : size(config, "num_key_value_heads");
  const headDim = config.head_dim == null ? hiddenSize / numHeads : size(config, "head_dim");
  if (!Number.isInteger(headDim)) {
    throw badConfig(`hidden_size (${hiddenSize}) must be a multiple of num_attention_heads (${numHeads})`);
  }
  if (headDim % 2 !== 0) throw badConfig(`the head dimension must be even, found ${headDim}`);
  if (numHeads % numKvHeads !== 0) {
    throw badConfig(`num_attention_heads (${numHeads}) must be a multiple of num_key_value_heads (${numKvHeads})`);
  }
  const maxPositions = size(config, "max_position_embeddings");
  const setting = (name: Switch): boolean => {
    const source = family.switches[name];
    return typeof source === "boolean" ? source : flag(config, source);
  };
  return {
    hiddenSize,
    intermediateSize: size(config, "intermediate_size"),
    numLayers,
    numHeads,
    numKvHeads,
    headDim,
    vocabSize: size(config, "vocab_size"),
    rmsNormEps: epsilon(config),
    maxPositions,
    tieWordEmbeddings: flag(config, "tie_word_embeddings"),
    ropes: [staticRope(ropeInverseFrequencies(config, headDim, maxPositions))],
    layers: Array.from({ length: numLayers }, () => ({ window: 0, rope: 0 })),
    qkvBias: setting("qkvBias"),
    outputBias: setting("outputBias"),
    mlpBias: setting("mlpBias"),
    fusedProjections: false,
    qkNorm: "none",
    preNorms: true,
    postNorms: false,
    normOffset: 0,
    activation: "silu",
    embeddingScale: 1,
    attentionScale: 1 / Math.sqrt(headDim),
    attentionSoftcap: 0,
    logitSoftcap: 0,
  };
}

/** A rope whose frequencies do not depend on the length of the sequence. */
function staticRope(invFreq: Float32Array): NativeRope {
  const never = {
    switchLength: 0,
    longInvFreq: new Float32Array(),
    longScaling: 1,
    dynamicFactor: 0,
    dynamicLength: 0,
  };
  return { invFreq, scaling: 1, ...never, theta: 0 };
}

function refuseUnsupported(config: JsonObject, family: Family): void {
  // "swish" is transformers' other name of SiLU.
  if (config.hidden_act !== "silu" && config.hidden_act !== "swish") {
    throw unsupported(`hidden_act ${show(config.hidden_act)}`, "Supported: silu.");
  }
  if (config.quantization_config != null) {
    throw unsupported("quantization_config", "Use a checkpoint that is not quantized.");
  }
  if (typeof config.attention_dropout === "number" && config.attention_dropout > 0) {
    throw unsupported(`attention_dropout ${config.attention_dropout}`, "Set it to 0 in config.json.");
  }
  const layerTypes: unknown[] = Array.isArray(config.layer_types) ? config.layer_types : [];
  const unknown = layerTypes.find((type) => type !== "full_attention" && type !== "sliding_attention");
  if (unknown !== undefined) throw unsupported(`layer_types with ${show(unknown)}`, "Supported: full_attention.");
  if (family.slidingWindow && flag(config, "use_sliding_window")) refuseWindow(config, layerTypes);
}

/** A window matters if some layer has it and it is narrower than the longest sequence. */
function refuseWindow(config: JsonObject, layerTypes: readonly unknown[]): void {
  if (config.sliding_window == null) return;
  const window = size(config, "sliding_window");
  const windowed =
    layerTypes.length > 0
      ? layerTypes.includes("sliding_attention")
      : Number(config.max_window_layers) < size(config, "num_hidden_layers");
  if (!windowed || window >= size(config, "max_position_embeddings")) return;
  throw unsupported(`use_sliding_window with sliding_window ${window}`, "Set use_sliding_window to false.");
}

const DTYPES: readonly NativeDtype[] = ["float32", "bfloat16", "float16", "float64"];

function configDtype(json: JsonObject): NativeDtype | undefined {
  const value = json.dtype ?? json.torch_dtype;
  if (value === undefined || value === null || value === "auto") return undefined;
  const name = typeof value === "string" ? value.replace(/^torch\./, "") : value;
  const dtype = DTYPES.find((known) => known === name);
  if (dtype !== undefined) return dtype;
  throw unsupported(`dtype ${show(value)}`, `Supported: ${DTYPES.join(", ")}.`);
}

/** A linear layer that can carry an adapter: y [out] = W x [in]. */
export interface LinearLayer {
  readonly module: string;
  readonly in: number;
  readonly out: number;
  readonly bias: boolean;
}

/** Every linear layer of the decoder blocks, in the order of the model. */
export function linearLayers(config: NativeModelConfig): LinearLayer[] {
  const { hiddenSize: C, intermediateSize: F, headDim: D, qkvBias, outputBias, mlpBias } = config;
  const queries = config.numHeads * D;
  const keys = config.numKvHeads * D;
  return Array.from({ length: config.numLayers }, (_, layer) => {
    const linear = (name: string, inSize: number, out: number, bias: boolean): LinearLayer => {
      return { module: `model.layers.${layer}.${name}`, in: inSize, out, bias };
    };
    return [
      linear("self_attn.q_proj", C, queries, qkvBias),
      linear("self_attn.k_proj", C, keys, qkvBias),
      linear("self_attn.v_proj", C, keys, qkvBias),
      linear("self_attn.o_proj", queries, C, outputBias),
      linear("mlp.gate_proj", C, F, mlpBias),
      linear("mlp.up_proj", C, F, mlpBias),
      linear("mlp.down_proj", F, C, mlpBias),
    ];
  }).flat();
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
    expected.set(`model.layers.${layer}.input_layernorm.weight`, [C]);
    expected.set(`model.layers.${layer}.post_attention_layernorm.weight`, [C]);
  }
  expected.set("model.norm.weight", [C]);
  if (!config.tieWordEmbeddings) expected.set("lm_head.weight", [V, C]);
  return expected;
}

export function parameterCount(config: NativeModelConfig): number {
  const sizes = [...expectedTensors(config).values()];
  return sizes.reduce((sum, shape) => sum + shape.reduce((product, n) => product * n, 1), 0);
}

/** Buffers that old versions of transformers saved, and that are recomputed. */
const IGNORABLE = /(^|\.)rotary_emb\.inv_freq$/;
const WEIGHT_DTYPES: readonly string[] = ["F32", "BF16", "F16", "F64"];

/** The part of a checkpoint that the model reads, after every name, shape and dtype has been checked. */
export function matchCheckpoint(table: NativeTensorTable, config: NativeModelConfig): NativeTensorTable {
  const expected = expectedTensors(config);
  const stored = new Map(table.tensors.map((tensor) => [tensor.name, tensor]));
  if (config.tieWordEmbeddings) useOnlyEmbedding(stored);
  const where = table.files.length === 1 ? String(table.files[0]) : `${table.files.length} weight files`;
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
    if (shape === undefined) throw badCheckpoint(`${where}: tensor ${tensor.name} has no place in this model.`);
    checkTensor(where, tensor, shape);
    tensors.push(tensor);
  }
  return { files: table.files, tensors };
}

/** Tied models may store the shared matrix under either name, or under both; transformers reads the embedding's. */
function useOnlyEmbedding(stored: Map<string, NativeTensorRef>): void {
  const head = stored.get("lm_head.weight");
  if (head === undefined) return;
  stored.delete("lm_head.weight");
  const name = "model.embed_tokens.weight";
  if (!stored.has(name)) stored.set(name, { ...head, name });
}

function checkTensor(where: string, tensor: NativeTensorRef, shape: readonly number[]): void {
  if (shapeText(tensor.shape) !== shapeText(shape)) {
    const found = `expected shape ${shapeText(shape)}, found ${shapeText(tensor.shape)}`;
    throw badCheckpoint(`${where}: tensor ${tensor.name}: ${found}.`);
  }
  if (!WEIGHT_DTYPES.includes(tensor.dtype)) {
    throw badCheckpoint(
      `${where}: tensor ${tensor.name}: dtype ${tensor.dtype} is not supported (${WEIGHT_DTYPES.join(", ")} are).`,
    );
  }
}

export function shapeText(shape: readonly number[] | undefined): string {
  return `[${(shape ?? []).join(", ")}]`;
}

function size(config: JsonObject, key: string): number {
  const value = config[key];
  if (typeof value === "number" && Number.isSafeInteger(value) && value > 0) return value;
  throw badConfig(`${key} must be a positive whole number, found ${show(value)}`);
}

function flag(config: JsonObject, key: string): boolean {
  const value = config[key] ?? false;
  if (typeof value === "boolean") return value;
  throw badConfig(`${key} must be true or false, found ${show(value)}`);
}

function epsilon(config: JsonObject): number {
  const value = config.rms_norm_eps;
  if (typeof value === "number" && Number.isFinite(value) && value > 0) return value;
  throw badConfig(`rms_norm_eps must be a positive number, found ${show(value)}`);
}

function badConfig(what: string): GrpoError {
  return new GrpoError("BAD_CONFIG", `config.json: ${what}.`);
}

function badCheckpoint(message: string): GrpoError {
  return new GrpoError("BAD_CHECKPOINT", message, { hint: "Check that config.json and the weights belong together." });
}

function unsupported(what: string, hint: string): GrpoError {
  return new GrpoError("UNSUPPORTED_ARCHITECTURE", `config.json: ${what} is not supported.`, { hint });
}
