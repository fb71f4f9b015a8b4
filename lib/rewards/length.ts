// Rewards that depend on how long a completion is.

import { at } from "../at.js";
import { GrpoError } from "../errors.js";
import type { RewardBatch } from "../types.js";
import { contentOf, isCorrect } from "./accuracy.js";

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

/** What the rewards below read: `solution` is a column of the data set. */
type SolvedBatch = Pick<RewardBatch, "completions"> & { readonly solution: readonly string[] };

export interface CosineScaledOptions {
  /** The reward of a wrong answer without length. Default -1. */
  readonly minValueWrong?: number;
  /** The reward of a wrong answer of `maxLength`. Default -0.5. */
  readonly maxValueWrong?: number;
  /** The reward of a right answer of `maxLength`. Default 0.5. */
  readonly minValueCorrect?: number;
  /** The reward of a right answer without length. Default 1. */
  readonly maxValueCorrect?: number;
  /** The length, in characters, at which the rewards above of `maxLength` are given. Default 1000. */
  readonly maxLength?: number;
}

/**
 * open-r1's cosine_scaled_reward (arXiv 2502.03373): a right answer earns more the shorter it is, a wrong one loses less the
 * longer it is. With n characters and c = cos(π n / maxLength): low + (high − low) (1 + c) / 2. A solution that cannot be read
 * gives 1, as there.
 */
export function cosineScaled(options: CosineScaledOptions = {}) {
  const { minValueWrong = -1, maxValueWrong = -0.5, minValueCorrect = 0.5, maxValueCorrect = 1 } = options;
  const { maxLength = 1000 } = options;
  if (!(maxLength > 0))
    throw new GrpoError("BAD_OPTION", `cosineScaled: maxLength must be above 0, found ${maxLength}`);
  return function cosineScaled({ completions, solution }: SolvedBatch): number[] {
    return completions.map((completion, i) => {
      const content = contentOf(completion);
      const correct = isCorrect(content, solution[i] ?? "");
      if (correct === null) return 1;
      const [low, high] = correct ? [minValueCorrect, maxValueCorrect] : [maxValueWrong, minValueWrong];
      return low + 0.5 * (high - low) * (1 + Math.cos((characters(content) / maxLength) * Math.PI));
    });
  };
}

/**
 * open-r1's len_reward (Kimi k1.5, arXiv 2501.12599): 0.5 − (n − shortest) / (longest − shortest) for right answers, at most 0
 * for wrong ones; n in characters, compared within one call. A solution that cannot be read counts as answered.
 */
export function lengthPenalty({ completions, solution }: SolvedBatch): number[] {
  const contents = completions.map(contentOf);
  const lengths = contents.map(characters);
  const shortest = lengths.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  const longest = lengths.reduce((a, b) => Math.max(a, b), 0);
  if (shortest === longest) return contents.map(() => 0);
  return contents.map((content, i) => {
    const reward = 0.5 - (at(lengths, i) - shortest) / (longest - shortest);
    return (isCorrect(content, solution[i] ?? "") ?? true) ? reward : Math.min(0, reward);
  });
}

/** The length of a text in code points, as Python counts it. */
function characters(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}
