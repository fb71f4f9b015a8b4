// The groups of one generation. With dynamic sampling (DAPO, arXiv 2503.14476, section 3.2) those whose rewards have no spread, which
// teach nothing, make way for groups of further prompts, in rounds, until the generation is full. The order of prompts and
// the choice among groups depend on rewards only, so that a resumed run makes the same.

import type { Metrics } from "../log/metrics.js";
import type { Collected } from "./collect.js";
import type { Group } from "./sample.js";

export interface GroupRequest {
  /** Groups that a generation needs. */
  readonly groups: number;
  readonly maxRounds: number;
  /** Samples and scores the next `prompts` prompts. */
  sample(round: number, prompts: number): Promise<Collected>;
  /** Whether the rewards of a group tell any of its rollouts apart. */
  hasSpread(group: Group): boolean;
}

export interface SampledGroups {
  readonly rounds: readonly Collected[];
  /** Everything that was sampled, round after round. */
  readonly groups: readonly Group[];
  /** Those of them that are trained on, in the same order. */
  readonly kept: readonly Group[];
  readonly withoutSpread: ReadonlySet<Group>;
}

/** One round where maxRounds is 1: then every group is kept. */
export async function sampleGroups(request: GroupRequest): Promise<SampledGroups> {
  const rounds: Collected[] = [];
  const groups: Group[] = [];
  const withoutSpread = new Set<Group>();
  const useful = () => groups.length - withoutSpread.size;
  do {
    const round = await request.sample(rounds.length, promptsOfRound(request.groups, useful(), groups.length));
    rounds.push(round);
    groups.push(...round.groups);
    for (const group of round.groups) if (!request.hasSpread(group)) withoutSpread.add(group);
  } while (useful() < request.groups && rounds.length < request.maxRounds);
  return { rounds, groups, kept: chooseGroups(groups, withoutSpread, request.groups), withoutSpread };
}

/** As many as should fill the generation if they are as useful as those before; never more than in the first round. */
function promptsOfRound(groups: number, useful: number, sampled: number): number {
  return useful === 0 ? groups : Math.min(groups, Math.ceil(((groups - useful) * sampled) / useful));
}

/** The first ones with spread; where they are too few, the first ones without complete the generation. */
function chooseGroups(groups: readonly Group[], withoutSpread: ReadonlySet<Group>, count: number): Group[] {
  const useful = groups.filter((group) => !withoutSpread.has(group));
  const chosen = new Set([...useful, ...withoutSpread].slice(0, count));
  return groups.filter((group) => chosen.has(group));
}

export function dynamicSamplingMetrics({ rounds, groups, kept, withoutSpread }: SampledGroups): Metrics {
  return {
    "dynamic_sampling/rounds": rounds.length,
    "dynamic_sampling/groups": groups.length,
    "dynamic_sampling/frac_zero_std": withoutSpread.size / groups.length,
    "dynamic_sampling/unfilled": kept.filter((group) => withoutSpread.has(group)).length,
  };
}
