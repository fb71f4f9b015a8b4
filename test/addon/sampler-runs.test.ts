// Whole trainings on completions that another engine drew, against TRL's with its importance-sampling correction: ratios, bounds and
// masks by token and by sequence, in every metric of every step and in the adapter at the end.

import { describe, expect, it } from "vitest";
import { expectTraining, type RunsFixture } from "./run-fixtures.js";
import { readFixture } from "./training-fixtures.js";

const plain = await readFixture<RunsFixture>("sampler-runs");
const masked = await readFixture<RunsFixture>("masked-sampler-runs");
const RATIO = "sampling/importance_sampling_ratio";

describe("a training on another engine's completions equals TRL's with its correction", () => {
  it.each(plain.json.runs)("$name", (run) => expectTraining(plain, run));
});

describe("and where some of their tokens do not count", () => {
  it.each(masked.json.runs)("$name", (run) => expectTraining(masked, run));
});

it("the runs truncate and mask at both ends, and ratios differ where nothing bounds them", () => {
  const runs = [...plain.json.runs, ...masked.json.runs];
  expect(runs.length).toBeGreaterThan(30);
  const every = (metric: string) => runs.flatMap(({ steps }) => steps.map((step) => step[`${RATIO}/${metric}`]));
  expect(every("min")).toContain(0);
  for (const bound of [0.75, 0.8, 0.85])
    expect(
      every("min").some((value) => near(value, bound)),
      `${bound}`,
    ).toBe(true);
  for (const bound of [1.2, 1.3, 1.5])
    expect(
      every("max").some((value) => near(value, bound)),
      `${bound}`,
    ).toBe(true);
  expect(every("max").some((value) => value !== undefined && value > 2)).toBe(true);
});

function near(value: number | undefined, bound: number): boolean {
  return value !== undefined && Math.abs(value - bound) < 1e-6;
}
