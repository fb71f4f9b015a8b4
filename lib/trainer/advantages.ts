// Rewards to advantages, as TRL 1.13 does it ("sum_then_normalize"). A null reward abstains. No tokens and no tensors here.
//   r_i = Σ_k w_k · reward_k,i over the functions that did not abstain; none left: row i is unscored, A_i = 0
//   A_i = (r_i − mean of the group) / (std + 1e-4), std with ddof 1 of the group or of the batch; "none": no division
// One deviation: in a group without spread A is exactly 0, where float rounding would leave about 1e-5.

import { GrpoError } from "../errors.js";

/** [functions][completions]; null abstains. */
export type RewardMatrix = readonly (readonly (number | null)[])[];

export interface AdvantageOptions {
  /** One per reward function. */
  readonly weights: readonly number[];
  /** G: completions of one prompt, which lie side by side. */
  readonly groupSize: number;
  readonly scaleRewards: "group" | "batch" | "none";
}

export interface Advantages {
  /** [B] */
  readonly advantages: Float32Array;
  /** [B] weighted reward; NaN: every function abstained. */
  readonly rewards: Float64Array;
  /** [P] true: all rewards of the group are equal, or fewer than two are known, so it teaches nothing. */
  readonly zeroSpread: readonly boolean[];
  /** Share of completions whose normalizing deviation is zero (TRL's frac_reward_zero_std). */
  readonly fractionZeroStd: number;
}

/** Added to the deviation before dividing. */
const epsilon = 1e-4;
/** torch.isclose(std, 0) has this absolute tolerance. */
const zeroTolerance = 1e-8;

export function computeAdvantages(rewardsByFunction: RewardMatrix, options: AdvantageOptions): Advantages {
  const { groupSize, scaleRewards } = options;
  const rewards = weightedRewards(rewardsByFunction, options.weights);
  if (groupSize < 1 || rewards.length % groupSize !== 0) {
    throw new GrpoError("BAD_INPUT", `${rewards.length} rewards cannot be cut into groups of ${groupSize}`);
  }
  const advantages = new Float32Array(rewards.length);
  const zeroSpread: boolean[] = [];
  // TRL has no deviation for a single value in evaluation and writes 0.
  const batchStd = rewards.length > 1 ? nanStd(rewards) : 0;
  let zeroStdRows = 0;
  for (let start = 0; start < rewards.length; start += groupSize) {
    const group = rewards.subarray(start, start + groupSize);
    const mean = nanMean(group);
    const groupStd = groupSize > 1 ? nanStd(group) : 0;
    const flat = !(groupStd > zeroTolerance);
    const std = scaleRewards === "batch" ? batchStd : groupStd;
    zeroSpread.push(flat);
    if (std <= zeroTolerance) zeroStdRows += groupSize;
    if (flat) continue;
    const divisor = scaleRewards === "none" ? 1 : std + epsilon;
    group.forEach((reward, i) => {
      advantages[start + i] = Number.isNaN(reward) ? 0 : (reward - mean) / divisor;
    });
  }
  return { advantages, rewards, zeroSpread, fractionZeroStd: rewards.length > 0 ? zeroStdRows / rewards.length : 0 };
}

/** Σ weight · reward per completion, abstentions left out; NaN where every function abstained. */
export function weightedRewards(rewardsByFunction: RewardMatrix, weights: readonly number[]): Float64Array {
  const completions = rewardsByFunction[0]?.length ?? 0;
  return Float64Array.from({ length: completions }, (_, i) => {
    let sum = 0;
    let scored = false;
    rewardsByFunction.forEach((row, k) => {
      const reward = row[i] ?? Number.NaN;
      if (Number.isNaN(reward)) return;
      sum += (weights[k] ?? 1) * reward;
      scored = true;
    });
    return scored ? sum : Number.NaN;
  });
}

/** Mean of the values that are numbers; NaN if there is none. */
export function nanMean(values: Iterable<number>): number {
  let sum = 0;
  let known = 0;
  for (const value of values) {
    if (Number.isNaN(value)) continue;
    sum += value;
    known++;
  }
  return known > 0 ? sum / known : Number.NaN;
}

/** Standard deviation with ddof 1 of the values that are numbers; NaN for fewer than two. */
export function nanStd(values: Iterable<number>): number {
  const known = [...values].filter((value) => !Number.isNaN(value));
  if (known.length < 2) return Number.NaN;
  const mean = nanMean(known);
  return Math.sqrt(known.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (known.length - 1));
}
