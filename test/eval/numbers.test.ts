// The numbers of an evaluation against NumPy and SciPy on the same completions (scripts/golden/evaluation.py): estimators, intervals with
// the same resampling, the majority, and p-values.

import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { compare } from "../../lib/eval/compare.js";
import { bootstrapMeans, type Estimate, kValues, majority, passAtK } from "../../lib/eval/estimators.js";
import { signFlipTest } from "../../lib/eval/paired-test.js";
import type { CompletionLine } from "../../lib/eval/records.js";
import { passResult } from "../../lib/eval/summary.js";

interface Run {
  readonly name: string;
  readonly doSample: boolean;
  readonly seed: number;
  readonly groups: readonly (readonly CompletionLine[])[];
  readonly metrics: Readonly<Record<string, Estimate>>;
}
interface Compared {
  readonly before: string;
  readonly after: string;
  readonly seed: number;
  readonly metrics: Readonly<Record<string, Record<string, unknown> & { difference: Estimate; p: number }>>;
}

const file = new URL("../fixtures/golden/evaluation.json", import.meta.url);
const golden = JSON.parse(await readFile(file, "utf8")) as { runs: Run[]; differences: Compared[] };
const runNamed = (name: string) => golden.runs.find((run) => run.name === name) as Run;

/** Sums in another order round apart in the last bits. */
const near = (value: number) => expect.closeTo(value, 12);
const nearEstimate = ({ value, low, high }: Estimate) => ({ value: near(value), low: near(low), high: near(high) });

describe("the numbers of completions", () => {
  it.each(golden.runs.map((run) => [run.name, run] as const))("%s", (_, run) => {
    const { metrics, completions, unscored } = passResult(run.groups, run.doSample, run.seed);
    expect(Object.keys(metrics)).toEqual(Object.keys(run.metrics));
    for (const [metric, estimate] of Object.entries(run.metrics)) {
      expect(metrics[metric], metric).toEqual(nearEstimate(estimate));
    }
    expect(completions).toBe(run.groups[0]?.length);
    expect(unscored).toBe(run.groups.filter((lines) => lines.some(({ score }) => score === null)).length);
  });

  it("tells pass@k beside pass@1: two models of one pass@1 differ in it", () => {
    // One solves half of the problems always, the other all of them half of the time.
    const group = (passed: number) =>
      Array.from({ length: 8 }, (_, i) => ({ score: Number(i < passed) }) as CompletionLine);
    const narrow = passResult([group(8), group(0)], true, 0).metrics;
    const wide = passResult([group(4), group(4)], true, 0).metrics;
    expect([narrow["pass@1"]?.value, wide["pass@1"]?.value]).toEqual([0.5, 0.5]);
    expect(narrow["pass@4"]?.value).toBe(0.5);
    expect(wide["pass@4"]?.value).toBeCloseTo(1 - 1 / 70, 12);
  });
});

describe("the paired difference", () => {
  it.each(golden.differences.map((one) => [`${one.before}, ${one.after}`, one] as const))("%s", (_, one) => {
    const { doSample } = runNamed(one.before);
    const drawing = doSample ? "sampled" : "greedy";
    const { differences } = compare(evaluated(one.before, one.seed), evaluated(one.after, one.seed));
    expect(differences.map(({ metric }) => metric)).toEqual(Object.keys(one.metrics));
    for (const found of differences) {
      const { difference, p, before, after, ...rest } = one.metrics[found.metric] as Record<string, number> & {
        difference: Estimate;
      };
      expect(found, found.metric).toEqual({
        task: "t",
        drawing,
        metric: found.metric,
        difference: nearEstimate(difference),
        p: near(p as number),
        before: near(before as number),
        after: near(after as number),
        ...rest,
      });
    }
  });

  it("is McNemar's exact test where scores are 0 and 1, whatever has not changed", () => {
    const changes = [1, 1, 1, 1, 1, 1, 1, 1, -1, -1, 0, 0, 0, 0];
    // 2 (1 + 10 + 45) / 2^10
    expect(signFlipTest(changes, 0)).toEqual({ p: 112 / 1024, exact: true });
    expect(signFlipTest([0, 0, Number.NaN], 0)).toEqual({ p: 1, exact: true });
    expect(signFlipTest([], 0)).toEqual({ p: 1, exact: true });
  });

  it("counts every flip of a thousand problems, and draws where differences are on no grid", () => {
    const many = Array.from({ length: 1000 }, (_, i) => (i % 10 < 6 ? 1 : -1));
    const { p, exact } = signFlipTest(many, 0);
    expect(exact).toBe(true);
    // P(Binomial(1000, 1/2) >= 600) = 1.3642e-10, on both sides.
    expect(p / 2.7284e-10).toBeCloseTo(1, 3);
    const loose = signFlipTest([Math.PI, Math.E, -Math.SQRT2, Math.LN2], 3);
    expect(loose.exact).toBe(false);
    expect(signFlipTest([Math.PI, Math.E, -Math.SQRT2, Math.LN2], 3)).toEqual(loose);
  });
});

function evaluated(name: string, seed: number) {
  const run = runNamed(name);
  const completions = run.groups.flat().map((line) => ({ ...line, task: "t", do_sample: run.doSample }));
  const task = {
    task: "t",
    digest: "d",
    grader: "g",
    greedy: run.doSample ? null : {},
    sampled: run.doSample ? {} : null,
  };
  return { result: { settings: { seed }, tasks: [task] }, problems: [], completions } as never;
}

it("estimates pass@k without bias: the share of all draws of k completions that have one which passes", () => {
  expect(passAtK(4, 1, 2)).toBeCloseTo(3 / 6, 15);
  expect(passAtK(5, 0, 5)).toBe(0);
  expect(passAtK(5, 1, 5)).toBe(1);
  expect(passAtK(64, 3, 1)).toBeCloseTo(3 / 64, 15);
  expect([1, 4, 6, 64].map(kValues)).toEqual([[1], [1, 2, 4], [1, 2, 4, 6], [1, 2, 4, 8, 16, 32, 64]]);
});

it("elects what most say; of as many votes the first; nobody where nobody votes", () => {
  expect(majority([0, 1, 1, null, 0, 1])).toBe(1);
  expect(majority([0, 1, 1, 0])).toBe(0);
  expect(majority([null, null, 2])).toBe(2);
  expect(majority([null])).toBeUndefined();
});

it("resamples problems, not completions, and gives one problem no width", () => {
  const { a } = bootstrapMeans({ a: [0.25] }, 1, 0);
  expect(a).toEqual({ value: 0.25, low: 0.25, high: 0.25 });
});
