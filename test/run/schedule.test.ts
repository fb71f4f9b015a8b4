// Learning rates of every schedule, step by step, against transformers.

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { learningRateSchedule, SCHEDULES, type ScheduleInput, type ScheduleName } from "../../lib/run/schedule.js";
import { goldenPath } from "../addon/golden.js";

type Case = Pick<ScheduleInput, "name" | "warmupSteps" | "options"> & { readonly rates: readonly number[] };

const fixture: Pick<ScheduleInput, "learningRate" | "totalSteps"> & { readonly cases: Case[] } = JSON.parse(
  readFileSync(goldenPath("schedules.json"), "utf8"),
);

describe("learningRateSchedule", () => {
  it.each(fixture.cases)("of $name after $warmupSteps steps, with $options", ({ rates, ...input }) => {
    const rateAt = learningRateSchedule({ ...fixture, ...input });
    rates.forEach((rate, step) => {
      expect(Math.abs(rateAt(step) - rate), `step ${step}`).toBeLessThanOrEqual(1e-12 * fixture.learningRate);
    });
  });

  it("is compared for every name", () => {
    expect(new Set(fixture.cases.map(({ name }) => name))).toEqual(new Set(SCHEDULES));
  });

  it.each<[ScheduleName, object, RegExp]>([
    ["cosine", { num_cycle: 2 }, /num_cycle.*num_cycles/s],
    ["linear", { power: 2 }, /power/],
    ["warmup_stable_decay", {}, /num_decay_steps is needed/],
    ["cosine_with_min_lr", { min_lr: 1e-6, min_lr_rate: 0.1 }, /either min_lr or min_lr_rate/],
    ["cosine_with_min_lr", {}, /either min_lr or min_lr_rate/],
    ["polynomial", { lr_end: 1 }, /below learningRate/],
    ["cosine", { num_cycles: "two" }, /num_cycles/],
  ])("of %s refuses %j", (name, options, message) => {
    const input = { name, learningRate: 1e-5, warmupSteps: 0, totalSteps: 9, options: { ...options } };
    expect(() => learningRateSchedule(input)).toThrow(message);
  });

  it("takes option names in camelCase too", () => {
    const at = (options: Record<string, unknown>) =>
      learningRateSchedule({ name: "cosine", learningRate: 1, warmupSteps: 0, totalSteps: 9, options })(3);
    expect(at({ numCycles: 2 })).toBe(at({ num_cycles: 2 }));
  });
});
