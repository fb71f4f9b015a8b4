// What sampling is asked for, and what it gives: groups of completions, one group per prompt.

import type { NativeSampleStats } from "../native/native.js";
import type { FinishReason } from "../types.js";

/** One sampled completion: ids with the log-probability of each, in float32 and nats. */
export interface SampledCompletion {
  /** The drawn tokens, the stop id included. */
  readonly ids: number[];
  /** Log-probability of each drawn token under the model at the sampling temperature. */
  readonly logprobs: Float32Array;
  readonly finishReason: FinishReason;
}

/** The completions of one prompt, or of other samplers (lib/rollout/sampler.ts) the attempts at it; `prompt` is its index in the call. */
export interface SampledGroup<T = SampledCompletion> {
  readonly prompt: number;
  readonly completions: readonly T[];
}

/** How groups are sampled. */
export interface SampleOptions<T = SampledCompletion> {
  readonly groupSize: number;
  readonly maxNewTokens: number;
  readonly doSample?: boolean;
  readonly temperature?: number;
  readonly topP?: number;
  readonly topK?: number;
  readonly minP?: number;
  readonly repetitionPenalty?: number;
  /** Stop ids beside those of the model's own generation config. */
  readonly stopIds?: readonly number[];
  /** A draw depends on (seed, step, prompt key, sample, position) and on nothing else. */
  readonly seed?: number;
  readonly step?: number;
  readonly promptKeys?: readonly number[];
  /**
   * Decode steps in few fixed shapes, recorded once as graphs and replayed where libtorch has graphs for the device: one call from the
   * host for a step in place of hundreds. The CUDA build of libtorch 2.14 offers none yet, and elsewhere such steps are only slower;
   * graphs were not run. Default false.
   */
  readonly graphCapture?: boolean;
  readonly signal?: AbortSignal;
  /** Called with each group as it finishes, while others are still being decoded. */
  readonly onGroup?: (group: SampledGroup<T>) => void;
}

/** All groups of one rollout. */
export interface SampleResult<T = SampledCompletion> {
  /** In the order of the prompts. */
  readonly groups: readonly SampledGroup<T>[];
  readonly stats: NativeSampleStats;
}
