// The numbers of one step under TRL's names. A value that no completion defines (the mean of rewards that all abstained) is NaN.

import { type Metrics, MetricWindow } from "../log/metrics.js";
import type { LossOptions } from "../model/loss.js";
import type { NativeLossResult } from "../native/native.js";
import { failureKinds } from "../rewards/failure.js";
import { nanMean, nanStd } from "../statistics.js";
import type { Advantages } from "./advantages.js";
import type { Rollout } from "./rollout.js";

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

/** Names of the numbers of failed reward calls. */
export const failureCounts = new RegExp(`^rewards/.+/(errors|${failureKinds.join("|")})$`);

/** Mean of each name over the lists that have it; of failed calls the sum. */
export function meanMetrics(all: readonly Readonly<Metrics>[]): Metrics {
  const window = new MetricWindow({ counts: failureCounts });
  for (const metrics of all) window.add(metrics);
  return window.take();
}
