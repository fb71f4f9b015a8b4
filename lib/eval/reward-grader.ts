// Reward functions as graders: they get what a training would give them, and their rewards are the scores.

import { at } from "../at.js";
import { GrpoError } from "../errors.js";
import { RewardRuntime } from "../rewards/runtime.js";
import { type AnyRewardFn, freshState } from "../types.js";
import { type Answer, type Grade, type Grader, type Problem, votesOf } from "./task.js";

/** Columns of logExtra that hold the answer: one's own, and that of rewards.accuracy, which writes why there is none in brackets. */
const ANSWER_COLUMNS = ["answer", "answer_parsed"];
const NO_ANSWER: ReadonlySet<string> = new Set(["", "[unparseable]", "[skipped]", "[incomplete reasoning]"]);

/** The first function scores; the others' rewards are told beside. */
export function rewardGrader(functions: readonly AnyRewardFn[], version: string): Grader {
  const runtime = new RewardRuntime({ functions });
  return {
    name: runtime.names.join(", "),
    version,
    close: () => runtime.close(),
    async grade(problem, answers, signal) {
      const { rewards, extras } = await runtime.score(batchOf(problem, answers), signal);
      const read = ANSWER_COLUMNS.flatMap((name) => (extras[name] === undefined ? [] : [extras[name]]))[0]?.map(
        answerOf,
      );
      const votes = read && votesOf(read, (a, b) => a === b);
      return answers.map((_, i): Grade => {
        const others = runtime.names
          .slice(1)
          .map((name, k) => [`rewards/${name}`, at<number | null>(at(rewards, k + 1), i)] as const);
        return {
          score: at<number | null>(at(rewards, 0), i),
          ...(read === undefined || votes === undefined
            ? {}
            : { answer: at(read, i), vote: at(votes, i), format: read[i] !== null }),
          ...(others.length === 0 ? {} : { scores: Object.fromEntries(others) }),
        };
      });
    },
  };
}

function answerOf(value: unknown): string | null {
  if (value === null || value === undefined) return null;
  const text = String(value);
  return NO_ANSWER.has(text) ? null : text;
}

function batchOf({ prompt, row }: Problem, answers: readonly Answer[]) {
  const columns = Object.keys(row).filter((name) => name !== "prompt");
  return {
    prompts: answers.map(() => prompt),
    completions: answers.map(({ text }) =>
      typeof prompt === "string" ? text : [{ role: "assistant", content: text }],
    ),
    completionIds: idsOf(answers),
    finishReasons: answers.map(({ finishReason }) => finishReason),
    columns: Object.fromEntries(columns.map((name) => [name, answers.map(() => row[name])])),
    trainerState: freshState(1),
  };
}

/** A server says texts, and no ids: a function that reads ids is told so, in place of a number made of none. */
class NoIds extends Array<number[]> {
  override map(): never {
    throw new GrpoError("BAD_INPUT", "a server gives no token ids, which this reward function reads", {
      hint: "evaluate through the engine, or with a reward function that reads texts",
    });
  }
}

function idsOf(answers: readonly Answer[]): readonly (readonly number[])[] {
  const ids = answers.flatMap((answer) => (answer.ids === null ? [] : [answer.ids]));
  return ids.length === answers.length ? ids : new NoIds();
}
