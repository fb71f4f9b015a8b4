// Who samples: the engine of the model that is trained is one; another engine, or an agent that calls tools between its turns, is
// another. A sampler needs no gradient and no optimizer.

import type { Learner } from "../model/learner.js";
import type { SampledCompletion, SampledGroup, SampleOptions } from "../model/sampled.js";
import type { TokenIds } from "../types.js";
import type { SampledRollout } from "./sample.js";

/** One attempt at a prompt, as a sampler gives it. */
export type SampledAttempt = SampledCompletion | SampledRollout;

/** The policy as a sampler sees it that holds a copy of its weights. */
export interface FollowedPolicy extends Pick<Learner, "savePretrained" | "completionLogprobs"> {
  /** Another number for other weights: equal numbers are equal weights, in this run. */
  readonly version: number;
  /** Optimizer steps of the run that have made them. */
  readonly step: number;
}

/** Samples groups of rollouts from the policy as it is at the moment. */
export interface Sampler {
  /** Longest sequence that it can take, prompt and completion together. */
  readonly maxPositions: number;
  /**
   * true: another engine than the one that trains draws the tokens, from slightly other numbers, which the loss then corrects
   * (vllmImportanceSamplingCorrection). Default false.
   */
  readonly elsewhere?: boolean;
  /** Attempts `groupSize` times at every prompt, and hands each group to `onGroup` as it finishes; see CausalLM.sample. `rows`: those of the prompts. */
  sample(
    prompts: readonly TokenIds[],
    options: SampleOptions<SampledAttempt>,
    rows?: readonly unknown[],
  ): Promise<{ readonly groups: readonly SampledGroup<SampledAttempt>[] }>;
  /** Takes over the weights of the policy, where it samples from a copy; called before every sampling. */
  follow?(policy: FollowedPolicy, signal: AbortSignal): Promise<void>;
}
