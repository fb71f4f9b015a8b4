// Random weights on the make-believe accelerator: large tensors it fills itself, with the numbers of the CPU.

import { beforeAll, expect, it } from "vitest";
import { largestDifference } from "../addon/golden.js";
import { PROMPTS, rawModel, tinyConfig } from "../addon/raw-engine.js";
import { countsOf, openFakeDevice } from "./fake-device.js";

beforeAll(openFakeDevice);

it("a large tensor is filled on the device, with what the CPU draws, and is not copied there", async () => {
  // 45,000 × 128: more than what is filled at once, and no multiple of it.
  const config = await tinyConfig({ vocab_size: 45_000 });
  const here = await rawModel("cpu", "float32", 1, config);
  let there: Awaited<ReturnType<typeof rawModel>> | undefined;
  const { uploadBytes } = await countsOf(async () => {
    there = await rawModel("fake:1", "float32", 1, config);
  });
  expect(uploadBytes).toBeLessThan(4 * 45_000 * 128);
  const of = (engine: typeof here) => engine.forward(PROMPTS.promptIds, PROMPTS.promptOffsets);
  if (there) expect(largestDifference(await of(there), await of(here))).toBeLessThan(1e-5);
  for (const engine of [here, there]) engine?.dispose();
});
