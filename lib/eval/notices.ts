// The known ways in which an evaluation says less than it seems to, told where they show.

import { GrpoError } from "../errors.js";
import type { EvaluationSettings } from "./options.js";
import type { PassResult } from "./summary.js";
import type { Task } from "./task.js";

/** Shares from which something is said. */
const MUCH_TRUNCATED = 0.05;
const FEW_IN_FORM = 0.5;

interface Evaluated {
  readonly task: string;
  readonly left_out: number;
  readonly max_new_tokens: number;
  readonly greedy: PassResult | null;
  readonly sampled: PassResult | null;
}

/** A stop string that is part of a right answer, such as "=", would cut it. Throws BAD_OPTION. */
export function refuseCuttingStops({ name, problems }: Task, stopStrings: readonly string[]): void {
  for (const stop of stopStrings) {
    const cut = problems.filter(({ gold, row }) => gold?.includes(stop) || solutionOf(row).includes(stop));
    if (cut.length === 0) continue;
    throw new GrpoError(
      "BAD_OPTION",
      `evaluate: the stop string ${JSON.stringify(stop)} would cut right answers; ${cut.length} of ${problems.length} solutions of ${name} have it`,
      { hint: "leave stopStrings out: a model is done when it says so" },
    );
  }
}

/** Whoever reasons as the solution does would be cut too. */
function solutionOf(row: Task["problems"][number]["row"]): string {
  const solution = row.solution ?? row.answer;
  return typeof solution === "string" ? solution : "";
}

export function noticesOf(tasks: readonly Evaluated[], { chatTemplate, stopStrings }: EvaluationSettings): string[] {
  const all = tasks.flatMap((task) => {
    const passes = [task.greedy, task.sampled].flatMap((pass) => pass ?? []);
    return [
      ...truncation(task, passes),
      ...form(task, passes),
      ...passAtOneAlone(task),
      ...unscored(task, passes),
      ...(task.left_out === 0
        ? []
        : [`${task.task}: ${task.left_out} rows have instructions that cannot be checked here, and were left out`]),
    ];
  });
  if (!chatTemplate) all.push("the chat template was not applied: the numbers are those of a base model");
  if (stopStrings.length > 0)
    all.push(
      `completions end at ${stopStrings.map((stop) => JSON.stringify(stop)).join(", ")}, also where they were not done`,
    );
  return all;
}

function truncation({ task, max_new_tokens: limit }: Evaluated, passes: readonly PassResult[]): string[] {
  const most = Math.max(...passes.map(({ metrics }) => metrics.truncated?.value ?? 0));
  if (most < MUCH_TRUNCATED) return [];
  return [
    `${task}: ${percent(most)} of the completions were cut by the limit of tokens (${limit}, or the model's context)`,
  ];
}

function form({ task }: Evaluated, passes: readonly PassResult[]): string[] {
  const least = Math.min(...passes.map(({ metrics }) => metrics.format?.value ?? 1));
  if (least >= FEW_IN_FORM) return [];
  return [
    `${task}: only ${percent(least)} of the answers are in the form that the prompt asks for, or can be read; look at some before you believe the score`,
  ];
}

function passAtOneAlone({ task, sampled }: Evaluated): string[] {
  if (sampled !== null && sampled.completions > 1) return [];
  return [`${task}: pass@1 alone cannot tell a new ability from more weight on old ones; samples above 1 give pass@k`];
}

function unscored({ task }: Evaluated, passes: readonly PassResult[]): string[] {
  const most = Math.max(...passes.map((pass) => pass.unscored));
  return most === 0 ? [] : [`${task}: ${most} problems have completions without a score, and do not count`];
}

function percent(share: number): string {
  return `${Math.round(share * 1000) / 10} %`;
}
