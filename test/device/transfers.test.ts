// How often the host waits for a device, and what it copies: once a token that is drawn, twice an update and its step.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { NativeDtype, NativeEngine, NativeSampleRequest } from "../../lib/native/native.js";
import { ADAMW, adapterOf, BATCH, everyLayer, LOSS, REQUEST, rawModel, tinyConfig } from "../addon/raw-engine.js";
import { countsOf, openFakeDevice } from "./fake-device.js";

describe.each<NativeDtype>(["bfloat16", "float32"])("in %s", (dtype) => {
  let engine: NativeEngine;
  beforeAll(async () => {
    await openFakeDevice();
    const config = await tinyConfig();
    engine = await rawModel("fake:1", dtype, 1, config);
    await engine.addAdapter("default", adapterOf(config, { targets: everyLayer(config, 8, 4) }));
  });
  afterAll(() => engine.dispose());

  const sample = (options: Partial<NativeSampleRequest>) =>
    countsOf(() => engine.sample({ ...REQUEST, ...options }, () => {}));

  it.each<Partial<NativeSampleRequest>>([{}, { topP: 0.9 }, { repetitionPenalty: 1.2 }, { doSample: false }])(
    "a decode step waits once and uploads once with %o",
    async (options) => {
      await sample({ ...options, maxNewTokens: 2 });
      const [eight, nine] = [
        await sample({ ...options, maxNewTokens: 8 }),
        await sample({ ...options, maxNewTokens: 9 }),
      ];
      expect(nine.synchronisations - eight.synchronisations).toBe(1);
      expect(nine.uploads - eight.uploads).toBe(1);
    },
  );

  it("a prompt is drawn from after one wait", async () => {
    expect(await sample({ maxNewTokens: 1 })).toMatchObject({ synchronisations: 1 });
  });

  it.each([8192, 8])("an update waits once, and its step once, with micro-batches of %i tokens", async (tokens) => {
    const batch = { ...BATCH, advantages: Float32Array.from([1, -1, 0.5, 2, -2]) };
    const options = { ...LOSS, beta: 0, maxTokensPerMicroBatch: tokens };
    const update = await countsOf(() => engine.forwardBackward(batch, options));
    const step = await countsOf(() => engine.optimizerStep(ADAMW));
    expect(update.synchronisations + step.synchronisations).toBe(2);
    // What is read back is not pinned: the host waits for it anyway.
    expect(update.pageableCopies + step.pageableCopies).toBe(2);
  });
});
