// A rollout of one's own: a function that does a task with the policy behind an endpoint, and says how good it was.

import { show } from "../checks.js";
import type { AnyRewardFn, RewardBatch } from "../types.js";
import { invalidResult } from "./rollout-error.js";
import { readTurnRewards, type TurnRewards } from "./turn-rewards.js";

/** How a rollout reaches the policy: in OpenAI's protocols, with a key of its own. */
export interface RolloutEndpoint {
  /** "http://127.0.0.1:PORT/v1". */
  readonly baseURL: string;
  /** The rollout's own; it opens nothing once the rollout is over. */
  readonly apiKey: string;
  /** The name of the policy. What it says is trained on. */
  readonly model: string;
  /** The same policy under another name, for calls that are no part of the task, such as titles and summaries: they are not trained on. */
  readonly untrainedModel: string;
}

/** What a rollout is called with. */
export interface RolloutContext<Row = unknown> {
  /** The row that it is about; its own copy. */
  readonly row: Row;
  readonly endpoint: RolloutEndpoint;
  /** Which attempt at the row it is, from 0. */
  readonly attempt: number;
  /** A whole number that is the same when the rollout is drawn again, and another for every other one: for tools that draw lots. */
  readonly seed: number;
  /** Aborted when the rollout takes too long, or the run is stopped. */
  readonly signal: AbortSignal;
}

/** What a rollout returns. */
export interface RolloutResult {
  /** Of the whole rollout; true is 1, false 0, and null abstains. Default: the sum of `rewards`; without them, there is none. */
  readonly reward?: number | boolean | null;
  /** What the reward is made of, by name; logged as rewards/NAME/mean and std. */
  readonly rewards?: Readonly<Record<string, number>>;
  /**
   * Rewards of single turns, beside that of the whole rollout: in the order in which the turns were asked for, or by the id of the answer. A
   * turn's tokens are then weighed by it too (turnAdvantageCoef). null: the turn has none of its own. Default: none.
   */
  readonly turnRewards?: TurnRewards | null;
  /** Numbers by name; a step logs their means. */
  readonly metrics?: Readonly<Record<string, number>>;
  /** Anything for reward functions, which get all of the result as `rolloutResults`. */
  readonly [key: string]: unknown;
}

/** Does the task of a row with the policy. Nothing is returned where reward functions score the conversation. */
export type RolloutFunction<Row = unknown> = (context: RolloutContext<Row>) => Returned | Promise<Returned>;

// biome-ignore lint/suspicious/noConfusingVoidType: what functions without a return have.
type Returned = RolloutResult | undefined | void;

/** Of the reward that rollouts return, beside those of the reward functions. */
export const ROLLOUT_REWARD = "rollout";

/** What a rollout returned, once it is known to be of use. */
export interface ReadResult {
  readonly result: RolloutResult | undefined;
  /** Null: there is none. */
  readonly reward: number | null;
  readonly rewards: Readonly<Record<string, number>>;
  readonly metrics: Readonly<Record<string, number>>;
  /** Undefined: there are none. */
  readonly turnRewards: TurnRewards | undefined;
}

/** Throws RolloutError "invalid". `reserved`: whether a metric is the run's own. */
export function readResult(returned: unknown, reserved: (metric: string) => boolean): ReadResult {
  if (returned === undefined || returned === null) {
    return { result: undefined, reward: null, rewards: {}, metrics: {}, turnRewards: undefined };
  }
  if (typeof returned !== "object" || Array.isArray(returned)) {
    throw invalidResult(`returned ${show(returned)}, expected { reward }, { rewards } or nothing`);
  }
  const result = returned as RolloutResult;
  const rewards = numbers("rewards", result.rewards);
  const metrics = numbers("metrics", result.metrics);
  if (ROLLOUT_REWARD in rewards)
    throw invalidResult(`returned a part of its reward called "${ROLLOUT_REWARD}", its own name`);
  const taken = Object.keys(metrics).find(reserved);
  if (taken !== undefined) throw invalidResult(`returned the metric "${taken}", which is a number of the run itself`);
  const turnRewards = readTurnRewards(result.turnRewards);
  return { result, reward: rewardOf(result.reward, rewards), rewards, metrics, turnRewards };
}

function rewardOf(given: unknown, rewards: Readonly<Record<string, number>>): number | null {
  const parts = Object.values(rewards);
  if (given === undefined) return parts.length > 0 ? parts.reduce((sum, part) => sum + part, 0) : null;
  if (given === null) return null;
  if (typeof given === "boolean") return Number(given);
  if (typeof given === "number" && Number.isFinite(given)) return given;
  throw invalidResult(`returned the reward ${show(given)}, expected a finite number, a boolean or null`);
}

function numbers(name: string, given: unknown): Readonly<Record<string, number>> {
  if (given === undefined || given === null) return {};
  const isRecord = typeof given === "object" && !Array.isArray(given);
  if (isRecord && Object.values(given).every((value) => Number.isFinite(value))) return given as Record<string, number>;
  throw invalidResult(`returned the ${name} ${show(given)}, expected finite numbers by name`);
}

/** What rollouts return, as one reward function beside others. */
export const rolloutReward: AnyRewardFn = Object.defineProperty(
  ({ rolloutResults = [] }: RewardBatch) => rolloutResults.map((result) => readResult(result, () => false).reward),
  "name",
  { value: ROLLOUT_REWARD },
);
