// What sampling yields, as everything after it takes it: samples (token sequences), rollouts (attempts at a prompt, of one
// sample or several) and groups (the rollouts of one prompt). Rewards and advantages belong to rollouts, tokens to samples.

import { at } from "../at.js";
import type { Metrics } from "../log/metrics.js";
import type { FailureKind } from "../rewards/failure.js";
import type { Completion, FinishReason, Message, Prompt } from "../types.js";

/** One token sequence: a context, and what came after it, drawn from the policy or given to it. */
export interface Sample {
  /** [C] the context, at least one token; it is not trained on. */
  readonly promptIds: readonly number[];
  /** [T] all tokens after it: those that were drawn, the stop id included, and those between them that were given, such as the results of tools. */
  readonly completionIds: readonly number[];
  /** [T] in nats: of each drawn token under the policy at the sampling temperature; 0 where a token was given. */
  readonly samplingLogprobs: Float32Array;
  /** [T] 1: the token counts in the loss and in the metrics, 0: it does not, as it was given. Absent: every token counts. */
  readonly lossMask?: Uint8Array | undefined;
  /** [T] optimizer steps of the run that had made the weights that drew each token; -1 where it was given, or is not known. Absent: those of the moment of the call. */
  readonly policySteps?: Int32Array | undefined;
  /** How the last drawn segment ended. */
  readonly finishReason: FinishReason;
  /** Its drawn segments. Absent: no turn of the rollout has a reward of its own. */
  readonly turns?: readonly SampledTurn[] | undefined;
}

/** A turn of a rollout: what was drawn in one go. */
export interface SampledTurn {
  /** Tokens [start, end) of its sample, counted behind the context. */
  readonly start: number;
  readonly end: number;
  /** Which of the rollout's turns it is, from 0, in the order in which they were asked for. */
  readonly index: number;
  /** Its own; null: it has none. */
  readonly reward: number | null;
}

/** One attempt at a prompt, as a sampler gives it where it is more than one completion of the prompt. */
export interface SampledRollout {
  /**
   * At least one; where nothing was drawn, one without completionIds. A completion, and a conversation that only grows, is one
   * sample; a branch, a sub-agent or a context that was rewritten adds another, so that every drawn token counts in one sample and
   * no more.
   */
  readonly samples: readonly Sample[];
  /** As reward functions and logs get it. */
  readonly completion: Completion;
  /** How it ended. Absent: as its last sample did. */
  readonly finishReason?: FinishReason;
  /** Where it is not the row's: what reward functions get in its place. */
  readonly prompt?: Prompt;
  /** Calls of tools, and those of them that ended in an error. Absent: there are no tools. */
  readonly tools?: { readonly calls: number; readonly failures: number };
  /** What it acted upon, for reward functions. */
  readonly environment?: object;
  /** What was said, one for each sample, for logs. Absent: the prompt and the completion. */
  readonly conversations?: readonly Conversation[];
  /** What came of it beside tokens. Absent: nothing did. */
  readonly report?: RolloutReport | undefined;
}

/** What a rollout tells of itself beside its tokens. */
export interface RolloutReport {
  /** What the rollout returned, for reward functions; undefined: nothing. */
  readonly result?: unknown;
  /** How it failed. Absent: it did not. */
  readonly failure?: FailureKind | undefined;
  /** Whether it has no reward, whatever the reward functions would say. Default false. */
  readonly unscored?: boolean;
  /** Rewards that its own reward is made of, by name. */
  readonly rewards?: Readonly<Record<string, number>>;
  /** Numbers of which a step logs the mean over the rollouts that have them, by the metric's name. */
  readonly metrics?: Readonly<Metrics>;
  /** Numbers of which a step logs the sum over its rollouts, by the metric's name. */
  readonly counts?: Readonly<Metrics>;
}

/** What was said in a sample, for logs. */
export interface Conversation {
  /** All of it, from the first message of its context on. */
  readonly messages: readonly Message[];
  /** Those of the messages, by index, whose tokens were drawn and count in this sample. */
  readonly sampled: readonly number[];
  /** The tools that the policy was told of. */
  readonly tools: readonly unknown[];
  /** The sample of the rollout, by index, that it goes on from. Absent: none, or its context was rewritten. */
  readonly branchOf?: number | undefined;
}

/** An attempt with what the reward functions say of it. */
export interface Rollout extends SampledRollout {
  /** [functions] null abstained. */
  readonly rewards: readonly (number | null)[];
  /** What the functions sent with logExtra, by column. */
  readonly extras: Readonly<Record<string, unknown>>;
}

/** A rollout with its weight in the loss. */
export interface ScoredRollout extends Rollout {
  /** Weighted sum of the rewards; NaN: every function abstained. */
  readonly reward: number;
  /** A float32 number, for every sample of the rollout; 0 where it is not trained on. */
  readonly advantage: number;
  /** [samples][T] what takes its place, token by token. Absent: no turn of the generation has a reward of its own. */
  readonly tokenAdvantages?: readonly Float32Array[] | undefined;
}

/** The rollouts of one prompt. */
export interface Group<R extends SampledRollout = Rollout> {
  /** Index in the data set. */
  readonly row: number;
  readonly prompt: Prompt;
  readonly promptIds: readonly number[];
  readonly rollouts: readonly R[];
}

/** Tokens that count in the loss. */
export function countTokens({ completionIds, lossMask }: Pick<Sample, "completionIds" | "lossMask">): number {
  return lossMask ? lossMask.reduce((sum, counts) => sum + counts, 0) : completionIds.length;
}

/** Those of all samples of a rollout: the length of its completion in the metrics. */
export function countedLength({ samples }: Pick<SampledRollout, "samples">): number {
  return samples.reduce((sum, sample) => sum + countTokens(sample), 0);
}

/** All tokens after the contexts, sample by sample. */
export function completionIdsOf({ samples }: Pick<SampledRollout, "samples">): readonly number[] {
  const [first] = samples;
  return first && samples.length === 1 ? first.completionIds : samples.flatMap(({ completionIds }) => completionIds);
}

/** How a rollout ended. */
export function finishReasonOf({
  samples,
  finishReason,
}: Pick<SampledRollout, "samples" | "finishReason">): FinishReason {
  return finishReason ?? at(samples, samples.length - 1).finishReason;
}
