// Punishes text that repeats itself (arXiv 2502.03373, appendix C.2).

import { checkOneOf, checkOptionNames, namesOf } from "../checks.js";
import { GrpoError } from "../errors.js";
import type { RewardBatch } from "../types.js";
import { contentOf } from "./accuracy.js";

export interface RepetitionPenaltyOptions {
  /** Default 3. */
  readonly ngramSize?: number;
  /** The reward of a text that only repeats itself; at most 0. Default -1. */
  readonly maxPenalty?: number;
  /** "tokens" as in TRL (default), "words" as in open-r1. */
  readonly unit?: "tokens" | "words";
}

const OPTIONS = namesOf<RepetitionPenaltyOptions>({ ngramSize: true, maxPenalty: true, unit: true });

/** (1 − different n-grams / n-grams) · maxPenalty; 0 for what is shorter than one n-gram. */
export function repetitionPenalty(options: RepetitionPenaltyOptions = {}) {
  checkOptionNames("repetitionPenalty", options, OPTIONS);
  const { ngramSize = 3, maxPenalty = -1, unit = "tokens" } = options;
  checkOneOf("repetitionPenalty", "unit", unit, ["tokens", "words"]);
  if (!(maxPenalty <= 0)) {
    throw new GrpoError("BAD_OPTION", `repetitionPenalty: maxPenalty must be at most 0, found ${maxPenalty}`);
  }
  if (!(Number.isInteger(ngramSize) && ngramSize > 0)) {
    throw new GrpoError(
      "BAD_OPTION",
      `repetitionPenalty: ngramSize must be a whole number above 0, found ${ngramSize}`,
    );
  }
  return function repetitionPenalty(batch: Pick<RewardBatch, "completions" | "completionIds">): number[] {
    const sequences = unit === "tokens" ? batch.completionIds : batch.completions.map((c) => words(contentOf(c)));
    return sequences.map((sequence) => {
      const total = sequence.length - ngramSize + 1;
      if (total < 1) return 0;
      const different = new Set<string>();
      for (let i = 0; i < total; i++) different.add(JSON.stringify(sequence.slice(i, i + ngramSize)));
      return different.size === total ? 0 : (1 - different.size / total) * maxPenalty;
    });
  };
}

/** Python's str.lower().split(). */
function words(text: string): string[] {
  // JavaScript's \s has the byte order mark and lacks the information separators and the next-line control.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: Python splits at them.
  const spaces = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/;
  return text
    .toLowerCase()
    .split(spaces)
    .filter((word) => word !== "");
}
