// What the engine counts of its operators anywhere (countOperators, on the meta device as a rule) beside what the make-believe
// accelerator ran: where the two agree, the counts of the meta device stand for launches.

import { afterAll, beforeAll, expect, it } from "vitest";
import type { NativeEngine } from "../../lib/native/native.js";
import { ADAMW, BATCH, LOSS, REQUEST, rawEngine } from "../addon/raw-engine.js";
import { countsOf, type FakeDevice, openFakeDevice } from "./fake-device.js";

let device: FakeDevice;
let engine: NativeEngine;
beforeAll(async () => {
  device = await openFakeDevice();
  engine = await rawEngine("fake:1", { dropout: 0 }, 1);
});
afterAll(() => engine.dispose());

const batch = { ...BATCH, advantages: Float32Array.from([1, -1, 0.5, 2, -2]) };
const jobs: Readonly<Record<string, () => Promise<unknown>>> = {
  "a rollout": () => engine.sample({ ...REQUEST, topP: 0.9, plain: true }, () => {}),
  "log-probabilities": () => engine.logprobs(BATCH, 0.9),
  "an update": () => engine.forwardBackward(batch, { ...LOSS, beta: 0 }),
  "an optimizer step": () => engine.optimizerStep(ADAMW),
};

/** One kernel on CUDA, and counted as one; composed of these here. */
const FUSED = "aten::_fused_rms_norm";
const PARTS = ["aten::pow", "aten::mean", "aten::add_", "aten::rsqrt", "aten::mul", "aten::mul"];

function composed(counted: Readonly<Record<string, number>>): Record<string, number> {
  const { [FUSED]: fused = 0, ...rest } = counted;
  const others: Record<string, number> = rest;
  for (const part of PARTS) others[part] = (others[part] ?? 0) + fused;
  return others;
}

/** Between devices or with the host, by whatever operator. */
const isCopy = (name: string) => /^aten::(_copy_from|copy_)$/.test(name);

it.each(Object.entries(jobs))("%s: the kernels that are counted are those that ran", async (_, job) => {
  const before = device.kernels();
  await engine.countOperators(true);
  const moved = await countsOf(job);
  const { kernels: counted } = await engine.countOperators(false);
  const ran = Object.entries(device.kernels()).map(([name, n]) => [name, n - (before[name] ?? 0)] as const);
  const withoutCopies = (all: readonly (readonly [string, number])[]) =>
    Object.fromEntries(all.filter(([name, n]) => n > 0 && !isCopy(name)));
  expect(withoutCopies(Object.entries(composed(counted)))).toEqual(withoutCopies(ran));
  const copies = Object.entries(counted).reduce((sum, [name, n]) => sum + (name === "aten::_copy_from" ? n : 0), 0);
  const within = ran.find(([name]) => name === "aten::copy_")?.[1] ?? 0;
  expect(copies).toBe(within + moved.uploads + moved.readBacks);
});
