// From a config.json (transformers 4 or 5) to the numbers that the engine needs. What differs between families is data in
// family-table.ts. What a config asks for and the engine cannot do is refused by name, and so is a key that would change
// another family's model and that transformers' own config class of this family does not read.

import { show } from "../../checks.js";
import { GrpoError } from "../../errors.js";
import { isJsonObject, type JsonObject } from "../../json.js";
import type { NativeDtype, NativeLayer, NativeModelConfig } from "../../native/native.js";
import { commonDefaults, type Family, families, hasRope, neutralValues, refusedTypes } from "./family-table.js";
import { type LayerStructure, type ModelSizes, makeModules, withScoreHead } from "./module-table.js";
import { makeRope, type RopeInput, ropeType, scaledLength } from "./rope.js";

export { expectedTensors, matchTensors, parameterCount, shapeText } from "../files/model-tensors.js";
export { type LinearLayer, linearLayers } from "./module-table.js";

export const SUPPORTED_MODEL_TYPES: readonly string[] = Object.keys(families);

export interface ModelDescription {
  readonly modelType: string;
  readonly architecture: string;
  readonly module: string;
  /** PEFT's default target modules; empty where it has none. */
  readonly loraTargets: readonly string[];
  readonly native: NativeModelConfig;
  /** The dtype that the config names; undefined if it names none. */
  readonly dtype: NativeDtype | undefined;
}

/** What is on top of the decoder: a distribution over tokens, or one number (a reward model). */
export type ModelHead = "tokens" | "score";

/** Throws BAD_CONFIG for a value that is wrong and UNSUPPORTED_ARCHITECTURE for one that is right but not supported. */
export function readModelConfig(json: JsonObject, head: ModelHead = "tokens"): ModelDescription {
  const modelType = json.model_type;
  if (typeof modelType !== "string") {
    throw new GrpoError("BAD_CONFIG", `config.json: model_type must be a string, found ${show(modelType)}`);
  }
  const family = familyOf(modelType);
  const architecture = head === "tokens" ? family.architecture : classifierOf(family);
  checkArchitecture(json, architecture);
  const config: JsonObject = { ...commonDefaults, ...family.defaults, ...json };
  refuseUnread(config, family);
  const own = nativeConfig(config, family);
  // A score is neither shared with the embedding nor capped.
  const native = head === "tokens" ? own : withScore(own);
  const { module, loraTargets } = family;
  return { modelType, architecture, module, loraTargets, native, dtype: configDtype(json) };
}

/** The rope settings of a config.json in one form, `rope_theta` among them; not of a family with two ropes. */
export function ropeSettingsOf(json: JsonObject): JsonObject {
  const family = familyOf(String(json.model_type));
  return ropeSettings({ ...commonDefaults, ...family.defaults, ...json }, family);
}

function withScore(config: NativeModelConfig): NativeModelConfig {
  const modules = withScoreHead(config.modules, 1);
  return { ...config, tieWordEmbeddings: false, logitSoftcap: 0, numLabels: 1, modules };
}

function familyOf(modelType: string): Family {
  const family = Object.hasOwn(families, modelType) ? families[modelType] : undefined;
  if (family !== undefined) return family;
  const near = Object.hasOwn(refusedTypes, modelType) ? `${refusedTypes[modelType]}; or ` : "";
  throw unsupported(
    `model_type ${show(modelType)}`,
    `${near}choose a model of one of the types ${SUPPORTED_MODEL_TYPES.join(", ")}`,
  );
}

function classifierOf({ architecture, classifier }: Family): string {
  return classifier ?? architecture.replace("ForCausalLM", "ForSequenceClassification");
}

/** Weights that were saved from the decoder alone (LlamaModel) are the same model; a head that they lack is missed with its name. */
function checkArchitecture(json: JsonObject, architecture: string): void {
  const names = json.architectures;
  if (names === undefined || names === null) return;
  const decoder = architecture.replace(/For(?:CausalLM|SequenceClassification)$/, "Model");
  if (Array.isArray(names) && (names.length === 0 || names.includes(architecture) || names.includes(decoder))) return;
  throw unsupported(`architectures ${show(names)}`, `use a checkpoint of ${architecture}`);
}

