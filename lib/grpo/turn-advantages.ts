// Rewards of single turns to advantages of their tokens, after MT-GRPO (Zeng et al. 2025, arXiv 2505.11821; its code's turn_advantage_coef):
//   A of a token of turn k = A of the rollout + c · A_k,  A_k = (r_k − mean) / (std + 1e-4)
// over the turns k of the attempts at one row that have a reward; a turn without one, such as the last in the paper, has the rollout's
// alone. The paper has two turns, and gives the first one's reward; here every turn may have one, compared with the turns of its own number.

import { at } from "../at.js";
import type { Rollout, Sample } from "../rollout/sample.js";
import { type AdvantageOptions, computeAdvantages, hasSpread } from "./advantages.js";

/** By turn, one for each rollout; null: it has no such turn, or that has no reward. */
type TurnRewards = readonly (readonly (number | null)[])[];

export interface TurnAdvantageOptions extends Pick<AdvantageOptions, "groupSize" | "scaleRewards"> {
  /** c */
  readonly turnAdvantageCoef: number;
}

/** [rollouts][samples][T] advantages of tokens, in float32. Undefined where no turn is weighed by a reward of its own. */
export function tokenAdvantages(
  rollouts: readonly Rollout[],
  advantages: Float32Array,
  { turnAdvantageCoef, groupSize, scaleRewards }: TurnAdvantageOptions,
): Float32Array[][] | undefined {
  const rewards = rewardsByTurn(rollouts);
  if (turnAdvantageCoef === 0 || rewards.length === 0) return undefined;
  const ofTurns = rewards.map((ofTurn) => {
    return computeAdvantages([ofTurn], { weights: [1], groupSize, scaleRewards }).advantages;
  });
  return rollouts.map(({ samples }, i) => {
    const advantageOf = (turn: number) => at(advantages, i) + turnAdvantageCoef * at(at(ofTurns, turn), i);
    return samples.map((sample) => spread(sample, at(advantages, i), advantageOf));
  });
}

/** Whether the rewards of some turn tell the rollouts of one group apart. */
export function turnsHaveSpread(rollouts: readonly Rollout[]): boolean {
  return rewardsByTurn(rollouts).some((ofTurn) => hasSpread([ofTurn], { weights: [1], scaleRewards: "group" }));
}

/** The rewards of all turns that have one. */
export function turnRewardsOf(rollouts: readonly Rollout[]): number[] {
  return rewardsByTurn(rollouts)
    .flat()
    .filter((reward) => reward !== null);
}

/** Empty where no turn has a reward. */
function rewardsByTurn(rollouts: readonly Rollout[]): TurnRewards {
  const known = rollouts.map(({ samples }) => {
    const turns = samples.flatMap((sample) => sample.turns ?? []);
    return new Map(turns.flatMap(({ index, reward }) => (reward === null ? [] : [[index, reward]])));
  });
  const last = Math.max(-1, ...known.flatMap((rewards) => [...rewards.keys()]));
  return Array.from({ length: last + 1 }, (_, turn) => known.map((rewards) => rewards.get(turn) ?? null));
}

function spread({ completionIds, turns = [] }: Sample, advantage: number, of: (turn: number) => number): Float32Array {
  const tokens = new Float32Array(completionIds.length).fill(advantage);
  for (const { start, end, index, reward } of turns) if (reward !== null) tokens.fill(of(index), start, end);
  return tokens;
}
