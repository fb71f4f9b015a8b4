// Memory of large tensors: passes over batches of many shapes take no more than the largest of them, and it returns to the system.

import { describe, expect, it } from "vitest";
import { processMemory, resetPeak } from "../../scripts/process-memory.js";
import { LOSS, rawModel, tinyConfig } from "./raw-engine.js";

const rows = (length: number, count: number) => ({
  promptIds: Int32Array.of(1),
  promptOffsets: Int32Array.of(0, 1),
  completionIds: Int32Array.from({ length: length * count }, (_, i) => (i * 37) % 400),
  completionOffsets: Int32Array.from({ length: count + 1 }, (_, i) => i * length),
  promptOf: new Int32Array(count),
  sliceOffsets: Int32Array.of(0, count),
  advantages: Float32Array.from({ length: count }, (_, i) => (i % 2 === 0 ? 1 : -1)),
});

describe("passes over batches of different lengths", () => {
  it("take no more memory than the longest alone, and give it back when the engine goes", async () => {
    const engine = await rawModel("cpu", "float32", 1, await tinyConfig({ intermediate_size: 4096 }));
    await engine.trainAll();
    const pass = async (length: number) => {
      await engine.forwardBackward(rows(length, 8), { ...LOSS, beta: 0, maxTokensPerMicroBatch: 8192 });
      await engine.zeroGrad();
    };
    const before = processMemory("VmRSS");
    expect(resetPeak()).toBe(true);
    await pass(300);
    const longest = processMemory("VmHWM") - before;
    expect(longest).toBeGreaterThan(100e6);
    for (let length = 40; length < 300; length += 13) await pass(length);
    expect(processMemory("VmHWM") - before).toBeLessThan(1.15 * longest);
    engine.dispose();
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(processMemory("VmRSS") - before).toBeLessThan(0.5 * longest);
  });
});
