// Decode steps in few fixed shapes, as graphCapture asks for them, against steps of the shape that the rows need: same tokens, same
// log-probabilities. No device that records graphs is needed: without one the same steps run operator by operator.

import { describe, expect, it } from "vitest";
import type { NativeEngine, NativeGroup, NativeSampleRequest } from "../../lib/native/native.js";
import { DEVICE } from "../support/device.js";
import { largestDifference } from "./golden.js";
import { ADAMW, BATCH, LOSS, REQUEST, rawEngine, rawModel } from "./raw-engine.js";

async function sampled(engine: NativeEngine, request: NativeSampleRequest) {
  const groups: NativeGroup[] = [];
  const stats = await engine.sample(request, (group) => groups.push(group));
  return { groups: groups.sort((a, b) => a.prompt - b.prompt), stats };
}

async function expectAsOrdinary(engine: NativeEngine, options: Partial<NativeSampleRequest>): Promise<void> {
  const request = { ...REQUEST, ...options };
  const ordinary = await sampled(engine, { ...request, plain: true });
  const recorded = await sampled(engine, { ...request, graphCapture: true });
  expect(recorded.groups.map(({ ids }) => ids)).toEqual(ordinary.groups.map(({ ids }) => ids));
  expect(recorded.groups.map(({ finish }) => finish)).toEqual(ordinary.groups.map(({ finish }) => finish));
  expect(recorded.stats.decodeSteps).toBe(ordinary.stats.decodeSteps);
  for (const [i, { logprobs }] of recorded.groups.entries()) {
    // Sums over more zeros, in another order.
    expect(largestDifference(logprobs, ordinary.groups[i]?.logprobs ?? [])).toBeLessThan(2e-5);
  }
}

describe("steps of fixed shapes", () => {
  const stopIds = Int32Array.from({ length: 8 }, (_, i) => i * 60);
  const variants: [string, Partial<NativeSampleRequest>][] = [
    ["whole groups", {}],
    ["one row, of which a shape has more", { groupSize: 1, maxRows: 1 }],
    ["rows that enter and leave, past the first length", { maxNewTokens: 90, maxRows: 4, stopIds }],
    ["more rows than the smallest shape", { groupSize: 7, maxNewTokens: 70, stopIds }],
    ["greedy with a repetition penalty", { doSample: false, repetitionPenalty: 1.5, groupSize: 5, maxNewTokens: 30 }],
    [
      "rules of what may be drawn",
      {
        minNewTokens: 4,
        noRepeatNgramSize: 1,
        badWordIds: Int32Array.of(7, 2, 3),
        badWordOffsets: Int32Array.of(0, 1, 3),
        forcedEosTokens: Int32Array.of(8, 9),
        stopIds,
      },
    ],
    ["all filters", { temperature: 1.3, topP: 0.9, topK: 50, minP: 0.02, repetitionPenalty: 1.2, stopIds }],
  ];
  it.each(variants)("draw as others do: %s", async (_, options) => {
    const engine = await rawModel(DEVICE);
    await expectAsOrdinary(engine, options);
    engine.dispose();
  });

  it.each(["float64", "bfloat16"] as const)("draw as others do with weights in %s", async (dtype) => {
    const engine = await rawModel(DEVICE, dtype);
    await expectAsOrdinary(engine, { maxNewTokens: 20, stopIds });
    engine.dispose();
  });

  it("see the adapter as it is now, between two updates", async () => {
    const engine = await rawEngine(DEVICE, { dropout: 0 });
    const batch = { ...BATCH, advantages: Float32Array.from([1, -1, 0.5, 2, -2]) };
    for (let step = 0; step < 2; step++) {
      await expectAsOrdinary(engine, { step });
      await engine.forwardBackward(batch, { ...LOSS, beta: 0 });
      await engine.optimizerStep({ ...ADAMW, learningRate: 0.02 });
    }
    await expectAsOrdinary(engine, { step: 2 });
    engine.dispose();
  });

  it("read back once a step on the meta device", async () => {
    const engine = await rawEngine("meta");
    const before = engine.syncs();
    const options = { topP: 0.9, repetitionPenalty: 1.2, graphCapture: true };
    const { stats } = await sampled(engine, { ...REQUEST, ...options });
    expect(engine.syncs() - before).toBe(1 + stats.decodeSteps);
    engine.dispose();
  });
});
