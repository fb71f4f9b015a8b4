// Prompts and grades against LightEval's own on made-up rows (scripts/golden/lighteval_tasks.py), and that each prompt says in which form
// the answer is read.

import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { BENCHMARKS, type Benchmark } from "../../lib/eval/benchmarks.js";
import type { Answer, Grade } from "../../lib/eval/task.js";

type Row = Record<string, unknown>;
interface Golden {
  readonly prompts: readonly { readonly task: string; readonly row: Row; readonly query: string }[];
  readonly graded: readonly { task: string; row: Row; completion: string; score: number }[];
  readonly instructions: readonly {
    readonly row: Row;
    readonly completion: string;
    readonly prompt_level_strict_acc: number;
    readonly inst_level_strict_acc: readonly boolean[];
    readonly prompt_level_loose_acc: number;
    readonly inst_level_loose_acc: readonly boolean[];
  }[];
}

const file = new URL("../fixtures/golden/lighteval.json", import.meta.url);
const golden = JSON.parse(await readFile(file, "utf8")) as Golden;
const signal = new AbortController().signal;

const benchmark = (task: string): Benchmark => BENCHMARKS[task] as Benchmark;
const said = (text: string): Answer => ({ text, final: text, finishReason: "eos", tokens: 1, ids: null });

async function grade(task: string, row: Row, completion: string): Promise<Grade> {
  const problem = { prompt: "", gold: null, row };
  const [first] = await benchmark(task).grader.grade(problem, [said(completion)], signal);
  return first as Grade;
}

it.each(golden.prompts.map((one) => [one.task, one] as const))(
  "asks %s as LightEval does",
  (_, { task, row, query }) => {
    expect(benchmark(task).question(row)).toBe(query);
  },
);

describe.each(["gsm8k", "math_500", "aime24", "gpqa:diamond"])("grades of %s", (task) => {
  it("are LightEval's", async () => {
    const cases = golden.graded.filter((one) => one.task === task);
    expect(cases.length).toBeGreaterThan(40);
    const found = await Promise.all(cases.map(async (one) => (await grade(task, one.row, one.completion)).score));
    const differing = cases.flatMap(({ row, completion, score }, i) =>
      found[i] === score ? [] : [{ row, completion, score, found: found[i] }],
    );
    expect(differing).toEqual([]);
  });
});

it("judges instructions as LightEval does, strictly and loosely, whole prompts and each", async () => {
  expect(golden.instructions.length).toBeGreaterThan(400);
  const share = (list: readonly boolean[]) => list.filter(Boolean).length / list.length;
  for (const one of golden.instructions) {
    expect(await grade("ifeval", one.row, one.completion), JSON.stringify([one.row, one.completion])).toEqual({
      score: one.prompt_level_strict_acc,
      scores: {
        prompt_loose: one.prompt_level_loose_acc,
        instruction_strict: share(one.inst_level_strict_acc),
        instruction_loose: share(one.inst_level_loose_acc),
      },
    });
  }
});

/** The rows with what the prompt asks to be written, filled in by the right answer. */
const forms = [
  [
    "gsm8k",
    { question: "How many?", answer: "Two and three.\n#### 1,005" },
    "ANSWER: $ANSWER",
    (gold: string) => `ANSWER: ${gold}`,
  ],
  [
    "math_500",
    { problem: "How much?", solution: "So $\\boxed{\\frac{3}{4}}$.", answer: "\\frac{3}{4}" },
    "ANSWER: $ANSWER",
    (gold: string) => `ANSWER: $${gold}$`,
  ],
  [
    "aime24",
    { problem: "How many?", answer: "073" },
    "Therefore, the final answer is: $\\boxed{ANSWER}$. I hope it is correct",
    (gold: string) => `Therefore, the final answer is: $\\boxed{${gold}}$. I hope it is correct`,
  ],
  [
    "gpqa:diamond",
    {
      Question: "Which?",
      "Correct Answer": "this",
      "Incorrect Answer 1": "a",
      "Incorrect Answer 2": "b",
      "Incorrect Answer 3": "c",
    },
    "Answer: $LETTER",
    (gold: string) => `Answer: ${gold}`,
  ],
] as const;

it.each(forms)(
  "%s tells the form of the answer, which is read where the prompt asks for it",
  async (task, row, form, write) => {
    const { question, gold } = benchmark(task);
    expect(question(row)).toContain(form);
    const right = `I think.\n${write(gold(row) ?? "")}`;
    expect(await grade(task, row, right)).toMatchObject({ score: 1, format: true, vote: 0 });
    expect(await grade(task, row, "I do not know.")).toMatchObject({ score: 0, format: false });
  },
);

it("gives gpqa's choices one order for all models, in which each letter is right at times", () => {
  const rows = Array.from({ length: 40 }, (_, i) => ({
    Question: `Which is number ${i}?`,
    "Correct Answer": "right",
    "Incorrect Answer 1": "a",
    "Incorrect Answer 2": "b",
    "Incorrect Answer 3": "c",
  }));
  const { question, gold } = benchmark("gpqa:diamond");
  for (const row of rows) expect(question(row)).toContain(`${gold(row)}) right`);
  expect(new Set(rows.map(gold))).toEqual(new Set(["A", "B", "C", "D"]));
});

it("lets answers that say the same vote together, however they are written", async () => {
  const row = { problem: "How much?", solution: "$\\boxed{\\frac{1}{2}}$", answer: "\\frac{1}{2}" };
  const texts = ["ANSWER: $\\frac{1}{2}$", "ANSWER: 3", "nothing", "ANSWER: 1/2", "ANSWER: $\\frac{2}{4}$"];
  const grades = await benchmark("math_500").grader.grade({ prompt: "", gold: null, row }, texts.map(said), signal);
  expect(grades.map(({ vote }) => vote)).toEqual([0, 1, null, 0, 0]);
  expect(grades.map(({ score }) => score)).toEqual([1, 0, 0, 1, 1]);
});

it("grades what follows the reasoning, and nothing where the reasoning was cut off", async () => {
  const row = { question: "How many?", answer: "#### 5" };
  const answers = [
    { ...said("<think>ANSWER: 5</think>ANSWER: 7"), final: "ANSWER: 7" },
    { ...said("<think>ANSWER: 5"), final: "", finishReason: "length" as const },
  ];
  const grades = await benchmark("gsm8k").grader.grade({ prompt: "", gold: null, row }, answers, signal);
  expect(grades.map(({ score, answer }) => [score, answer])).toEqual([
    [0, "7"],
    [0, null],
  ]);
});
