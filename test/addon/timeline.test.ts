// The engine does not wait for what runs beside it: rewards of finished groups, logs, checkpoints. A reward of 200 ms for each completion
// and a disk and a logger that take their time leave it idle for less than a tenth of a step whose own work takes a few seconds.

import { readFileSync } from "node:fs";
import path from "node:path";
import { expect, it } from "vitest";
import { GRPOConfig } from "../../lib/grpo/config.js";
import { GRPOTrainer } from "../../lib/grpo/trainer.js";
import type { Metrics } from "../../lib/log/metrics.js";
import { LoraConfig } from "../../lib/model/lora/lora.js";
import { CausalLM } from "../../lib/model/model.js";
import { Tokenizer } from "../../lib/tokenizer/tokenizer.js";
import { temporaryFolder } from "../model/folders.js";
import { DEVICE } from "../support/device.js";
import { tinyQwen2 } from "./golden.js";

const wait = (milliseconds: number) => new Promise<void>((resolve) => setTimeout(resolve, milliseconds));

it("a reward of 200 ms a completion and a slow disk leave the engine idle for less than a tenth of a step", async () => {
  const config = JSON.parse(readFileSync(path.join(tinyQwen2, "config.json"), "utf8"));
  // Random weights: completions are long. Wide enough that a step takes seconds on any machine.
  const sizes = { hidden_size: 512, intermediate_size: 2048 };
  await using model = await CausalLM.fromConfig(
    { ...config, ...sizes },
    { dtype: "float32", device: DEVICE, threads: 1 },
  );
  model.applyLora(new LoraConfig({ r: 4 }));
  const started = performance.now();
  await model.sample([[1, 2, 3]], { groupSize: 64, maxNewTokens: 32 });
  const perToken = (performance.now() - started) / 32;
  const outputDir = await temporaryFolder();
  const steps: Metrics[] = [];
  // Two steps go by while the first checkpoint is written.
  const take = model.takeCheckpoint.bind(model);
  model.takeCheckpoint = async (options) => {
    const write = await take(options);
    return async (directory) => {
      await wait(2000);
      await write(directory);
    };
  };
  const trainer = new GRPOTrainer({
    model,
    loggers: [{ name: "slow", log: () => wait(1000) }],
    processingClass: await Tokenizer.fromPretrained(tinyQwen2),
    args: new GRPOConfig({
      outputDir,
      maxSteps: 2,
      perDeviceTrainBatchSize: 64,
      numGenerations: 8,
      logTo: ["jsonl"],
      saveSteps: 1,
      // Three seconds of sampling, and an update that takes about as long.
      maxCompletionLength: Math.min(900, Math.ceil(3000 / perToken)),
    }),
    rewardFuncs: async ({ completions }) => {
      // One after another would be 1.6 s a group: a service is asked for all of them at once.
      await Promise.all(completions.map(() => wait(200)));
      return completions.map((_, i) => i);
    },
    trainDataset: Array.from({ length: 16 }, (_, i) => ({ prompt: `What is ${i} + ${i}?` })),
    callbacks: [{ onStepEnd: ({ metrics }) => void steps.push({ ...metrics }) }],
  });
  await trainer.train();
  expect(steps).toHaveLength(2);
  for (const metrics of steps) {
    const seconds = ["time/rollout", "time/reward", "time/update", "time/other"].map((name) => metrics[name] ?? 0);
    expect(seconds[1]).toBeGreaterThan(0);
    expect(metrics["time/idle_share"], `rollout, reward, update, other: ${seconds}`).toBeLessThan(0.1);
  }
}, 120_000);
