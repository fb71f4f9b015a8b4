// The model families as data: what transformers 5.24 fixes for each, what it reads from config.json, and its defaults. A
// family that only switches what is here is one more entry. families.ts turns an entry and a config into numbers.

import type { JsonObject } from "../../json.js";
import type { NativeModelConfig } from "../../native/native.js";
import type { LayerStructure } from "./module-table.js";

/** Fixed by the family, or read from the named key. */
type Switch = boolean | string;

export interface Family {
  /** The class with the language-model head, as "architectures" names it. */
  readonly architecture: string;
  /** The one with a score head, where it is not named alike. */
  readonly classifier?: string;
  /** transformers' module path of the family, as PEFT writes it into auto_mapping. */
  readonly module: string;
  /** Defaults of the family's config class, where they are not those of `commonDefaults`. */
  readonly defaults: JsonObject;
  /** PEFT's default target modules; empty where PEFT has none and the user must name them. */
  readonly loraTargets: readonly string[];
  readonly fixed: Pick<LayerStructure, "fusedProjections" | "qkNorm" | "preNorms" | "postNorms"> &
    Pick<NativeModelConfig, "normOffset">;
  readonly bias: { readonly qkv: Switch; readonly output: Switch; readonly mlp: Switch };
  readonly activationKey: "hidden_act" | "hidden_activation";
  /** Embeddings times √hidden_size (Gemma). */
  readonly scaledEmbeddings: boolean;
  readonly rope: {
    readonly theta: number;
    /** Types that the family takes, if not all. */
    readonly types?: readonly string[];
    /** One rope for windowed layers and one for the others (Gemma 3); its theta is the windowed one's. */
    readonly localTheta?: number;
  };
  /** Keys that change what is computed and that the family reads. All others of `neutralValues` must be off, and layer_types be the family's own. */
  readonly reads: readonly string[];
  /** Whether a layer has a window, where layer_types does not say it. */
  readonly slidingLayer: (config: JsonObject, layer: number) => boolean;
}

export const commonDefaults: JsonObject = {
  rms_norm_eps: 1e-6,
  tie_word_embeddings: false,
  hidden_act: "silu",
};

/** Keys with which a config changes what some family computes, and the values that mean "off". */
export const neutralValues: Readonly<Record<string, readonly unknown[]>> = {
  use_sliding_window: [false],
  sliding_window: [],
  no_rope_layers: [],
  partial_rotary_factor: [1],
  rope_local_base_freq: [],
  query_pre_attn_scalar: [],
  attn_logit_softcapping: [],
  final_logit_softcapping: [],
  use_bidirectional_attention: [false],
  attention_dropout: [0],
  resid_pdrop: [0],
  embd_pdrop: [0],
  clip_qkv: [],
  qk_layernorm: [false],
  use_qk_norm: [false],
  attention_chunk_size: [],
  attention_multiplier: [1],
  embedding_multiplier: [1],
  residual_multiplier: [1],
  logits_scaling: [1],
  logit_scale: [1],
  num_experts: [0],
  num_local_experts: [0],
  n_routed_experts: [0],
  per_layer_config: [],
  is_encoder_decoder: [false],
  quantization_config: [],
};

const plain: Family["fixed"] = {
  fusedProjections: false,
  qkNorm: "none",
  preNorms: true,
  postNorms: false,
  normOffset: 0,
};
const noBias: Family["bias"] = { qkv: false, output: false, mlp: false };
const attentionBias: Family["bias"] = { qkv: "attention_bias", output: "attention_bias", mlp: false };
const queriesAndValues: readonly string[] = ["q_proj", "v_proj"];
const never = (): boolean => false;

const llama: Family = {
  architecture: "LlamaForCausalLM",
  module: "transformers.models.llama.modeling_llama",
  defaults: { max_position_embeddings: 2048 },
  loraTargets: queriesAndValues,
  fixed: plain,
  bias: { ...attentionBias, mlp: "mlp_bias" },
  activationKey: "hidden_act",
  scaledEmbeddings: false,
  rope: { theta: 10_000 },
  reads: [],
  slidingLayer: never,
};

const qwen2: Family = {
  ...llama,
  architecture: "Qwen2ForCausalLM",
  module: "transformers.models.qwen2.modeling_qwen2",
  defaults: {
    num_key_value_heads: 32,
    max_position_embeddings: 32_768,
    use_sliding_window: false,
    sliding_window: 4096,
    max_window_layers: 28,
  },
  bias: { ...noBias, qkv: true },
  reads: ["layer_types", "use_sliding_window", "sliding_window"],
  slidingLayer: (config, layer) => hasWindow(config) && layer >= Number(config.max_window_layers),
};

