// Writes the tables of docs/memory.md: what lib/model/memory.ts estimates for models and settings of their usual sizes. A test compares.
//
//   npx tsx scripts/docs-memory.ts

import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { LoraConfig } from "grpo";
import { parameterCount, readModelConfig } from "../lib/model/families/families.js";
import { resolveLora } from "../lib/model/lora/lora-resolve.js";
import { estimateMemory, type MemoryModel, type MemoryRun } from "../lib/model/memory.js";

const page = fileURLToPath(new URL("../docs/memory.md", import.meta.url));
const [begin, end] = ["<!-- npx tsx scripts/docs-memory.ts -->\n", "<!-- end of tables -->\n"];

/** Sizes as the models' config.json has them. */
const models = {
  "SmolLM2-135M": sizes("llama", [576, 1536, 30, 9, 3, 49_152], true),
  "Qwen2.5-0.5B": sizes("qwen2", [896, 4864, 24, 14, 2, 151_936], true),
  "Llama-3.2-1B": sizes("llama", [2048, 8192, 16, 32, 8, 128_256], true),
  "Qwen2.5-1.5B": sizes("qwen2", [1536, 8960, 28, 12, 2, 151_936], true),
  "Qwen2.5-3B": sizes("qwen2", [2048, 11_008, 36, 16, 2, 151_936], true),
  "Qwen2.5-7B": sizes("qwen2", [3584, 18_944, 28, 28, 4, 152_064], false),
} as const;

function sizes(modelType: string, [C, F, layers, heads, kvHeads, V]: readonly number[], tied: boolean) {
  return {
    model_type: modelType,
    hidden_size: C ?? 0,
    intermediate_size: F ?? 0,
    num_hidden_layers: layers ?? 0,
    vocab_size: V ?? 0,
    num_attention_heads: heads ?? 0,
    num_key_value_heads: kvHeads ?? 0,
    tie_word_embeddings: tied,
    max_position_embeddings: 32_768,
    rms_norm_eps: 1e-6,
    rope_theta: 1e6,
    hidden_act: "silu",
  };
}

/** A model in bfloat16, with LoRA on all linear layers of the blocks, or trained in full. */
function memoryModel(name: keyof typeof models, full: boolean, computeBytes: number): MemoryModel {
  const description = readModelConfig(models[name]);
  const parameters = parameterCount(description.native);
  const lora = resolveLora(new LoraConfig({ r: 16, targetModules: "all-linear" }), description, 0);
  const { trainable } = lora.parameters;
  return {
    shape: description.native,
    parameters,
    full,
    mlpTrained: 3,
    copiesReference: full,
    weightBytes: 2,
    computeBytes,
    keptBytes: 2,
    device: computeBytes === 4 ? "cpu" : "other",
    ...(full ? { trained: parameters, adapters: 0 } : { trained: trainable, adapters: trainable }),
  };
}

/** Eight prompts of 512 tokens with eight completions each, all in one step. */
const run: MemoryRun = {
  promptTokens: 512,
  completionTokens: 512,
  groupSize: 8,
  prompts: 8,
  completionsPerStep: 64,
  maxTokensPerMicroBatch: 2048,
  gradientCheckpointing: false,
  dropout: false,
  sortsVocabulary: false,
  repetitionPenalty: false,
  scores: false,
  reference: false,
  copiesCheckpoints: false,
  optimizer: "adamw",
};

const lengths = [256, 512, 1024, 2048, 4096];
const gigabytes = (bytes: number) => (bytes / 1e9).toFixed(1);

function lengthTable(): string {
  const rows = (Object.keys(models) as (keyof typeof models)[]).flatMap((name) =>
    [false, true].map((gradientCheckpointing) => {
      const model = memoryModel(name, false, 2);
      const cells = lengths.map((completionTokens) =>
        gigabytes(estimateMemory(model, { ...run, completionTokens, gradientCheckpointing }).peak),
      );
      return `| ${name} | ${gradientCheckpointing ? "on" : "off"} | ${cells.join(" | ")} |`;
    }),
  );
  return `| model | checkpointing | ${lengths.join(" | ")} |\n|---|---|${"---|".repeat(lengths.length)}\n${rows.join("\n")}\n`;
}

function partsTable(): string {
  const cases: readonly (readonly [string, MemoryModel, Partial<MemoryRun>])[] = [
    ["LoRA", memoryModel("Qwen2.5-1.5B", false, 2), {}],
    ["LoRA, in float32 (a CPU without bfloat16)", memoryModel("Qwen2.5-1.5B", false, 4), {}],
    ["in full", memoryModel("Qwen2.5-1.5B", true, 2), {}],
    ['in full, `optim: "adamw_8bit"`', memoryModel("Qwen2.5-1.5B", true, 2), { optimizer: "adamw_8bit" }],
    ["in full, `beta` above 0", memoryModel("Qwen2.5-1.5B", true, 2), { reference: true, scores: true }],
  ];
  const columns = [
    "weights",
    "masters or adapter",
    "reference",
    "gradient",
    "optimizer state",
    "rollout",
    "update",
    "peak",
  ];
  const sum = (bytes: object) => Object.values(bytes).reduce((a: number, b: number) => a + b, 0);
  const rows = cases.map(([name, model, changes]) => {
    const { resident, phases, peak } = estimateMemory(model, { ...run, ...changes });
    const fixed = ["weights", model.full ? "fp32 masters" : "adapter", "reference", "gradient", "optimizer state"];
    const values = [...fixed.map((part) => resident[part] ?? 0), sum(phases.rollout), sum(phases.update), peak];
    return `| ${name} | ${values.map(gigabytes).join(" | ")} |`;
  });
  return `| Qwen2.5-1.5B | ${columns.join(" | ")} |\n|---|${"---|".repeat(columns.length)}\n${rows.join("\n")}\n`;
}

/** The page as it should be. */
export function memoryPage(): string {
  const [before = "", rest = ""] = readFileSync(page, "utf8").split(begin);
  return `${before}${begin}\n${lengthTable()}\n${partsTable()}\n${end}${rest.split(end)[1] ?? ""}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(page, memoryPage());
