// Which evaluation was the best so far, and whether the run has stopped getting better.

import { GrpoError } from "../errors.js";
import type { Metrics } from "../log/metrics.js";
import type { TrainerState } from "../types.js";
import type { RunOptions } from "./options.js";

export class BestModel {
  readonly #metric: string;
  readonly #sign: 1 | -1;
  readonly #patience: number | null;
  readonly #threshold: number;

  /** `metric`: where metricForBestModel is null. */
  constructor(args: RunOptions, metric: string) {
    const name = args.metricForBestModel ?? metric;
    this.#metric = name.startsWith("eval_") ? name : `eval_${name}`;
    // As transformers: less is better for what ends in "loss".
    this.#sign = (args.greaterIsBetter ?? !name.endsWith("loss")) ? 1 : -1;
    this.#patience = args.earlyStoppingPatience;
    this.#threshold = args.earlyStoppingThreshold;
  }

  /** Whether the run has had `earlyStoppingPatience` evaluations in a row without a gain. */
  outOfPatience(state: TrainerState): boolean {
    return this.#patience !== null && state.evaluationsWithoutGain >= this.#patience;
  }

  /** Whether the metrics are the best so far, and whether `earlyStoppingPatience` evaluations in a row were not better by more than the threshold. */
  take(metrics: Readonly<Metrics>, state: TrainerState): { readonly best: boolean; readonly stop: boolean } {
    const value = metrics[this.#metric];
    if (value === undefined) {
      const known = Object.keys(metrics).join(", ");
      throw new GrpoError("BAD_OPTION", `metricForBestModel: an evaluation has no ${this.#metric}`, {
        hint: `its metrics are ${known}`,
      });
    }
    // As in transformers: the first evaluation costs no patience, and before there is a best one anything but NaN is better.
    const first = state.bestMetric === null;
    const before = state.bestMetric ?? -this.#sign * Number.POSITIVE_INFINITY;
    const gain = this.#sign * (value - before);
    state.evaluationsWithoutGain = first || gain > this.#threshold ? 0 : state.evaluationsWithoutGain + 1;
    const best = gain > 0;
    state.bestMetric = best ? value : before;
    return { best, stop: this.outOfPatience(state) };
  }
}
