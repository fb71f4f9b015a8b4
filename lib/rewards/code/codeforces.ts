// open-r1's cf_code: a solution in Python or C++ to a problem of Codeforces, in rows of the data set open-r1/codeforces. Tests are
// the row's official ones and those in the folder CF_TESTS_FOLDER; a judge runs them.

import { existsSync } from "node:fs";
import path from "node:path";
import { at } from "../../at.js";
import { checkOneOf } from "../../checks.js";
import { loadDataset } from "../../dataset/load.js";
import { GrpoError } from "../../errors.js";
import { type ExecutingReward, named } from "./code.js";
import { type CodeforcesJudge, codeforcesJudge, type JudgeOptions, type Submission } from "./codeforces-judges.js";
import type { CodeforcesColumns, CodeforcesProblem } from "./codeforces-problem.js";
import { extractCode, lastContent, patchCode } from "./programs.js";
import type { TestCase } from "./python-graders.js";
import { batched, type CodeBatch, rowOf, settle } from "./service.js";

export const SCORING_MODES = ["pass_fail", "partial", "weighted_sum"] as const;
export type ScoringMode = (typeof SCORING_MODES)[number];

/** Where and how long solutions of Codeforces problems run. */
export interface CfCodeOptions extends JudgeOptions {
  /** Tests of a solution at once; -1: all. With pass_fail a failed one ends the judgement. Default 1. */
  readonly testBatchSize?: number;
  /** pass_fail: 1 or 0; partial: the share of tests; weighted_sum (default): the one plus a tenth of the other. */
  readonly scoringMode?: ScoringMode;
  /** Mend common mistakes in a solution first. Default false. */
  readonly patchCode?: boolean;
  /** Folder of generated tests. Default: that of CF_TESTS_FOLDER; without one, official tests only. */
  readonly testsFolder?: string;
}

type CodeforcesBatch = CodeBatch & CodeforcesColumns;

const NO_COMPILATION = -0.1;
const NO_SUBMISSION = -1;

/** open-r1's cf_code_reward; -1 without a block in the row's language, -0.1 for what does not compile. */
export function cfCode(options: CfCodeOptions = {}): ExecutingReward<CodeforcesBatch> {
  const { testBatchSize = 1, scoringMode = "weighted_sum", patchCode: patches = false, ...rest } = options;
  const { testsFolder = process.env.CF_TESTS_FOLDER || undefined, ...judging } = rest;
  checkOneOf("cfCode", "scoringMode", scoringMode, SCORING_MODES);
  if (testsFolder !== undefined && !existsSync(testsFolder)) {
    throw new GrpoError("FILE_NOT_FOUND", `cfCode: there is no folder ${testsFolder} of generated tests`, {
      hint: "download generated_tests/*.parquet of the data set open-r1/codeforces, or unset CF_TESTS_FOLDER",
    });
  }
  const judge = codeforcesJudge(judging);
  const scoring = { testBatchSize, scoringMode };
  const reward = async (batch: CodeforcesBatch): Promise<(number | null)[]> => {
    const problems = batch.completions.map((_, i) => rowOf<CodeforcesProblem>("cfCode", batch, i, COLUMNS));
    const generated = await Promise.all(problems.map(({ id }) => generatedTests(testsFolder, id)));
    const tasks = problems.map((problem, i) => {
      const { language } = problem;
      const tests = [...(problem.official_tests ?? []), ...at(generated, i)];
      if ((language !== "python" && language !== "cpp") || tests.length === 0) return null;
      const extracted = extractCode(lastContent(at(batch.completions, i)), language);
      if (extracted === "") return NO_SUBMISSION;
      const submission = { code: patches ? patchCode(extracted, language) : extracted, language } as const;
      return scoreSubmission(judge, problem, submission, tests, scoring, batch.signal);
    });
    return settle(tasks, batch);
  };
  const tested = testsFolder === undefined ? "; official tests only, as CF_TESTS_FOLDER is not set" : "";
  return Object.assign(named(reward, "cfCode"), {
    executesOn: `${judge.executesOn}${tested}`,
    columns: COLUMNS.required,
  });
}

const COLUMNS = {
  required: ["id", "time_limit", "memory_limit"],
  optional: ["language", "official_tests", "input_mode", "generated_checker"],
};

interface Scoring {
  readonly testBatchSize: number;
  readonly scoringMode: ScoringMode;
}

function scoreSubmission(
  judge: CodeforcesJudge,
  problem: CodeforcesProblem,
  submission: Submission,
  tests: readonly TestCase[],
  { testBatchSize, scoringMode }: Scoring,
  signal: AbortSignal | undefined,
): Promise<number> {
  return judge.submit(submission, signal, async (run) => {
    let passed = 0;
    for (const batch of batched(tests, testBatchSize)) {
      const verdicts = await Promise.all(batch.map((test) => run(problem, test)));
      if (verdicts.includes("not compiled")) return NO_COMPILATION;
      passed += verdicts.filter((verdict) => verdict === "passed").length;
      if (scoringMode === "pass_fail" && verdicts.includes("failed")) break;
    }
    const [all, share] = [passed === tests.length ? 1 : 0, passed / tests.length];
    return scoringMode === "pass_fail" ? all : scoringMode === "partial" ? share : all + 0.1 * share;
  });
}

type ContestTests = ReadonlyMap<string, readonly TestCase[]>;

/** The tests of a contest, read once; the groups of a run are many, and problems come in no order. */
const contests = new Map<string, Promise<ContestTests>>();
const MAX_CONTESTS = 32;

async function generatedTests(folder: string | undefined, problem: string): Promise<readonly TestCase[]> {
  const [contest = ""] = problem.split("/");
  if (folder === undefined || !/^\d+$/.test(contest)) return [];
  const file = path.join(folder, `test_cases_${contest.padStart(4, "0")}.parquet`);
  const loading = contests.get(file) ?? readContest(file);
  contests.delete(file);
  contests.set(file, loading);
  for (const oldest of contests.keys()) if (contests.size > MAX_CONTESTS) contests.delete(oldest);
  return (await loading).get(problem) ?? [];
}

async function readContest(file: string): Promise<ContestTests> {
  const tests = new Map<string, TestCase[]>();
  if (!existsSync(file)) return tests;
  type Row = TestCase & { readonly problem_id: string };
  for (const { problem_id: problem, input, output } of await loadDataset<Row>(file, { split: "train" })) {
    tests.set(problem, [...(tests.get(problem) ?? []), { input, output }]);
  }
  return tests;
}
