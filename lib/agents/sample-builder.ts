// A sample that grows: what is drawn from the policy counts in the loss, what is given between the turns does not. Nothing in it is
// ever tokenized again.

import type { Sample } from "../rollout/sample.js";
import type { FinishReason, TokenIds } from "../types.js";

/** Tokens as they were drawn, one log-probability each. */
export interface DrawnTurn {
  readonly ids: readonly number[];
  /** In nats: under the policy at the sampling temperature. */
  readonly logprobs: readonly number[];
  readonly finishReason: FinishReason;
}

export class SampleBuilder {
  readonly #promptIds: TokenIds;
  readonly #completionIds: number[] = [];
  readonly #logprobs: number[] = [];
  readonly #mask: number[] = [];
  /** What was given last leaves the turn after it open. */
  #finishReason: FinishReason = "length";

  constructor(promptIds: TokenIds) {
    this.#promptIds = promptIds;
  }

  /** The context and everything after it: what the next turn is drawn from. */
  get ids(): number[] {
    return [...this.#promptIds, ...this.#completionIds];
  }

  /** Tokens after the context. */
  get length(): number {
    return this.#completionIds.length;
  }

  draw({ ids, logprobs, finishReason }: DrawnTurn): void {
    this.#append(ids, logprobs, 1);
    this.#finishReason = finishReason;
  }

  give(ids: TokenIds): void {
    this.#append(
      ids,
      ids.map(() => 0),
      0,
    );
    this.#finishReason = "length";
  }

  build(): Sample {
    const drawnOnly = this.#mask.every((counts) => counts === 1);
    return {
      promptIds: this.#promptIds,
      completionIds: [...this.#completionIds],
      samplingLogprobs: Float32Array.from(this.#logprobs),
      lossMask: drawnOnly ? undefined : Uint8Array.from(this.#mask),
      finishReason: this.#finishReason,
    };
  }

  #append(ids: TokenIds, logprobs: readonly number[], counts: 0 | 1): void {
    // One by one: a spread of many thousand arguments would overflow the stack.
    for (const id of ids) {
      this.#completionIds.push(id);
      this.#mask.push(counts);
    }
    for (const logprob of logprobs) this.#logprobs.push(logprob);
  }
}
