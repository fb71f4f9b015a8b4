// A sample, segment by segment: what was given and what was drawn, with the mask that tells them apart.

import { at } from "../at.js";
import type { FinishReason, TokenIds } from "../types.js";
import type { Sample, SampledTurn } from "./sample.js";

/** Of a token that was given, or whose weights nobody names. */
const UNKNOWN = -1;

export class SampleBuilder {
  readonly #promptIds: number[];
  readonly #ids: number[] = [];
  readonly #logprobs: number[] = [];
  readonly #mask: number[] = [];
  readonly #policySteps: number[] = [];
  readonly #drawn: Pick<SampledTurn, "start" | "end">[] = [];

  /** The context, at least one token. */
  constructor(promptIds: TokenIds) {
    this.#promptIds = Array.from(promptIds);
  }

  /** All tokens so far, the context included. */
  get ids(): number[] {
    return this.#promptIds.concat(this.#ids);
  }

  /** Tokens that came from elsewhere: results of tools, what the user says, the ends and headers of turns. */
  give(ids: TokenIds): this {
    for (const id of ids) this.#push(id, 0, 0, UNKNOWN);
    return this;
  }

  /**
   * Tokens that the policy drew, with their log-probabilities at the sampling temperature, in nats. `policySteps`: see Sample; by default
   * not known.
   */
  draw(ids: TokenIds, logprobs: ArrayLike<number>, policySteps: readonly (number | undefined)[] = []): this {
    const start = this.#ids.length;
    for (const [i, id] of ids.entries()) this.#push(id, logprobs[i] as number, 1, policySteps[i] ?? UNKNOWN);
    this.#drawn.push({ start, end: this.#ids.length });
    return this;
  }

  /** `finishReason`: how its last drawn segment ended. `turns`: what is known of each, where any turn has a reward of its own. */
  sample(finishReason: FinishReason, turns?: readonly Pick<SampledTurn, "index" | "reward">[]): Sample {
    const everyTokenCounts = !this.#mask.includes(0);
    const isKnown = this.#policySteps.some((step) => step !== UNKNOWN);
    return {
      promptIds: this.#promptIds,
      completionIds: this.#ids,
      samplingLogprobs: Float32Array.from(this.#logprobs),
      ...(everyTokenCounts ? {} : { lossMask: Uint8Array.from(this.#mask) }),
      ...(isKnown ? { policySteps: Int32Array.from(this.#policySteps) } : {}),
      finishReason,
      ...(turns && { turns: this.#drawn.map((segment, i) => ({ ...segment, ...at(turns, i) })) }),
    };
  }

  #push(id: number, logprob: number, counts: 0 | 1, policyStep: number): void {
    this.#ids.push(id);
    this.#logprobs.push(logprob);
    this.#mask.push(counts);
    this.#policySteps.push(policyStep);
  }
}
