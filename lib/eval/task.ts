// What a model is evaluated on: problems as prompts, and how what it says to them is graded. Benchmarks are tasks, and so is any data
// set with a reward function.

import { createHash } from "node:crypto";
import type { FinishReason, Prompt, TokenIds } from "../types.js";

/** A problem of a task. */
export interface Problem {
  readonly prompt: Prompt;
  /** The right answer, for people; null where there is none to show. */
  readonly gold: string | null;
  /** The row of the data set, for the grader. */
  readonly row: Readonly<Record<string, unknown>>;
}

/** What a model said to a problem. */
export interface Answer {
  /** The turn as text, reasoning included: what reward functions are given in training. */
  readonly text: string;
  /** What follows the reasoning; "" where a limit cut the turn before. The same as `text` where nothing is marked as reasoning. */
  readonly final: string;
  /** Why it ended: "length" where a limit cut it. A server calls both of the others "stop", which is "eos" here. */
  readonly finishReason: FinishReason;
  /** Sampled tokens, the end token too; null where a server does not say how many. */
  readonly tokens: number | null;
  /** Their ids; null from a server. */
  readonly ids: TokenIds | null;
}

/** How an answer did. */
export interface Grade {
  /** 1 is right, 0 is wrong; of a reward function whatever it gives. null: it abstains. */
  readonly score: number | null;
  /** What was read as the answer; null: nothing could be. Undefined: this task reads no answers. */
  readonly answer?: string | null;
  /**
   * Which of the answers to the problem, counted from 0, was the first to say the same; null where nothing could be read. Undefined:
   * this task reads no answers, so there is no majority.
   */
  readonly vote?: number | null;
  /** Whether the answer stands where the prompt asks for it. Undefined: the prompt asks for no form. */
  readonly format?: boolean;
  /** Other numbers, by name. */
  readonly scores?: Readonly<Record<string, number | null>>;
}

/** Who grades. Scores move with its version, so every grade names it. */
export interface Grader {
  readonly name: string;
  readonly version: string;
  /** Grades the answers to one problem. */
  grade(problem: Problem, answers: readonly Answer[], signal: AbortSignal): Promise<readonly Grade[]>;
  /** Lets go of what it holds, such as processes. */
  close?(): Promise<void>;
}

/** For each answer the first that says the same. */
export function votesOf<T>(read: readonly (T | null)[], same: (a: T, b: T) => boolean): (number | null)[] {
  const votes: (number | null)[] = [];
  for (const [i, answer] of read.entries()) {
    const agrees = (other: T | null, j: number) =>
      votes[j] === j && other !== null && answer !== null && same(other, answer);
    const first = read.slice(0, i).findIndex(agrees);
    votes.push(answer === null ? null : first < 0 ? i : first);
  }
  return votes;
}

/** A task with its problems read. */
export interface Task {
  readonly name: string;
  /** Where the rows are from. */
  readonly source: string;
  readonly problems: readonly Problem[];
  /** Rows of the data that are no problems here, such as those whose instructions cannot be checked. */
  readonly leftOut: number;
  readonly grader: Grader;
  /** Limit of new tokens, unless the evaluation has another. */
  readonly maxNewTokens: number;
  /** Sampled completions of each problem, unless the evaluation says. */
  readonly samples: number;
}

/** Two tasks with the same digest ask the same questions and know the same answers. */
export function digestOf({ problems }: Pick<Task, "problems">): string {
  const hash = createHash("sha256");
  for (const { prompt, gold } of problems) hash.update(`${JSON.stringify([prompt, gold])}\n`);
  return hash.digest("hex");
}
