import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { JsonObject } from "../../lib/json.js";
import { parameterCount, readModelConfig } from "../../lib/model/families/families.js";
import { readHeader, type SafetensorsFile, type StoredTensor } from "../../lib/model/files/safetensors.js";
import {
  matchAdapter,
  readAdapterConfig,
  resolveAdapter,
  writeAdapterConfig,
} from "../../lib/model/lora/adapter-files.js";
import { LoraConfig, type LoraOptions } from "../../lib/model/lora/lora.js";
import { type ResolvedLora, resolveLora } from "../../lib/model/lora/lora-resolve.js";
import { qwen2 } from "./folders.js";

const golden = new URL("../fixtures/golden/", import.meta.url);
const model = readModelConfig(qwen2);
const tied = readModelConfig({ ...qwen2, tie_word_embeddings: true });
const readJson = (name: string): JsonObject => JSON.parse(readFileSync(new URL(name, golden), "utf8"));
const targetsOf = (options: LoraOptions) => resolveLora(new LoraConfig(options), model, 0).spec.targets;
const modulesOf = (options: LoraOptions) => targetsOf(options).map(({ module }) => module.replace("model.layers.", ""));
const QV = ["q_proj", "v_proj"];

describe("LoraConfig", () => {
  it("has PEFT's defaults", () => {
    expect(new LoraConfig()).toMatchObject({ r: 8, loraAlpha: 8, loraDropout: 0, useRslora: false, bias: "none" });
    expect(new LoraConfig()).toMatchObject({ initLoraWeights: true, targetModules: null, taskType: null });
    expect(new LoraConfig()).toMatchObject({ useDora: false, modulesToSave: null, ensureWeightTying: false });
  });

  it.each([
    ["a typo", { loraAlfa: 3 }, "UNKNOWN_OPTION", /loraAlfa.*\n.*loraAlpha/],
    ["a snake_case name", { lora_alpha: 3 }, "UNKNOWN_OPTION", /lora_alpha.*\n.*loraAlpha/],
    ["an option of PEFT's that is missing here", { useQalora: true }, "BAD_OPTION", /useQalora.*not supported/],
    ["raw parameters", { targetParameters: ["x"] }, "BAD_OPTION", /targetParameters.*not supported/],
    ["a rank of zero", { r: 0 }, "BAD_OPTION", /r must be.*found 0/],
    ["a fractional rank", { r: 1.5 }, "BAD_OPTION", /r must be.*1\.5/],
    ["an alpha that is not a number", { loraAlpha: Number.NaN }, "BAD_OPTION", /loraAlpha/],
    ["a dropout of one", { loraDropout: 1 }, "BAD_OPTION", /loraDropout.*below 1/],
    ["no targets", { targetModules: [] }, "BAD_OPTION", /targetModules/],
    ["targets that are no names", { targetModules: [3] }, "BAD_OPTION", /targetModules/],
    ["another initialisation", { initLoraWeights: "eva" }, "BAD_OPTION", /initLoraWeights.*"eva"/],
    ["a decomposition without iterations", { initLoraWeights: "pissa_niter_0" }, "BAD_OPTION", /initLoraWeights/],
    ["another bias", { bias: "some" }, "BAD_OPTION", /bias.*"some"/],
    ["another task", { taskType: "SEQ_CLS" }, "BAD_OPTION", /SEQ_CLS/],
    ["a rank pattern of text", { rankPattern: { q_proj: "8" } }, "BAD_OPTION", /rankPattern\.q_proj/],
    ["a negative layer", { layersToTransform: [-1] }, "BAD_OPTION", /layersToTransform.*-1/],
    ["layers of a pattern", { targetModules: ".*", layersToTransform: [1] }, "BAD_OPTION", /layersToTransform.*list/],
    ["a layers pattern alone", { layersPattern: "layers" }, "BAD_OPTION", /layersPattern.*layersToTransform/],
    ["one module to save", { modulesToSave: "lm_head" }, "BAD_OPTION", /modulesToSave.*list/],
    ["a token twice", { trainableTokenIndices: [1, 2, 1] }, "BAD_OPTION", /trainableTokenIndices.*1 twice/],
    [
      "negative tokens",
      { trainableTokenIndices: { lm_head: [-1] } },
      "BAD_OPTION",
      /trainableTokenIndices\.lm_head.*-1/,
    ],
    ["no tokens", { trainableTokenIndices: {} }, "BAD_OPTION", /trainableTokenIndices/],
  ])("refuses %s", (_, options, code, message) => {
    expect(() => new LoraConfig(options as LoraOptions)).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(message) }),
    );
  });
});

