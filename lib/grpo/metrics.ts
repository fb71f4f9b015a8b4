// The numbers of one step under TRL's names. A value that no completion defines (the mean of rewards that all abstained) is NaN.

import { ROLLOUT_REWARD } from "../agents/rollout.js";
import { at } from "../at.js";
import { type Metrics, MetricWindow } from "../log/metrics.js";
import type { NativeLossResult } from "../native/native.js";
import type { LossOptions } from "../options/loss.js";
import type { Collected } from "../rollout/collect.js";
import { countedLength, finishReasonOf, type Rollout } from "../rollout/sample.js";
import { nanMean, nanStd } from "../statistics.js";
import { failureCounts } from "./metric-names.js";
import { reportMetrics } from "./rollout-metrics.js";
import type { ScoredGroups } from "./score.js";
import { turnRewardsOf } from "./turn-advantages.js";

/** Lengths and rewards of a batch of rollouts. */
export function rolloutMetrics(
  { groups, fractionZeroStd }: ScoredGroups,
  calls: Collected["calls"],
  names: readonly string[],
): Metrics {
  const rollouts = groups.flatMap((group) => group.rollouts);
  const metrics: Metrics = { ...lengthMetrics(rollouts), ...toolMetrics(rollouts) };
  names.forEach((name, k) => {
    if (name === ROLLOUT_REWARD && names.length > 1 && rollouts.every(({ rewards }) => at(rewards, k) === null)) return;
    const values = rollouts.map(({ rewards }) => at(rewards, k) ?? Number.NaN);
    metrics[`rewards/${name}/mean`] = nanMean(values);
    metrics[`rewards/${name}/std`] = nanStd(values);
    const failures = calls.flatMap((call) => call.failures[k] ?? []);
    metrics[`rewards/${name}/errors`] = failures.length;
    for (const kind of new Set(failures)) {
      metrics[`rewards/${name}/${kind}`] = failures.filter((other) => other === kind).length;
    }
  });
  const rewards = rollouts.map(({ reward }) => reward);
  metrics.reward = nanMean(rewards);
  metrics.reward_std = nanStd(rewards);
  metrics.frac_reward_zero_std = fractionZeroStd;
  const turnRewards = turnRewardsOf(rollouts);
  if (turnRewards.length > 0) {
    metrics.turn_reward = nanMean(turnRewards);
    metrics.turn_reward_std = nanStd(turnRewards);
  }
  return { ...metrics, ...reportMetrics(rollouts), ...sentMetrics(calls) };
}

/** The means of what reward functions have sent. */
function sentMetrics(calls: Collected["calls"]): Metrics {
  const window = new MetricWindow();
  for (const { name, value } of calls.flatMap((call) => call.metrics)) window.add({ [name]: value });
  return window.take();
}

/** Lengths are numbers of tokens that count in the loss, as TRL sums its tool mask. */
function lengthMetrics(rollouts: readonly Rollout[]): Metrics {
  const lengths = rollouts.map(countedLength);
  const ended = rollouts.filter((rollout) => finishReasonOf(rollout) !== "length").map(countedLength);
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

/** Calls per completion, and the share of them that ended in an error; nothing where there are no tools. */
function toolMetrics(rollouts: readonly Rollout[]): Metrics {
  const counts = rollouts.flatMap(({ tools }) => tools ?? []);
  if (counts.length === 0) return {};
  const calls = counts.reduce((sum, count) => sum + count.calls, 0);
  const failures = counts.reduce((sum, count) => sum + count.failures, 0);
  return {
    "tools/call_frequency": calls / rollouts.length,
    "tools/failure_frequency": calls === 0 ? 0 : failures / calls,
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

/** Mean of each name over the lists that have it; of failed calls the sum. */
export function meanMetrics(all: readonly Readonly<Metrics>[]): Metrics {
  const window = new MetricWindow({ counts: failureCounts });
  for (const metrics of all) window.add(metrics);
  return window.take();
}
