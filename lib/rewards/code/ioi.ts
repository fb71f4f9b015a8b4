// open-r1's ioi_code: a C++ solution to a subtask of the International Olympiad in Informatics, judged by Piston with the package
// cms_ioi. Rows are those of the data set open-r1/ioi; tests come from open-r1/ioi-test-cases, or from a column test_cases.

import type { Dataset } from "../../dataset/dataset.js";
import { loadDataset } from "../../dataset/load.js";
import { GrpoError } from "../../errors.js";
import { type ExecutingReward, named } from "./code.js";
import { Piston, type PistonJob, type PistonOptions, type PistonResult } from "./piston.js";
import { extractCode, lastContent, withIoiIncludes } from "./programs.js";
import { parseFloatStrictly, round } from "./python-text.js";
import { batched, type CodeBatch, rowOf, ServiceError, settle } from "./service.js";

/** Where and how long solutions of IOI problems run. */
export interface IoiCodeOptions extends PistonOptions {
  /** Tests of a solution at once; a failed one ends its judgement. -1: all at once. Default 1. */
  readonly testBatchSize?: number;
}

type IoiTest = readonly [input: string, output: string];

/** Columns of open-r1/ioi. */
export interface IoiColumns {
  readonly id: readonly string[];
  /** Whose tests are in open-r1/ioi-test-cases; not needed with test_cases. */
  readonly year?: readonly (number | bigint | null)[];
  readonly test_names: readonly (readonly string[])[];
  readonly grader_files: readonly (readonly (readonly [name: string, content: string | null])[])[];
  readonly time_limit: readonly number[];
  /** Bytes. */
  readonly memory_limit: readonly (number | bigint)[];
  readonly score_precision: readonly (number | bigint)[];
  /** The tests by name, or in the order of test_names. */
  readonly test_cases?: readonly (readonly IoiTest[] | Readonly<Record<string, IoiTest>> | null)[];
}

export type IoiBatch = CodeBatch & IoiColumns;
type IoiProblem = { readonly [K in keyof IoiColumns]: NonNullable<IoiColumns[K]>[number] };

/** The subtask's score from 0 to 1: that of its worst test. 0 without a C++ block. */
export function ioiCode({ testBatchSize = 1, ...options }: IoiCodeOptions = {}): ExecutingReward<IoiBatch> {
  const piston = new Piston(options);
  if (piston.endpoints.length === 0) {
    throw new GrpoError("BAD_OPTION", "ioiCode executes what the model writes, and nothing says where", {
      hint:
        "start Piston with open-r1's package cms_ioi, and name it in the environment: " +
        "PISTON_ENDPOINTS=http://localhost:2000/api/v2 (this machine alone has no judge for the IOI)",
    });
  }
  const reward = (batch: IoiBatch): Promise<(number | null)[]> => {
    const tasks = batch.completions.map((completion, i) => {
      const problem = rowOf<IoiProblem>("ioiCode", batch, i, COLUMNS);
      const solution = withIoiIncludes(extractCode(lastContent(completion), "cpp"), problem.id);
      return solution === "" ? 0 : scoreSubtask(piston, problem, solution, testBatchSize, batch.signal);
    });
    return settle(tasks, batch);
  };
  return Object.assign(named(reward, "ioiCode"), {
    executesOn: piston.endpoints.join(", "),
    columns: COLUMNS.required,
  });
}

const COLUMNS = {
  required: ["id", "test_names", "grader_files", "time_limit", "memory_limit", "score_precision"],
  optional: ["year", "test_cases"],
};

async function scoreSubtask(
  piston: Piston,
  problem: IoiProblem,
  solution: string,
  batchSize: number,
  signal: AbortSignal | undefined,
): Promise<number> {
  const scores = new Map(problem.test_names.map((name) => [name, 0]));
  for (const names of batched(problem.test_names, batchSize)) {
    const results = await Promise.all(
      names.map(async (name) => {
        const score = readScore(await piston.execute(ioiJob(problem, solution, await findTest(problem, name)), signal));
        scores.set(name, score);
        return score;
      }),
    );
    // The worst is known; the others stay at 0 and change nothing.
    if (results.includes(0)) break;
  }
  return scores.size === 0 ? 0 : round(Math.min(...scores.values()), Number(problem.score_precision));
}

