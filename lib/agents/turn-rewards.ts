// Rewards of single turns, as a rollout returns them, at the turns that they are of.

import { show } from "../checks.js";
import { isJsonObject } from "../json.js";
import type { SampledTurn } from "../rollout/sample.js";
import type { RewardValue } from "../types.js";
import { invalidResult } from "./rollout-error.js";
import type { Turn, TurnTree } from "./turn-tree.js";

/**
 * A list in the order in which the turns were asked for, or an object by the ids of the answers (`id` of a chat completion or a response). null,
 * and what is missing: the turn has no reward of its own.
 */
export type TurnRewards = readonly RewardValue[] | Readonly<Record<string, RewardValue>>;

/** What is known of each turn that is trained on. */
export type RewardedTurns = ReadonlyMap<Turn, Pick<SampledTurn, "index" | "reward">>;

/** Undefined where no turn has a reward. Throws RolloutError "invalid" for what is no number. */
export function readTurnRewards(given: unknown): TurnRewards | undefined {
  if (given === undefined || given === null) return undefined;
  const isRewards = Array.isArray(given) || isJsonObject(given);
  if (isRewards && Object.values(given).every(isReward)) return given as TurnRewards;
  throw invalidResult(
    `returned the turnRewards ${show(given)}, expected finite numbers, booleans or null, in a list or by the ids of answers`,
  );
}

/** Throws RolloutError "invalid" for rewards of turns that are not there. */
export function rewardedTurns(tree: TurnTree, given: TurnRewards): RewardedTurns {
  const turns = [...tree].sort((a, b) => a.askedAs - b.askedAs);
  const rewardOf = Array.isArray(given) ? byOrder(given, turns) : byAnswer(new Map(Object.entries(given)), turns);
  return new Map(turns.map((turn, index) => [turn, { index, reward: numberOf(rewardOf(turn, index)) }]));
}

type RewardOf = (turn: Turn, index: number) => RewardValue | undefined;

function byOrder(given: readonly RewardValue[], turns: readonly Turn[]): RewardOf {
  if (given.length <= turns.length) return (_, index) => given[index];
  throw invalidResult(`returned ${given.length} turnRewards for ${turns.length} turns`);
}

function byAnswer(given: ReadonlyMap<string, RewardValue>, turns: readonly Turn[]): RewardOf {
  const answers = new Set(turns.map(({ answerId }) => answerId));
  const stranger = [...given.keys()].find((id) => !answers.has(id));
  if (stranger === undefined) return ({ answerId }) => given.get(answerId);
  throw invalidResult(
    `returned a reward of the turn ${show(stranger)}, which is the id of no answer that is trained on`,
  );
}

function isReward(value: unknown): value is RewardValue {
  return value === null || typeof value === "boolean" || Number.isFinite(value);
}

function numberOf(value: RewardValue | undefined): number | null {
  return value === undefined || value === null ? null : Number(value);
}
