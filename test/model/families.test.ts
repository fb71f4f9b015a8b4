import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { at } from "../../lib/at.js";
import type { JsonObject } from "../../lib/json.js";
import {
  expectedTensors,
  type ModelDescription,
  matchTensors,
  parameterCount,
  readModelConfig,
} from "../../lib/model/families/families.js";
import { makeRope, type RopeInput } from "../../lib/model/families/rope.js";
import type { NativeTensorTable } from "../../lib/native/native.js";
import { llama, qwen2, tensorsOf } from "./folders.js";

const golden = new URL("../fixtures/golden/", import.meta.url);

/** The numbers of a model, and which modules its layers have by the table. */
function factsOf({ native }: ModelDescription) {
  const { attention, feedForward } = at(native.modules.layers, 0);
  const perHead = attention.qNorm?.size === native.headDim ? "head" : "full";
  return {
    ...native,
    qkvBias: attention.qkv.bias,
    outputBias: attention.output.bias,
    mlpBias: feedForward.gateUp.bias && feedForward.down.bias,
    fusedProjections: attention.qkv.parts.length === 1 && feedForward.gateUp.parts.length === 1,
    qkNorm: attention.qNorm === null ? "none" : perHead,
    preNorms: attention.before !== null && feedForward.before !== null,
    postNorms: attention.after !== null && feedForward.after !== null,
  };
}

