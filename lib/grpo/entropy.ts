// The weight of the entropy bonus. Fixed, or moved after each step towards a target (Skywork-OR1, as in TRL): up while the
// entropy is at most the target, down above it. The bonus acts only if the step before was at most at the target, so never
// in the first one. What is stored in a checkpoint goes on as if nothing had happened.

import type { GRPOConfig } from "./config.js";

export interface EntropyState {
  readonly coef: number;
  /** Entropy of the step before; null: there was none. */
  readonly last_entropy: number | null;
}

type Options = Pick<
  GRPOConfig,
  "entropyCoef" | "useAdaptiveEntropy" | "entropyCoefMin" | "entropyCoefMax" | "entropyCoefDelta" | "entropyTarget"
>;

export class EntropyControl {
  readonly #options: Options;
  #state: EntropyState;

  constructor(options: Options, state?: EntropyState) {
    this.#options = options;
    this.#state = state ?? { coef: options.entropyCoef, last_entropy: null };
  }

  /** Whether there is a bonus at all in this run. */
  get enabled(): boolean {
    return this.#options.entropyCoef !== 0 || this.#options.useAdaptiveEntropy;
  }

  get state(): EntropyState {
    return this.#state;
  }

  /** The weight in the loss of the coming step. */
  get applied(): number {
    const { coef, last_entropy: last } = this.#state;
    if (!this.#options.useAdaptiveEntropy) return coef;
    return last !== null && last <= this.#options.entropyTarget ? coef : 0;
  }

  /** Takes in the mean entropy of a step's tokens. */
  update(entropy: number): void {
    const { useAdaptiveEntropy, entropyTarget, entropyCoefDelta, entropyCoefMin, entropyCoefMax } = this.#options;
    if (!useAdaptiveEntropy || !Number.isFinite(entropy)) return;
    const { coef } = this.#state;
    this.#state = {
      coef:
        entropy <= entropyTarget
          ? Math.min(coef + entropyCoefDelta, entropyCoefMax)
          : Math.max(coef - entropyCoefDelta, entropyCoefMin),
      last_entropy: entropy,
    };
  }
}
