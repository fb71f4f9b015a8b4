// A problem of Codeforces, as the rows of the data set open-r1/codeforces have it: its limits, its tests, how outputs are compared.

import type { TestCase } from "./python-graders.js";

/** Columns of open-r1/codeforces. */
export interface CodeforcesColumns {
  readonly id: readonly string[];
  /** "python" or "cpp"; a row with another one, or with none, has no reward. */
  readonly language?: readonly (string | null)[];
  readonly official_tests: readonly (readonly TestCase[] | null)[];
  /** Seconds. */
  readonly time_limit: readonly number[];
  /** Megabytes. */
  readonly memory_limit: readonly number[];
  readonly input_mode: readonly (string | null)[];
  /** A program in Python that compares outputs. */
  readonly generated_checker?: readonly (string | null)[];
}

/** One row of it. */
export type CodeforcesProblem = { readonly [K in keyof CodeforcesColumns]: NonNullable<CodeforcesColumns[K]>[number] };