interface TargetCase {
  readonly model: string;
  readonly options: JsonObject;
  readonly error?: string;
  readonly targets?: Readonly<Record<string, readonly number[]>>;
  readonly extra?: Readonly<Record<string, readonly number[]>>;
  readonly modulesToSave?: readonly string[] | null;
  readonly line?: string;
}

describe("resolveLora", () => {
  const fixture = readJson("lora-targets.json");
  const configs = fixture.configs as Readonly<Record<string, JsonObject>>;
  const cases = (fixture.cases as readonly TargetCase[]).map((row): [string, TargetCase] => {
    return [`${row.model} ${JSON.stringify(row.options)}`, row];
  });

  function resolve({ model: name, options }: TargetCase): ResolvedLora {
    const config = readAdapterConfig({ peft_type: "LORA", r: 4, lora_alpha: 8, ...options }, "f");
    return resolveAdapter(config, readModelConfig(configs[name] ?? {}), "f");
  }

  it.each(cases)("finds what PEFT finds: %s", (_, row) => {
    if (row.error !== undefined) {
      expect(() => resolve(row)).toThrow(expect.objectContaining({ code: "BAD_ADAPTER" }));
      return;
    }
    const { spec, tensors, parameters, config } = resolve(row);
    const found = spec.targets.map(({ module, rank, scaling }) => [module, [rank, scaling]]);
    expect(Object.fromEntries(found)).toEqual(row.targets);
    const files = [...tensors.values()].flatMap(({ shape, fileNames }) =>
      fileNames.map((file) => [file, shape] as const),
    );
    const extra = files.filter(([file]) => !/\.lora_[AB]\./.test(file));
    expect(Object.fromEntries(extra.map(([file, shape]) => [file.replace("base_model.model.", ""), shape]))).toEqual(
      row.extra,
    );
    const description = readModelConfig(configs[row.model] ?? {});
    const all = parameterCount(description.native) + parameters.added;
    const [trainable, sum] = [parameters.trainable, all].map((n) => n.toLocaleString("en-US"));
    expect(row.line).toMatch(`trainable params: ${trainable} || all params: ${sum} ||`);
    const written: JsonObject = JSON.parse(writeAdapterConfig(config, description, null));
    expect(written.modules_to_save).toEqual(row.modulesToSave);
  });

  it("targets q_proj and v_proj by default, in the order of the model", () => {
    const attention = ["0.self_attn.q_proj", "0.self_attn.v_proj", "1.self_attn.q_proj", "1.self_attn.v_proj"];
    expect(modulesOf({})).toEqual(attention);
    expect(modulesOf({ targetModules: ["v_proj", "q_proj"] })).toEqual(attention);
  });

  it.each<[string, LoraOptions, RegExp]>([
    ["a name that no layer has", { targetModules: ["q_proj", "query"] }, /"query".*\n.*q_proj, k_proj.*down_proj/],
    ["the end of a name", { targetModules: ["proj"] }, /"proj"/],
    ["a module that is not linear", { targetModules: ["input_layernorm"] }, /input_layernorm.*not a linear layer/],
    ["a name given as a pattern", { targetModules: "q_proj" }, /"q_proj" matches no layer.*\n.*regular expression/],
    ["a pattern that does not compile", { targetModules: ".*(q_proj" }, /not a regular expression/],
    ["Python-only syntax", { targetModules: ".*q_proj(?>x)" }, /not a regular expression/],
    ["an escape that Python does not know", { targetModules: ".*\\p_proj" }, /bad escape \\p/],
    ["a pattern of great length", { targetModules: "a|".repeat(5001) }, /more than 10000 characters/],
    ["an exclusion that excludes nothing", { excludeModules: ["query"] }, /excludeModules.*"query"/],
    ["an exclusion of everything", { excludeModules: ".*" }, /excludeModules and modulesToSave leave over/],
    ["a layer that is not there", { targetModules: QV, layersToTransform: [1, 2] }, /layersToTransform names layer 2/],
    ["a rank pattern that matches nothing", { rankPattern: { o_proj: 2 } }, /rankPattern "o_proj" matches none/],
    ["an alpha pattern that matches nothing", { alphaPattern: { "": 2 } }, /alphaPattern "" matches none/],
    ["a module to save that is not there", { modulesToSave: ["score"] }, /modulesToSave names "score"/],
    ["a token beyond the vocabulary", { trainableTokenIndices: [3, 20_000] }, /token 20000; the model has/],
    ["tokens of another module", { trainableTokenIndices: { norm: [3] } }, /"norm"; expected embed_tokens or lm_head/],
    ["an odd rank of orthogonal pairs", { initLoraWeights: "orthogonal", r: 3 }, /even rank.*is 3/],
    ["a rank beyond the decomposition", { initLoraWeights: "pissa", r: 5 }, /v_proj a rank of at most 4, found 5/],
    ["DoRA of the embedding", { targetModules: ["embed_tokens"], useDora: true }, /useDora.*model.embed_tokens/],
    ["a module adapted and trained in full", { modulesToSave: ["proj"] }, /q_proj is named by both targetModules and/],
    [
      "a bias trained twice",
      { bias: "all", modulesToSave: ["k_proj"] },
      /bias of .*k_proj is trained by both bias and/,
    ],
    [
      "rows of what is trained in full",
      { modulesToSave: ["embed_tokens"], trainableTokenIndices: [3] },
      /embed_tokens is/,
    ],
  ])("refuses %s", (_, options, message) => {
    expect(() => targetsOf(options)).toThrow(
      expect.objectContaining({ code: "BAD_OPTION", message: expect.stringMatching(message) }),
    );
  });

  it.each<[string, LoraOptions, RegExp]>([
    ["rows that follow into an adapted head", { targetModules: ["lm_head"], trainableTokenIndices: [3] }, /lm_head is/],
    ["tied LoRA pairs", { targetModules: ["lm_head"], ensureWeightTying: true }, /ensureWeightTying is not supported/],
  ])("refuses, of a tied model, %s", (_, options, message) => {
    expect(() => resolveLora(new LoraConfig(options), tied, 0)).toThrow(
      expect.objectContaining({ code: "BAD_OPTION", message: expect.stringMatching(message) }),
    );
  });

  it("stops a pattern that would match for ages", () => {
    const start = performance.now();
    expect(() => targetsOf({ targetModules: "(([a-z_.0-9])+)+!" })).toThrow(/takes too long to match/);
    expect(performance.now() - start).toBeLessThan(20_000);
  });

  it("lets names of a file pass that mean nothing, as PEFT does, if others do", () => {
    const config = new LoraConfig({
      targetModules: ["q_proj", "c_attn"],
      excludeModules: ["vision"],
      modulesToSave: ["score"],
    });
    expect(resolveLora(config, model, 0, false).spec).toMatchObject({ fullModules: [], targets: [{}, {}] });
  });

  it("counts parameters of published shapes as PEFT does", () => {
    const known = readJson("lora.json").trainableParameters as {
      trainable: number;
      all: number;
      model: string;
      r: number;
    }[];
    const qwen = known.find(({ model: name, r }) => name === "Qwen2-0.5B" && r === 8);
    const config = readModelConfig({
      ...qwen2,
      hidden_size: 896,
      intermediate_size: 4864,
      num_hidden_layers: 24,
      tie_word_embeddings: true,
      num_attention_heads: 14,
      num_key_value_heads: 2,
      vocab_size: 151_936,
    });
    const { parameters } = resolveLora(new LoraConfig({ r: 8 }), config, 0);
    expect(parameters.trainable).toBe(qwen?.trainable);
    expect(parameters.added + parameterCount(config.native)).toBe(qwen?.all);
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

  it("names the base class when there is no task type", () => {
    const written: JsonObject = JSON.parse(writeAdapterConfig(new LoraConfig(), model, null));
    expect(written.auto_mapping).toEqual({
      base_model_class: "Qwen2ForCausalLM",
      parent_library: "transformers.models.qwen2.modeling_qwen2",
    });
  });

  it("lists every target of all-linear: paths of a small model, ends of paths of a large one", () => {
    const large = readModelConfig({ ...qwen2, num_hidden_layers: 3 });
    const written = (description: typeof model): JsonObject => {
      return JSON.parse(writeAdapterConfig(new LoraConfig({ targetModules: "All-Linear" }), description, null));
    };
    expect(written(model).target_modules).toHaveLength(14);
    expect(written(model).target_modules).toContain("model.layers.1.mlp.down_proj");
    const names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
    expect(written(large).target_modules).toEqual(names);
  });

  it("reads back what it wrote", () => {
    const options: LoraOptions = {
      r: 4,
      loraAlpha: 6,
      useRslora: true,
      rankPattern: { q_proj: 2 },
      targetModules: QV,
      excludeModules: "x",
      layersToTransform: 1,
      layersPattern: ["layers"],
      useDora: true,
      bias: "all",
      modulesToSave: ["lm_head"],
      trainableTokenIndices: { embed_tokens: [1] },
      initLoraWeights: "pissa_niter_4",
      ensureWeightTying: true,
    };
    const config = new LoraConfig({ taskType: "CAUSAL_LM", ...options });
    const untied = readModelConfig({ ...qwen2, tie_word_embeddings: false });
    expect(readAdapterConfig(JSON.parse(writeAdapterConfig(config, untied, null)), "f")).toEqual(config);
  });

  it("reads a short file with PEFT's defaults, and a newer one whose new options are off", () => {
    expect(readAdapterConfig({ peft_type: "LORA" }, "f")).toEqual(new LoraConfig());
    const off = { peft_type: "LORA", new_switch: false, new_list: [], new_object: {}, new_value: null };
    expect(readAdapterConfig(off, "f")).toEqual(new LoraConfig());
  });

  it("passes over what is no option of PEFT's, and what decided how the adapter began", () => {
    const foreign = { peft_type: "LORA", trainer_key: 3, eva_config: { rho: 2 }, init_lora_weights: "eva" };
    expect(readAdapterConfig(foreign, "f")).toEqual(new LoraConfig());
  });

  it.each([
    ["another method", { peft_type: "IA3" }, /peft_type.*"IA3"/],
    ["no method", { peft_type: undefined }, /peft_type/],
    ["an option of PEFT's that is on", { lora_bias: true }, /lora_bias is true/],
    ["replicated layers", { layer_replication: [[0, 1]] }, /layer_replication/],
    ["an initialisation that cannot be made again", { init_lora_weights: "corda" }, /init_lora_weights.*"corda"/],
    ["a bad rank", { r: -1 }, /r must be/],
    ["a wrong type", { target_modules: 3 }, /target_modules must be/],
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
    for (const { fileNames, shape } of adapter.tensors.values()) {
      const [name = ""] = fileNames;
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
      const { tensors } = matchAdapter(file, resolveAdapter(config, description, "f"));
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
      /o_proj\.lora_A\.weight does not belong to anything/,
    ],
    [
      "a tensor under the base model's name",
      rename("model.layers.0.self_attn.q_proj.lora_A.weight"),
      /does not belong to anything/,
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
