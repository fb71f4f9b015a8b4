import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { type Advantages, computeAdvantages } from "../../lib/grpo/advantages.js";
import { rolloutMetrics } from "../../lib/grpo/metrics.js";
import type { ScoredGroups } from "../../lib/grpo/score.js";

interface Case {
  readonly rewards: (number | null)[][];
  readonly weights: number[];
  readonly groupSize: number;
  readonly scaleRewards: "group" | "batch" | "none";
  readonly multiObjectiveAggregation: "sum_then_normalize" | "normalize_then_sum";
  readonly advantages: number[];
  readonly metrics: Record<string, number | null>;
}

const golden = new URL("../fixtures/golden/advantages.json", import.meta.url);
const cases: Case[] = JSON.parse(readFileSync(golden, "utf8"));

/** One completion of two tokens for each column of the rewards. */
function groupWith(rewards: (number | null)[][], scored: Advantages): ScoredGroups {
  const rollouts = Array.from(scored.rewards, (reward, i) => ({
    samples: [
      {
        promptIds: [1],
        completionIds: [1, 2],
        samplingLogprobs: new Float32Array(2),
        finishReason: "eos" as const,
      },
    ],
    completion: "c",
    rewards: rewards.map((row) => row[i] ?? null),
    extras: {},
    reward,
    advantage: scored.advantages[i] ?? 0,
  }));
  const groups = [{ row: 0, prompt: "p", promptIds: [1], rollouts }];
  return { groups, trained: groups, fractionZeroStd: scored.fractionZeroStd };
}

test("the fixture covers every way of scaling and of adding up", () => {
  expect(new Set(cases.map((c) => c.multiObjectiveAggregation)).size).toBe(2);
  expect(cases.length).toBeGreaterThan(0);
  expect(new Set(cases.map((c) => c.scaleRewards))).toEqual(new Set(["group", "batch", "none"]));
});

test.each(cases.map((c, i) => [`${i} ${c.scaleRewards} ${c.multiObjectiveAggregation}`, c] as const))(
  "advantages equal TRL's, case %s",
  (_, c) => {
    const { advantages } = computeAdvantages(c.rewards, c);
    // TRL adds up in float32; where a group has no spread its rounding leaves up to 1e-4 in place of our exact 0.
    c.advantages.forEach((expected, i) => {
      const flat = Math.abs(expected) < 1e-3;
      expect(Math.abs((advantages[i] ?? Number.NaN) - expected)).toBeLessThan(flat ? 1e-3 : 2e-5 * Math.abs(expected));
    });
  },
);

test.each(cases.map((c, i) => [`${i} ${c.scaleRewards} ${c.multiObjectiveAggregation}`, c] as const))(
  "metrics equal TRL's, case %s",
  (_, c) => {
    const scored = computeAdvantages(c.rewards, c);
    const names = c.rewards.map((_, k) => `f${k}`);
    const metrics = rolloutMetrics(groupWith(c.rewards, scored), [], names);
    for (const [name, expected] of Object.entries(c.metrics)) {
      if (expected === null) expect(metrics[name], name).toBeNaN();
      else expect(metrics[name], name).toBeCloseTo(expected, 5);
    }
  },
);

test("the advantages of a group add up to 0", () => {
  const { advantages } = computeAdvantages([[0.3, 1.7, -2, 0.1]], {
    weights: [1],
    groupSize: 4,
    scaleRewards: "group",
  });
  expect(Math.abs(advantages.reduce((a, b) => a + b, 0))).toBeLessThan(1e-6);
});

test("a group without spread has advantage 0 exactly and is marked", () => {
  const rewards = [[0.1, 0.1, 0.1, 0.5, 0.2, 0.3]];
  const scored = computeAdvantages(rewards, { weights: [1], groupSize: 3, scaleRewards: "group" });
  expect([...scored.advantages.subarray(0, 3)]).toEqual([0, 0, 0]);
  expect(scored.zeroSpread).toEqual([true, false]);
  expect(scored.fractionZeroStd).toBe(0.5);
});