/** Refuses what would act in another family and is not read by this one, rather than to compute without it. */
function refuseUnread(config: JsonObject, family: Family): void {
  for (const [key, neutral] of Object.entries(neutralValues)) {
    const value = config[key];
    if (family.reads.includes(key) || value == null || neutral.includes(value)) continue;
    const off = neutral.length === 0 ? "null" : show(neutral[0]);
    throw unsupported(`${key} ${show(value)}`, `set it to ${off}, the value supported for this family`);
  }
}

/** Far above any model, so that no config makes lists that do not fit into memory. */
const [MAX_LAYERS, MAX_HEAD_DIM] = [10_000, 65_536];

function nativeConfig(config: JsonObject, family: Family): NativeModelConfig {
  const hiddenSize = size(config, "hidden_size");
  const numLayers = size(config, "num_hidden_layers", MAX_LAYERS);
  const heads = headSizes(config, hiddenSize);
  const ropes = ropeInputs(config, family, heads.headDim);
  const { localTheta } = family.rope;
  // A linear factor of Gemma 3 is already part of its max_position_embeddings.
  const maxPositions =
    localTheta === undefined ? Math.max(...ropes.map(scaledLength)) : size(config, "max_position_embeddings");
  const setting = (value: boolean | string): boolean => (typeof value === "boolean" ? value : flag(config, value));
  const optional = (key: string) => (config[key] == null || !family.reads.includes(key) ? 0 : positive(config, key));
  const sizes: ModelSizes = {
    hiddenSize,
    intermediateSize: size(config, "intermediate_size"),
    numLayers,
    ...heads,
    vocabSize: size(config, "vocab_size"),
  };
  const { normOffset, ...layer } = family.fixed;
  const structure: LayerStructure = {
    ...layer,
    qkvBias: setting(family.bias.qkv),
    outputBias: setting(family.bias.output),
    mlpBias: setting(family.bias.mlp),
  };
  return {
    ...sizes,
    rmsNormEps: positive(config, "rms_norm_eps"),
    maxPositions,
    tieWordEmbeddings: flag(config, "tie_word_embeddings"),
    ropes: ropes.map(makeRope),
    layers: readLayers(config, family, numLayers, maxPositions),
    modules: makeModules(sizes, structure),
    normOffset,
    activation: activation(config, family),
    embeddingScale: family.scaledEmbeddings ? Math.sqrt(hiddenSize) : 1,
    attentionScale: (optional("query_pre_attn_scalar") || heads.headDim) ** -0.5,
    attentionSoftcap: optional("attn_logit_softcapping"),
    logitSoftcap: optional("final_logit_softcapping"),
    numLabels: 0,
  };
}

function headSizes(
  config: JsonObject,
  hiddenSize: number,
): Pick<NativeModelConfig, "numHeads" | "numKvHeads" | "headDim"> {
  const numHeads = size(config, "num_attention_heads");
  const numKvHeads = config.num_key_value_heads == null ? numHeads : size(config, "num_key_value_heads");
  const headDim = config.head_dim == null ? hiddenSize / numHeads : size(config, "head_dim");
  if (headDim > MAX_HEAD_DIM) throw badConfig(`the head dimension must be at most ${MAX_HEAD_DIM}, found ${headDim}`);
  if (!Number.isInteger(headDim)) {
    throw badConfig(`hidden_size (${hiddenSize}) must be a multiple of num_attention_heads (${numHeads})`);
  }
  if (headDim % 2 !== 0) throw badConfig(`the head dimension must be even, found ${headDim}`);
  if (numHeads % numKvHeads !== 0) {
    throw badConfig(`num_attention_heads (${numHeads}) must be a multiple of num_key_value_heads (${numKvHeads})`);
  }
  return { numHeads, numKvHeads, headDim };
}

const ACTIVATIONS: Readonly<Record<string, NativeModelConfig["activation"]>> = {
  silu: "silu",
  // transformers' other name of SiLU.
  swish: "silu",
  gelu_pytorch_tanh: "gelu_tanh",
};

