import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { JsonObject } from "../../lib/json.js";
import { matchAdapter, peftName, readAdapterConfig, writeAdapterConfig } from "../../lib/model/adapter-files.js";
import { parameterCount, readModelConfig } from "../../lib/model/families.js";
import { LoraConfig, type LoraOptions, resolveLora } from "../../lib/model/lora.js";
import { readHeader, type SafetensorsFile, type StoredTensor } from "../../lib/model/safetensors.js";
import { qwen2 } from "./folders.js";

const golden = new URL("../fixtures/golden/", import.meta.url);
const model = readModelConfig(qwen2);
const readJson = (name: string): JsonObject => JSON.parse(readFileSync(new URL(name, golden), "utf8"));
const targetsOf = (options: LoraOptions) => resolveLora(new LoraConfig(options), model, 0).spec.targets;
const modulesOf = (options: LoraOptions) => targetsOf(options).map(({ module }) => module.replace("model.layers.", ""));

describe("LoraConfig", () => {
  it("has PEFT's defaults", () => {
    expect(new LoraConfig()).toMatchObject({ r: 8, loraAlpha: 8, loraDropout: 0, useRslora: false, bias: "none" });
    expect(new LoraConfig()).toMatchObject({ initLoraWeights: true, targetModules: null, taskType: null });
  });

  it.each([
    ["a typo", { loraAlfa: 3 }, "UNKNOWN_OPTION", /loraAlfa.*\n.*loraAlpha/],
    ["a snake_case name", { lora_alpha: 3 }, "UNKNOWN_OPTION", /lora_alpha.*\n.*loraAlpha/],
    ["an option of PEFT's that is missing here", { useDora: true }, "BAD_OPTION", /useDora.*not supported/],
    ["layers by number", { layersToTransform: [1] }, "BAD_OPTION", /layersToTransform.*not supported/],
    ["a rank of zero", { r: 0 }, "BAD_OPTION", /r must be.*found 0/],
    ["a fractional rank", { r: 1.5 }, "BAD_OPTION", /r must be.*1\.5/],
    ["an alpha that is not a number", { loraAlpha: Number.NaN }, "BAD_OPTION", /loraAlpha/],
    ["a dropout of one", { loraDropout: 1 }, "BAD_OPTION", /loraDropout.*below 1/],
    ["no targets", { targetModules: [] }, "BAD_OPTION", /targetModules/],
    ["targets that are no names", { targetModules: [3] }, "BAD_OPTION", /targetModules/],
    ["another initialisation", { initLoraWeights: "pissa" }, "BAD_OPTION", /initLoraWeights.*"pissa"/],
    ["biases", { bias: "all" }, "BAD_OPTION", /bias.*"all"/],
    ["another task", { taskType: "SEQ_CLS" }, "BAD_OPTION", /SEQ_CLS/],
    ["a rank pattern of text", { rankPattern: { q_proj: "8" } }, "BAD_OPTION", /rankPattern\.q_proj/],
  ])("refuses %s", (_, options, code, message) => {
    expect(() => new LoraConfig(options as LoraOptions)).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(message) }),
    );
  });
});

