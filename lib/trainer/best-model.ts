// Which evaluation was the best so far, and whether the run has stopped getting better.

import { GrpoError } from "../errors.js";
import type { GRPOConfig } from "./config.js";
import type { Metrics } from "./step-metrics.js";
import type { MutableState } from "./trainer-state.js";

export class BestModel {
  readonly #metric: string;
  readonly #sign: 1 | -1;
  readonly #patience: number | null;
  readonly #threshold: number;

  constructor(args: GRPOConfig) {
    const name = args.metricForBestModel ?? "reward";
    this.#metric = name.startsWith("eval_") ? name : `eval_${name}`;
    // As transformers: less is better for what ends in "loss".
    this.#sign = (args.greaterIsBetter ?? !name.endsWith("loss")) ? 1 : -1;
    this.#patience = args.earlyStoppingPatience;
    this.#threshold = args.earlyStoppingThreshold;
  }

  /** Whether the metrics are the best so far, and whether `earlyStoppingPatience` evaluations in a row were not better by more than the threshold. */
  take(metrics: Readonly<Metrics>, state: MutableState): { readonly best: boolean; readonly stop: boolean } {
    const value = metrics[this.#metric];
    if (value === undefined) {
      const known = Object.keys(metrics).join(", ");
      throw new GrpoError("BAD_OPTION", `metricForBestModel: an evaluation has no ${this.#metric}`, {
        hint: `its metrics are ${known}`,
      });
    }
    const gain = state.bestMetric === null ? Number.POSITIVE_INFINITY : this.#sign * (value - state.bestMetric);
    state.evaluationsWithoutGain = gain > this.#threshold ? 0 : state.evaluationsWithoutGain + 1;
    const best = gain > 0;
    if (best) state.bestMetric = value;
    return { best, stop: this.#patience !== null && state.evaluationsWithoutGain >= this.#patience };
  }
}
