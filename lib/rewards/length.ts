// Rewards that depend on how long a completion is.

import { at } from "../at.js";
import { checkNumber, checkOptionNames, namesOf } from "../checks.js";
import { GrpoError } from "../errors.js";
import type { RewardBatch } from "../types.js";
import { accuracy, contentOf, isCorrect, solutionsOf } from "./accuracy.js";
import { needsColumns } from "./columns.js";

export interface SoftOverlongOptions {
  /** L_max: from here on the punishment is full. */
  readonly maxCompletionLength: number;
  /** L_cache: over so many tokens before L_max it grows from 0 to -1. */
  readonly softPunishCache: number;
}

const OVERLONG_OPTIONS = namesOf<SoftOverlongOptions>({ maxCompletionLength: true, softPunishCache: true });

/**
 * DAPO, equation 13, on the number of tokens n:
 *   0 up to L_max − L_cache; (L_max − L_cache − n) / L_cache up to L_max; −1 beyond
 */
export function softOverlongPunishment(options: SoftOverlongOptions) {
  checkOptionNames("rewards.softOverlongPunishment", options, OVERLONG_OPTIONS);
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

/** The bounds between which a cosine scales. */
export interface CosineBounds {
  /** The reward of a wrong answer without length. Default -1. */
  readonly minValueWrong?: number;
  /** The reward of a wrong answer of `maxLength`. Default -0.5. */
  readonly maxValueWrong?: number;
  /** The reward of a right answer of `maxLength`. Default 0.5. */
  readonly minValueCorrect?: number;
  /** The reward of a right answer without length. Default 1. */
  readonly maxValueCorrect?: number;
}

export interface CosineScaledOptions extends CosineBounds {
  /** The length, in tokens, from which on the rewards above of `maxLength` are given. */
  readonly maxLength: number;
}

export interface OpenR1CosineScaledOptions extends CosineBounds {
  /** The length, in characters, at which the rewards above of `maxLength` are given. Default 1000. */
  readonly maxLength?: number;
}

/**
 * TRL's get_cosine_scaled_reward (arXiv 2502.03373, appendix C.1): a right answer, as `accuracy` judges it, earns more the shorter it
 * is, a wrong one loses less the longer it is. With n tokens and c = cos(π min(n / maxLength, 1)): low + (high − low) (1 + c) / 2; null
 * where the solution cannot be read.
 */
export function cosineScaled(options: CosineScaledOptions) {
  const scaled = cosineBetween("rewards.cosineScaled", options, options?.maxLength);
  function cosineScaled(batch: SolvedBatch & Pick<RewardBatch, "completionIds">): (number | null)[] {
    const solution = solutionsOf("cosineScaled", batch);
    return accuracy({ completions: batch.completions, solution }).map((correct, i) => {
      const length = at(batch.completionIds, i).length;
      return correct === null ? null : scaled(correct === 1, Math.min(length, options.maxLength));
    });
  }
  return needsColumns(["solution"], cosineScaled);
}

/**
 * open-r1's cosine_scaled_reward: the same on characters, without an end: beyond `maxLength` the cosine turns back. LaTeX alone is read
 * on both sides, and a solution that cannot be read gives 1.
 */
export function openR1CosineScaled(options: OpenR1CosineScaledOptions = {}) {
  const scaled = cosineBetween("rewards.openR1CosineScaled", options, options?.maxLength ?? 1000);
  function openR1CosineScaled(batch: SolvedBatch): number[] {
    const solutions = solutionsOf("openR1CosineScaled", batch);
    return batch.completions.map((completion, i) => {
      const content = contentOf(completion);
      const correct = isCorrect(content, at(solutions, i));
      return correct === null ? 1 : scaled(correct, characters(content));
    });
  }
  return needsColumns(["solution"], openR1CosineScaled);
}

/** The reward of an answer of a length, up to half a wave of the cosine at `maxLength`. */
function cosineBetween(where: string, options: CosineBounds, maxLength: number) {
  checkOptionNames(where, options, COSINE_OPTIONS, { names: { maxLen: "write maxLength" } });
  checkNumber(where, "maxLength", maxLength, { min: 0, open: true });
  const { minValueWrong = -1, maxValueWrong = -0.5, minValueCorrect = 0.5, maxValueCorrect = 1 } = options;
  return (correct: boolean, length: number): number => {
    const [low, high] = correct ? [minValueCorrect, maxValueCorrect] : [maxValueWrong, minValueWrong];
    return low + 0.5 * (high - low) * (1 + Math.cos((length / maxLength) * Math.PI));
  };
}

const COSINE_OPTIONS = namesOf<CosineScaledOptions>({
  maxLength: true,
  minValueWrong: true,
  maxValueWrong: true,
  minValueCorrect: true,
  maxValueCorrect: true,
});

/**
 * open-r1's len_reward (Kimi k1.5, arXiv 2501.12599): 0.5 − (n − shortest) / (longest − shortest) for right answers, at most 0
 * for wrong ones; n in characters, compared within one call. A solution that cannot be read counts as answered.
 */
export function lengthPenalty(batch: SolvedBatch): number[] {
  const solutions = solutionsOf("lengthPenalty", batch);
  const contents = batch.completions.map(contentOf);
  const lengths = contents.map(characters);
  const shortest = lengths.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  const longest = lengths.reduce((a, b) => Math.max(a, b), 0);
  if (shortest === longest) return contents.map(() => 0);
  return contents.map((content, i) => {
    const reward = 0.5 - (at(lengths, i) - shortest) / (longest - shortest);
    return (isCorrect(content, at(solutions, i)) ?? true) ? reward : Math.min(0, reward);
  });
}
needsColumns(["solution"], lengthPenalty);

/** The length of a text in code points, as Python counts it. */
function characters(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}
