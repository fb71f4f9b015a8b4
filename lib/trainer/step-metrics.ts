// The numbers of one step under TRL's names, and their means over a logging window. A value that no completion defines
// (the mean of rewards that all abstained) is NaN: it is left out of the window's mean and written as null in JSON.

import type { NativeLossResult } from "../native/native.js";
import type { LossOptions } from "../options/loss.js";
import { failureKinds } from "../rewards/failure.js";
import type { Advantages } from "./advantages.js";
import { nanMean, nanStd } from "./advantages.js";
import type { Rollout } from "./rollout.js";

export type Metrics = Record<string, number>;

/** Lengths and rewards of a batch of completions. */
export function rolloutMetrics(rollout: Rollout, scored: Advantages, names: readonly string[]): Metrics {
  const metrics: Metrics = lengthMetrics(rollout);
  names.forEach((name, k) => {
    const values = (rollout.rewards[k] ?? []).map((reward) => reward ?? Number.NaN);
    metrics[`rewards/${name}/mean`] = nanMean(values);
    metrics[`rewards/${name}/std`] = nanStd(values);
    const failures = rollout.rewardFailures[k] ?? [];
    metrics[`rewards/${name}/errors`] = failures.length;
    for (const kind of new Set(failures)) {
      metrics[`rewards/${name}/${kind}`] = failures.filter((other) => other === kind).length;
    }
  });
  metrics.reward = nanMean(scored.rewards);
  metrics.reward_std = nanStd(scored.rewards);
  metrics.frac_reward_zero_std = scored.fractionZeroStd;
  for (const name of new Set(rollout.userMetrics.map((sent) => sent.name))) {
    metrics[name] = nanMean(rollout.userMetrics.filter((sent) => sent.name === name).map((sent) => sent.value));
  }
  return metrics;
}

function lengthMetrics({ completionIds, finishReasons }: Rollout): Metrics {
  const lengths = completionIds.map((ids) => ids.length);
  const ended = lengths.filter((_, i) => finishReasons[i] !== "length");
  const terminated = ended.length > 0 ? ended : [0];
  return {
    "completions/mean_length": nanMean(lengths),
    "completions/min_length": smallest(lengths),
    "completions/max_length": largest(lengths),
    "completions/clipped_ratio": (lengths.length - ended.length) / lengths.length,
    "completions/mean_terminated_length": nanMean(terminated),
    "completions/min_terminated_length": smallest(terminated),
    "completions/max_terminated_length": largest(terminated),
  };
}

const smallest = (values: readonly number[]) => values.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
const largest = (values: readonly number[]) => values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);

/** What the loss reports, of what its type has; kl only where it is part of the loss, as in TRL. */
export function lossMetrics(
  result: NativeLossResult,
  { beta, lossType }: Pick<LossOptions, "beta" | "lossType">,
): Metrics {
  return {
    loss: result.loss,
    entropy: result.entropy,
    ...(beta ? { kl: result.kl } : {}),
    ...typeMetrics(result, lossType),
    skipped_completions: result.idleRows,
  };
}

function typeMetrics(result: NativeLossResult, lossType: LossOptions["lossType"]): Metrics {
  if (lossType === "cispo") return { cispo_clip_ratio: result.clipHigh };
  if (lossType === "vespo") return { "vespo/phi_seq_mean": result.phi };
  if (lossType === "sapo") return {};
  return {
    "clip_ratio/low_mean": result.clipLow,
    "clip_ratio/low_min": result.clipLowMin,
    "clip_ratio/high_mean": result.clipHigh,
    "clip_ratio/high_max": result.clipHighMax,
    "clip_ratio/region_mean": result.clipRegion,
  };
}

/** Counters and settings: a window shows where they stand, not their mean. */
const latest = new Set(["step", "epoch", "learning_rate", "grad_norm", "num_tokens", "bad_steps"]);

/** Numbers of failed reward calls: a window has their sum, and where one is left out it is 0. */
const counted = new RegExp(`^rewards/.+/(errors|${failureKinds.join("|")})$`);

/** Mean of each name over the lists that have it. */
export function meanMetrics(all: readonly Readonly<Metrics>[]): Metrics {
  const window = new MetricWindow();
  for (const metrics of all) window.add(metrics);
  return window.take();
}

export class MetricWindow {
  readonly #values: Map<string, number[]>;

  constructor(values: Readonly<Record<string, readonly number[]>> = {}) {
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
      counted.test(name) ? values.reduce((sum, value) => sum + value, 0) : nanMean(values);
    const means = Object.fromEntries([...this.#values].map(([name, values]) => [name, summary(name, values)]));
    this.#values.clear();
    return means;
  }
}
