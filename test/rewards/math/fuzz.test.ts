// A sample of the long run in scripts/accuracy/fuzz.ts: no input throws, gives something that is no reward, or takes a
// second of processor time.

import { rewards } from "grpo";
import { describe, expect, it } from "vitest";
import { type FuzzInput, fuzzInputs, hostileInputs } from "../../../scripts/accuracy/fuzz-inputs.js";

function slowest(inputs: Iterable<FuzzInput>): { ms: number; sort: string } {
  let worst = { ms: 0, sort: "" };
  for (const { sort, solution, completion } of inputs) {
    const started = process.cpuUsage();
    const [reward] = rewards.accuracy({ solution: [solution], completions: [completion] });
    const { user, system } = process.cpuUsage(started);
    const ms = (user + system) / 1000;
    if (ms > worst.ms) worst = { ms, sort };
    expect([0, 1, null]).toContain(reward);
  }
  return worst;
}

describe("hostile input", () => {
  it("of every sort at random is judged within a second", () => {
    expect(slowest(fuzzInputs(20_260, 1500)).ms).toBeLessThan(1000);
  });

  it("of 30,000 characters is judged within a second", () => {
    const inputs = [...hostileInputs()].filter((_, i) => i % 29 === 0);
    const worst = slowest(inputs);
    expect(worst.ms, worst.sort).toBeLessThan(1000);
  });
});
