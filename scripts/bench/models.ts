// The models of the benchmarks: shapes with random weights, written once into a cache folder, and real ones. Speed does not
// depend on the values of the weights; both sides load the same folder.

import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { CausalLM, type JsonObject } from "grpo";

const SHARED = { rms_norm_eps: 1e-6, tie_word_embeddings: true, max_position_embeddings: 4096, dtype: "bfloat16" };

function qwen2(layers: number, hidden: number, heads: number, kvHeads: number, mlp: number): JsonObject {
  return {
    ...SHARED,
    architectures: ["Qwen2ForCausalLM"],
    model_type: "qwen2",
    num_hidden_layers: layers,
    hidden_size: hidden,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    intermediate_size: mlp,
    vocab_size: 151_936,
    rope_parameters: { rope_type: "default", rope_theta: 1e6 },
    // Completions end where the benchmark says, not where random weights do.
    eos_token_id: null,
    bos_token_id: null,
  };
}

export const SHAPES = {
  "qwen2-0.5b": qwen2(24, 896, 14, 2, 4864),
  "qwen2.5-1.5b": qwen2(28, 1536, 12, 2, 8960),
  "qwen2.5-7b": { ...qwen2(28, 3584, 28, 4, 18_944), vocab_size: 152_064, tie_word_embeddings: false },
  /** SmolLM2-135M, of the series that need no real weights. */
  "135m": { ...qwen2(30, 576, 9, 3, 1536), vocab_size: 49_152 },
  /** Few layers and a head that weighs: for memory against vocabulary and length. */
  shallow: { ...qwen2(4, 512, 8, 2, 1536), vocab_size: 32_768 },
} as const satisfies Record<string, JsonObject>;

export type ShapeName = keyof typeof SHAPES;
export type ModelName = ShapeName | "smollm2-135m" | "tiny";

/** Where SmolLM2-135M-Instruct lies and where shapes are written. */
export interface ModelPlaces {
  readonly cache: string;
  readonly smollm2: string | undefined;
}

export const TINY = fileURLToPath(new URL("../assets/tiny-qwen2", import.meta.url));

/** undefined: not on this machine. */
export async function modelFolder(name: ModelName, { cache, smollm2 }: ModelPlaces): Promise<string | undefined> {
  if (name === "tiny") return TINY;
  const folder = path.resolve(cache, name);
  if (existsSync(folder)) return folder;
  const unfinished = `${folder}.unfinished`;
  rmSync(unfinished, { recursive: true, force: true });
  mkdirSync(unfinished, { recursive: true });
  if (name === "smollm2-135m") {
    if (smollm2 === undefined) return undefined;
    linkWithoutEnd(path.resolve(smollm2), unfinished);
  } else {
    console.error(`writing ${name} with random weights`);
    const model = await CausalLM.fromConfig(SHAPES[name], { dtype: "bfloat16", device: "cpu", seed: 1 });
    await model.savePretrained(unfinished);
    model.dispose();
  }
  renameSync(unfinished, folder);
  return folder;
}

/** The same model without a token that ends a text: all completions get the length that the benchmark asks for. */
function linkWithoutEnd(from: string, to: string): void {
  for (const file of readdirSync(from).filter(
    (name) => name.endsWith(".safetensors") || name.startsWith("tokenizer"),
  )) {
    symlinkSync(path.join(from, file), path.join(to, file));
  }
  const config: JsonObject = JSON.parse(readFileSync(path.join(from, "config.json"), "utf8"));
  writeFileSync(path.join(to, "config.json"), JSON.stringify({ ...config, eos_token_id: null, bos_token_id: null }));
}
