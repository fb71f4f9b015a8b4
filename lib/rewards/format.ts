// Format rewards that need nothing but the completion.

import { GrpoError } from "../errors.js";
import type { RewardBatch } from "../types.js";
import { completionText } from "./per-sample.js";

/**
 * TRL's think_format_reward: 1 if the completion opens with one <think>…</think> block, else 0. The pattern is TRL's; `$`
 * needs no multi-line flag because `.*` (dot-all) already takes the rest of the text.
 */
export function thinkFormat({ completions }: Pick<RewardBatch, "completions">): number[] {
  return completions.map((completion) =>
    /^<think>(?!.*<think>)(.*?)<\/think>.*$/s.test(completionText(completion)) ? 1 : 0,
  );
}

export interface SoftOverlongOptions {
  /** L_max: from here on the punishment is full. */
  readonly maxCompletionLength: number;
  /** L_cache: over so many tokens before L_max it grows from 0 to -1. */
  readonly softPunishCache: number;
}

/**
 * DAPO, equation 13, on the number of tokens n:
 *   0 up to L_max − L_cache; (L_max − L_cache − n) / L_cache up to L_max; −1 beyond
 */
export function softOverlongPunishment(options: SoftOverlongOptions) {
  const { maxCompletionLength, softPunishCache } = options;
  const free = maxCompletionLength - softPunishCache;
  if (!(maxCompletionLength > 0 && softPunishCache >= 0 && free >= 0)) {
    const found = `maxCompletionLength ${maxCompletionLength}, softPunishCache ${softPunishCache}`;
    throw new GrpoError("BAD_OPTION", `softOverlongPunishment: found ${found}`, {
      hint: "use 0 ≤ softPunishCache ≤ maxCompletionLength, with maxCompletionLength above 0",
    });
  }
  return function softOverlongPunishment({ completionIds }: Pick<RewardBatch, "completionIds">): number[] {
    return completionIds.map(({ length }) => {
      if (length <= free) return 0;
      return length <= maxCompletionLength ? (free - length) / softPunishCache : -1;
    });
  };
}
