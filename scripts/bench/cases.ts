// What is measured, as data. The same table drives both sides: scripts/bench-vs-trl.ts hands a case with its prompts to
// scripts/baselines/bench_trl.py as JSON. "step" runs the trainer, "rollout" samples only, "update" computes a gradient and an
// optimizer step on given completions, "first-token" samples one token. "memory" is one rollout and one update.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Tokenizer } from "grpo";
import { type ModelName, SHAPES, type ShapeName, TINY } from "./models.js";

export type Work = "step" | "rollout" | "update" | "first-token" | "memory";

/** equal: every completion has maxNewTokens. spread: they end at random, see STOP_SHARE. natural: at the model's own end. */
export type Lengths = "equal" | "spread" | "natural";

export interface BenchCase {
  readonly name: string;
  readonly work: Work;
  readonly model: ModelName;
  readonly dtype: "bfloat16" | "float32";
  readonly prompts: number; // P, all different
  readonly groupSize: number; // G
  readonly promptTokens: number; // 0: real prompts, of their own lengths
  readonly maxNewTokens: number;
  readonly lengths: Lengths;
  readonly topP: number;
  /** Absent: the model alone, as the peers in sampling have it. */
  readonly lora?: undefined | { readonly r: number; readonly alpha: number; readonly targets: readonly string[] };
  /** Repeats before the measured ones; 0 where one step takes minutes on the other side. */
  readonly warmup: number;
  readonly repeats: number;
  /** The types that the other side runs in, where these are not the one that its products are faster in. */
  readonly peerDtypes?: readonly ("bfloat16" | "float32")[];
  /** llama.cpp takes part. */
  readonly llama?: boolean;
  /** Decode steps of fixed shapes, recorded where the device has graphs. */
  readonly graphCapture?: boolean;
  /** Another vocabulary than the shape's. */
  readonly vocabulary?: number;
}

const QV = { r: 8, alpha: 32, targets: ["q_proj", "v_proj"] };
export const ALL = {
  r: 16,
  alpha: 32,
  targets: ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
};

/** The guide's step: one prompt, eight completions of 64 tokens. */
const guide: Omit<BenchCase, "name" | "work" | "model" | "dtype"> = {
  prompts: 1,
  groupSize: 8,
  promptTokens: 159,
  maxNewTokens: 64,
  lengths: "equal",
  topP: 0.95,
  lora: QV,
  warmup: 0,
  repeats: 1,
};
const smollm2 = { ...guide, model: "smollm2-135m", dtype: "bfloat16", promptTokens: 0, topP: 1, lora: ALL } as const;
const decode = { ...smollm2, work: "rollout", lora: undefined, warmup: 1, repeats: 2, llama: true } as const;

/** Cheap ones first, so that a run that is stopped has most of the table. */
export const CASES: readonly BenchCase[] = [
  {
    ...guide,
    name: "tiny step",
    work: "step",
    model: "tiny",
    dtype: "float32",
    promptTokens: 0,
    prompts: 8,
    maxNewTokens: 48,
    lengths: "natural",
    topP: 1,
    warmup: 2,
    repeats: 8,
  },
  // For one row memory decides, not arithmetic: transformers may be faster in the smaller dtype.
  { ...decode, name: "SmolLM2 decode, batch 1", groupSize: 1, repeats: 3, peerDtypes: ["float32", "bfloat16"] },
  { ...decode, name: "SmolLM2 decode, batch 8" },
  { ...decode, name: "SmolLM2 decode, batch 16", prompts: 2, warmup: 0 },
  { ...smollm2, name: "SmolLM2 step", work: "step", prompts: 2, warmup: 1 },
  {
    ...smollm2,
    name: "SmolLM2 first token, 4,096 tokens",
    work: "first-token",
    promptTokens: 4096,
    groupSize: 1,
    lora: undefined,
    repeats: 2,
  },
  {
    ...smollm2,
    name: "SmolLM2 update, 4 × 2,048 tokens",
    work: "update",
    promptTokens: 8,
    groupSize: 4,
    maxNewTokens: 2048,
  },
  {
    ...guide,
    name: "0.5B first token, bf16",
    work: "first-token",
    model: "qwen2-0.5b",
    dtype: "bfloat16",
    groupSize: 1,
    warmup: 1,
    repeats: 3,
  },
  { ...guide, name: "0.5B step, bf16", work: "step", model: "qwen2-0.5b", dtype: "bfloat16" },
  { ...guide, name: "0.5B step, fp32", work: "step", model: "qwen2-0.5b", dtype: "float32" },
  {
    ...guide,
    name: "0.5B rollout, spread lengths, bf16",
    work: "rollout",
    model: "qwen2-0.5b",
    dtype: "bfloat16",
    maxNewTokens: 256,
    lengths: "spread",
  },
  {
    ...guide,
    name: "1.5B step, bf16",
    work: "step",
    model: "qwen2.5-1.5b",
    dtype: "bfloat16",
    maxNewTokens: 16,
  },
  {
    ...guide,
    name: "0.5B rollout, spread lengths, fp32",
    work: "rollout",
    model: "qwen2-0.5b",
    dtype: "float32",
    maxNewTokens: 256,
    lengths: "spread",
  },
];

