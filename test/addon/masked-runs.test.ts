// Whole trainings on rollouts with given tokens in them, such as a tool's answers, against TRL's with the same `env_mask`: every
// metric of every step, lengths and token counts among them, and the adapter at the end.

import { describe, it } from "vitest";
import { expectTraining, type RunsFixture } from "./run-fixtures.js";
import { readFixture } from "./training-fixtures.js";

const fixture = await readFixture<RunsFixture>("masked-runs");

describe("a training on masked completions equals TRL's in every metric of every step and in its adapter", () => {
  it.each(fixture.json.runs)("$name", (run) => expectTraining(fixture, run));
});
