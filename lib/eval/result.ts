// What an evaluation comes to, made of the lines that its folder has: a task's numbers, and a line for each problem.

import { at } from "../at.js";
import { GrpoError } from "../errors.js";
import type { JsonObject } from "../json.js";
import type { EvaluationSettings } from "./options.js";
import { type CompletionLine, type EvalFolder, graderName, type Pass } from "./records.js";
import { columnsOf, type PassResult, passResult } from "./summary.js";
import { digestOf, type Task } from "./task.js";

/** How a model did on a task. */
export interface TaskResult {
  readonly task: string;
  /** Where the rows are from. */
  readonly source: string;
  /** Of all prompts and gold answers: evaluations with another one asked other questions. */
  readonly digest: string;
  readonly problems: number;
  /** Rows of the data that are no problems here. */
  readonly left_out: number;
  /** What graded, with its version. */
  readonly grader: string;
  readonly max_new_tokens: number;
  readonly greedy: PassResult | null;
  readonly sampled: PassResult | null;
}

/** What eval.json has. */
export interface EvaluationResult {
  readonly schema_version: number;
  /** What an evaluation that goes on in the folder must have alike: the model, how answers are drawn, the tasks. */
  readonly settings: JsonObject;
  /** Of the package. */
  readonly grpo_version: string;
  readonly tasks: readonly TaskResult[];
  /** What makes the numbers mean less than they seem to. */
  readonly notices: readonly string[];
}

/** The ways in which a task's problems are asked. */
export function passesOf(task: Task, { greedy, samples }: EvaluationSettings): Pass[] {
  const count = samples ?? task.samples;
  const name = task.name;
  const passes: Pass[] = [];
  if (greedy) passes.push({ task: name, doSample: false, count: 1 });
  if (count > 0) passes.push({ task: name, doSample: true, count });
  return passes;
}

/** The lines of all problems of a pass. */
function linesOf(task: Task, pass: Pass, folder: EvalFolder): (readonly CompletionLine[])[] {
  return task.problems.map((_, index) => {
    const lines = folder.lines(pass, index);
    if (lines === undefined) throw new GrpoError("INTERNAL", `${task.name}: problem ${index} has no completions`);
    return lines;
  });
}

export function resultOf(task: Task, settings: EvaluationSettings, folder: EvalFolder): TaskResult {
  const results = passesOf(task, settings).map((pass) => {
    return [pass.doSample, passResult(linesOf(task, pass, folder), pass.doSample, settings.seed)] as const;
  });
  return {
    task: task.name,
    source: task.source,
    digest: digestOf(task),
    problems: task.problems.length,
    left_out: task.leftOut,
    grader: graderName(task.grader),
    max_new_tokens: settings.maxNewTokens ?? task.maxNewTokens,
    greedy: results.find(([doSample]) => !doSample)?.[1] ?? null,
    sampled: results.find(([doSample]) => doSample)?.[1] ?? null,
  };
}

/** A line for each problem: what was asked, what was right, and every metric of its own. */
export function problemLines(task: Task, settings: EvaluationSettings, folder: EvalFolder): JsonObject[] {
  const columns = passesOf(task, settings).map((pass) => ({
    name: pass.doSample ? "sampled" : "greedy",
    values: columnsOf(linesOf(task, pass, folder), pass.doSample),
  }));
  return task.problems.map(({ prompt, gold }, problem) => ({
    task: task.name,
    problem,
    prompt,
    gold,
    ...Object.fromEntries(
      columns.map(({ name, values }) => [
        name,
        Object.fromEntries(Object.entries(values).map(([metric, list]) => [metric, at<number>(list, problem)])),
      ]),
    ),
  }));
}
