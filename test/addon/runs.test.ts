// Whole trainings of GRPOTrainer on the real engine against TRL's, with the same completions handed out in place of sampled
// ones: every metric of every step, and the adapter at the end.

import { describe, it } from "vitest";
import { expectTraining, type RunsFixture } from "./run-fixtures.js";
import { readFixture } from "./training-fixtures.js";

const fixture = await readFixture<RunsFixture>("runs");

describe("a training equals TRL's in every metric of every step and in its adapter", () => {
  it.each(fixture.json.runs)("$name", (run) => expectTraining(fixture, run));
});
