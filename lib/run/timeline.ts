// Where the time of a step goes beside its phases, and for how much of it the engine had nothing to do. An interval reaches from the end of
// one step's update to that of the next, so that logs, evaluations and checkpoints between them count.

import type { Metrics } from "../log/metrics.js";

export class Timeline {
  readonly #busySeconds: () => number;
  #last: { readonly now: number; readonly busy: number };

  /** `busySeconds`: what the engine has worked so far. */
  constructor(busySeconds: () => number) {
    this.#busySeconds = busySeconds;
    this.#last = { now: performance.now(), busy: busySeconds() };
  }

  /** Times of the interval that ends now, so many seconds of which are accounted for. */
  lap(accounted: number): Metrics {
    const { now, busy } = this.#last;
    this.#last = { now: performance.now(), busy: this.#busySeconds() };
    const seconds = (this.#last.now - now) / 1000;
    return {
      "time/other": Math.max(0, seconds - accounted),
      "time/idle_share": Math.min(1, Math.max(0, 1 - (this.#last.busy - busy) / seconds)),
    };
  }
}
