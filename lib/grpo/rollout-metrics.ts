// The numbers of rollouts of one's own: what they say of themselves, how they fail, and where the tokens that were drawn have gone.

import { ROLLOUT_REWARD } from "../agents/rollout.js";
import type { Metrics } from "../log/metrics.js";
import { countedLength, type Group, type SampledRollout, type ScoredRollout } from "../rollout/sample.js";
import { nanMean, nanStd } from "../statistics.js";
import { type Generation, tokensOf } from "./generation.js";
import type { ScoredGroups } from "./score.js";

/** The means of what rollouts tell, their parts of rewards, and failures; nothing where there are no such rollouts. */
export function reportMetrics(rollouts: readonly SampledRollout[]): Metrics {
  const reports = rollouts.flatMap(({ report }) => report ?? []);
  if (reports.length === 0) return {};
  const metrics: Metrics = {};
  for (const [name, values] of byName(reports.map((report) => report.metrics))) metrics[name] = nanMean(values);
  for (const [name, values] of byName(reports.map(({ rewards }) => rewards))) {
    metrics[`rewards/${name}/mean`] = nanMean(values);
    metrics[`rewards/${name}/std`] = nanStd(values);
  }
  const failures = reports.flatMap(({ failure }) => failure ?? []);
  metrics[`rewards/${ROLLOUT_REWARD}/errors`] = failures.length;
  for (const kind of failures) {
    const name = `rewards/${ROLLOUT_REWARD}/${kind}`;
    metrics[name] = (metrics[name] ?? 0) + 1;
  }
  return metrics;
}

/** What rollouts count, added up. */
export function reportCounts(groups: readonly Group<SampledRollout>[]): Metrics {
  return addedUp(groups.flatMap(({ rollouts }) => rollouts.map(({ report }) => report?.counts)));
}

/** Of the tokens that rollouts of a generation have drawn: those that are trained on, and why the others are not. */
export function trainedTokens(generation: Generation, { groups, trained }: ScoredGroups): Metrics {
  if (groups.every(({ rollouts }) => rollouts.every(({ report }) => report === undefined))) return {};
  const tokens = tokensOf(generation);
  const dropped = {
    dynamic_sampling: lengthOf(groups) - lengthOf(trained),
    truncated: lengthOf(trained) - tokens,
  };
  return {
    "tokens/trained": tokens,
    ...Object.fromEntries(
      Object.entries(dropped).flatMap(([reason, count]) => (count > 0 ? [[`tokens/dropped/${reason}`, count]] : [])),
    ),
  };
}

function lengthOf(groups: readonly Group<ScoredRollout>[]): number {
  return groups.reduce((sum, { rollouts }) => rollouts.reduce((all, rollout) => all + countedLength(rollout), sum), 0);
}

/** The numbers of each name, over those that have it. */
function byName(records: readonly (Readonly<Record<string, number>> | undefined)[]): Map<string, number[]> {
  const values = new Map<string, number[]>();
  for (const [name, value] of records.flatMap((record) => Object.entries(record ?? {}))) {
    values.set(name, [...(values.get(name) ?? []), value]);
  }
  return values;
}

/** The sum of each name. */
export function addedUp(records: readonly (Readonly<Metrics> | undefined)[]): Metrics {
  return Object.fromEntries([...byName(records)].map(([name, values]) => [name, values.reduce((a, b) => a + b, 0)]));
}
