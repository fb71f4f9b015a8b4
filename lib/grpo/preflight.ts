// What a run of GRPO asks of the memory, and what it could do with less; run/preflight.ts holds it against the machine.

import type { Learner } from "../model/learner.js";
import type { MemoryRun } from "../model/memory.js";
import { nativeOptimizer } from "../run/optimizer.js";
import * as run from "../run/preflight.js";
import type { GRPOConfig } from "./config.js";
import { type TrainingPlan, trainsOnOldSamples } from "./plan.js";

export interface MemoryFacts {
  readonly args: GRPOConfig;
  readonly plan: TrainingPlan;
  /** Tokens of the longest prompt. */
  readonly longestPrompt: number;
  readonly evalPrompts: number;
  readonly dropout: boolean;
}

export function memoryRun({ args, plan, longestPrompt, evalPrompts, dropout }: MemoryFacts): MemoryRun {
  return {
    promptTokens: longestPrompt,
    completionTokens: args.maxCompletionLength,
    groupSize: args.numGenerations,
    prompts: Math.max(plan.promptsPerGeneration, evalPrompts),
    completionsPerStep: plan.completionsPerStep,
    maxTokensPerMicroBatch: args.maxTokensPerMicroBatch,
    gradientCheckpointing: args.gradientCheckpointing,
    dropout,
    sortsVocabulary: args.topP < 1,
    repetitionPenalty: args.repetitionPenalty !== 1,
    scores: args.beta > 0 || trainsOnOldSamples(plan),
    reference: args.beta > 0,
    optimizer: nativeOptimizer(args),
    copiesCheckpoints: args.saveStrategy !== "no",
  };
}

export const savings: run.Savings = ({ completionTokens, prompts, completionsPerStep }) => [
  [`maxCompletionLength ${run.half(completionTokens)}`, { completionTokens: run.half(completionTokens) }],
  [
    "half as many prompts a generation",
    { prompts: run.half(prompts), completionsPerStep: run.half(completionsPerStep) },
  ],
];

/** What the plan says about memory, and whether there is room for copies of checkpoints. Throws OUT_OF_MEMORY. */
export function checkMemory(model: Learner, facts: Omit<MemoryFacts, "dropout">): ReturnType<typeof run.checkMemory> {
  return run.checkMemory(model, (dropout) => memoryRun({ ...facts, dropout }), {
    check: facts.args.memoryCheck,
    savings,
  });
}
