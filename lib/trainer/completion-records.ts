// Completions as completions.jsonl has them.

import type { CompletionRecord } from "../log/run-log.js";
import { completionText } from "../rewards/per-sample.js";
import type { Advantages } from "./advantages.js";
import type { Rollout } from "./rollout.js";

export function completionRecords(
  step: number,
  split: "train" | "eval",
  rollout: Rollout,
  scored: Advantages,
  names: readonly string[],
): CompletionRecord[] {
  const extras = Object.entries(rollout.extras);
  return rollout.completions.map((completion, i) => ({
    step,
    split,
    row: rollout.row[i] ?? 0,
    prompt: rollout.prompts[i],
    completion: completionText(completion),
    ids: rollout.completionIds[i] ?? [],
    rewards: Object.fromEntries(names.map((name, k) => [name, rollout.rewards[k]?.[i] ?? null])),
    reward: Number.isNaN(scored.rewards[i]) ? null : (scored.rewards[i] ?? null),
    advantage: scored.advantages[i] ?? 0,
    finish_reason: rollout.finishReasons[i] ?? "eos",
    ...(extras.length > 0 ? { extra: Object.fromEntries(extras.map(([name, values]) => [name, values[i]])) } : {}),
  }));
}
