// From the name of a benchmark, or rows with a reward function, to a task with its problems.

import { checkFunction, checkNumber, checkOptionNames, checkText, namesOf } from "../checks.js";
import { type LoadDatasetOptions, loadDataset } from "../dataset/load.js";
import { GrpoError, nearestName } from "../errors.js";
import type { HubOptions } from "../hub/hub.js";
import { checkNeededColumns } from "../rewards/columns.js";
import type { RowSource } from "../rollout/prompts.js";
import type { AnyRewardFn, Message, Prompt } from "../types.js";
import { BENCHMARKS, type Benchmark } from "./benchmarks.js";
import { rewardGrader } from "./reward-grader.js";
import type { Problem, Task } from "./task.js";

/** A benchmark by name, with rows from elsewhere. */
export interface BenchmarkTask extends HubOptions {
  /** gsm8k, math_500, aime24, aime25, gpqa:diamond or ifeval. */
  readonly benchmark: string;
  /** A folder, a file or another Hub id with the same columns. Default: the benchmark's own on the Hub. */
  readonly source?: string;
  /** Default: the benchmark's, which for a file or a folder of one split is that one. */
  readonly split?: string;
}

/** Rows of one's own with a reward function. */
export interface RewardTask {
  /** What the results are called. */
  readonly name: string;
  /** Rows with a column `prompt`: a text, or messages. A Dataset, or an array. */
  readonly dataset: RowSource<object> | readonly object[];
  /**
   * One, or several: the first one's rewards are the scores, the others' are told beside them. A column `answer` or `answer_parsed` that
   * it sends with logExtra is the answer, for the majority.
   */
  readonly rewardFuncs: AnyRewardFn | readonly AnyRewardFn[];
  /** Changes when the functions judge otherwise: grades of two versions are not compared. Default "1". */
  readonly graderVersion?: string;
  /** Sampled completions of each problem. Default 4. */
  readonly samples?: number;
  /** Limit of new tokens. Default 2048. */
  readonly maxNewTokens?: number;
}

/** A benchmark by its name, one with rows from elsewhere, or rows of one's own with a reward function. */
export type EvalTask = string | BenchmarkTask | RewardTask;

/** What all tasks of an evaluation have in common. */
export interface TaskSettings {
  /** Put before every question. */
  readonly systemPrompt: string | undefined;
  /** The first so many problems. */
  readonly limit: number | undefined;
}

/** Reads the rows. Throws UNKNOWN_OPTION for a benchmark that is none, BAD_DATASET for rows that do not fit. */
export async function loadTask(task: EvalTask, settings: TaskSettings): Promise<Task> {
  if (typeof task === "string") return loadBenchmark({ benchmark: task }, settings);
  if ("benchmark" in task) return loadBenchmark(task, settings);
  return readRows(task, settings);
}

const BENCHMARK_OPTIONS = namesOf<BenchmarkTask>({
  benchmark: true,
  source: true,
  split: true,
  revision: true,
  token: true,
  cacheDir: true,
});

async function loadBenchmark(task: BenchmarkTask, settings: TaskSettings): Promise<Task> {
  checkOptionNames("evaluate", task, BENCHMARK_OPTIONS);
  const { benchmark: name, source, split, ...hub } = task;
  const benchmark = Object.hasOwn(BENCHMARKS, name) ? BENCHMARKS[name] : undefined;
  if (benchmark === undefined) throw unknownBenchmark(name);
  const rows = await rowsOf(benchmark, source, split, hub);
  const taken = rows.filter((row) => benchmark.takes?.(row) ?? true);
  const problems = taken.map((row, i): Problem => {
    try {
      return { prompt: conversation(benchmark.question(row), settings), gold: benchmark.gold(row), row };
    } catch (cause) {
      if (!(cause instanceof GrpoError)) throw cause;
      const [message = ""] = cause.message.split("\n");
      throw new GrpoError(cause.code, `${name}, problem ${i}: ${message}`, { cause, ...hintOf(cause) });
    }
  });
  return {
    name,
    source: source ?? benchmark.data.id,
    problems: checkProblems(name, problems, settings),
    leftOut: rows.length - taken.length,
    grader: benchmark.grader,
    maxNewTokens: benchmark.maxNewTokens,
    samples: benchmark.samples,
  };
}

