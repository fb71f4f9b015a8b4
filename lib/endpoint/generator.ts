// What the endpoint asks of an engine, and no more: completions of token ids, token by token, and the log-probabilities of given
// ids. Ids in, ids out; it knows nothing of messages, texts and HTTP.

import type { TokenConstraint } from "../model/token-constraint.js";
import type { FinishReason, TokenIds } from "../types.js";

/** How tokens are drawn. */
export interface Sampling {
  /** Divides the logits; 0: greedy. */
  readonly temperature: number;
  /** 1: off. */
  readonly topP: number;
  /** 0: off. */
  readonly topK: number;
  /** 0: off. */
  readonly minP: number;
  /** 1: off. */
  readonly repetitionPenalty: number;
  /** No end of text among so many first tokens. Undefined: as the model's own file says. */
  readonly minNewTokens: number | undefined;
  /** Sequences of ids that are never completed. Undefined: as the model's own file says. */
  readonly badWords?: readonly TokenIds[] | undefined;
}

export interface GenerationRequest {
  /** The prompt; not empty. */
  readonly ids: TokenIds;
  /** Completions of it. */
  readonly count: number;
  readonly maxNewTokens: number;
  readonly sampling: Sampling;
  /** Ids that end a completion beside the model's own. */
  readonly stopIds: readonly number[];
  /** Texts that end a completion with the token that completes one. */
  readonly stopStrings: readonly string[];
  /** The same seed draws the same, whatever else is drawn at the time. Undefined: another each time. */
  readonly seed: number | undefined;
  /** Whether tokens come with their log-probability. */
  readonly logprobs: boolean;
  /** So many of the likeliest tokens beside each drawn one; needs `logprobs`. */
  readonly topLogprobs: number;
  /**
   * What a completion may be, made anew for each. Log-probabilities stay those of the policy without it. Undefined: anything.
   */
  readonly constraint?: (() => TokenConstraint) | undefined;
  /** Whoever it stands for: owners share the engine fairly. Default: one for all. */
  readonly owner?: object;
  /** The adapter that computes; null: the model without one; undefined: the model as it is. */
  readonly adapter: string | null | undefined;
  /** Aborting it ends the work. */
  readonly signal: AbortSignal;
}

/** A token and its log-probability in nats. */
export interface TokenLogprob {
  readonly id: number;
  readonly logprob: number;
}

/** A token that was drawn. */
export interface DrawnToken {
  readonly id: number;
  /**
   * log softmax(logits / temperature) of the policy, before top-p, top-k, min-p, penalties and masks, which is what training computes;
   * greedy: at temperature 1. Undefined where it was not asked for.
   */
  readonly logprob: number | undefined;
  /** The likeliest tokens at this place, likeliest first, under the same distribution. Empty where none were asked for. */
  readonly top: readonly TokenLogprob[];
  /** Optimizer steps of the run that had made the weights that drew it. Absent: not known. */
  readonly policyStep?: number;
}

export type GenerationEvent =
  /** `index` counts the completions of the request from 0. The end token is one of them. */
  | { readonly type: "token"; readonly index: number; readonly token: DrawnToken }
  | {
      readonly type: "end";
      readonly index: number;
      readonly finishReason: FinishReason;
      /** First tokens of the prompt that were computed with an earlier request. Undefined: not known. */
      readonly knownTokens?: number;
    };

export interface ScoreRequest {
  readonly ids: TokenIds;
  /** So many of the likeliest tokens at each place. */
  readonly top: number;
  readonly adapter: string | null | undefined;
  readonly signal: AbortSignal;
}

/** A token of a given sequence under the policy at temperature 1, given those before it. */
export interface ScoredToken extends TokenLogprob {
  readonly top: readonly TokenLogprob[];
}

/** The engine as the endpoint sees it. */
export interface Generator {
  /** Ids below it are the model's. */
  readonly vocabSize: number;
  /** Longest sequence, prompt and completion together. */
  readonly maxPositions: number;
  /**
   * Completions, in the order in which tokens are drawn: one "end" for each. Leaving the loop ends the work, as the signal does.
   * Rejects with a GrpoError: CANCELLED after an abort.
   */
  generate(request: GenerationRequest): AsyncIterable<GenerationEvent>;
  /** Every token but the first, which has no context. Rejects as `generate`. */
  score(request: ScoreRequest): Promise<readonly ScoredToken[]>;
}