/** The package stops a solution itself; the service only if that should fail. */
const SPARE_SECONDS = 3;

function ioiJob(problem: IoiProblem, solution: string, [input, output]: IoiTest): PistonJob {
  const graders = problem.grader_files.map(([name, content]) => ({ name, content: content ?? "" }));
  return {
    language: "cms_ioi",
    files: [
      { name: `graders/${problem.id.toLowerCase()}.cpp`, content: solution },
      { name: "input.txt", content: input },
      ...(output ? [{ name: "correct_output.txt", content: output }] : []),
      ...graders.filter(({ content }) => content !== ""),
    ],
    run_timeout: Math.round((problem.time_limit + SPARE_SECONDS) * 1000),
    run_memory_limit: Number(problem.memory_limit),
  };
}

/** The package prints the score. */
function readScore({ compile, run }: PistonResult): number {
  if (compile && compile.code !== 0) return 0;
  if (run === undefined) throw new ServiceError("Piston ran nothing", false);
  if (run.code === 1 && run.stderr.includes("MemoryError")) return 0;
  if (run.stdout !== "") {
    const score = parseFloatStrictly(run.stdout);
    if (score === undefined) throw new ServiceError(`Piston printed no score: ${run.stdout.slice(0, 80)}`, false);
    return score;
  }
  if (run.signal === "SIGKILL" || run.code === 0) return 0;
  throw new ServiceError(`Piston ended with ${run.code ?? run.signal}: ${run.stderr.slice(0, 200)}`, false);
}

async function findTest(problem: IoiProblem, name: string): Promise<IoiTest> {
  const own = problem.test_cases;
  const given = own == null ? undefined : isList(own) ? own[problem.test_names.indexOf(name)] : own[name];
  const test = given ?? (own == null ? await hubTest(Number(problem.year), problem.id, name) : undefined);
  if (test) return test;
  throw new GrpoError("BAD_DATASET", `there is no test ${name} of the problem ${problem.id}`);
}

function isList(tests: NonNullable<IoiProblem["test_cases"]>): tests is readonly IoiTest[] {
  return Array.isArray(tests);
}

type TestRow = {
  readonly problem_id: string;
  readonly test_name: string;
  readonly test_input: string;
  readonly test_output: string;
};

interface TestsOfYear {
  readonly rows: Dataset<TestRow>;
  /** The row of a test, by testKey. */
  readonly index: ReadonlyMap<string, number>;
}

const years = new Map<number, Promise<TestsOfYear>>();

async function hubTest(year: number, problem: string, name: string): Promise<IoiTest | undefined> {
  const loading = years.get(year) ?? loadTests(year);
  years.set(year, loading);
  // A download that failed may succeed at the next call.
  loading.catch(() => years.delete(year));
  const { rows, index } = await loading;
  const at = index.get(testKey(problem, name));
  if (at === undefined) return undefined;
  const { test_input: input, test_output: output } = rows.at(at);
  return [input, output];
}

const testKey = (problem: string, name: string): string => JSON.stringify([problem, name]);

/** Reads the names of a year's tests. The texts, a gigabyte a year, stay in the file until they are asked for. */
async function loadTests(year: number): Promise<TestsOfYear> {
  const source = { name: String(year), split: "train" } as const;
  const id = "open-r1/ioi-test-cases";
  const names = await loadDataset<TestRow>(id, { ...source, columns: ["problem_id", "test_name"] });
  const index = new Map([...names].map((row, i) => [testKey(row.problem_id, row.test_name), i]));
  return { rows: await loadDataset<TestRow>(id, source), index };
}
