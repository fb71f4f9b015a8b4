// TRL's accuracy_reward and reasoning_accuracy_reward, with its settings: the gold is the first thing in the solution that
// can be read at all; the answer must be LaTeX, boxes first, and only the first match counts.

import { at } from "../at.js";
import type { Completion, RewardBatch } from "../types.js";
import { needsColumns, requiredColumn } from "./columns.js";
import { formatParsed, LatexExtractionConfig, NormalizationConfig, type Parsed, parse, verify } from "./math/index.js";

const answerConfig = [
  new LatexExtractionConfig({
    normalizationConfig: new NormalizationConfig({ units: true }),
    boxedMatchPriority: 0,
    tryExtractWithoutAnchor: false,
  }),
];

/** What the two rewards read; `solution` is a column of the data set, one text per completion. */
export type AccuracyBatch = Pick<RewardBatch, "completions"> &
  Partial<Pick<RewardBatch, "logExtra">> & { readonly solution: readonly string[] };

interface Verdict {
  readonly reward: number | null;
  /** What was read, or in brackets why nothing was. */
  readonly gold: Parsed | string;
  readonly answer: Parsed | string;
}

function judge(content: string, solution: string): Verdict {
  const gold = parse(solution, { parsingTimeout: 10 });
  if (gold.length === 0) return { reward: null, gold: "[unparseable]", answer: "[skipped]" };
  const options = { extractionConfig: answerConfig, extractionMode: "first_match", parsingTimeout: 10 } as const;
  const answer: Parsed = parse(content, options);
  return { reward: verify(gold, answer) ? 1 : 0, gold, answer: answer.length === 0 ? "[unparseable]" : answer };
}

/**
 * The column of solutions; one that is no text, which cannot be read, is an empty one. Throws BAD_DATASET for a batch without the
 * column.
 */
export function solutionsOf(reward: string, batch: Pick<RewardBatch, "completions">): string[] {
  return requiredColumn(reward, batch, "solution").map((value) => (typeof value === "string" ? value : ""));
}

const written = (value: Parsed | string) => (typeof value === "string" ? value : formatParsed(value));

/** The text itself, or the first message's, as in TRL and open-r1. */
export function contentOf(completion: Completion): string {
  return typeof completion === "string" ? completion : (completion[0]?.content ?? "");
}

/**
 * Whether the answer is the solution's, with the settings of open-r1's length rewards: LaTeX only on both sides, and the
 * answer in the place of the gold. null: the solution cannot be read.
 */
export function isCorrect(content: string, solution: string): boolean | null {
  const gold = parse(solution, { extractionConfig: [new LatexExtractionConfig()], extractionMode: "first_match" });
  if (gold.length === 0) return null;
  return verify(parse(content, { extractionConfig: answerConfig, extractionMode: "first_match" }), gold);
}

function report(verdicts: readonly Verdict[], { solution, logExtra }: AccuracyBatch): (number | null)[] {
  if (logExtra) {
    logExtra("solution", [...solution]);
    const [golds, answers] = [verdicts.map(({ gold }) => written(gold)), verdicts.map(({ answer }) => written(answer))];
    logExtra("gold_parsed", golds);
    logExtra("answer_parsed", answers);
  }
  return verdicts.map((verdict) => verdict.reward);
}

/** 1 if the completion's answer is the solution's, 0 if it is not, null if the solution cannot be read. */
export function accuracy(batch: AccuracyBatch): (number | null)[] {
  const solutions = solutionsOf("accuracy", batch);
  const verdicts = batch.completions.map((completion, i) => judge(contentOf(completion), at(solutions, i)));
  return report(verdicts, batch);
}
needsColumns(["solution"], accuracy);

const INCOMPLETE: Verdict = { reward: 0, gold: "[incomplete reasoning]", answer: "[incomplete reasoning]" };

/**
 * As accuracy, on what follows the last reasoning delimiter. A completion without one gets 0. `reasoningDelimiters`
 * (["</think>"] if absent): the first one that occurs counts.
 */
export function reasoningAccuracy(
  batch: AccuracyBatch & { readonly reasoningDelimiters?: readonly string[] },
): (number | null)[] {
  const delimiters = batch.reasoningDelimiters ?? ["</think>"];
  const solutions = solutionsOf("reasoningAccuracy", batch);
  const verdicts = batch.completions.map((completion, i) => {
    const content = contentOf(completion);
    const delimiter = delimiters.find((one) => content.includes(one));
    if (delimiter === undefined) return INCOMPLETE;
    return judge(content.slice(content.lastIndexOf(delimiter) + delimiter.length), at(solutions, i));
  });
  return report(verdicts, batch);
}
needsColumns(["solution"], reasoningAccuracy);
