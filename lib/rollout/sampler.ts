// Who samples: the engine of the model that is trained is one; another engine, or an agent that calls tools between its turns, is
// another. A sampler needs no gradient and no optimizer.

import type { SampledCompletion, SampledGroup, SampleOptions } from "../model/sampled.js";
import type { Prompt, TokenIds } from "../types.js";
import type { SampledRollout } from "./sample.js";

/** One attempt at a prompt, as a sampler gives it. */
export type SampledAttempt = SampledCompletion | SampledRollout;

/** What the ids of a prompt are of, for samplers that hold conversations. */
export interface PromptRow {
  readonly row: unknown;
  readonly prompt: Prompt;
}

/** Samples groups of rollouts from the policy as it is at the moment. */
export interface Sampler {
  /** Longest sequence that it can take, prompt and completion together. */
  readonly maxPositions: number;
  /** Attempts `groupSize` times at every prompt, and hands each group to `onGroup` as it finishes; see CausalLM.sample. `rows`: one for each prompt. */
  sample(
    prompts: readonly TokenIds[],
    options: SampleOptions<SampledAttempt>,
    rows?: readonly PromptRow[],
  ): Promise<{ readonly groups: readonly SampledGroup<SampledAttempt>[] }>;
}
