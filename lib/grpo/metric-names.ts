// The names of the numbers that a run logs itself, in training and with the prefix eval_ in evaluation, and of the fields beside them
// in a line of metrics.jsonl. A number that a reward function sends has another name: it would take the place of one of these.

import { failureKinds } from "../rewards/failure.js";

const RUN_METRICS: ReadonlySet<string> = new Set(
  [
    "type step do_sample epoch num_tokens bad_steps learning_rate grad_norm",
    "reward reward_std frac_reward_zero_std turn_reward turn_reward_std skipped_completions",
    "completions/mean_length completions/min_length completions/max_length completions/clipped_ratio",
    "completions/mean_terminated_length completions/min_terminated_length completions/max_terminated_length",
    "loss policy_loss entropy entropy_coef kl cispo_clip_ratio vespo/phi_seq_mean",
    "clip_ratio/low_mean clip_ratio/low_min clip_ratio/high_mean clip_ratio/high_max clip_ratio/region_mean",
    "sampling/sampling_logp_difference/mean sampling/sampling_logp_difference/max",
    "tools/call_frequency tools/failure_frequency",
    "sampling/importance_sampling_ratio/min sampling/importance_sampling_ratio/mean",
    "sampling/importance_sampling_ratio/max",
    "dynamic_sampling/rounds dynamic_sampling/groups dynamic_sampling/frac_zero_std dynamic_sampling/unfilled",
    "sample/staleness_mean sample/staleness_max sample/dropped_stale_total sample/rollout_queue_size",
    "time/rollout_wait time/sampler_idle",
    "time/rollout time/reward time/update time/other time/idle_share step_time tokens_per_second",
    "memory/resident memory/peak memory/device",
    // Of an evaluation.
    "runtime samples_per_second steps_per_second",
  ].flatMap((line) => line.split(" ")),
);

/** What rollouts of one's own count. */
const OF_ROLLOUTS = /^(rollout|tokens)\//;

/** Names of the numbers of failed reward calls. */
export const failureCounts = new RegExp(`^rewards/.+/(errors|${failureKinds.join("|")})$`);

/** Names of the numbers that add up over steps. */
export const stepCounts = new RegExp(`${failureCounts.source}|^sample/dropped_stale_total$`);

/** Whether a name is one of the run's own, or belongs to one of its reward functions. */
export function isRunMetric(metric: string, rewardNames: readonly string[]): boolean {
  const name = metric.replace(/^eval_/, "");
  const ofFunction = rewardNames.some((reward) => name.startsWith(`rewards/${reward}/`));
  return RUN_METRICS.has(name) || OF_ROLLOUTS.test(name) || ofFunction || failureCounts.test(name);
}
