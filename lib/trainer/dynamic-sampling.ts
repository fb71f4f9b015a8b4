// The groups of one generation. With dynamic sampling (DAPO, arXiv 2503.14476, section 3.2) those whose rewards have no spread, which
// teach nothing, make way for groups of further prompts, in rounds, until the generation is full. The order of prompts and
// the choice among groups depend on rewards only, so that a resumed run makes the same.

import type { Metrics } from "../log/metrics.js";
import type { Rollout } from "./rollout.js";

export interface GroupRequest {
  /** Groups that a generation needs. */
  readonly groups: number;
  readonly maxRounds: number;
  /** Samples and scores the next `prompts` prompts. */
  sample(round: number, prompts: number): Promise<Rollout>;
  /** [groups of the rollout] true: its rewards are all alike. */
  withoutSpread(rollout: Rollout): readonly boolean[];
}

export interface SampledGroups {
  /** Everything that was sampled, round after round. */
  readonly rollout: Rollout;
  /** Indices of the groups that are trained on, ascending. */
  readonly kept: readonly number[];
  readonly rounds: number;
  /** [groups of the rollout] */
  readonly withoutSpread: readonly boolean[];
}

/** One round where maxRounds is 1: then every group is kept. */
export async function sampleGroups(request: GroupRequest): Promise<SampledGroups> {
  const rounds: Rollout[] = [];
  const withoutSpread: boolean[] = [];
  const useful = () => withoutSpread.filter((flat) => !flat).length;
  do {
    const rollout = await request.sample(rounds.length, promptsOfRound(request.groups, useful(), withoutSpread.length));
    rounds.push(rollout);
    withoutSpread.push(...request.withoutSpread(rollout));
  } while (useful() < request.groups && rounds.length < request.maxRounds);
  const kept = chooseGroups(withoutSpread, request.groups);
  return { rollout: joinRollouts(rounds), kept, rounds: rounds.length, withoutSpread };
}

/** As many as should fill the generation if they are as useful as those before; never more than in the first round. */
function promptsOfRound(groups: number, useful: number, sampled: number): number {
  return useful === 0 ? groups : Math.min(groups, Math.ceil(((groups - useful) * sampled) / useful));
}

/** The first ones with spread; where they are too few, the first ones without complete the generation. */
function chooseGroups(withoutSpread: readonly boolean[], groups: number): number[] {
  const indices = Array.from(withoutSpread.keys());
  const useful = indices.filter((g) => !withoutSpread[g]);
  const others = indices.filter((g) => withoutSpread[g]);
  return [...useful, ...others].slice(0, groups).sort((a, b) => a - b);
}

export function dynamicSamplingMetrics({ kept, rounds, withoutSpread }: SampledGroups): Metrics {
  return {
    "dynamic_sampling/rounds": rounds,
    "dynamic_sampling/groups": withoutSpread.length,
    "dynamic_sampling/frac_zero_std": withoutSpread.filter((flat) => flat).length / withoutSpread.length,
    "dynamic_sampling/unfilled": kept.filter((g) => withoutSpread[g]).length,
  };
}

/** The completions of some groups. */
export function takeGroups(rollout: Rollout, groups: readonly number[], groupSize: number): Rollout {
  if (groups.length * groupSize === rollout.completionIds.length) return rollout;
  const rows = groups.flatMap((g) => Array.from({ length: groupSize }, (_, i) => g * groupSize + i));
  const take = <T>(list: readonly T[]) => rows.map((row) => list[row] as T);
  return {
    ...rollout,
    row: take(rollout.row),
    prompts: take(rollout.prompts),
    promptIds: take(rollout.promptIds),
    completions: take(rollout.completions),
    completionIds: take(rollout.completionIds),
    samplingLogprobs: take(rollout.samplingLogprobs),
    finishReasons: take(rollout.finishReasons),
    rewards: rollout.rewards.map(take),
    extras: Object.fromEntries(Object.entries(rollout.extras).map(([name, values]) => [name, take(values)])),
  };
}

function joinRollouts(rollouts: readonly Rollout[]): Rollout {
  const [first] = rollouts;
  if (first && rollouts.length === 1) return first;
  const all = <T>(list: (rollout: Rollout) => readonly T[]) => rollouts.flatMap((rollout) => [...list(rollout)]);
  const total = (value: (rollout: Rollout) => number) => rollouts.reduce((sum, rollout) => sum + value(rollout), 0);
  const columns = new Set(rollouts.flatMap(({ extras }) => Object.keys(extras)));
  const extra = (name: string) =>
    all(({ extras, row }) => extras[name] ?? new Array<unknown>(row.length).fill(undefined));
  return {
    row: all(({ row }) => row),
    prompts: all(({ prompts }) => prompts),
    promptIds: all(({ promptIds }) => promptIds),
    completions: all(({ completions }) => completions),
    completionIds: all(({ completionIds }) => completionIds),
    samplingLogprobs: all(({ samplingLogprobs }) => samplingLogprobs),
    finishReasons: all(({ finishReasons }) => finishReasons),
    rewards: (first?.rewards ?? []).map((_, k) => all(({ rewards }) => rewards[k] ?? [])),
    extras: Object.fromEntries([...columns].map((name) => [name, extra(name)])),
    userMetrics: all(({ userMetrics }) => userMetrics),
    rewardFailures: (first?.rewardFailures ?? []).map((_, k) => all(({ rewardFailures }) => rewardFailures[k] ?? [])),
    seconds: { rollout: total(({ seconds }) => seconds.rollout), reward: total(({ seconds }) => seconds.reward) },
  };
}
