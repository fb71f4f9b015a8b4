// The benchmarks: where their rows are, what the model is asked, how the answer is read. Data, prompts, extraction and limits are those
// of the tasks in LightEval 0.13 that open-r1 evaluates with (aime24, aime25, math_500, gpqa:diamond), and of its gsm8k and ifeval.
// Every prompt says in which form the answer must come, and no task has stop strings: a model is done when it says so.

import { createHash } from "node:crypto";
import { show } from "../checks.js";
import { splitAnswer } from "../dataset/ready.js";
import { GrpoError } from "../errors.js";
import { ExprExtractionConfig, LatexExtractionConfig } from "../rewards/math/index.js";
import { canCheck, instructionGrader } from "./instruction-grader.js";
import { letterGrader } from "./letter-grader.js";
import { mathGrader } from "./math-grader.js";
import type { Grader, Problem } from "./task.js";

type Row = Problem["row"];

/** A benchmark before its rows are read. */
export interface Benchmark {
  /** Hub id, configuration and split. */
  readonly data: { readonly id: string; readonly name?: string; readonly split: string };
  /** What the user says. */
  readonly question: (row: Row) => string;
  /** For people. */
  readonly gold: (row: Row) => string | null;
  /** Rows that it takes. Default: all. */
  readonly takes?: (row: Row) => boolean;
  /** Grades the rows. */
  readonly grader: Grader;
  readonly maxNewTokens: number;
  /** Sampled completions of a problem: as many as open-r1 takes to estimate pass@1. */
  readonly samples: number;
}

/** Enough for models that think. */
const LONG = 32_768;

const ANSWER_LINE = /ANSWER:[^\S\n]*\S/;

const gsm8k: Benchmark = {
  data: { id: "openai/gsm8k", name: "main", split: "test" },
  question: (row) =>
    [
      'Solve the following math problem step by step. The last line of your\nresponse should be of the form "ANSWER: $ANSWER" (without quotes)\nwhere $ANSWER is the answer to the problem.',
      textOf(row, "question"),
      'Remember to put your answer on its own line at the end in the form\n"ANSWER: $ANSWER" (without quotes) where $ANSWER is the answer to\nthe problem, and you do not need to use a \\boxed command.',
      "Reasoning:",
    ].join("\n\n"),
  gold: numberBehindMark,
  grader: mathGrader({
    gold: numberBehindMark,
    goldConfig: [new ExprExtractionConfig()],
    answerConfig: [new ExprExtractionConfig(), new LatexExtractionConfig({ boxedMatchPriority: 0 })],
    precision: 5,
    form: ANSWER_LINE,
  }),
  maxNewTokens: 2048,
  samples: 4,
};

/** Reads both sides as LightEval's pass@k for mathematics. */
const MATH_READING = {
  goldConfig: [new ExprExtractionConfig(), new LatexExtractionConfig({ boxedMatchPriority: 55 })],
  answerConfig: [new ExprExtractionConfig(), new LatexExtractionConfig({ boxedMatchPriority: 55 })],
  precision: 6,
};

const math500: Benchmark = {
  data: { id: "HuggingFaceH4/MATH-500", split: "test" },
  question: (row) =>
    `Solve the following problem. The final line of your response MUST be of the following format:\n"ANSWER: $ANSWER" (without quotes) where $ANSWER is the final answer. Think step by step before answering.\n\n${textOf(row, "problem")}`,
  gold: (row) => (typeof row.answer === "string" ? row.answer : textOf(row, "solution")),
  grader: mathGrader({ ...MATH_READING, gold: (row) => `ANSWER: ${textOf(row, "solution")}`, form: ANSWER_LINE }),
  maxNewTokens: LONG,
  samples: 4,
};

function aime(id: string): Benchmark {
  return {
    data: { id, split: "train" },
    question: (row) =>
      `\nSolve the following math problem efficiently and clearly.  The last line of your response should be of the following format: 'Therefore, the final answer is: $\\boxed{ANSWER}$. I hope it is correct' (without quotes) where ANSWER is just the final number or expression that solves the problem. Think step by step before answering.\n\n${textOf(row, "problem")}\n`,
    gold: numberOrText,
    grader: mathGrader({ ...MATH_READING, gold: numberOrText, form: /\\boxed\{/ }),
    maxNewTokens: LONG,
    samples: 64,
  };
}

const CHOICES = ["A", "B", "C", "D"];

/**
 * The order of the choices is drawn by the question itself: the same in every run and for every model, whichever rows are asked.
 * LightEval draws it anew in each run.
 */
function orderOf(row: Row): { readonly letter: string; readonly choices: readonly string[] } {
  const right = (createHash("sha256").update(textOf(row, "Question")).digest()[0] ?? 0) % CHOICES.length;
  const choices = [1, 2, 3].map((i) => textOf(row, `Incorrect Answer ${i}`));
  choices.splice(right, 0, textOf(row, "Correct Answer"));
  return { letter: CHOICES[right] ?? "", choices };
}

const gpqaDiamond: Benchmark = {
  data: { id: "Idavidrein/gpqa", name: "gpqa_diamond", split: "train" },
  question: (row) => {
    const lines = orderOf(row).choices.map((choice, i) => `${CHOICES[i]}) ${choice.trim()}`);
    return `Answer the following multiple choice question. The last line of your response should be of the following format: 'Answer: $LETTER' (without quotes) where LETTER is one of ABCD. Think step by step before answering.\n\n${textOf(row, "Question").trim()}\n\n${lines.join("\n")}`;
  },
  gold: (row) => orderOf(row).letter,
  grader: letterGrader({
    choices: CHOICES.length,
    gold: (row) => orderOf(row).letter,
    form: /[Aa]nswer:[^\S\n]*\(?[ABCD]\b/,
  }),
  maxNewTokens: LONG,
  samples: 8,
};

const ifeval: Benchmark = {
  data: { id: "google/IFEval", split: "train" },
  question: (row) => textOf(row, "prompt"),
  gold: (row) => JSON.stringify(row.instruction_id_list),
  takes: canCheck,
  grader: instructionGrader,
  maxNewTokens: 1280,
  samples: 4,
};

/** By the names that LightEval has for them. */
export const BENCHMARKS: Readonly<Record<string, Benchmark>> = {
  gsm8k,
  math_500: math500,
  aime24: aime("HuggingFaceH4/aime_2024"),
  aime25: aime("yentinglin/aime_2025"),
  "gpqa:diamond": gpqaDiamond,
  ifeval,
};

/** What stands behind "####" in the answers of GSM8K. Throws BAD_DATASET where nothing does. */
function numberBehindMark(row: Row): string {
  const { number } = splitAnswer(textOf(row, "answer"));
  if (number !== "") return number;
  throw new GrpoError("BAD_DATASET", `expected "#### number" in the answer, found ${show(row.answer)}`);
}

/** The answers of AIME, which are texts in some copies and numbers in others. */
function numberOrText(row: Row): string {
  return typeof row.answer === "number" || typeof row.answer === "bigint" ? String(row.answer) : textOf(row, "answer");
}

/** The text in a column. Throws BAD_DATASET, naming the columns that there are. */
function textOf(row: Row, column: string): string {
  const value = row[column];
  if (typeof value === "string") return value;
  const found = value === undefined ? `the columns ${Object.keys(row).join(", ")}` : show(value);
  throw new GrpoError("BAD_DATASET", `expected a text in the column "${column}", found ${found}`, {
    hint: "give rows with the columns of the benchmark's data set on the Hub",
  });
}
