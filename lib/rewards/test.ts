// A reward function on rows of its own, without a model: what tests of it call.

import { at } from "../at.js";
import { type Completion, type FinishReason, freshState, type Prompt, type RewardFn } from "../types.js";
import { completionText } from "./per-sample.js";
import { RewardRuntime } from "./runtime.js";

/** A completion that a reward function is tested on, beside the columns of its row. */
export interface TestedCompletion {
  readonly completion: Completion;
  /** Default: an empty text, or no message where the completion has messages. */
  readonly prompt?: Prompt;
  /** Default: one id for each character of the completion. */
  readonly completionIds?: readonly number[];
  /** Default "eos". */
  readonly finishReason?: FinishReason;
}

/**
 * The rewards that a function gives to some rows, checked as a run checks them. Each row has a completion, and the columns that the
 * function reads; all else of a batch has a default. Throws REWARD_FAILED or BAD_REWARD.
 */
export async function test<Row extends object>(
  fn: RewardFn<Row>,
  rows: readonly (TestedCompletion & Row)[],
): Promise<(number | null)[]> {
  const names = [...new Set(rows.flatMap(Object.keys))].filter((name) => !OWN_NAMES.has(name));
  const column = (name: string) => rows.map((row): unknown => Reflect.get(row, name));
  const input = {
    prompts: rows.map(({ prompt, completion }) => prompt ?? (typeof completion === "string" ? "" : [])),
    completions: rows.map(({ completion }) => completion),
    completionIds: rows.map(({ completionIds, completion }) => completionIds ?? idsOf(completion)),
    finishReasons: rows.map(({ finishReason }) => finishReason ?? "eos"),
    columns: Object.fromEntries(names.map((name) => [name, column(name)])),
    trainerState: freshState(1),
  };
  const { rewards } = await new RewardRuntime({ functions: [fn] }).score(input, new AbortController().signal);
  return [...at(rewards, 0)];
}

const OWN_NAMES: ReadonlySet<string> = new Set(["completion", "prompt", "completionIds", "finishReason"]);

const idsOf = (completion: Completion): number[] =>
  Array.from(completionText(completion), (character) => character.codePointAt(0) ?? 0);