describe("readModelConfig", () => {
  it("reads what qwen2 fixes and what its config says", () => {
    const description = readModelConfig(qwen2);
    const { dtype, architecture } = description;
    const native = factsOf(description);
    expect(architecture).toBe("Qwen2ForCausalLM");
    expect(dtype).toBe("float32");
    expect(native).toMatchObject({ hiddenSize: 8, numHeads: 4, numKvHeads: 2, headDim: 2, tieWordEmbeddings: true });
    expect(native).toMatchObject({ qkvBias: true, outputBias: false, mlpBias: false });
  });

  it("reads llama's biases, head size and defaults", () => {
    const description = readModelConfig({
      ...llama,
      attention_bias: true,
      mlp_bias: true,
      head_dim: 6,
      num_key_value_heads: null,
      rms_norm_eps: 1e-5,
    });
    const native = factsOf(description);
    expect(native).toMatchObject({ qkvBias: true, outputBias: true, mlpBias: true, headDim: 6, numKvHeads: 4 });
    expect(native.ropes[0]?.invFreq).toHaveLength(3);
    const { attention_bias: _, max_position_embeddings: __, tie_word_embeddings: ___, ...short } = llama as JsonObject;
    const defaults = {
      qkvBias: false,
      outputBias: false,
      mlpBias: false,
      maxPositions: 2048,
      tieWordEmbeddings: false,
    };
    expect(factsOf(readModelConfig(short))).toMatchObject(defaults);
  });

  it("reads the same from a config of transformers 4 and of transformers 5", () => {
    const file = (name: string): JsonObject =>
      JSON.parse(readFileSync(new URL(`models/${name}/config.json`, golden), "utf8"));
    expect(file("llama-rope3")).toHaveProperty("rope_parameters");
    expect(file("llama-rope3-v4")).toHaveProperty("rope_scaling");
    expect(readModelConfig(file("llama-rope3-v4"))).toEqual(readModelConfig(file("llama-rope3")));
  });

  it("takes dtype in all its spellings", () => {
    const dtypeOf = (fields: JsonObject) => {
      const { torch_dtype: _, ...rest } = qwen2;
      return readModelConfig({ ...rest, ...fields }).dtype;
    };
    expect(dtypeOf({ dtype: "bfloat16" })).toBe("bfloat16");
    expect(dtypeOf({ torch_dtype: "torch.float16" })).toBe("float16");
    expect(dtypeOf({})).toBeUndefined();
  });

  it.each([[["Qwen2Model"]], [[]], [null]])(
    "takes weights of the decoder alone, or of no named class: %j",
    (architectures) => {
      expect(readModelConfig({ ...qwen2, architectures })).toEqual(readModelConfig(qwen2));
    },
  );

  it.each([
    ["an unknown family", { model_type: "mamba" }, /model_type "mamba".*\n.*llama, qwen2, qwen3/],
    ["a family by an inherited name", { model_type: "toString" }, /model_type "toString"/],
    ["Gemma 3 with vision", { model_type: "gemma3" }, /model_type "gemma3" .*\n.*gemma3_text/],
    [
      "another head",
      { architectures: ["Qwen2ForTokenClassification"] },
      /architectures \["Qwen2ForTokenClassification"\]/,
    ],
    ["another activation", { hidden_act: "gelu" }, /hidden_act "gelu"/],
    ["other kinds of layers", { layer_types: ["linear_attention"] }, /layer_types with "linear_attention"/],
    ["quantized weights", { quantization_config: { bits: 4 } }, /quantization_config/],
    ["experts", { num_local_experts: 8 }, /num_local_experts 8/],
    ["attention dropout", { attention_dropout: 0.1 }, /attention_dropout 0\.1/],
    ["another family's soft cap", { attn_logit_softcapping: 50 }, /attn_logit_softcapping 50/],
    ["another family's layers without rope", { no_rope_layers: [1, 0] }, /no_rope_layers \[1,0\]/],
    ["an unknown rope", { rope_scaling: { type: "mrope" } }, /rope type "mrope".*\n.*yarn, longrope/],
    ["an unknown rope setting", { rope_scaling: { mrope_section: [1] } }, /rope setting mrope_section \[1\]/],
    ["rope settings by layer", { rope_parameters: { full_attention: { rope_type: "default" } } }, /full_attention/],
    ["partial rotation", { partial_rotary_factor: 0.5 }, /partial_rotary_factor/],
    ["partial rotation in its new place", { rope_parameters: { partial_rotary_factor: 0.5 } }, /partial_rotary_factor/],
    ["a dtype of 8 bits", { torch_dtype: "float8_e4m3fn" }, /float8_e4m3fn/],
  ])("refuses %s by name", (_, fields, message) => {
    expect(() => readModelConfig({ ...qwen2, ...fields })).toThrow(
      expect.objectContaining({ code: "UNSUPPORTED_ARCHITECTURE", message: expect.stringMatching(message) }),
    );
  });

  it.each([
    ["llama", { sliding_window: 4 }, /sliding_window 4/],
    ["llama", { layer_types: ["full_attention", "sliding_attention"] }, /layer_types/],
    ["llama", { use_sliding_window: true }, /use_sliding_window true/],
    ["mistral", { layer_types: ["full_attention", "full_attention"] }, /layer_types/],
    ["gemma2", { use_bidirectional_attention: true }, /use_bidirectional_attention/],
    ["gemma2", { hidden_activation: "gelu" }, /hidden_activation "gelu"/],
    ["gemma3_text", { attn_logit_softcapping: 50 }, /attn_logit_softcapping 50/],
    ["gemma3_text", { partial_rotary_factor: 0.5 }, /partial_rotary_factor/],
    ["phi3", { resid_pdrop: 0.1 }, /resid_pdrop 0.1/],
    ["phi3", { rope_scaling: { type: "linear", factor: 2 } }, /rope type "linear".*\n.*default, longrope/],
    ["olmo2", { clip_qkv: 8 }, /clip_qkv 8/],
  ])("refuses for %s what only others read or none supports: %j", (model_type, fields, message) => {
    const { architectures: _, ...config } = qwen2;
    expect(() => readModelConfig({ ...config, model_type, ...fields })).toThrow(
      expect.objectContaining({ code: "UNSUPPORTED_ARCHITECTURE", message: expect.stringMatching(message) }),
    );
  });

  it.each([
    ["a missing size", { hidden_size: undefined }, /hidden_size/],
    ["a size as text", { vocab_size: "10" }, /vocab_size.*"10"/],
    ["a size of zero", { num_hidden_layers: 0 }, /num_hidden_layers/],
    ["heads that do not divide", { num_attention_heads: 3 }, /multiple of num_attention_heads/],
    ["key heads that do not divide", { num_key_value_heads: 3 }, /multiple of num_key_value_heads/],
    ["an odd head", { head_dim: 3 }, /even/],
    ["more layers than fit into memory", { num_hidden_layers: 1e12 }, /num_hidden_layers .*at most 10000/],
    ["heads larger than memory", { head_dim: 1e12 }, /head dimension must be at most 65536/],
    ["a flag as text", { tie_word_embeddings: "yes" }, /tie_word_embeddings/],
    ["a negative epsilon", { rms_norm_eps: -1 }, /rms_norm_eps/],
    ["a rope base of zero", { rope_theta: 0 }, /rope_theta/],
    ["no model_type", { model_type: undefined }, /model_type/],
    ["llama3 rope without factor", { rope_scaling: { rope_type: "llama3" } }, /factor/],
    [
      "longrope without factors",
      { rope_scaling: { rope_type: "longrope" } },
      /short_factor must be a list of 1 numbers/,
    ],
    ["a rope that ends at zero", { head_dim: 8, rope_theta: 1e300 }, /no finite frequencies/],
    ["layer_types of another length", { layer_types: ["full_attention"] }, /num_hidden_layers \(2\) layers, found 1/],
    [
      "windows by layer that are switched off",
      { layer_types: ["full_attention", "sliding_attention"], sliding_window: 4 },
      /use_sliding_window is false/,
    ],
    [
      "windows by layer without a size",
      { layer_types: ["full_attention", "sliding_attention"], use_sliding_window: true, sliding_window: null },
      /sliding_window must be/,
    ],
  ])("refuses %s, naming the key", (_, fields, message) => {
    expect(() => readModelConfig({ ...qwen2, ...fields })).toThrow(
      expect.objectContaining({ code: "BAD_CONFIG", message: expect.stringMatching(message) }),
    );
  });

  it.each([
    ["an interval of zero", "smollm3", { no_rope_layer_interval: 0 }, /no_rope_layer_interval/],
    ["too few layers", "smollm3", { no_rope_layers: [1] }, /no_rope_layers must have 0 or 1 for each of 2 layers/],
    [
      "flat rope settings",
      "gemma3_text",
      { rope_parameters: { rope_theta: 1e6 } },
      /full_attention and sliding_attention/,
    ],
    ["a cap of zero", "gemma2", { final_logit_softcapping: 0 }, /final_logit_softcapping/],
    ["more than the whole head", "phi3", { partial_rotary_factor: 1.5 }, /partial_rotary_factor/],
    ["factors of another length", "phi3", { rope_scaling: { type: "su", short_factor: [1, 1] } }, /short_factor/],
  ])("refuses %s in %s", (_, model_type, fields, message) => {
    const { architectures: __, ...config } = qwen2;
    expect(() => readModelConfig({ ...config, model_type, head_dim: 2, ...fields })).toThrow(
      expect.objectContaining({ code: "BAD_CONFIG", message: expect.stringMatching(message) }),
    );
  });

  it.each([
    ["switched off", { use_sliding_window: false, sliding_window: 8, max_window_layers: 0 }, [0, 0]],
    ["above all layers", { use_sliding_window: true, sliding_window: 8, max_window_layers: 2 }, [0, 0]],
    ["as long as the context", { use_sliding_window: true, sliding_window: 32, max_window_layers: 0 }, [0, 0]],
    ["on the upper layer", { use_sliding_window: true, sliding_window: 8, max_window_layers: 1 }, [0, 8]],
    [
      "given by layer",
      { use_sliding_window: true, sliding_window: 8, layer_types: ["sliding_attention", "full_attention"] },
      [8, 0],
    ],
  ])("reads a sliding window that is %s", (_, fields, windows) => {
    const { layers } = readModelConfig({ ...qwen2, ...fields }).native;
    expect(layers.map(({ window }) => window)).toEqual(windows);
  });

  it.each([
    ["linear", { type: "linear", factor: 4 }, 128],
    ["dynamic", { type: "dynamic", factor: 2 }, 64],
    ["yarn", { type: "yarn", factor: 4, original_max_position_embeddings: 16 }, 64],
    ["yarn of a length that is scaled already", { type: "yarn", factor: 2, original_max_position_embeddings: 16 }, 32],
    ["llama3", { type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4 }, 32],
  ])("knows how long a sequence may be with rope %s", (_, rope_scaling, length) => {
    const config = { ...llama, head_dim: 4, rope_scaling };
    expect(readModelConfig(config).native.maxPositions).toBe(length);
  });

  it("reads what the families fix", () => {
    const { architectures: _, ...config } = qwen2;
    const native = (model_type: string) => {
      const sliding_window = model_type === "olmo2" ? null : 8;
      return factsOf(readModelConfig({ ...config, head_dim: 4, model_type, sliding_window }));
    };
    expect(native("qwen3")).toMatchObject({ qkNorm: "head", qkvBias: false, postNorms: false, activation: "silu" });
    expect(native("mistral").layers).toEqual([
      { window: 8, rope: 0 },
      { window: 8, rope: 0 },
    ]);
    const gemma = { preNorms: true, postNorms: true, normOffset: 1, activation: "gelu_tanh", attentionScale: 1 / 16 };
    expect(native("gemma2")).toMatchObject({ ...gemma, qkNorm: "none", attentionSoftcap: 50, logitSoftcap: 30 });
    expect(native("gemma2").layers).toEqual([
      { window: 8, rope: 0 },
      { window: 0, rope: 0 },
    ]);
    expect(native("gemma3_text")).toMatchObject({ ...gemma, qkNorm: "head", attentionSoftcap: 0, logitSoftcap: 0 });
    expect(native("gemma3_text").embeddingScale).toBe(Math.sqrt(8));
    expect(native("olmo2")).toMatchObject({ preNorms: false, postNorms: true, qkNorm: "full", normOffset: 0 });
    expect(native("phi3")).toMatchObject({ fusedProjections: true, qkvBias: false });
  });
});

