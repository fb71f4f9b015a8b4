// What the sampler needs of an inference server, in whichever protocol; vllm.ts and sglang.ts speak theirs. Ids go in, ids and
// log-probabilities come out; weights come as folders that the server reads.

import type { FinishReason, TokenIds } from "../types.js";

/** Which program serves. */
export type ServerKind = "vllm" | "sglang";

/** What a server says of itself. */
export interface ServerFacts {
  readonly kind: ServerKind;
  readonly url: string;
  /** "" where it does not say. */
  readonly version: string;
  /** The name of the model that it was started with. */
  readonly model: string;
  /** Longest sequence, prompt and completion together. */
  readonly maxPositions: number;
}

/** What it can be given while it runs, as far as it says. */
export interface ServerAbilities {
  readonly adapters: boolean;
  /** Largest rank of an adapter, and how many are computed together; undefined where it does not say. */
  readonly adapterRank?: number | undefined;
  readonly adapterSlots?: number | undefined;
  readonly wholeWeights: boolean;
}

/** The completions of one prompt. */
export interface CompletionRequest {
  /** An adapter; absent: the model that the server was started with. */
  readonly adapter?: string | undefined;
  readonly promptIds: TokenIds;
  readonly count: number;
  readonly maxNewTokens: number;
  /** 0: greedy. */
  readonly temperature: number;
  /** 1: off. */
  readonly topP: number;
  /** 0: off. */
  readonly topK: number;
  /** 0: off. */
  readonly minP: number;
  /** 1: off. */
  readonly repetitionPenalty: number;
  readonly stopIds: readonly number[];
  /** Texts that end a completion with the token that completes one. */
  readonly stopStrings: readonly string[];
  /** What completions fit as a whole; absent: any texts. Log-probabilities are then of the tokens that it allows. */
  readonly regex?: string | undefined;
  /** Where the server can: equal seeds draw equal tokens. */
  readonly seed?: number | undefined;
}

export interface ServedCompletion {
  /** The drawn tokens, the stop id included. */
  readonly ids: number[];
  /** [tokens] in nats; NaN where the server does not know it. */
  readonly logprobs: Float32Array;
  readonly finishReason: FinishReason;
}

export interface ServedGroup {
  /** `count` of them. */
  readonly completions: readonly ServedCompletion[];
  /** Of whole weights, where the answer itself says which drew it. */
  readonly weights?: string | undefined;
}

/** Every call throws CANCELLED, or a ServerFault. */
export interface EngineServer {
  readonly facts: ServerFacts;
  complete(request: CompletionRequest, signal: AbortSignal): Promise<ServedGroup>;
  /** Log-probability of every token but the first, at temperature 1. */
  score(ids: TokenIds, signal: AbortSignal): Promise<Float32Array>;
  /** [few] log-probabilities of the likeliest first tokens, the largest first, as they are given at a temperature. */
  likeliest(promptIds: TokenIds, temperature: number, signal: AbortSignal): Promise<readonly number[]>;
  /** `folder` has an adapter in PEFT's format, by the server's own name for it. */
  loadAdapter(name: string, folder: string, signal: AbortSignal): Promise<void>;
  unloadAdapter(name: string, signal: AbortSignal): Promise<void>;
  /** `folder` has all weights; from then on they have the name `version`. */
  loadWeights(version: string, folder: string, signal: AbortSignal): Promise<void>;
  /** The name of the weights that it has now; undefined where it was never told one, as after a start. */
  weights(signal: AbortSignal): Promise<string | undefined>;
  /** Resolves where it would answer. */
  check(signal: AbortSignal): Promise<void>;
  abilities(signal: AbortSignal): Promise<ServerAbilities>;
  /** What to change, for messages: where log-probabilities leave the temperature out, */
  readonly temperatureHint: string;
  /** where whole weights arrive in part, */
  readonly reloadHint: string;
  /** where it takes no adapters, */
  readonly adapterHint: string;
  /** and where it takes no whole weights. */
  readonly weightsHint: string;
}
