// Answers that ask for a reward they have not earned. Each is a known way to fool an answer checker.

import { rewards } from "grpo";
import { describe, expect, it } from "vitest";

const reward = (solution: string, completion: string) =>
  rewards.accuracy({ solution: [solution], completions: [[{ role: "assistant", content: completion }]] })[0];

describe("an answer that has not been earned", () => {
  const wrong: readonly (readonly [string, string, string])[] = [
    ["a false equation whose last side is right", "5", "\\boxed{4=5}"],
    ["the same in math mode", "$4$", "The answer is $8=4$."],
    ["a false equation of fractions", "$\\frac{1}{2}$", "\\boxed{\\frac{1}{3} = \\frac{1}{2}}"],
    ["several boxes of different answers", "$3$", "\\boxed{1} \\boxed{2} \\boxed{3}"],
    ["several answers in one box", "$3$", "\\boxed{1, 2, 3}"],
    ["either of two answers", "$3$", "\\boxed{3 \\text{ or } 4}"],
    ["a range that holds the answer", "$3$", "\\boxed{[1, 5]}"],
    ["the right box first and another last", "$3$", `\\boxed{3} ${"and so on. ".repeat(10)} \\boxed{4}`],
    ["the problem's own number, echoed", "$3$", "The problem says that $x = 3$ is given. \\boxed{7}"],
    ["a number that no box or sentence announces", "$3$", "We know $3$, and $3$ again."],
    ["a tower of powers", "$9^{9^{9^{9}}}$", "\\boxed{9^{9^{9^{8}}}}"],
    ["NaN against a number", "$3$", "\\boxed{\\text{NaN}}"],
    ["a division by zero", "$3$", "\\boxed{\\frac{1}{0}}"],
    ["zero over zero against itself", "$\\frac{0}{0} + 1$", "\\boxed{1 + \\frac{0}{0}}"],
    ["infinity minus infinity", "$0$", "\\boxed{\\infty - \\infty}"],
    ["an infinity against a large number", "$10^{400}$", "\\boxed{10^{500}}"],
    ["an empty box", "$3$", "\\boxed{}"],
    ["an empty box against an empty gold", "\\boxed{ }", "\\boxed{}"],
    ["an empty completion", "$3$", ""],
    ["a name for the answer", "$3$", "\\boxed{\\text{the answer}}"],
    ["a function of the answer", "$3$", "\\boxed{f(3)}"],
    ["an unfinished box", "$35$", "\\boxed{3"],
    ["a set with the answer in it", "$\\{1,2\\}$", "\\boxed{\\{1,2,3\\}}"],
    ["all real numbers", "$(1, 2)$", "\\boxed{\\mathbb{R}}"],
    ["an identity in place of an equation", "$y = 2x$", "\\boxed{y = y}"],
    ["zero equal to zero", "$x + y = 3$", "\\boxed{0 = 0}"],
  ];
  for (const [what, solution, completion] of wrong) {
    it(`${what} gets nothing`, () => {
      expect(reward(solution, completion)).not.toBe(1);
    });
  }

  it("a right answer framed in the same ways is rewarded", () => {
    expect(reward("$5$", "\\boxed{2+3=5}")).toBe(1);
    expect(reward("$3$", "\\boxed{x = 3}")).toBe(1);
    expect(reward("$3$", "\\boxed{\\text{3}}")).toBe(1);
    expect(reward("$3$", `\\boxed{4} ${"was wrong. ".repeat(10)} \\boxed{3}`)).toBe(1);
    expect(reward("$9^{9^{9^{9}}}$", "\\boxed{9^{9^{9^{9}}}}")).toBe(1);
  });
});