function activation(config: JsonObject, family: Family): NativeModelConfig["activation"] {
  const name = config[family.activationKey];
  const known = typeof name === "string" && Object.hasOwn(ACTIVATIONS, name) ? ACTIVATIONS[name] : undefined;
  if (known !== undefined) return known;
  throw unsupported(`${family.activationKey} ${show(name)}`, `use one of ${Object.keys(ACTIVATIONS).join(", ")}`);
}

/** Window and rope of each layer. A window that is never narrower than a sequence is none. */
function readLayers(config: JsonObject, family: Family, numLayers: number, maxPositions: number): NativeLayer[] {
  const sliding = slidingLayers(config, family, numLayers);
  const window = sliding.includes(true) ? windowSize(config, family) : 0;
  const ropeOf = (layer: number): number => {
    if (family.rope.localTheta !== undefined) return sliding[layer] ? LOCAL : GLOBAL;
    return family.reads.includes("no_rope_layers") && !hasRope(config, layer) ? -1 : GLOBAL;
  };
  if (family.reads.includes("no_rope_layers")) checkNoRopeLayers(config, numLayers);
  return sliding.map((slides, layer) => {
    return { window: slides && window < maxPositions ? window : 0, rope: ropeOf(layer) };
  });
}

/** Places in `ropes`. */
const [GLOBAL, LOCAL] = [0, 1];

function slidingLayers(config: JsonObject, family: Family, numLayers: number): boolean[] {
  for (const key of ["sliding_window_pattern", "no_rope_layer_interval"]) if (config[key] != null) size(config, key);
  flag(config, "use_sliding_window");
  const own = Array.from({ length: numLayers }, (_, layer) => family.slidingLayer(config, layer));
  const types = config.layer_types;
  if (types == null) return own;
  const known = ["full_attention", "sliding_attention"];
  if (!Array.isArray(types)) throw badConfig(`layer_types must be a list, found ${show(types)}`);
  const unknown = types.find((type) => !known.includes(type));
  if (unknown !== undefined) throw unsupported(`layer_types with ${show(unknown)}`, `use one of ${known.join(", ")}`);
  if (types.length !== numLayers) {
    throw badConfig(`layer_types must name num_hidden_layers (${numLayers}) layers, found ${types.length}`);
  }
  const said = types.map((type) => type === "sliding_attention");
  if (!family.reads.includes("layer_types") && said.some((slides, layer) => slides !== own[layer])) {
    throw unsupported(`layer_types ${show(types)}`, "give all layers the same kind of attention, as this family does");
  }
  return said;
}

function windowSize(config: JsonObject, family: Family): number {
  if (family.reads.includes("use_sliding_window") && !flag(config, "use_sliding_window")) {
    throw badConfig("layer_types has sliding_attention, but use_sliding_window is false");
  }
  return size(config, "sliding_window");
}

function checkNoRopeLayers(config: JsonObject, numLayers: number): void {
  const list = config.no_rope_layers;
  if (list == null) return;
  const flags: readonly unknown[] = [0, 1, true, false];
  if (Array.isArray(list) && list.length >= numLayers && list.every((value) => flags.includes(value))) return;
  throw badConfig(`no_rope_layers must have 0 or 1 for each of ${numLayers} layers, found ${show(list)}`);
}

/** The rope of all layers, or, for a family with two, of the global layers and of the local ones. */
function ropeInputs(config: JsonObject, family: Family, headDim: number): RopeInput[] {
  const maxPositions = size(config, "max_position_embeddings");
  const { localTheta } = family.rope;
  if (localTheta !== undefined) {
    const common = { headDim, maxPositions, originalPositions: undefined };
    return layerRopeSettings(config, family.rope.theta, localTheta).map((settings) => ({ ...common, settings }));
  }
  const outer = config.original_max_position_embeddings;
  const originalPositions = outer == null ? undefined : size(config, "original_max_position_embeddings");
  return [{ settings: ropeSettings(config, family), headDim, maxPositions, originalPositions }];
}

