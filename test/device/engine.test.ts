// The engine on the make-believe accelerator beside the path of operators on the CPU: the same numbers, and no more waiting than
// the engine itself counts. `npm run test:device` runs the other tests of the engine there.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { NativeEngine, NativeSampleRequest } from "../../lib/native/native.js";
import { largestDifference } from "../addon/golden.js";
import { ADAMW, BATCH, LOSS, PROMPTS, REQUEST, rawEngine } from "../addon/raw-engine.js";
import { countsOf, openFakeDevice } from "./fake-device.js";

let here: NativeEngine;
let there: NativeEngine;
beforeAll(async () => {
  await openFakeDevice();
  here = await rawEngine("cpu", { dropout: 0 }, 1);
  // Not the first device, which is current on every thread that has not chosen one.
  there = await rawEngine("fake:1", { dropout: 0 }, 1);
});
afterAll(() => {
  here.dispose();
  there.dispose();
});

async function sampled(engine: NativeEngine, options: Partial<NativeSampleRequest>) {
  const groups = new Map<number, number[]>();
  await engine.sample({ ...REQUEST, plain: true, ...options }, ({ prompt, ids }) => groups.set(prompt, Array.from(ids)));
  return [...groups].sort(([a], [b]) => a - b);
}

const drawings: Partial<NativeSampleRequest>[] = [
  {},
  { doSample: false },
  { topP: 0.9 },
  { topK: 5 },
  { minP: 0.1 },
  { repetitionPenalty: 1.2 },
  { temperature: 1, topP: 0.9, topK: 5, minP: 0.1, repetitionPenalty: 1.2 },
  { maxRows: 2 },
  { maxNewTokens: 80 },
];

describe("sampling", () => {
  it.each(drawings)("draws the same tokens with %o", async (options) => {
    expect(await sampled(there, options)).toEqual(await sampled(here, options));
  });

  it.each(drawings)("replays recorded steps to the same tokens with %o", async (options) => {
    const recorded = { ...options, graphCapture: true };
    const expected = await sampled(here, recorded);
    const { graphReplays } = await countsOf(async () => expect(await sampled(there, recorded)).toEqual(expected));
    expect(graphReplays).toBeGreaterThanOrEqual((options.maxNewTokens ?? REQUEST.maxNewTokens) - 1);
  });
});

describe("scoring", () => {
  it("gives the same logits", async () => {
    const of = (engine: NativeEngine) => engine.forward(PROMPTS.promptIds, PROMPTS.promptOffsets);
    expect(largestDifference(await of(there), await of(here))).toBeLessThan(1e-5);
  });

  it("gives the same log-probabilities", async () => {
    const of = (engine: NativeEngine) => engine.logprobs(BATCH, 0.9);
    expect(largestDifference(await of(there), await of(here))).toBeLessThan(1e-5);
  });
});

describe("an update", () => {
  const batch = { ...BATCH, advantages: Float32Array.from([1, -1, 0.5, 2, -2]) };
  const updates: Partial<typeof LOSS>[] = [{}, { maxTokensPerMicroBatch: 8192 }, { gradientCheckpointing: true }];

  it.each(updates)("has the same loss and gradients with %o", async (options) => {
    const of = async (engine: NativeEngine) => {
      await engine.zeroGrad();
      const { loss } = await engine.forwardBackward(batch, { ...LOSS, beta: 0, ...options });
      return { loss, gradients: await engine.gradients() };
    };
    const [actual, expected] = [await of(there), await of(here)];
    expect(Math.abs(actual.loss - expected.loss)).toBeLessThan(1e-6);
    for (const [name, gradient] of Object.entries(expected.gradients))
      expect(largestDifference(actual.gradients[name] ?? [], gradient), name).toBeLessThan(1e-5);
  });

  it("steps to the same weights", async () => {
    const of = async (engine: NativeEngine) => {
      await engine.zeroGrad();
      await engine.forwardBackward(batch, { ...LOSS, beta: 0 });
      await engine.optimizerStep(ADAMW);
      return engine.logprobs(BATCH, 0.9);
    };
    expect(largestDifference(await of(there), await of(here))).toBeLessThan(1e-5);
  });
});
