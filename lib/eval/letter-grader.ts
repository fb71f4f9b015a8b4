// Multiple choice: the letter that an answer names against the right one.

import { at } from "../at.js";
import { chosenLetter } from "./letters.js";
import { type Grader, type Problem, votesOf } from "./task.js";

export interface LetterGraderOptions {
  readonly choices: number;
  /** The right letter of a row. */
  readonly gold: (row: Problem["row"]) => string;
  /** What a text has that keeps to the form that the prompt asks for. */
  readonly form: RegExp;
}

/** Changes whenever some text could be read otherwise. */
const VERSION = "1 (LightEval 0.13 letters)";

export function letterGrader({ choices, gold, form }: LetterGraderOptions): Grader {
  return {
    name: "letter",
    version: VERSION,
    async grade({ row }, answers) {
      const letters = answers.map(({ final }) => chosenLetter(final, choices));
      const votes = votesOf(letters, (a, b) => a === b);
      return answers.map(({ final }, i) => {
        const answer = at<string | null>(letters, i);
        return {
          score: answer === gold(row) ? 1 : 0,
          answer,
          vote: at<number | null>(votes, i),
          format: form.test(final),
        };
      });
    },
  };
}
