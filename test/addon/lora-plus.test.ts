// LoRA+ against PEFT's optimizer: other rates for B and biases, and for pairs on the embedding.

import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, it } from "vitest";
import { readTensors } from "../../lib/model/files/safetensors.js";
import { CausalLM } from "../../lib/model/model.js";
import { DEVICE } from "../support/device.js";
import { goldenPath, largestDifference, numbers, sequences } from "./golden.js";

const rates = JSON.parse(readFileSync(goldenPath("lora-plus.json"), "utf8"));

it("three steps end at PEFT's weights", async () => {
  const golden = await readTensors(goldenPath("lora-plus.safetensors"));
  const adapter = goldenPath("adapters/lora-plus");
  const options = { dtype: "float32", device: DEVICE, adapter } as const;
  await using model = await CausalLM.fromPretrained(goldenPath("models/qwen2-random"), options);
  const ids = sequences(golden);
  const batch = { promptIds: ids.map((row) => row.slice(0, 1)), completionIds: ids.map((row) => row.slice(1)) };
  for (let step = 0; step < rates.steps; step++) {
    // Equal advantages of 1: minus the mean log-probability, up to a constant.
    await model.forwardBackward({ ...batch, advantages: ids.map(() => 1) }, { lossType: "dapo", beta: 0 });
    await model.optimizerStep({
      learningRate: rates.learningRate,
      loraPlusRatio: rates.ratio,
      loraPlusEmbeddingRate: rates.embeddingRate,
      weightDecay: rates.weightDecay,
      epsilon: rates.epsilon,
      maxGradNorm: 0,
    });
  }
  const folder = await mkdtemp(path.join(tmpdir(), "grpo-test-"));
  await model.savePretrained(folder);
  const ours = await readTensors(path.join(folder, "adapter_model.safetensors"));
  await rm(folder, { recursive: true });
  for (const key of ours.keys()) {
    // The fixture's epsilon of 1e-3 keeps AdamW from making whole steps of the rounding of small gradients.
    expect(largestDifference(numbers(ours, key), numbers(golden, key)), key).toBeLessThan(1e-5);
  }
});