const gemma2: Family = {
  ...llama,
  architecture: "Gemma2ForCausalLM",
  module: "transformers.models.gemma2.modeling_gemma2",
  defaults: {
    num_key_value_heads: 4,
    head_dim: 256,
    max_position_embeddings: 8192,
    tie_word_embeddings: true,
    hidden_activation: "gelu_pytorch_tanh",
    query_pre_attn_scalar: 256,
    sliding_window: 4096,
    final_logit_softcapping: 30,
    attn_logit_softcapping: 50,
  },
  fixed: { ...plain, postNorms: true, normOffset: 1 },
  bias: attentionBias,
  activationKey: "hidden_activation",
  scaledEmbeddings: true,
  reads: [
    "layer_types",
    "sliding_window",
    "query_pre_attn_scalar",
    "attn_logit_softcapping",
    "final_logit_softcapping",
  ],
  slidingLayer: (_, layer) => layer % 2 === 0,
};

/** Every family, by the `model_type` of its config.json. */
export const families: Readonly<Record<string, Family>> = {
  llama,
  qwen2,
  qwen3: {
    ...qwen2,
    architecture: "Qwen3ForCausalLM",
    module: "transformers.models.qwen3.modeling_qwen3",
    defaults: { ...qwen2.defaults, head_dim: 128 },
    fixed: { ...plain, qkNorm: "head" },
    bias: attentionBias,
  },
  mistral: {
    ...llama,
    architecture: "MistralForCausalLM",
    module: "transformers.models.mistral.modeling_mistral",
    defaults: { num_key_value_heads: 8, max_position_embeddings: 131_072, sliding_window: 4096 },
    bias: noBias,
    reads: ["sliding_window"],
    slidingLayer: (config) => config.sliding_window != null,
  },
  smollm3: {
    ...llama,
    architecture: "SmolLM3ForCausalLM",
    module: "transformers.models.smollm3.modeling_smollm3",
    defaults: {
      num_key_value_heads: 4,
      max_position_embeddings: 32_768,
      tie_word_embeddings: true,
      no_rope_layer_interval: 4,
      use_sliding_window: false,
    },
    loraTargets: [],
    rope: { theta: 2_000_000 },
    reads: ["layer_types", "use_sliding_window", "sliding_window", "no_rope_layers"],
    slidingLayer: (config, layer) => hasWindow(config) && !hasRope(config, layer),
  },
  gemma2,
  gemma3_text: {
    ...gemma2,
    architecture: "Gemma3ForCausalLM",
    classifier: "Gemma3TextForSequenceClassification",
    module: "transformers.models.gemma3.modeling_gemma3",
    defaults: {
      ...gemma2.defaults,
      max_position_embeddings: 131_072,
      sliding_window_pattern: 6,
      final_logit_softcapping: null,
      attn_logit_softcapping: null,
    },
    fixed: { ...gemma2.fixed, qkNorm: "head" },
    rope: { theta: 1_000_000, localTheta: 10_000 },
    // transformers keeps attn_logit_softcapping for this family but does not apply it.
    reads: [
      "layer_types",
      "sliding_window",
      "query_pre_attn_scalar",
      "final_logit_softcapping",
      "rope_local_base_freq",
    ],
    slidingLayer: (config, layer) => (layer + 1) % Number(config.sliding_window_pattern) !== 0,
  },
  phi3: {
    ...llama,
    architecture: "Phi3ForCausalLM",
    module: "transformers.models.phi3.modeling_phi3",
    defaults: { max_position_embeddings: 4096, original_max_position_embeddings: 4096, rms_norm_eps: 1e-5 },
    loraTargets: [],
    fixed: { ...plain, fusedProjections: true },
    bias: noBias,
    // "su" and "yarn" are what longrope was called before.
    rope: { theta: 10_000, types: ["default", "longrope", "su", "yarn"] },
    reads: ["sliding_window", "partial_rotary_factor"],
    slidingLayer: (config) => config.sliding_window != null,
  },
  olmo2: {
    ...llama,
    architecture: "Olmo2ForCausalLM",
    module: "transformers.models.olmo2.modeling_olmo2",
    defaults: { max_position_embeddings: 2048, rms_norm_eps: 1e-5 },
    loraTargets: [],
    fixed: { ...plain, qkNorm: "full", preNorms: false, postNorms: true },
    bias: attentionBias,
  },
};

/** Model types that are near to one of ours, and what to say of them. */
export const refusedTypes: Readonly<Record<string, string>> = {
  gemma3: "this is Gemma 3 with vision: use a text-only checkpoint (model_type gemma3_text)",
};

function hasWindow(config: JsonObject): boolean {
  return config.use_sliding_window === true && config.sliding_window != null;
}

/** SmolLM3: a 1 in no_rope_layers is a layer with a rope; without the list every n-th layer has none. */
export function hasRope(config: JsonObject, layer: number): boolean {
  const list = config.no_rope_layers;
  if (Array.isArray(list)) return Boolean(list[layer]);
  return config.no_rope_layer_interval == null || (layer + 1) % Number(config.no_rope_layer_interval) !== 0;
}
