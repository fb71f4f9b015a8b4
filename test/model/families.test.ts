import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { JsonObject } from "../../lib/json.js";
import { expectedTensors, matchCheckpoint, parameterCount, readModelConfig } from "../../lib/model/families.js";
import { ropeInverseFrequencies } from "../../lib/model/rope.js";
import type { NativeTensorTable } from "../../lib/native/native.js";
import { llama, qwen2, tensorsOf } from "./folders.js";

const golden = new URL("../fixtures/golden/", import.meta.url);

describe("readModelConfig", () => {
  it("reads what qwen2 fixes and what its config says", () => {
    const { native, dtype, architecture } = readModelConfig(qwen2);
    expect(architecture).toBe("Qwen2ForCausalLM");
    expect(dtype).toBe("float32");
    expect(native).toMatchObject({ hiddenSize: 8, numHeads: 4, numKvHeads: 2, headDim: 2, tieWordEmbeddings: true });
    expect(native).toMatchObject({ qkvBias: true, outputBias: false, mlpBias: false });
  });

  it("reads llama's biases, head size and defaults", () => {
    const { native } = readModelConfig({
      ...llama,
      ...{ attention_bias: true, mlp_bias: true, head_dim: 6, num_key_value_heads: null, rms_norm_eps: 1e-5 },
    });
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
    expect(readModelConfig(short).native).toMatchObject(defaults);
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

  it.each([
    ["an unknown family", { model_type: "mamba" }, /model_type "mamba".*\n.*qwen2, llama/],
    ["a family by an inherited name", { model_type: "toString" }, /model_type "toString"/],
    ["a model without a language head", { architectures: ["Qwen2Model"] }, /architectures \["Qwen2Model"\]/],
    ["another activation", { hidden_act: "gelu" }, /hidden_act "gelu"/],
    ["a sliding window", { use_sliding_window: true, sliding_window: 8, max_window_layers: 1 }, /use_sliding_window/],
    [
      "a window by layer",
      { use_sliding_window: true, sliding_window: 8, layer_types: ["sliding_attention"] },
      /window/,
    ],
    ["other kinds of layers", { layer_types: ["linear_attention"] }, /layer_types with "linear_attention"/],
    ["quantized weights", { quantization_config: { bits: 4 } }, /quantization_config/],
    ["attention dropout", { attention_dropout: 0.1 }, /attention_dropout 0\.1/],
    ["yarn", { rope_scaling: { type: "yarn", factor: 4 } }, /rope type "yarn".*\n.*default, linear, llama3/],
    ["dynamic rope", { rope_parameters: { rope_type: "dynamic" } }, /rope type "dynamic"/],
    ["rope settings by layer", { rope_parameters: { full_attention: { rope_type: "default" } } }, /full_attention/],
    ["partial rotation", { partial_rotary_factor: 0.5 }, /partial_rotary_factor/],
    ["a dtype of 8 bits", { torch_dtype: "float8_e4m3fn" }, /float8_e4m3fn/],
  ])("refuses %s by name", (_, fields, message) => {
    expect(() => readModelConfig({ ...qwen2, ...fields })).toThrow(
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
    ["a flag as text", { tie_word_embeddings: "yes" }, /tie_word_embeddings/],
    ["a negative epsilon", { rms_norm_eps: -1 }, /rms_norm_eps/],
    ["a rope base of zero", { rope_theta: 0 }, /rope_theta/],
    ["no model_type", { model_type: undefined }, /model_type/],
    ["llama3 rope without factor", { rope_scaling: { rope_type: "llama3" } }, /factor/],
  ])("refuses %s, naming the key", (_, fields, message) => {
    expect(() => readModelConfig({ ...qwen2, ...fields })).toThrow(
      expect.objectContaining({ code: "BAD_CONFIG", message: expect.stringMatching(message) }),
    );
  });

  it.each([
    ["switched off", { use_sliding_window: false, sliding_window: 8, max_window_layers: 0 }],
    ["above all layers", { use_sliding_window: true, sliding_window: 8, max_window_layers: 2 }],
    ["as long as the context", { use_sliding_window: true, sliding_window: 32, max_window_layers: 0 }],
  ])("takes a sliding window that is %s", (_, fields) => {
    expect(readModelConfig({ ...qwen2, ...fields }).modelType).toBe("qwen2");
  });
});

describe("ropeInverseFrequencies", () => {
  const cases: { headDim: number; rope: JsonObject; invFreq: number[] }[] = JSON.parse(
    readFileSync(new URL("rope.json", golden), "utf8"),
  );

  it.each(cases)("equals transformers' for $rope.rope_type, head size $headDim", ({ headDim, rope, invFreq }) => {
    const ours = ropeInverseFrequencies({ rope_parameters: rope }, headDim, 131_072);
    expect(ours).toHaveLength(invFreq.length);
    ours.forEach((value, i) => {
      // One unit in the last place: torch's vectorised pow is not always rounded correctly.
      expect(Math.abs(value - (invFreq[i] ?? 0)) / value).toBeLessThanOrEqual(2 ** -23);
    });
  });

  it("rounds as transformers does almost everywhere", () => {
    const wrong = cases.flatMap(({ headDim, rope, invFreq }) => {
      const ours = ropeInverseFrequencies({ rope_parameters: rope }, headDim, 131_072);
      return invFreq.filter((value, i) => value !== ours[i]);
    });
    expect(wrong.length).toBeLessThanOrEqual(5);
  });
});

describe("matchCheckpoint", () => {
  function table(config: JsonObject, change: (tensors: NativeTensorTable["tensors"]) => void): NativeTensorTable {
    const tensors = tensorsOf(config).map((tensor) => ({ ...tensor, file: 0, offset: 0, bytes: 0 }));
    change(tensors);
    return { files: ["model.safetensors"], tensors };
  }
  const extra = { dtype: "F32", file: 0, offset: 0, bytes: 0 };
  const read = (config: JsonObject, change: Parameters<typeof table>[1] = () => {}) =>
    matchCheckpoint(table(config, change), readModelConfig(config).native);

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
      ...{ ...qwen2, hidden_size: 896, intermediate_size: 4864, num_hidden_layers: 24 },
      ...{ num_attention_heads: 14, num_key_value_heads: 2, vocab_size: 151_936 },
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