async function rowsOf(
  { data }: Benchmark,
  source: string | undefined,
  split: string | undefined,
  hub: Omit<LoadDatasetOptions, "split">,
): Promise<readonly Problem["row"][]> {
  if (source === undefined) {
    const name = data.name === undefined ? {} : { name: data.name };
    const rows = await loadDataset<Record<string, unknown>>(data.id, { ...hub, ...name, split: split ?? data.split });
    return rows.toArray();
  }
  if (split !== undefined) return (await loadDataset<Record<string, unknown>>(source, { ...hub, split })).toArray();
  const splits = await loadDataset(source, hub);
  const [only, ...others] = Object.values(splits);
  const chosen = splits[data.split] ?? (others.length === 0 ? only : undefined);
  if (chosen !== undefined) return chosen.toArray();
  throw new GrpoError(
    "BAD_DATASET",
    `${source} has no split "${data.split}"; found ${Object.keys(splits).join(", ")}`,
    {
      hint: "say which one: split",
    },
  );
}

const REWARD_OPTIONS = namesOf<RewardTask>({
  name: true,
  dataset: true,
  rewardFuncs: true,
  graderVersion: true,
  samples: true,
  maxNewTokens: true,
});

async function readRows(task: RewardTask, settings: TaskSettings): Promise<Task> {
  checkOptionNames("evaluate", task, REWARD_OPTIONS, {
    positional: 'write a benchmark\'s name, or { name: "…", dataset, rewardFuncs }',
  });
  const { dataset, rewardFuncs, samples = 4, maxNewTokens = 2048, graderVersion = "1" } = task;
  const name = checkText("evaluate", "name", task.name);
  if (Object.hasOwn(BENCHMARKS, name)) {
    throw new GrpoError("BAD_OPTION", `evaluate: ${name} is a benchmark; rows of one's own need another name`);
  }
  const functions = typeof rewardFuncs === "function" ? [rewardFuncs] : rewardFuncs;
  for (const fn of functions) checkFunction("evaluate: rewardFuncs", fn);
  if (!Array.isArray(dataset)) await (dataset as RowSource<object>).load?.();
  const rows = Array.from({ length: dataset.length }, (_, i) => dataset.at(i) as Problem["row"]);
  checkNeededColumns(functions, Object.keys(rows[0] ?? {}));
  const problems = rows.map(
    (row, i): Problem => ({ prompt: promptOf(row, i, name, settings), gold: goldOf(row), row }),
  );
  return {
    name,
    source: name,
    problems: checkProblems(name, problems, settings),
    leftOut: 0,
    grader: rewardGrader(functions, checkText("evaluate", "graderVersion", graderVersion)),
    maxNewTokens: checkNumber("evaluate", "maxNewTokens", maxNewTokens, { min: 1, integer: true }),
    samples: checkNumber("evaluate", "samples", samples, { min: 0, integer: true }),
  };
}

/** Columns that usually hold the right answer. */
function goldOf(row: Problem["row"]): string | null {
  const gold = row.solution ?? row.answer ?? row.ground_truth;
  return gold === undefined || gold === null ? null : String(gold);
}

function promptOf(row: Problem["row"], index: number, task: string, { systemPrompt }: TaskSettings): Prompt {
  const { prompt } = row;
  if (typeof prompt === "string") return systemPrompt === undefined ? prompt : conversation(prompt, { systemPrompt });
  const isMessage = (value: unknown) =>
    typeof value === "object" && value !== null && typeof Reflect.get(value, "role") === "string";
  if (Array.isArray(prompt) && prompt.length > 0 && prompt.every(isMessage)) return withSystem(prompt, systemPrompt);
  throw new GrpoError(
    "BAD_DATASET",
    `${task}, row ${index}: expected a prompt, text or messages; found ${Object.keys(row).join(", ")}`,
    {
      hint: 'add a column "prompt" with dataset.map((row) => ({ prompt: … }))',
    },
  );
}

function conversation(question: string, { systemPrompt }: Pick<TaskSettings, "systemPrompt">): Prompt {
  return withSystem([{ role: "user", content: question }], systemPrompt);
}

function withSystem(messages: readonly Message[], systemPrompt: string | undefined): readonly Message[] {
  return systemPrompt === undefined ? messages : [{ role: "system", content: systemPrompt }, ...messages];
}

function checkProblems(name: string, problems: readonly Problem[], { limit }: TaskSettings): readonly Problem[] {
  if (problems.length === 0) throw new GrpoError("BAD_DATASET", `${name} has no problems`);
  return limit === undefined ? problems : problems.slice(0, limit);
}

function unknownBenchmark(name: string): GrpoError {
  const names = Object.keys(BENCHMARKS);
  const near = nearestName(name, names);
  return new GrpoError("UNKNOWN_OPTION", `there is no benchmark ${JSON.stringify(name)}`, {
    hint:
      near === undefined ? `use one of ${names.join(", ")}, or rows with a reward function` : `did you mean ${near}?`,
  });
}

function hintOf({ hint }: GrpoError): { hint?: string } {
  return hint === undefined ? {} : { hint };
}
