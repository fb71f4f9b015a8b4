// open-r1's rewards for Python programs that are tested by what they print: code and binary_code.

import { show } from "../../checks.js";
import { GrpoError } from "../../errors.js";
import { isJsonObject } from "../../json.js";
import { requiredColumn } from "../columns.js";
import { extractCode, lastContent } from "./programs.js";
import { type GraderJob, type GraderOptions, pythonGrader, type TestCase } from "./python-graders.js";
import { type CodeBatch, settle } from "./service.js";

/** Where and how long the programs of completions run. */
export interface CodeOptions extends GraderOptions {
  /** Refuse a call whose rows name several languages. Default false. */
  readonly enforceSameLanguage?: boolean;
}

/** The column that open-r1's data sets of problems have. */
export interface VerificationInfo {
  readonly language?: string;
  readonly test_cases: readonly TestCase[];
}

export type VerifiedBatch = CodeBatch & { readonly verification_info: readonly VerificationInfo[] };

/** A reward function, with where it executes what the model writes. */
export type ExecutingReward<Batch> = ((batch: Batch) => Promise<(number | null)[]>) & { readonly executesOn: string };

/** open-r1's code_reward: the share of `verification_info.test_cases` that the last Python block passes. */
export function code(options: CodeOptions = {}): ExecutingReward<VerifiedBatch> {
  return executing("code", options, (share) => share);
}

/** open-r1's binary_code_reward: 1 for a program that passes all, else 0. */
export function binaryCode(options: CodeOptions = {}): ExecutingReward<VerifiedBatch> {
  return executing("binaryCode", options, (share) => (share > 0.99 ? 1 : 0));
}

function executing(
  name: string,
  { enforceSameLanguage = false, ...options }: CodeOptions,
  rewardOf: (share: number) => number,
): ExecutingReward<VerifiedBatch> {
  const grader = pythonGrader(name, options);
  const reward = async (batch: VerifiedBatch): Promise<(number | null)[]> => {
    const infos = requiredColumn(name, batch, "verification_info");
    const jobs = batch.completions.map((completion, i): GraderJob => {
      const tests = testCases(infos[i]);
      return { code: extractCode(lastContent(completion), "python"), tests };
    });
    if (enforceSameLanguage) checkLanguages(batch.verification_info);
    const shares = await settle(await grader.grade(jobs, batch.signal), batch);
    return shares.map((share) => (share === null ? null : rewardOf(share)));
  };
  return Object.assign(named(reward, name), { executesOn: grader.executesOn, columns: ["verification_info"] });
}

/** Gives a function the name that logs have. */
export function named<T extends object>(fn: T, name: string): T {
  return Object.defineProperty(fn, "name", { value: name });
}

function testCases(info: unknown): readonly TestCase[] {
  const tests: unknown = isJsonObject(info) ? info.test_cases : undefined;
  const isTest = (test: unknown): test is TestCase =>
    isJsonObject(test) && typeof test.input === "string" && typeof test.output === "string";
  if (Array.isArray(tests) && tests.every(isTest)) return tests;
  throw new GrpoError("BAD_DATASET", `the column verification_info has no test cases: ${show(info)}`, {
    hint: "expected { test_cases: [{ input: text, output: text }, …] }, as in open-r1/verifiable-coding-problems-python",
  });
}

function checkLanguages(infos: readonly VerificationInfo[]): void {
  const languages = [...new Set(infos.map(({ language }) => language))];
  if (languages.length < 2) return;
  throw new GrpoError("BAD_DATASET", `the rows of one call have several languages: ${languages.join(", ")}`, {
    hint: "leave enforceSameLanguage out, or filter the data set",
  });
}
