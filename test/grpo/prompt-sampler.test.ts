import { expect, test } from "vitest";
import { PromptSampler } from "../../lib/rollout/prompt-sampler.js";

const order = { rows: 10, promptsPerGeneration: 3, shuffle: true, seed: 42 };

function epochRows(options: typeof order, epoch: number): number[] {
  const sampler = new PromptSampler(options);
  return [0, 1, 2].flatMap((step) => sampler.take(3 * (epoch * 3 + step), 3));
}

test("an epoch shows each row at most once and leaves out those that fill no step", () => {
  const rows = epochRows(order, 0);
  expect(new Set(rows).size).toBe(9);
  expect(rows.every((row) => row >= 0 && row < 10)).toBe(true);
});

test("a step's rows depend on seed and step only, not on what was asked before", () => {
  const forward = new PromptSampler(order);
  const steps = [0, 1, 2, 3, 4, 5, 6].map((step) => forward.take(3 * step, 3));
  expect(new PromptSampler(order).take(15, 3)).toEqual(steps[5]);
  expect(forward.take(3, 3)).toEqual(steps[1]);
  expect(epochRows({ ...order, seed: 43 }, 0)).not.toEqual(epochRows(order, 0));
});

test("epochs differ, and over many of them every row comes first about equally often", () => {
  expect(epochRows(order, 1)).not.toEqual(epochRows(order, 0));
  const sampler = new PromptSampler({ ...order, rows: 5, promptsPerGeneration: 5 });
  const first = new Array<number>(5).fill(0);
  for (let epoch = 0; epoch < 5000; epoch++) {
    const row = sampler.take(5 * epoch, 5)[0] ?? 0;
    first[row] = (first[row] ?? 0) + 1;
  }
  // Chi-square with 4 degrees of freedom: 18.5 is exceeded once in a thousand.
  expect(first.reduce((sum, n) => sum + (n - 1000) ** 2 / 1000, 0)).toBeLessThan(18.5);
});

test("without shuffling rows come in order", () => {
  expect(epochRows({ ...order, shuffle: false }, 2)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
});