describe("resolveLora", () => {
  it("targets q_proj and v_proj by default, in the order of the model", () => {
    const attention = ["0.self_attn.q_proj", "0.self_attn.v_proj", "1.self_attn.q_proj", "1.self_attn.v_proj"];
    expect(modulesOf({})).toEqual(attention);
    expect(modulesOf({ targetModules: ["v_proj", "q_proj"] })).toEqual(attention);
  });

  it("matches names as PEFT does: the whole path or its end after a dot", () => {
    expect(modulesOf({ targetModules: ["mlp.up_proj"] })).toEqual(["0.mlp.up_proj", "1.mlp.up_proj"]);
    expect(modulesOf({ targetModules: ["model.layers.1.mlp.up_proj"] })).toEqual(["1.mlp.up_proj"]);
    expect(modulesOf({ targetModules: "all-linear" })).toHaveLength(14);
    expect(modulesOf({ targetModules: "ALL-LINEAR" })).toHaveLength(14);
  });

  it("matches a string as a pattern of Python's for the whole path", () => {
    expect(modulesOf({ targetModules: ".*\\.0\\..*(q|k)_proj" })).toEqual(["0.self_attn.q_proj", "0.self_attn.k_proj"]);
    expect(modulesOf({ targetModules: "\\A.*(?P<n>1).*up_proj\\Z" })).toEqual(["1.mlp.up_proj"]);
    // A branch must match the whole path too.
    expect(modulesOf({ targetModules: "up_proj|.*1.mlp.down_proj" })).toEqual(["1.mlp.down_proj"]);
  });

  it.each([
    ["a name that no layer has", ["q_proj", "query"], /"query".*\n.*q_proj, k_proj.*down_proj/],
    ["the end of a name", ["proj"], /"proj"/],
    ["a layer that cannot carry an adapter", ["lm_head"], /"lm_head"/],
    ["a name given as a pattern", "q_proj", /"q_proj" matches no layer.*\n.*regular expression/],
    ["a pattern that does not compile", ".*(q_proj", /not a regular expression/],
    ["Python-only syntax", ".*q_proj(?>x)", /not a regular expression/],
  ])("refuses %s", (_, targetModules, message) => {
    expect(() => modulesOf({ targetModules })).toThrow(
      expect.objectContaining({ code: "BAD_OPTION", message: expect.stringMatching(message) }),
    );
  });

  it("scales by alpha / r, or alpha / √r", () => {
    expect(targetsOf({ r: 4, loraAlpha: 16 })[0]?.scaling).toBe(4);
    expect(targetsOf({ r: 4, loraAlpha: 16, useRslora: true })[0]?.scaling).toBe(8);
  });

  it("takes other ranks and alphas for the modules that a pattern names", () => {
    const patterns = { rankPattern: { "1.*q_proj": 2 }, alphaPattern: { v_proj: 24 } };
    const targets = targetsOf({ r: 4, loraAlpha: 8, ...patterns });
    expect(targets.map(({ rank, scaling }) => [rank, scaling])).toEqual([
      [4, 2],
      [4, 6],
      [2, 4],
      [4, 6],
    ]);
  });

  it("counts parameters as PEFT does", () => {
    const known = readJson("lora.json").trainableParameters as {
      trainable: number;
      all: number;
      model: string;
      r: number;
    }[];
    const qwen = known.find(({ model: name, r }) => name === "Qwen2-0.5B" && r === 8);
    const config = readModelConfig({
      ...{ ...qwen2, hidden_size: 896, intermediate_size: 4864, num_hidden_layers: 24 },
      ...{ num_attention_heads: 14, num_key_value_heads: 2, vocab_size: 151_936 },
    });
    const { parameters } = resolveLora(new LoraConfig({ r: 8 }), config, 0);
    expect(parameters).toBe(qwen?.trainable);
    expect(parameters + parameterCount(config.native)).toBe(qwen?.all);
  });
});

describe("adapter_config.json", () => {
  it("is written with the keys, order and values of PEFT's own file", () => {
    const theirs = readJson("adapters/tiny-qwen2-qv/adapter_config.json");
    const lora = { r: 8, loraAlpha: 32, loraDropout: 0.1, targetModules: ["q_proj", "v_proj"] };
    const config = new LoraConfig({ taskType: "CAUSAL_LM", ...lora });
    const ours: JsonObject = JSON.parse(writeAdapterConfig(config, model, "tiny-qwen2"));
    expect(ours).toEqual(theirs);
    expect(Object.keys(ours)).toEqual(Object.keys(theirs));
  });

  it("names the base class when there is no task type, and every target of all-linear", () => {
    const text = writeAdapterConfig(new LoraConfig({ targetModules: "all-linear" }), model, null);
    const written: JsonObject = JSON.parse(text);
    expect(written.auto_mapping).toEqual({
      base_model_class: "Qwen2ForCausalLM",
      parent_library: "transformers.models.qwen2.modeling_qwen2",
    });
    expect(written.target_modules).toEqual([
      "q_proj",
      "k_proj",
      "v_proj",
      "o_proj",
      "gate_proj",
      "up_proj",
      "down_proj",
    ]);
  });

  it("reads back what it wrote", () => {
    const options = { r: 4, loraAlpha: 6, useRslora: true, rankPattern: { q_proj: 2 }, targetModules: ".*_proj" };
    const config = new LoraConfig({ taskType: "CAUSAL_LM", ...options, initLoraWeights: false });
    expect(readAdapterConfig(JSON.parse(writeAdapterConfig(config, model, null)), "f")).toEqual(config);
  });

  it("reads a short file with PEFT's defaults, and a newer one whose new options are off", () => {
    expect(readAdapterConfig({ peft_type: "LORA" }, "f")).toEqual(new LoraConfig());
    const off = { peft_type: "LORA", new_switch: false, new_list: [], new_object: {}, new_value: null };
    expect(readAdapterConfig(off, "f")).toEqual(new LoraConfig());
  });

  it.each([
    ["another method", { peft_type: "IA3" }, /peft_type.*"IA3"/],
    ["no method", { peft_type: undefined }, /peft_type/],
    ["DoRA", { use_dora: true }, /use_dora is true/],
    ["modules saved whole", { modules_to_save: ["lm_head"] }, /modules_to_save/],
    ["an unknown option that is on", { brand_new: 3 }, /brand_new is 3/],
    ["an initialisation that changed the base", { init_lora_weights: "pissa" }, /init_lora_weights is "pissa"/],
    ["a bad rank", { r: -1 }, /r must be/],
    ["biases", { bias: "lora_only" }, /bias/],
  ])("refuses %s, naming the file and the key", (_, fields, message) => {
    expect(() => readAdapterConfig({ peft_type: "LORA", ...fields }, "x/adapter_config.json")).toThrow(
      expect.objectContaining({ code: "BAD_ADAPTER", message: expect.stringMatching(message) }),
    );
  });
});