describe("a config of transformers 4", () => {
  const rows: { name: string; v4: JsonObject; v5: JsonObject }[] = JSON.parse(
    readFileSync(new URL("configs.json", golden), "utf8"),
  );
  it.each(rows)("reads as what transformers 5 makes of it: $name", ({ v4, v5 }) => {
    expect(readModelConfig({ ...v4 })).toEqual(readModelConfig(v5));
  });
});

describe("makeRope", () => {
  interface Case {
    readonly headDim: number;
    readonly maxPositions: number;
    readonly rope: JsonObject;
    readonly invFreq: readonly number[];
    readonly scaling: number;
    readonly longInvFreq?: readonly number[];
  }
  const cases: Case[] = JSON.parse(readFileSync(new URL("rope.json", golden), "utf8"));
  const make = ({ rope, headDim, maxPositions }: Case) => {
    const input: RopeInput = { settings: rope, headDim, maxPositions, originalPositions: undefined };
    return makeRope(input);
  };
  const pairs = (each: Case): [number, number][] => {
    const { invFreq, longInvFreq } = make(each);
    const theirs = [...each.invFreq, ...(each.longInvFreq ?? [])];
    const ours = [...invFreq, ...longInvFreq];
    expect(ours).toHaveLength(theirs.length);
    return ours.map((value, i) => [value, theirs[i] ?? 0]);
  };

  it.each(cases)("equals transformers' for $rope.rope_type, head size $headDim", (each) => {
    // One unit in the last place: torch's vectorised pow is not always rounded correctly.
    for (const [ours, theirs] of pairs(each)) expect(Math.abs(ours - theirs) / ours).toBeLessThanOrEqual(2 ** -23);
    expect(make(each).scaling).toBeCloseTo(each.scaling, 14);
  });

  it("rounds as transformers does almost everywhere", () => {
    const all = cases.flatMap(pairs);
    const wrong = all.filter(([ours, theirs]) => ours !== theirs);
    expect(wrong.length / all.length).toBeLessThan(0.02);
  });

  it("leaves to the engine what depends on the length", () => {
    const of = (settings: JsonObject) => {
      return makeRope({
        settings: { rope_theta: 100, ...settings },
        headDim: 4,
        maxPositions: 16,
        originalPositions: 8,
      });
    };
    expect(of({ rope_type: "dynamic", factor: 2 })).toMatchObject({ dynamicFactor: 2, dynamicLength: 16, theta: 100 });
    const long = of({ rope_type: "longrope", short_factor: [1, 1], long_factor: [2, 2] });
    const scaling = Math.sqrt(1 + Math.log(2) / Math.log(8));
    expect(long).toMatchObject({ switchLength: 8, scaling, longScaling: scaling });
    expect(Array.from(long.longInvFreq)).toEqual(Array.from(long.invFreq, (frequency) => frequency / 2));
  });
});