function ropeSettings(config: JsonObject, family: Family): JsonObject {
  const stored = objectOf(config, "rope_scaling");
  const given = Object.keys(stored).length > 0 ? stored : objectOf(config, "rope_parameters");
  const nested = Object.keys(given).find((key) => isJsonObject(given[key]));
  if (nested !== undefined) {
    throw unsupported(
      `rope_parameters of its own for each layer type (${nested})`,
      "leave it out; only gemma3_text has it",
    );
  }
  const { types, theta } = family.rope;
  const partial = given.partial_rotary_factor ?? config.partial_rotary_factor ?? 1;
  if (partial !== 1 && !family.reads.includes("partial_rotary_factor")) {
    throw unsupported(`partial_rotary_factor ${show(partial)}`, "set it to 1, the value supported for this family");
  }
  const settings = {
    ...given,
    rope_theta: given.rope_theta ?? config.rope_theta ?? theta,
    partial_rotary_factor: partial,
  };
  if (types === undefined) return settings;
  const type = given.rope_type ?? given.type ?? "default";
  if (!types.includes(String(type))) throw unsupported(`rope type ${show(type)}`, `use one of ${types.join(", ")}`);
  return { ...settings, rope_type: type === "default" ? type : "longrope" };
}

/** Gemma 3: [global, local]. transformers 4 has rope_theta, rope_scaling (global only) and rope_local_base_freq. */
function layerRopeSettings(config: JsonObject, theta: number, localTheta: number): [JsonObject, JsonObject] {
  const stored = objectOf(config, "rope_parameters");
  const other = Object.keys(stored).find((key) => key !== "full_attention" && key !== "sliding_attention");
  if (other !== undefined) {
    throw badConfig(`rope_parameters must have full_attention and sliding_attention, found ${other}`);
  }
  const global = { ...objectOf(stored, "full_attention"), ...objectOf(config, "rope_scaling") };
  const local = objectOf(stored, "sliding_attention");
  for (const settings of [global, local]) {
    // transformers looks for these two in the wrong place where settings are nested.
    if (ropeType(settings) === "yarn" && settings.truncate === false) throw unsupported("truncate false", "remove it");
    const partial = settings.partial_rotary_factor ?? config.partial_rotary_factor ?? 1;
    if (partial !== 1)
      throw unsupported(`partial_rotary_factor ${show(partial)}`, "set it to 1, the value supported for this family");
  }
  return [
    { ...global, rope_theta: global.rope_theta ?? config.rope_theta ?? theta },
    { ...local, rope_theta: local.rope_theta ?? config.rope_local_base_freq ?? localTheta },
  ];
}

function objectOf(config: JsonObject, key: string): JsonObject {
  const value = config[key] ?? {};
  if (isJsonObject(value)) return value;
  throw badConfig(`${key} must be an object, found ${show(value)}`);
}

const DTYPES: readonly NativeDtype[] = ["float32", "bfloat16", "float16", "float64"];

function configDtype(json: JsonObject): NativeDtype | undefined {
  const value = json.dtype ?? json.torch_dtype;
  if (value === undefined || value === null || value === "auto") return undefined;
  const name = typeof value === "string" ? value.replace(/^torch\./, "") : value;
  const dtype = DTYPES.find((known) => known === name);
  if (dtype !== undefined) return dtype;
  throw unsupported(`dtype ${show(value)}`, `use one of ${DTYPES.join(", ")}`);
}

function size(config: JsonObject, key: string, limit = Number.MAX_SAFE_INTEGER): number {
  const value = config[key];
  if (typeof value === "number" && Number.isSafeInteger(value) && value > 0 && value <= limit) return value;
  const range = limit === Number.MAX_SAFE_INTEGER ? "" : ` of at most ${limit}`;
  throw badConfig(`${key} must be a positive whole number${range}, found ${show(value)}`);
}

function flag(config: JsonObject, key: string): boolean {
  const value = config[key] ?? false;
  if (typeof value === "boolean") return value;
  throw badConfig(`${key} must be true or false, found ${show(value)}`);
}

function positive(config: JsonObject, key: string): number {
  const value = config[key];
  if (typeof value === "number" && Number.isFinite(value) && value > 0) return value;
  throw badConfig(`${key} must be a positive number, found ${show(value)}`);
}

function badConfig(what: string): GrpoError {
  return new GrpoError("BAD_CONFIG", `config.json: ${what}`);
}

function unsupported(what: string, hint: string): GrpoError {
  return new GrpoError("UNSUPPORTED_ARCHITECTURE", `config.json: ${what} is not supported`, { hint });
}