describe("matchAdapter", () => {
  const adapter = resolveLora(new LoraConfig({ r: 2 }), model, 0);

  function stored(change: (tensors: Map<string, StoredTensor>) => void = () => {}): SafetensorsFile {
    const tensors = new Map<string, StoredTensor>();
    for (const [native, shape] of adapter.shapes) {
      const name = peftName(native);
      tensors.set(name, { name, dtype: "F32", shape: [...shape], offset: 0, bytes: 0 });
    }
    change(tensors);
    return { file: "adapter_model.safetensors", metadata: {}, tensors };
  }

  it.each(["tiny-qwen2-qv", "qwen2-rslora", "llama-all-linear"])(
    "finds a place for every tensor of PEFT's %s",
    async (name) => {
      const folder = new URL(`adapters/${name}/`, golden);
      const config = readAdapterConfig(readJson(`adapters/${name}/adapter_config.json`), "f");
      const base = { "qwen2-rslora": "qwen2-random", "llama-all-linear": "llama-random-bias" }[name];
      const baseFile = base === undefined ? undefined : readJson(`models/${base}/config.json`);
      const tiny = { hidden_size: 128, intermediate_size: 384, num_hidden_layers: 4, vocab_size: 512 };
      const description = readModelConfig(baseFile ?? { ...qwen2, ...tiny });
      const file = await readHeader(new URL("adapter_model.safetensors", folder).pathname);
      const { tensors } = matchAdapter(file, resolveLora(config, description, 0));
      expect(tensors).toHaveLength(file.tensors.size);
      expect(tensors.every((tensor) => tensor.name.startsWith("model.layers."))).toBe(true);
    },
  );

  const first = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
  const edit = (fields: Partial<StoredTensor>) => (tensors: Map<string, StoredTensor>) => {
    const tensor = tensors.get(first);
    if (tensor) tensors.set(first, { ...tensor, ...fields });
  };
  const rename = (to: string) => (tensors: Map<string, StoredTensor>) => {
    const tensor = tensors.get(first);
    if (tensor) tensors.set(to, { ...tensor, name: to });
  };

  it.each([
    [
      "a missing tensor",
      (tensors: Map<string, StoredTensor>) => void tensors.delete(first),
      /q_proj\.lora_A\.weight missing/,
    ],
    [
      "a tensor of another layer",
      rename(first.replace("q_proj", "o_proj")),
      /o_proj\.lora_A\.weight belongs to no target/,
    ],
    [
      "a tensor under the base model's name",
      rename("model.layers.0.self_attn.q_proj.lora_A.weight"),
      /belongs to no target/,
    ],
    ["another rank", edit({ shape: [3, 8] }), /expected shape \[2, 8\], found \[3, 8\]/],
    ["a transposed tensor", edit({ shape: [8, 2] }), /expected shape \[2, 8\], found \[8, 2\]/],
    ["whole numbers", edit({ dtype: "I8" }), /dtype I8/],
  ])("refuses %s, naming it", (_, change, message) => {
    expect(() => matchAdapter(stored(change), adapter)).toThrow(
      expect.objectContaining({ code: "BAD_ADAPTER", message: expect.stringMatching(message) }),
    );
  });
});
