// Gradient checkpointing computes every layer twice and must change nothing else: not the loss, not a bit of the gradient,
// not the dropout masks.

import { afterAll, beforeAll, expect, it } from "vitest";
import { LoraConfig } from "../../lib/model/lora/lora.js";
import { CausalLM } from "../../lib/model/model.js";
import { DEVICE } from "../support/device.js";
import { goldenPath } from "./golden.js";

let model: CausalLM;
beforeAll(async () => {
  model = await CausalLM.fromPretrained(goldenPath("models/qwen2-random"), { dtype: "float32", device: DEVICE });
  const all = { r: 4, targetModules: "all-linear", initLoraWeights: false, loraDropout: 0.2 } as const;
  model.applyLora(new LoraConfig(all));
});
afterAll(() => model.dispose());

const ids = (length: number, seed: number) => Array.from({ length }, (_, i) => (seed * 29 + i * 13 + i * i) % 64);
const batch = {
  promptIds: [ids(5, 1), ids(5, 1), ids(9, 2)],
  completionIds: [ids(7, 3), ids(12, 4), ids(3, 5)],
  advantages: [1, -0.5, 0.7],
};

async function gradients(gradientCheckpointing: boolean, maxTokensPerMicroBatch: number, dropoutSeed: number) {
  await model.zeroGrad();
  const { loss } = await model.forwardBackward(batch, { gradientCheckpointing, maxTokensPerMicroBatch, dropoutSeed });
  return { loss, gradients: await model.gradients() };
}

it.each([8, 2048])("gives the same bits, with micro-batches of at most %i tokens", async (budget) => {
  const plain = await gradients(false, budget, 7);
  expect(await gradients(true, budget, 7)).toEqual(plain);
  // The masks do matter here, so replaying them was not for nothing.
  expect(await gradients(true, budget, 8)).not.toEqual(plain);
});
