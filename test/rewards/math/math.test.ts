// The module grpo/math: parse and verify, their options, and what they refuse.

import {
  ExprExtractionConfig,
  formatParsed,
  LatexExtractionConfig,
  NormalizationConfig,
  parse,
  StringExtractionConfig,
  verify,
} from "grpo/math";
import { describe, expect, it } from "vitest";

const read = (text: string, options?: Parameters<typeof parse>[1]) => formatParsed(parse(text, options));
const equal = (gold: string, answer: string, options?: Parameters<typeof verify>[2]) =>
  verify(parse(gold), parse(answer), options);

describe("parse", () => {
  it("prefers a final answer that is hoped for, then boxes, then what follows 'answer', then anything", () => {
    const text = "We have $1$. Answer: $2$. \\boxed{3} The final answer is $4$. I hope it is correct.";
    expect(read(text)).toBe('[4, "4"]');
    expect(read("We have $1$. Answer: $2$. \\boxed{3} And $5$.")).toBe('[3, "3"]');
    expect(read("We have $1$. Answer: $2$. And $5$.")).toBe('[2, "2"]');
    expect(read("We have $1$. And $5$.")).toBe('[5, "5"]');
  });

  it("reads boxes in the order that boxedMatchPriority gives them, or not at all", () => {
    const text = "The final answer is $1$ or \\boxed{2}";
    const config = (boxedMatchPriority: number) => ({
      extractionConfig: [new LatexExtractionConfig({ boxedMatchPriority })],
    });
    expect(read(text, config(0))).toBe('[2, "2"]');
    expect(read(text, config(60))).toBe('[1, "1"]');
    expect(parse("\\boxed{2}", config(-1))).toEqual([]);
  });

  it("goes on to the next match in any_match, and not in first_match", () => {
    const text = "Answer: $3$ and so the answer: $\\foo$";
    expect(read(text, { extractionMode: "any_match" })).toBe('[3, "\\\\foo"]');
    expect(read(text, { extractionMode: "first_match" })).toBe('["\\\\foo"]');
    expect(read(text, { extractionMode: "first_match", fallbackMode: "no_fallback" })).toBe("[]");
  });

  it("reads plain numbers, percentages and arithmetic", () => {
    const plain = { extractionConfig: [new ExprExtractionConfig()] };
    expect(read("#### 1,234.50", plain)).toBe('[1234.5, "1234.50"]');
    expect(read("it costs $18", plain)).toBe('[18, "18"]');
    expect(read("about 30 percent", plain)).toBe('[30*(1/100), "30"]');
    expect(read("that is 3/4", plain)).toBe('[3*(4^(-1)), "3/4"]');
    expect(parse("AZYUK2A", plain)).toEqual([]);
    expect(
      read("only an answer counts: answer 7", {
        extractionConfig: [new ExprExtractionConfig({ tryExtractWithoutAnchor: false })],
      }),
    ).toBe('[7, "7"]');
  });

  it("reads letters of choices", () => {
    const letters = { extractionConfig: [new StringExtractionConfig()] };
    expect(parse("The answer is B.", letters)).toEqual(["b", "B"]);
    expect(parse("No valid answer here", letters)).toEqual([]);
  });

  it("repairs malformed operators only if asked", () => {
    const normalizationConfig = new NormalizationConfig({ units: true });
    const strictly = { extractionConfig: [new LatexExtractionConfig({ normalizationConfig })] };
    expect(read("$\\frac12$")).toBe('[1/2, "\\\\frac{1}{2}"]');
    expect(read("$\\frac12$", strictly)).toBe('["\\\\frac12"]');
  });

  it("reads the answers of real data sets' solutions", () => {
    expect(read("9 * 2 = $<<9*2=18>>18 every day.\n#### 18")).toBe('[18, "18"]');
    expect(read("Hence $x^2=9$, so $x=\\boxed{-3}.$")).toBe('[-3, "-3"]');
    expect(read("The coefficient is\n\\[\n\\boxed{\\frac{63}{400}}\n\\]")).toBe('[63/400, "\\\\frac{63}{400}"]');
  });

  it("refuses unknown options and values by name", () => {
    expect(() => parse("1", { fallback: true } as never)).toThrow(/unknown option "fallback"/);
    expect(() => parse("1", { extractionMode: "all" as never })).toThrow(/first_match, any_match/);
    expect(() => new LatexExtractionConfig({ boxedMatchPriority: "0" as never })).toThrow(/must be a number/);
    expect(() => verify([], [], { precision: 3 } as never)).toThrow(/floatRounding/);
  });
});

describe("verify", () => {
  it("is not symmetric: the gold's form decides", () => {
    expect(equal("$x = 5$", "$5$")).toBe(true);
    expect(equal("$2x + z = 5$", "$5$")).toBe(false);
    expect(equal("$1 < x < 2$", "$(1, 2)$")).toBe(true);
    expect(equal("$(1, 2)$", "$1 < x < 2$")).toBe(false);
    expect(equal("$(1, 2)$", "$1 < x < 2$", { allowSetRelationComp: true })).toBe(true);
  });

  it("compares decimals after rounding to floatRounding places", () => {
    expect(equal("$\\frac13$", "$0.333333$")).toBe(true);
    expect(equal("$\\frac13$", "$0.333$")).toBe(false);
    expect(equal("$\\frac13$", "$0.333$", { floatRounding: 3 })).toBe(true);
  });

  it("matches names of variables unless strict is off", () => {
    expect(equal("$f(x)$", "$f(y)$")).toBe(false);
    expect(equal("$f(x)$", "$f(y)$", { strict: false })).toBe(true);
  });

  it("throws on too much work only if asked to", () => {
    const heavy = "$\\sum_{a=1}^{9999}\\sum_{b=1}^{9999} (a+b)$";
    expect(equal(heavy, "$7$")).toBe(false);
    expect(() => equal(heavy, "$7$", { raiseOnError: true })).toThrow(/too much work/);
  });

  it("compares texts that do not parse as texts", () => {
    expect(verify("\\foo ", " \\foo")).toBe(true);
    expect(verify("", "")).toBe(false);
  });
});
