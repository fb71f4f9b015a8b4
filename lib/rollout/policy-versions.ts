// Which weights a policy has, by number: whoever changes them says so here, and a sampler that holds a copy is shown them before it
// samples. Equal numbers are equal weights.

import type { Learner } from "../model/learner.js";
import type { Sampler } from "./sampler.js";

export class PolicyVersions {
  readonly #learner: Learner;
  #version = 0;

  constructor(learner: Learner) {
    this.#learner = learner;
  }

  /** The weights are others from here on, or may be. */
  changed(): void {
    this.#version++;
  }

  /** Shows a sampler the weights of the moment. */
  async showTo(sampler: Sampler, signal: AbortSignal): Promise<void> {
    const learner = this.#learner;
    await sampler.follow?.(
      {
        version: this.#version,
        savePretrained: (directory) => learner.savePretrained(directory),
        completionLogprobs: (batch, options) => learner.completionLogprobs(batch, options),
      },
      signal,
    );
  }
}
