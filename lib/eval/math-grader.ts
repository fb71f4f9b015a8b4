// Mathematical answers, read and compared as LightEval's metrics do it, by the rules of math_verify, which came from there.

import { at } from "../at.js";
import { type ExtractionConfig, formatParsed, type Parsed, parse, verify } from "../rewards/math/index.js";
import { type Grader, type Problem, votesOf } from "./task.js";

export interface MathGraderOptions {
  /** Where the gold answer stands in a row. */
  readonly gold: (row: Problem["row"]) => string;
  readonly goldConfig: readonly ExtractionConfig[];
  readonly answerConfig: readonly ExtractionConfig[];
  /** Decimals in which numbers must agree. */
  readonly precision: number;
  /** What a text has that keeps to the form that the prompt asks for. */
  readonly form: RegExp;
}

/** What was read, as it was written where that is known. */
function textOf(parsed: Parsed): string | null {
  if (parsed.length === 0) return null;
  const written = parsed.find((value) => typeof value === "string");
  return written ?? formatParsed(parsed);
}

/** Changes whenever some text could be read or compared otherwise. */
const VERSION = "1 (math_verify 0.9.0)";

export function mathGrader({ gold, goldConfig, answerConfig, precision, form }: MathGraderOptions): Grader {
  // Without a clock, so that a slow machine grades as a fast one does; the work is bounded in any case.
  const read = (text: string, extractionConfig: readonly ExtractionConfig[]): Parsed =>
    parse(text, { extractionConfig, parsingTimeout: null });
  const same = (a: Parsed, b: Parsed) => verify(a, b, { floatRounding: precision, timeoutSeconds: null });
  return {
    name: "math",
    version: VERSION,
    async grade({ row }, answers) {
      const text = gold(row);
      const wanted = read(text, goldConfig);
      const found = answers.map(({ final }) => read(final, answerConfig));
      const votes = votesOf(
        found.map((parsed) => (parsed.length === 0 ? null : parsed)),
        same,
      );
      return answers.map(({ final }, i) => {
        const parsed = at<Parsed>(found, i);
        return {
          // LightEval takes a gold that cannot be read for a text to compare with.
          score: same(wanted.length === 0 ? [text] : wanted, parsed) ? 1 : 0,
          answer: textOf(parsed),
          vote: at<number | null>(votes, i),
          format: form.test(final),
        };
      });
    },
  };
}