describe("matchTensors", () => {
  function table(config: JsonObject, change: (tensors: NativeTensorTable["tensors"]) => void): NativeTensorTable {
    const tensors = tensorsOf(config).map((tensor) => ({ ...tensor, file: 0, offset: 0, bytes: 0 }));
    change(tensors);
    return { files: ["model.safetensors"], tensors };
  }
  const extra = { dtype: "F32", file: 0, offset: 0, bytes: 0 };
  const read = (config: JsonObject, change: Parameters<typeof table>[1] = () => {}) =>
    matchTensors(table(config, change), readModelConfig(config).native);

  it("expects the names that transformers saves", () => {
    const untied = { ...llama, tie_word_embeddings: false };
    const names = [...expectedTensors(readModelConfig(untied).native).keys()];
    expect(names).toHaveLength(1 + 2 * 9 + 2);
    expect(names).toContain("lm_head.weight");
    expect([...expectedTensors(readModelConfig(qwen2).native).keys()]).toContain(
      "model.layers.1.self_attn.k_proj.bias",
    );
  });

  it("counts the parameters of Qwen2-0.5B", () => {
    const config = {
      ...qwen2,
      hidden_size: 896,
      intermediate_size: 4864,
      num_hidden_layers: 24,
      num_attention_heads: 14,
      num_key_value_heads: 2,
      vocab_size: 151_936,
    };
    expect(parameterCount(readModelConfig(config).native)).toBe(494_032_768);
  });

  it("leaves out buffers and the second name of tied embeddings", () => {
    const { tensors } = read(qwen2, (list) => {
      list.push({ ...extra, name: "model.layers.0.self_attn.rotary_emb.inv_freq", shape: [1] });
      list.push({ ...extra, name: "lm_head.weight", shape: [10, 8] });
    });
    expect(tensors).toHaveLength(tensorsOf(qwen2).length);
  });

  it("expects the norms and fused layers of each family", () => {
    const { architectures: _, ...config } = qwen2;
    const names = (model_type: string) => {
      const expected = expectedTensors(readModelConfig({ ...config, head_dim: 4, model_type }).native);
      const inFirst = [...expected].filter(([name]) => name.startsWith("model.layers.0."));
      return Object.fromEntries(inFirst.map(([name, shape]) => [name.slice(15).replace(".weight", ""), shape]));
    };
    expect(names("olmo2")).toMatchObject({ "self_attn.q_norm": [16], "self_attn.k_norm": [8] });
    expect(Object.keys(names("olmo2"))).not.toContain("input_layernorm");
    expect(names("gemma3_text")).toMatchObject({ "self_attn.q_norm": [4], pre_feedforward_layernorm: [8] });
    expect(names("gemma2")).toMatchObject({ input_layernorm: [8], post_feedforward_layernorm: [8] });
    expect(names("phi3")).toEqual({
      "self_attn.qkv_proj": [32, 8],
      "self_attn.o_proj": [8, 16],
      "mlp.gate_up_proj": [24, 8],
      "mlp.down_proj": [8, 12],
      input_layernorm: [8],
      post_attention_layernorm: [8],
    });
  });

  it("reads tied embeddings that are stored as the head only", () => {
    const { tensors } = read(qwen2, (list) => {
      const embedding = list.find(({ name }) => name === "model.embed_tokens.weight");
      if (embedding) embedding.name = "lm_head.weight";
    });
    expect(tensors.map(({ name }) => name)).toContain("model.embed_tokens.weight");
    expect(tensors.map(({ name }) => name)).not.toContain("lm_head.weight");
  });

  it.each([
    [
      "a missing tensor",
      (list: NativeTensorTable["tensors"]) => void list.pop(),
      /model\.norm\.weight of shape \[8\] missing/,
    ],
    [
      "a tensor too many",
      (list: NativeTensorTable["tensors"]) => void list.push({ ...extra, name: "model.layers.2.x", shape: [1] }),
      /model\.layers\.2\.x has no place/,
    ],
    [
      "another shape",
      (list: NativeTensorTable["tensors"]) => {
        for (const tensor of list) if (tensor.name === "model.norm.weight") tensor.shape = [9];
      },
      /model\.norm\.weight: expected shape \[8\], found \[9\]/,
    ],
    [
      "whole numbers as weights",
      (list: NativeTensorTable["tensors"]) => {
        for (const tensor of list) if (tensor.name === "model.norm.weight") tensor.dtype = "I8";
      },
      /model\.norm\.weight: dtype I8/,
    ],
  ])("refuses %s, naming it", (_, change, message) => {
    expect(() => read(qwen2, change)).toThrow(
      expect.objectContaining({ code: "BAD_CHECKPOINT", message: expect.stringMatching(message) }),
    );
  });
});
