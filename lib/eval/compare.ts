// Two models on the same problems: what changed, and how likely so large a change is by chance.

import { at, atKey } from "../at.js";
import { GrpoError } from "../errors.js";
import { isJsonObject, type JsonObject } from "../json.js";
import { nanMean } from "../statistics.js";
import { bootstrapMeans, type Estimate } from "./estimators.js";
import { type PairedTest, signFlipTest } from "./paired-test.js";
import { type CompletionLine, readEvaluation } from "./records.js";
import type { EvaluationResult, TaskResult } from "./result.js";
import { type Columns, columnsOf } from "./summary.js";

/** A metric of a task before and after. */
export interface Difference extends PairedTest {
  readonly task: string;
  readonly drawing: "greedy" | "sampled";
  readonly metric: string;
  readonly before: number;
  readonly after: number;
  /** After minus before, with its interval over the problems. */
  readonly difference: Estimate;
  /** Problems on which the second model has more, and on which it has less. */
  readonly better: number;
  readonly worse: number;
}

/** What changed between two evaluations. */
export interface Comparison {
  readonly differences: readonly Difference[];
  /** Settings that are not the same, such as the temperature; the model is one of them. */
  readonly differing: readonly string[];
}

/** An evaluation as its folder has it. */
export interface Evaluated {
  readonly result: EvaluationResult;
  readonly problems: readonly JsonObject[];
  readonly completions: readonly CompletionLine[];
}

/**
 * Compares the evaluations in two folders, before and after, problem by problem. Throws BAD_INPUT where there is none, where no task is in
 * both, or where a task asked other questions or was graded by another version.
 */
export async function compareEvaluations(before: string, after: string): Promise<Comparison> {
  const [first, second] = await Promise.all([openEvaluation(before), openEvaluation(after)]);
  return compare(first, second);
}

export async function openEvaluation(folder: string): Promise<Evaluated> {
  const read = await readEvaluation(folder);
  return { ...read, result: read.result as unknown as EvaluationResult };
}

export function compare(before: Evaluated, after: Evaluated): Comparison {
  const pairs = before.result.tasks.flatMap((task) => {
    const other = after.result.tasks.find((same) => same.task === task.task);
    return other === undefined ? [] : [[task, other] as const];
  });
  if (pairs.length === 0) throw new GrpoError("BAD_INPUT", "the two evaluations have no task in common");
  const seed = Number(before.result.settings.seed);
  const differences = pairs.flatMap(([task, other]) => {
    checkAlike(task, other);
    return (["greedy", "sampled"] as const).flatMap((drawing) => {
      if (task[drawing] === null || other[drawing] === null) return [];
      const columns = (run: Evaluated) => columnsIn(run, task.task, drawing);
      return differencesOf(task.task, drawing, columns(before), columns(after), seed);
    });
  });
  return { differences, differing: differingSettings(before.result.settings, after.result.settings) };
}

/** Other questions, or another reader of answers, would be taken for a difference of the models. */
function checkAlike(task: TaskResult, other: TaskResult): void {
  const what = task.digest !== other.digest ? "problems" : task.grader !== other.grader ? "grader" : undefined;
  if (what === undefined) return;
  const found = what === "grader" ? `: ${task.grader}, and ${other.grader}` : "";
  throw new GrpoError("BAD_INPUT", `${task.task}: the two evaluations have another ${what}${found}`, {
    hint: "run the older one again in its folder: answers that it has are kept, and graded again",
  });
}

function columnsIn({ completions }: Evaluated, task: string, drawing: "greedy" | "sampled"): Columns {
  const doSample = drawing === "sampled";
  const groups: CompletionLine[][] = [];
  for (const line of completions) {
    if (line.task !== task || line.do_sample !== doSample) continue;
    groups[line.problem] ??= [];
    groups[line.problem]?.push(line);
  }
  return columnsOf(groups, doSample);
}

function differencesOf(
  task: string,
  drawing: Difference["drawing"],
  before: Columns,
  after: Columns,
  seed: number,
): Difference[] {
  const shared = Object.entries(before).flatMap(([metric, was]) => {
    const is = after[metric];
    return is === undefined ? [] : [{ metric, was, is, change: was.map((value, i) => at<number>(is, i) - value) }];
  });
  const changes = Object.fromEntries(shared.map(({ metric, change }) => [metric, change]));
  const estimates = new Map(Object.entries(bootstrapMeans(changes, shared[0]?.change.length ?? 0, seed)));
  return shared.map(({ metric, was, is, change }): Difference => {
    // Of the problems that both have a value of.
    const mean = (values: readonly number[]) => nanMean(values.filter((_, i) => !Number.isNaN(change[i])));
    return {
      task,
      drawing,
      metric,
      before: mean(was),
      after: mean(is),
      difference: atKey(estimates, metric),
      better: change.filter((value) => value > 0).length,
      worse: change.filter((value) => value < 0).length,
      ...signFlipTest(change, seed),
    };
  });
}

function differingSettings(before: JsonObject, after: JsonObject): string[] {
  const flat = (settings: JsonObject): [string, unknown][] =>
    Object.entries(settings).flatMap(([name, value]) => {
      if (!Array.isArray(value) || !value.every(isJsonObject)) return [[name, value]];
      return value.flatMap((task) =>
        Object.entries(task).map(([key, one]): [string, unknown] => [`${task.name}.${key}`, one]),
      );
    });
  const [first, second] = [new Map(flat(before)), new Map(flat(after))];
  const names = [...new Set([...first.keys(), ...second.keys()])];
  return names.filter((name) => JSON.stringify(first.get(name)) !== JSON.stringify(second.get(name)));
}
