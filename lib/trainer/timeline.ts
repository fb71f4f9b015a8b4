// Where the time of a step goes: its phases, and how much of it the engine had nothing to do. An interval reaches from the end of
// one step's update to that of the next, so that logs, evaluations and checkpoints between them count.

import type { Metrics } from "./step-metrics.js";

export class Timeline {
  readonly #busySeconds: () => number;
  #last: { readonly now: number; readonly busy: number };

  /** `busySeconds`: what the engine has worked so far. */
  constructor(busySeconds: () => number) {
    this.#busySeconds = busySeconds;
    this.#last = { now: performance.now(), busy: busySeconds() };
  }

  /** Of the interval that ends now; `step` has the seconds of the phases. */
  lap(step: Readonly<Metrics>): Metrics {
    const { now, busy } = this.#last;
    this.#last = { now: performance.now(), busy: this.#busySeconds() };
    const seconds = (this.#last.now - now) / 1000;
    const phases = ["time/rollout", "time/reward", "time/update"].reduce((sum, name) => sum + (step[name] ?? 0), 0);
    return {
      "time/other": Math.max(0, seconds - phases),
      "time/idle_share": Math.min(1, Math.max(0, 1 - (this.#last.busy - busy) / seconds)),
    };
  }
}
