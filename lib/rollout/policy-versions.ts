// Which weights a policy has, by number: whoever changes them says so here, and a sampler that holds a copy is shown them before it
// samples. Equal numbers are equal weights. For how old samples are, weights are told by the optimizer steps that made them.

import type { Learner } from "../model/learner.js";
import type { Sampler } from "./sampler.js";

export class PolicyVersions {
  readonly #learner: Learner;
  #version = 0;
  #step = 0;

  constructor(learner: Learner) {
    this.#learner = learner;
  }

  /** Optimizer steps that have made the weights of the moment. */
  get step(): number {
    return this.#step;
  }

  /** The weights are others from here on, or may be. `step`: made by so many optimizer steps; default: as many as before. */
  changed(step = this.#step): void {
    this.#version++;
    this.#step = step;
  }

  /** Shows a sampler the weights of the moment. */
  async showTo(sampler: Sampler, signal: AbortSignal): Promise<void> {
    const learner = this.#learner;
    await sampler.follow?.(
      {
        version: this.#version,
        step: this.#step,
        savePretrained: (directory) => learner.savePretrained(directory),
        completionLogprobs: (batch, options) => learner.completionLogprobs(batch, options),
      },
      signal,
    );
  }
}
