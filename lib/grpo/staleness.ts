// How old samples are: optimizer steps between the weights that drew a token and those that are trained.

import type { Metrics } from "../log/metrics.js";
import type { Group, SampledRollout } from "../rollout/sample.js";

/** Optimizer steps that had made the oldest weights which drew a token of a rollout; undefined where nothing was drawn. */
export function oldestStep({ samples }: SampledRollout): number | undefined {
  const steps = samples.flatMap(({ policySteps = [] }) => Array.from(policySteps).filter((step) => step >= 0));
  return steps.length === 0 ? undefined : Math.min(...new Set(steps));
}

/** Whether weights made by fewer than `least` optimizer steps drew a token of a group. */
export function isStale({ rollouts }: Group, least: number): boolean {
  return rollouts.some((rollout) => (oldestStep(rollout) ?? least) < least);
}

/** By TRL's names, of rollouts that are trained on after `step` optimizer steps. */
export function stalenessMetrics(groups: readonly Group[], step: number): Metrics {
  const ages = groups.flatMap(({ rollouts }) => rollouts.map((rollout) => step - (oldestStep(rollout) ?? step)));
  return {
    "sample/staleness_mean": ages.reduce((sum, age) => sum + age, 0) / Math.max(1, ages.length),
    "sample/staleness_max": Math.max(0, ...ages),
  };
}
