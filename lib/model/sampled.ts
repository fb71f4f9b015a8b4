// What sampling is asked for, and what it gives: groups of completions, one group per prompt.

import type { NativeSampleStats } from "../native/native.js";
import type { FinishReason } from "../types.js";
import type { TokenConstraint } from "./token-constraint.js";

/** One sampled completion: ids with the log-probability of each, in float32 and nats. */
export interface SampledCompletion {
  /** The drawn tokens, the stop id included. */
  readonly ids: number[];
  /** Log-probability of each drawn token under the model at the sampling temperature. */
  readonly logprobs: Float32Array;
  readonly finishReason: FinishReason;
  /** Optimizer steps of the run that had made the weights that drew it. Absent: those of the moment of the call. */
  readonly policyStep?: number;
}

/** The completions of one prompt, or of other samplers (lib/rollout/sampler.ts) the attempts at it; `prompt` is its index in the call. */
export interface SampledGroup<T = SampledCompletion> {
  readonly prompt: number;
  readonly completions: readonly T[];
}

/**
 * Which tokens may be drawn at all, as transformers' options of these names. What is left open is as the model's
 * generation_config.json says. The recorded log-probabilities are those of the model without them.
 */
export interface TokenRules {
  /** No stop id among so many first tokens. 0: none is required. */
  readonly minNewTokens?: number;
  /** No sequence of so many tokens comes twice, those of the prompt counted. 0: any may. */
  readonly noRepeatNgramSize?: number;
  /** Sequences of token ids that are never completed; the model's end-of-text ids, as sequences of one, are let pass. */
  readonly badWordsIds?: readonly (readonly number[])[];
  /** Ids that are never drawn; an id that the model does not have means nothing. */
  readonly suppressTokens?: readonly number[];
  /** Ids that are not drawn first. */
  readonly beginSuppressTokens?: readonly number[];
  /** What the last of `maxNewTokens` tokens is; one of several with equal chances. */
  readonly forcedEosTokenId?: number | readonly number[];
}

/** How groups are sampled. */
export interface SampleOptions<T = SampledCompletion> {
  /** Completions sampled for each prompt. */
  readonly groupSize: number;
  /** New tokens of a completion at most. */
  readonly maxNewTokens: number;
  /** Sequence length that length-dependent rotary embeddings are made for. Default: the longest prompt and maxNewTokens. */
  readonly contextLength?: number;
  /** false: greedy. Default true. */
  readonly doSample?: boolean;
  /** Divides the logits. Default 1. */
  readonly temperature?: number;
  /** Draws from the likeliest tokens whose probabilities reach it together. Default 1: off. */
  readonly topP?: number;
  /** Draws from so many of the likeliest tokens. Default 0: off. */
  readonly topK?: number;
  /** Default: the model's generation_config.json's, else 0. */
  readonly minP?: number;
  /** Divides the positive logits of tokens that occurred, and multiplies the negative ones. Default 1: off. */
  readonly repetitionPenalty?: number;
  /** Stop ids beside those of the model's own generation config. */
  readonly stopIds?: readonly number[];
  /** A draw depends on (seed, step, prompt key, sample, position) and on nothing else. */
  readonly seed?: number;
  /** See seed. Default 0. */
  readonly step?: number;
  /** See seed: one for each prompt. Default: its index. */
  readonly promptKeys?: readonly number[];
  /**
   * Decode steps in few fixed shapes, recorded once as graphs and replayed where libtorch has graphs for the device: one call from the
   * host for a step in place of hundreds. The CUDA build of libtorch 2.14 offers none yet, and elsewhere such steps are only slower;
   * graphs were not run. Default false.
   */
  readonly graphCapture?: boolean;
  /**
   * What each completion may be, by the indices of its prompt and among the prompt's completions; made once for each. The recorded
   * log-probabilities are those of the model without it. Default: anything.
   */
  readonly constraint?: ((prompt: number, sample: number) => TokenConstraint) | undefined;
  /** Aborting it ends the call with the error CANCELLED. */
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
