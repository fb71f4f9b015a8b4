// The memory of a device: what the engine says of it, and that having too little of it is an error that can be survived.

import { afterAll, beforeAll, expect, it } from "vitest";
import type { NativeEngine } from "../../lib/native/native.js";
import { PROMPTS, REQUEST, rawModel, tinyConfig } from "../addon/raw-engine.js";
import { type FakeDevice, openFakeDevice } from "./fake-device.js";

const ALL = 2 ** 34;
let device: FakeDevice;
let engine: NativeEngine;
beforeAll(async () => {
  device = await openFakeDevice();
  engine = await rawModel("fake:1", "bfloat16", 1, await tinyConfig());
});
afterAll(() => {
  device.setMemory(ALL);
  engine.dispose();
});

it("is what is free and what the process has of it", async () => {
  const { free, reserved, total } = await engine.memory();
  expect(total).toBe(ALL);
  expect(reserved).toBeGreaterThan(0);
  expect(free + reserved).toBe(total);
});

it("is said to be too little by an error with its code, after which the engine goes on", async () => {
  const logits = () => engine.forward(PROMPTS.promptIds, PROMPTS.promptOffsets);
  const expected = await logits();
  const { reserved } = await engine.memory();
  device.setMemory(reserved + 2 ** 20);
  const many = { ...REQUEST, maxNewTokens: 900, groupSize: 64, maxRows: 192 };
  await expect(engine.sample(many, () => {})).rejects.toMatchObject({ code: "OUT_OF_MEMORY" });
  device.setMemory(ALL);
  expect(await logits()).toEqual(expected);
});