test("a function without spread says nothing, and a group that none tells apart has advantage 0", () => {
  const rewards = [
    [1, 0, 2, 2, 5, 5],
    [3, 3, 0, 1, 7, 7],
  ];
  const options = { weights: [1, 1], groupSize: 2, scaleRewards: "group" } as const;
  const scored = computeAdvantages(rewards, { ...options, multiObjectiveAggregation: "normalize_then_sum" });
  expect(scored.zeroSpread).toEqual([false, false, true]);
  expect([...scored.advantages.subarray(4)]).toEqual([0, 0]);
  // Each function normalizes its own group, so both groups weigh the same whatever the size of the rewards.
  const [first = 0, second = 0, third = 0] = scored.advantages;
  expect([first, first + second, third + first]).toEqual([expect.closeTo(1.118, 2), 0, expect.closeTo(0, 3)]);
});

test("a group of one and a completion nobody scored have advantage 0", () => {
  const one = computeAdvantages([[5]], { weights: [1], groupSize: 1, scaleRewards: "group" });
  expect([...one.advantages]).toEqual([0]);
  const none = computeAdvantages([[null, 1, 2]], { weights: [1], groupSize: 3, scaleRewards: "group" });
  expect(none.advantages[0]).toBe(0);
  expect(none.rewards[0]).toBeNaN();
});

test("rewards that do not fill groups are refused", () => {
  const options = { weights: [1], groupSize: 2, scaleRewards: "group" } as const;
  expect(() => computeAdvantages([[1, 2, 3]], options)).toThrow("3 rewards cannot be cut into groups of 2");
});

test.each([0.1, 1e12 + 0.1, 1e7 / 3, -1e15 - 0.3, 1e20, 1e30, 1e300, 1.7e308, Number.MIN_VALUE])(
  "equal rewards of %d have advantage 0, however they are scaled, weighted and added up",
  (value) => {
    for (const groupSize of [2, 3, 7, 8, 16]) {
      for (const scaleRewards of ["group", "batch", "none"] as const) {
        for (const multiObjectiveAggregation of ["sum_then_normalize", "normalize_then_sum"] as const) {
          const rewards = new Array<number>(2 * groupSize).fill(value);
          const options = { weights: [0.3, 0.7], groupSize, scaleRewards, multiObjectiveAggregation };
          const found = computeAdvantages([rewards, rewards], options);
          expect([...found.advantages].every((advantage) => advantage === 0)).toBe(true);
          expect(found.zeroSpread).toEqual([true, true]);
          expect(found.fractionZeroStd).toBe(1);
        }
      }
    }
  },
);

test("sums that differ by rounding alone are equal, and a difference that float32 can tell is none of rounding", () => {
  const options = { weights: [1, 1], groupSize: 4, scaleRewards: "group" } as const;
  const big = 1e12;
  // 0.1 + 0.2 and 0.3 of it, which are not the same double.
  const sums = [
    [0.1 * big, 0.3 * big, 0.1 * big, 0.3 * big],
    [0.2 * big, 0, 0.2 * big, 0],
  ];
  expect([...computeAdvantages(sums, options).advantages]).toEqual([0, 0, 0, 0]);
  const near = [[big, big * (1 + 2 ** -23), big, big]];
  const { advantages } = computeAdvantages(near, { ...options, weights: [1] });
  expect(advantages[1]).toBeCloseTo(1.5, 4);
});

test("what overflows ends as in TRL's nan_to_num: no advantage is infinite or NaN", () => {
  const rewards = [[1.7e308, 1.7e308, -1.7e308, 0]];
  for (const scaleRewards of ["group", "batch", "none"] as const) {
    for (const weights of [[1], [10]]) {
      const { advantages } = computeAdvantages(rewards, { weights, groupSize: 4, scaleRewards });
      expect([...advantages].every(Number.isFinite)).toBe(true);
    }
  }
});