/** Cases of this side only, for work on one phase alone. */
export const OWN_CASES: readonly BenchCase[] = [
  ...(["bfloat16", "float32"] as const).flatMap((dtype): BenchCase[] => {
    const kind = dtype === "bfloat16" ? "bf16" : "fp32";
    const half = { ...guide, model: "qwen2-0.5b", dtype, warmup: 1, repeats: 3 } as const;
    const large = { ...half, model: "qwen2.5-1.5b", maxNewTokens: 16, repeats: 1 } as const;
    return [
      { ...half, name: `0.5B rollout, ${kind}`, work: "rollout" },
      { ...half, name: `0.5B update, ${kind}`, work: "update" },
      { ...large, name: `1.5B rollout, ${kind}`, work: "rollout" },
      { ...large, name: `1.5B update, ${kind}`, work: "update" },
    ];
  }),
  { ...smollm2, name: "SmolLM2 update", work: "update", prompts: 2, warmup: 1, repeats: 3 },
];

const growth = { ...guide, model: "135m", dtype: "bfloat16", promptTokens: 128, maxNewTokens: 32, warmup: 1 } as const;
const memory = { ...guide, work: "memory", model: "shallow", dtype: "bfloat16", promptTokens: 128 } as const;

/** One number varies in each series. */
export const GROWTH: Readonly<Record<string, readonly BenchCase[]>> = {
  batch: [1, 2, 4, 8, 16, 32, 64].map((batch) => {
    const split = { groupSize: Math.min(batch, 8), prompts: Math.ceil(batch / 8) };
    return { ...growth, ...split, name: `batch ${batch}`, work: "rollout" };
  }),
  "prompt length": [64, 256, 1024].map((promptTokens) => {
    return { ...growth, promptTokens, name: `prompt ${promptTokens}`, work: "rollout" };
  }),
  "completion length": [32, 128, 512].map((maxNewTokens) => {
    return { ...growth, maxNewTokens, name: `completion ${maxNewTokens}`, work: "rollout" };
  }),
  "group size": [1, 2, 4, 8, 16].map((groupSize) => {
    return { ...growth, groupSize, prompts: 16 / groupSize, name: `16 rows, group ${groupSize}`, work: "rollout" };
  }),
  vocabulary: [32_768, 65_536, 151_936].map((vocabulary) => {
    return { ...growth, vocabulary, name: `vocabulary ${vocabulary}`, work: "rollout" };
  }),
  "memory, completion length": [64, 256, 1024, 2048].map((maxNewTokens) => {
    return { ...memory, maxNewTokens, name: `memory, completion ${maxNewTokens}` };
  }),
  "memory, vocabulary": [32_768, 65_536, 151_936].map((vocabulary) => {
    return { ...memory, vocabulary, name: `memory, vocabulary ${vocabulary}` };
  }),
};

/** A token ends a completion with this probability where lengths are spread: random weights draw all tokens about equally. */
export const STOP_SHARE = 1 / 80;

export function stopIds(bench: BenchCase): number[] {
  if (bench.lengths !== "spread") return [];
  const vocabulary = vocabularyOf(bench);
  const every = Math.round(1 / STOP_SHARE);
  return Array.from({ length: Math.floor(vocabulary / every) }, (_, i) => i * every);
}

const TINY_VOCABULARY = 512;

export function vocabularyOf({ model, vocabulary }: BenchCase): number {
  const own = model === "tiny" ? TINY_VOCABULARY : (SHAPES[model as ShapeName]?.vocab_size as number | undefined);
  return vocabulary ?? own ?? 0;
}

/** Prompts of all repeats together, as token ids: both sides get the same. */
/** SmolLM2's tokens. */
export const SMOLLM2_VOCABULARY = 49_152;

export async function promptIds(bench: BenchCase, count: number): Promise<number[][]> {
  if (bench.model === "tiny") return tinyPrompts(count);
  if (bench.model === "smollm2-135m" && bench.promptTokens === 0) return gsm8kPrompts(count);
  // A multiplicative step through the vocabulary: no two prompts share a token at one place.
  const vocabulary = vocabularyOf(bench) || SMOLLM2_VOCABULARY;
  return Array.from({ length: count }, (_, p) =>
    Array.from({ length: bench.promptTokens }, (_, t) => (7919 * (p * bench.promptTokens + t + 1)) % vocabulary),
  );
}

async function tinyPrompts(count: number): Promise<number[][]> {
  const tokenizer = await Tokenizer.fromPretrained(TINY);
  const rows = readFileSync(`${TINY}/train.jsonl`, "utf8").trim().split("\n").slice(0, count);
  return rows.map((row) => {
    const { problem } = JSON.parse(row) as { problem: string };
    const messages = [{ role: "user", content: problem }];
    return tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true, tokenize: true });
  });
}

/** The first 20 questions of GSM8K's test split through the model's chat template, over and over. */
function gsm8kPrompts(count: number): number[][] {
  const file = fileURLToPath(new URL("../../test/fixtures/golden/smollm2-greedy.json", import.meta.url));
  const { rows } = JSON.parse(readFileSync(file, "utf8")) as { rows: { promptIds: number[] }[] };
  return Array.from({ length: count }, (_, i) => rows[i % rows.length]?.promptIds ?? []);
}
