// Rewards to advantages, as TRL does it. A null reward abstains. No tokens and no tensors here.
//   r_i = Σ_k w_k · reward_k,i over the functions that did not abstain; none left: row i is unscored, A_i = 0
//   A_i = (r_i − mean of the group) / (std + 1e-4), std with ddof 1 of the group or of the batch; "none": no division
// "normalize_then_sum" (GDPO): z_k,i = (reward_k,i − mean of the group) / (std of the group + 1e-4) for each function,
//   x_i = Σ_k w_k · z_k,i,  A_i = (x_i − mean of the batch) / (std of the batch + 1e-4)
// One deviation: in a group without spread A is exactly 0, where the rounding of float32 leaves up to 1e-4, and of large rewards up to 1.

import { at } from "../at.js";
import { GrpoError } from "../errors.js";
import { nanMean, nanStd } from "../statistics.js";

/** [functions][completions]; null abstains. */
export type RewardMatrix = readonly (readonly (number | null)[])[];

export interface AdvantageOptions {
  /** One per reward function. */
  readonly weights: readonly number[];
  /** G: completions of one prompt, which lie side by side. */
  readonly groupSize: number;
  readonly scaleRewards: "group" | "batch" | "none";
  /** Default "sum_then_normalize". "normalize_then_sum" has no use for scaleRewards. */
  readonly multiObjectiveAggregation?: "sum_then_normalize" | "normalize_then_sum";
}

export interface Advantages {
  /** [B] */
  readonly advantages: Float32Array;
  /** [B] weighted reward; NaN: every function abstained. */
  readonly rewards: Float64Array;
  /** [P] true: no two completions of the group can be told apart by their rewards, so it teaches nothing. */
  readonly zeroSpread: readonly boolean[];
  /** Share of completions whose normalizing deviation is zero (TRL's frac_reward_zero_std). */
  readonly fractionZeroStd: number;
}

/** Added to the deviation before dividing. */
const epsilon = 1e-4;
/** torch.isclose(std, 0) has this absolute tolerance. */
const zeroTolerance = 1e-8;
/** Relative to the largest value: what the rounding of weighted sums and of their mean may leave, far below what float32 can tell apart. */
const ROUNDING = 2 ** -46;
const LARGEST_FLOAT32 = 2 ** 128 - 2 ** 104;

export function computeAdvantages(rewardsByFunction: RewardMatrix, options: AdvantageOptions): Advantages {
  const rewards = weightedRewards(rewardsByFunction, options.weights);
  if (options.groupSize < 1 || rewards.length % options.groupSize !== 0) {
    throw new GrpoError("BAD_INPUT", `${rewards.length} rewards cannot be cut into groups of ${options.groupSize}`);
  }
  return options.multiObjectiveAggregation === "normalize_then_sum"
    ? normalizeThenSum(rewardsByFunction, rewards, options)
    : sumThenNormalize(rewards, options);
}

/** Whether the rewards of one group tell any two of its completions apart, so that it teaches something. */
export function hasSpread(
  rewardsByFunction: RewardMatrix,
  { weights, multiObjectiveAggregation }: Omit<AdvantageOptions, "groupSize">,
): boolean {
  const rows =
    multiObjectiveAggregation === "normalize_then_sum"
      ? rewardsByFunction.map(numbersOf)
      : [weightedRewards(rewardsByFunction, weights)];
  return rows.some((values) => deviation(values) > zeroTolerance);
}

function sumThenNormalize(rewards: Float64Array, { groupSize, scaleRewards }: AdvantageOptions): Advantages {
  const advantages = new Float32Array(rewards.length);
  const zeroSpread: boolean[] = [];
  const batchStd = deviation(rewards);
  let zeroStdRows = 0;
  for (let start = 0; start < rewards.length; start += groupSize) {
    const group = rewards.subarray(start, start + groupSize);
    const groupStd = deviation(group);
    const flat = !(groupStd > zeroTolerance);
    const std = scaleRewards === "batch" ? batchStd : groupStd;
    zeroSpread.push(flat);
    if (std <= zeroTolerance) zeroStdRows += groupSize;
    if (flat) continue;
    advantages.set(normalized(group, nanMean(group), scaleRewards === "none" ? 1 : std + epsilon), start);
  }
  return { advantages, rewards, zeroSpread, fractionZeroStd: rewards.length > 0 ? zeroStdRows / rewards.length : 0 };
}

function normalizeThenSum(
  rewardsByFunction: RewardMatrix,
  rewards: Float64Array,
  options: AdvantageOptions,
): Advantages {
  const { groupSize, weights } = options;
  // A completion that nobody scored is left out of the batch's mean and deviation.
  const sums = rewards.map((reward) => (Number.isNaN(reward) ? Number.NaN : 0));
  const zeroSpread = new Array<boolean>(rewards.length / groupSize).fill(true);
  rewardsByFunction.forEach((row, k) => {
    const values = numbersOf(row);
    for (let start = 0; start < values.length; start += groupSize) {
      const group = values.subarray(start, start + groupSize);
      const std = deviation(group);
      if (!(std > zeroTolerance)) continue;
      zeroSpread[start / groupSize] = false;
      normalized(group, nanMean(group), std + epsilon).forEach((score, i) => {
        sums[start + i] = at(sums, start + i) + at(weights, k) * score;
      });
    }
  });
  const std = deviation(sums);
  const advantages = Float32Array.from(normalized(sums, nanMean(sums), std + epsilon));
  // The scores of a group add up to 0 for every function, so a group without spread is at the mean.
  zeroSpread.forEach((flat, p) => {
    if (flat) advantages.fill(0, p * groupSize, (p + 1) * groupSize);
  });
  return { advantages, rewards, zeroSpread, fractionZeroStd: std <= zeroTolerance ? 1 : 0 };
}

/** NaN in place of null. */
function numbersOf(rewards: readonly (number | null)[]): Float64Array {
  return Float64Array.from(rewards, (reward) => reward ?? Number.NaN);
}

/** (value − mean) / divisor; 0 where there is no value. What overflows ends as in TRL's nan_to_num. */
function normalized(values: Float64Array, mean: number, divisor: number): Float64Array {
  return values.map((value) => {
    const score = (value - mean) / divisor;
    if (Number.isNaN(score)) return 0;
    return Math.min(LARGEST_FLOAT32, Math.max(-LARGEST_FLOAT32, score));
  });
}

/** As nanStd, but 0 for what is no more than rounding, and for a single value, as in TRL, which occurs in evaluation. */
function deviation(values: Float64Array): number {
  if (values.length < 2) return 0;
  const std = nanStd(values);
  const largest = values.reduce((size, value) => Math.max(size, Math.abs(value) || 0), 0);
  return std <= largest * ROUNDING ? 0 : std;
}

/** Σ weight · reward per completion, abstentions left out; NaN where every function abstained. */
export function weightedRewards(rewardsByFunction: RewardMatrix, weights: readonly number[]): Float64Array {
  const completions = rewardsByFunction[0]?.length ?? 0;
  return Float64Array.from({ length: completions }, (_, i) => {
    let sum = 0;
    let scored = false;
    rewardsByFunction.forEach((row, k) => {
      const reward = at(row, i) ?? Number.NaN;
      if (Number.isNaN(reward)) return;
      sum += at(weights, k) * reward;
      scored = true;
    });
    return scored ? sum : Number.NaN;
  });
}
