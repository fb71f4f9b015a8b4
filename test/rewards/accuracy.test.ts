// rewards.accuracy and rewards.reasoningAccuracy: TRL's arguments, results and logged columns.

import { rewards } from "grpo";
import { describe, expect, it } from "vitest";

const assistant = (content: string) => [{ role: "assistant" as const, content }];

describe("rewards.accuracy", () => {
  it("gives 1 for a right answer, 0 for a wrong one and null when the solution cannot be read", () => {
    const completions = ["\\boxed{\\frac{1}{3}}", "\\boxed{\\frac{1}{2}}", "\\boxed{2}"].map(assistant);
    const solution = ["\\frac{1}{3}", "\\frac{1}{3}", "no numbers here"];
    expect(rewards.accuracy({ completions, solution })).toEqual([1, 0, null]);
  });

  it("reads completions that are text", () => {
    expect(rewards.accuracy({ completions: ["\\boxed{42}"], solution: ["#### 42"] })).toEqual([1]);
  });

  it("asks for LaTeX and not for a bare number", () => {
    expect(rewards.accuracy({ completions: ["The answer is 42."], solution: ["42"] })).toEqual([0]);
    expect(rewards.accuracy({ completions: ["The answer is $42$."], solution: ["42"] })).toEqual([1]);
  });

  it("logs the solution and what was read", () => {
    const logged: Record<string, readonly unknown[]> = {};
    const logExtra = (column: string, values: unknown[]) => {
      logged[column] = values;
    };
    const completions = ["\\boxed{0.5}", "nothing", "\\boxed{1}"].map(assistant);
    rewards.accuracy({ completions, solution: ["$\\frac12$", "$3$", "none"], logExtra });
    expect(logged).toEqual({
      solution: ["$\\frac12$", "$3$", "none"],
      gold_parsed: ['[1/2, "\\\\frac{1}{2}"]', '[3, "3"]', "[unparseable]"],
      answer_parsed: ['[0.5, "0.5"]', "[unparseable]", "[skipped]"],
    });
  });
});

describe("rewards.reasoningAccuracy", () => {
  const solution = ["\\frac{1}{3}"];

  it("judges what follows the last delimiter", () => {
    const right = assistant("<think> \\boxed{\\frac12} </think> The final answer is \\boxed{\\frac{1}{3}}");
    const wrong = assistant("<think> \\boxed{\\frac{1}{3}} </think> The final answer is \\boxed{\\frac{1}{2}}");
    expect(rewards.reasoningAccuracy({ completions: [right], solution })).toEqual([1]);
    expect(rewards.reasoningAccuracy({ completions: [wrong], solution })).toEqual([0]);
  });

  it("gives 0 for reasoning without an end, even when the solution cannot be read", () => {
    const completions = [assistant("<think> \\boxed{\\frac{1}{3}} but no final answer")];
    expect(rewards.reasoningAccuracy({ completions, solution })).toEqual([0]);
    expect(rewards.reasoningAccuracy({ completions, solution: ["none"] })).toEqual([0]);
  });

  it("takes other delimiters, the first of which occurs", () => {
    const completions = [assistant("</b> \\boxed{1} </a> \\boxed{2} </b>")];
    const reasoningDelimiters = ["</a>", "</b>"];
    expect(rewards.reasoningAccuracy({ completions, solution: ["2"], reasoningDelimiters })).toEqual([1]);
    expect(
      rewards.reasoningAccuracy({ completions: [assistant("</a>\\boxed{2}")], solution: ["2"], reasoningDelimiters }),
    ).toEqual([1]);
  });
});
