// The metrics of memory: what the process and a device hold.

import { expect, test } from "vitest";
import type { Trainable } from "../../lib/model/learner.js";
import { memoryMetrics } from "../../lib/run/process-memory.js";

const model = (deviceBytes?: () => Promise<number | undefined>) => ({ deviceBytes }) as unknown as Trainable;

test("the process's memory grows by what it holds, and its peak stays", async () => {
  const before = await memoryMetrics(model());
  let held: Buffer | undefined = Buffer.alloc(300_000_000, 1);
  const during = await memoryMetrics(model());
  expect(Number(during["memory/resident"]) - Number(before["memory/resident"])).toBeGreaterThan(250_000_000);
  expect(held.length).toBe(300_000_000);
  held = undefined;
  const after = await memoryMetrics(model());
  expect(after["memory/peak"]).toBeGreaterThanOrEqual(during["memory/resident"] ?? Number.POSITIVE_INFINITY);
  expect(Object.values(after).every(Number.isInteger)).toBe(true);
});

test("a device that has memory of its own is asked, and one that has not leaves no metric", async () => {
  expect((await memoryMetrics(model(async () => 5e9)))["memory/device"]).toBe(5e9);
  for (const none of [model(async () => undefined), model()]) {
    expect(Object.keys(await memoryMetrics(none))).toEqual(["memory/resident", "memory/peak"]);
  }
});
