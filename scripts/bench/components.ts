// The bytes of a case by component. What is there all the time has a known size: parameters, gradient, optimizer, cache. What is left
// of the process's peak beside these and the runtime is what passes hold: activations, logits, scratch.

import type { CausalLM } from "grpo";
import { estimateMemory } from "../../lib/model/memory.js";
import type { BenchCase } from "./cases.js";

export interface Components {
  /** Node and libtorch, before the model was loaded: measured. */
  readonly runtime: number;
  readonly weights: number;
  /** Values of the adapter, or fp32 masters. */
  readonly trainable: number;
  readonly gradient: number;
  readonly optimizer: number;
  /** Keys and values of a rollout, at their longest. */
  readonly cache: number;
  /** Peak less all of the above that is there with it: activations and what passes need besides; measured. */
  readonly activations: number;
}

export async function componentsOf(
  bench: BenchCase,
  model: CausalLM,
  measured: { readonly runtime: number; readonly peak: number; readonly promptTokens: number },
): Promise<Components> {
  const { model: facts } = await model.memory();
  const trains = bench.lora !== undefined && bench.work !== "rollout" && bench.work !== "first-token";
  const rows = bench.prompts * bench.groupSize;
  const run = {
    promptTokens: measured.promptTokens,
    completionTokens: bench.maxNewTokens,
    groupSize: bench.groupSize,
    prompts: bench.prompts,
    completionsPerStep: rows,
    maxTokensPerMicroBatch: 2048,
    dropout: false,
    gradientCheckpointing: false,
    sortsVocabulary: bench.topP < 1,
    repetitionPenalty: false,
    scores: false,
    reference: false,
    copiesCheckpoints: false,
    optimizer: "adamw" as const,
  };
  const { resident, phases } = estimateMemory(facts, run);
  const adapter = bench.lora ? (resident.adapter ?? 0) : 0;
  const held = {
    runtime: measured.runtime,
    weights: resident.weights ?? 0,
    trainable: adapter,
    gradient: trains ? (resident.gradient ?? 0) : 0,
    optimizer: trains ? (resident["optimizer state"] ?? 0) : 0,
    cache: bench.work === "update" ? 0 : (phases.rollout["KV cache"] ?? 0),
  };
  const { cache, ...always } = held;
  const beside = Object.values(always).reduce((sum, bytes) => sum + bytes, 0);
  // The cache is gone by the update, which has the peak of a step.
  const atPeak = trains ? beside : beside + cache;
  return { ...held, activations: Math.max(0, measured.peak - atPeak) };
}

/** "runtime 190 MB, weights 538 MB, …", of what is not nothing. */
export function componentText(components: Components): string {
  return Object.entries(components)
    .filter(([, bytes]) => bytes >= 5e5)
    .map(([name, bytes]) => `${name} ${Math.round(bytes / 1e6)} MB`)
    .join(", ");
}
