// Metrics by name, and their means over a logging window. A value that nothing defines (the mean of rewards that all abstained) is
// NaN: it is left out of the window's mean and written as null in JSON.

import { nanMean } from "../statistics.js";

export type Metrics = Record<string, number>;

/** Counters and settings: a window shows where they stand, not their mean. */
const latest = new Set(
  "step epoch learning_rate grad_norm num_tokens bad_steps memory/resident memory/peak memory/device".split(" "),
);

export interface MetricWindowOptions {
  /** Names of metrics that count something: a window has their sum, and where one is left out it is 0. */
  readonly counts?: RegExp | undefined;
  /** Values by name, as `values` gave them: a window that goes on from there. */
  readonly values?: Readonly<Record<string, readonly number[]>> | undefined;
}

export class MetricWindow {
  readonly #values: Map<string, number[]>;
  readonly #counts: RegExp | undefined;

  constructor({ counts, values = {} }: MetricWindowOptions = {}) {
    this.#counts = counts;
    this.#values = new Map(Object.entries(values).map(([name, list]) => [name, [...list]]));
  }

  /** Since the last take(), by name: what a window begins with that goes on from here. */
  get values(): Readonly<Record<string, readonly number[]>> {
    return Object.fromEntries(this.#values);
  }

  add(metrics: Readonly<Metrics>): void {
    for (const [name, value] of Object.entries(metrics)) {
      const values = this.#values.get(name);
      if (values && !latest.has(name)) values.push(value);
      else this.#values.set(name, [value]);
    }
  }

  /** Means since the last call. */
  take(): Metrics {
    const summary = (name: string, values: number[]) =>
      this.#counts?.test(name) ? values.reduce((sum, value) => sum + value, 0) : nanMean(values);
    const means = Object.fromEntries([...this.#values].map(([name, values]) => [name, summary(name, values)]));
    this.#values.clear();
    return means;
  }
}

/** The name that trackers show, as transformers' integrations have it: eval_x → eval/x, all else → train/x. */
export function trackerTag(name: string): string {
  return name.startsWith("eval_") ? `eval/${name.slice("eval_".length)}` : `train/${name}`;
}

/** Metrics under the names that trackers show. */
export function tagged(metrics: Readonly<Metrics>): Metrics {
  return Object.fromEntries(Object.entries(metrics).map(([name, value]) => [trackerTag(name), value]));
}
