// A small real training run that can be killed at any of its moments: each call of the model, of the reward function, and of a
// function that changes the file system, before and after. As a process: killable-run.ts OUTPUT_DIR [MOMENT]; without a moment
// it runs to its end and prints the name of every moment as JSON.

import fs from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { fileURLToPath } from "node:url";
import type { CausalLM } from "../../lib/model/model.js";
import { DEVICE } from "../support/device.js";
import { runToMoment } from "../support/killed-at.js";
import { tinyQwen2 } from "./golden.js";

/** Called at every moment with its name. */
type Watch = (moment: string) => void;

const rows = [3, 1, 4, 1, 5, 9, 2, 6].map((number) => ({
  prompt: [{ role: "user", content: `Ada has ${number} cards and gets 3 more. How many cards does Ada have now?` }],
  answer: number + 3,
}));

/** Completions of an evaluation; a reward call for training has more. */
const evalCompletions = 2;

/**
 * Trains in `outputDir`, from its latest checkpoint if there is one. Generations last over several steps here, as do logging windows, and
 * evaluations come between saves.
 */
export async function killableRun(outputDir: string, resume: boolean, watch: Watch = () => {}): Promise<void> {
  const { Dataset } = await import("../../lib/dataset/dataset.js");
  const { CausalLM } = await import("../../lib/model/model.js");
  const { LoraConfig } = await import("../../lib/model/lora/lora.js");
  const { Tokenizer } = await import("../../lib/tokenizer/tokenizer.js");
  const { GRPOConfig } = await import("../../lib/grpo/config.js");
  const { GRPOTrainer } = await import("../../lib/grpo/trainer.js");
  const model = await CausalLM.fromPretrained(tinyQwen2, { dtype: "float32", device: DEVICE, threads: 1 });
  model.applyLora(new LoraConfig({ r: 2, loraDropout: 0.1 }));
  const tokenizer = await Tokenizer.fromPretrained(tinyQwen2);
  const trainer = new GRPOTrainer({
    model: watched(model, watch),
    processingClass: tokenizer,
    args: new GRPOConfig({
      outputDir,
      maxSteps: 5,
      saveSteps: 1,
      saveTotalLimit: 2,
      loggingSteps: 2,
      logTo: ["jsonl"],
      learningRate: 1e-3,
      perDeviceTrainBatchSize: 4,
      numGenerations: 4,
      stepsPerGeneration: 2,
      numIterations: 2,
      beta: 0.04,
      maxCompletionLength: 10,
      useAdaptiveEntropy: true,
      entropyTarget: 5,
      lrSchedulerType: "cosine",
      evalStrategy: "steps",
      evalSteps: 2,
      numGenerationsEval: evalCompletions,
      loadBestModelAtEnd: true,
      optim: "adamw_8bit",
    }),
    rewardFuncs: ({ completionIds, answer }) => {
      watch(completionIds.length > evalCompletions ? "reward" : "reward of an evaluation");
      return completionIds.map((ids, i) => (ids.length * (answer[i] ?? 0)) % 7);
    },
    trainDataset: Dataset.from(rows),
    evalDataset: Dataset.from(rows.slice(0, 1)),
    output: { write: () => true },
  });
  await trainer.train({ resumeFromCheckpoint: resume });
  model.dispose();
}

/** The model, with a moment before and after each call that computes or writes. */
function watched(model: CausalLM, watch: Watch): CausalLM {
  const names = [
    "sample",
    "completionLogprobs",
    "forwardBackward",
    "optimizerStep",
    "takeCheckpoint",
    "loadCheckpoint",
  ];
  return new Proxy(model, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      const method = value.bind(target);
      if (!names.includes(String(name))) return method;
      return async (...args: unknown[]) => {
        watch(`before ${String(name)}`);
        const result: unknown = await method(...args);
        watch(`after ${String(name)}`);
        return result;
      };
    },
  });
}

/** Moments around what changes files, for every module that is loaded from now on. */
function watchFiles(watch: Watch): void {
  const table = fs as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>;
  for (const name of ["mkdir", "rename", "rm", "writeFile", "appendFile"]) {
    const original = table[name]?.bind(fs);
    if (!original) continue;
    table[name] = async (...args) => {
      watch(`before ${name}`);
      const result = await original(...args);
      watch(`after ${name}`);
      return result;
    };
  }
  syncBuiltinESMExports();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const moments = await runToMoment((outputDir, watch) => {
    watchFiles(watch);
    return killableRun(outputDir, false, watch);
  });
  console.log(JSON.stringify(moments));
}
