// Groups of rollouts in, their advantages out: the columns that the formulas of advantages.ts take are made and taken apart here.

import { at } from "../at.js";
import type { Group, ScoredRollout } from "../rollout/sample.js";
import {
  type AdvantageOptions,
  type Advantages,
  computeAdvantages,
  hasSpread,
  type RewardMatrix,
} from "./advantages.js";
import type { GRPOConfig } from "./config.js";
import { tokenAdvantages, turnsHaveSpread } from "./turn-advantages.js";

export interface ScoreOptions extends Omit<AdvantageOptions, "groupSize"> {
  /** The weight of a turn's own reward beside that of its rollout. Default 1. */
  readonly turnAdvantageCoef?: number;
}

/** The options of a run, with one weight per reward function. */
export function scoreOptions(args: GRPOConfig, weights: readonly number[]): ScoreOptions {
  const { scaleRewards, multiObjectiveAggregation, turnAdvantageCoef } = args;
  return { weights, scaleRewards, multiObjectiveAggregation, turnAdvantageCoef };
}

export interface ScoredGroups {
  readonly groups: readonly Group<ScoredRollout>[];
  /** Those of them that are trained on. */
  readonly trained: readonly Group<ScoredRollout>[];
  /** Share of the rollouts whose normalizing deviation is zero. */
  readonly fractionZeroStd: number;
}

/**
 * Rewards and advantages of groups of one size. Groups that are not among `kept` (default: all are) have advantage 0: they are
 * not trained on, and those that are make up the batch that the formulas normalize over.
 */
export function scoreGroups(
  groups: readonly Group[],
  options: ScoreOptions,
  kept: readonly Group[] = groups,
): ScoredGroups {
  const all = advantagesOf(groups, options);
  const own = kept.length === groups.length ? all : advantagesOf(kept, options);
  const { turnAdvantageCoef = 1, scaleRewards } = options;
  const placeOf = new Map(kept.map((group, k) => [group, k]));
  const ofTokens = tokenAdvantages(
    kept.flatMap(({ rollouts }) => rollouts),
    own.advantages,
    { turnAdvantageCoef, scaleRewards, groupSize: at(groups, 0).rollouts.length },
  );
  const scored = groups.map((group, g) => {
    const size = group.rollouts.length;
    const k = placeOf.get(group);
    const rollouts = group.rollouts.map((rollout, i) => ({
      ...rollout,
      reward: at(all.rewards, g * size + i),
      advantage: k === undefined ? 0 : at(own.advantages, k * size + i),
      ...(k !== undefined && ofTokens ? { tokenAdvantages: at(ofTokens, k * size + i) } : {}),
    }));
    return { ...group, rollouts };
  });
  const trained = scored.filter((_, g) => placeOf.has(at(groups, g)));
  return { groups: scored, trained, fractionZeroStd: all.fractionZeroStd };
}

/** Whether the rewards of a group, or of its turns, tell any of its rollouts apart. */
export function groupHasSpread(group: Group, options: ScoreOptions): boolean {
  if (hasSpread(rewardMatrix([group], options), options)) return true;
  return options.turnAdvantageCoef !== 0 && turnsHaveSpread(group.rollouts);
}

function advantagesOf(groups: readonly Group[], options: ScoreOptions): Advantages {
  return computeAdvantages(rewardMatrix(groups, options), { ...options, groupSize: at(groups, 0).rollouts.length });
}

/** One row per function, as many as there are weights. */
function rewardMatrix(groups: readonly Group[], { weights }: ScoreOptions): RewardMatrix {
  const rollouts = groups.flatMap((group) => group.rollouts);
  return weights.map((_, k) => rollouts.map(({ rewards }) => at(rewards, k)));
}
