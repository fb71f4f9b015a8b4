// A program that runs on any number of ranks: one run after the other, each of 20 steps on 24 completions, whatever the number of ranks.
// Arguments: a folder, and the names of the runs. Rank r leaves its weights in FOLDER/NAME/rank-r.

import path from "node:path";
import { CausalLM, Dataset, GRPOConfig, GRPOTrainer, LoraConfig, Tokenizer } from "../../lib/index.js";
import { tinyModel } from "../../lib/package-files.js";
import { CASES, SIZE, SLICES } from "./cases.js";

async function train(folder: string, name: string): Promise<void> {
  const { options = {}, full = false } = CASES[name] ?? {};
  const model = await CausalLM.fromPretrained(tinyModel, { threads: 1, dtype: "float32" });
  if (!full) model.applyLora(new LoraConfig({ r: 4, targetModules: "all-linear" }));
  const rows = Array.from({ length: 30 }, (_, i) => ({ prompt: `${i} + ${(i * 7) % 11} = ` }));
  const outputDir = path.join(folder, name);
  const trainer = new GRPOTrainer({
    model,
    processingClass: await Tokenizer.fromPretrained(tinyModel),
    args: new GRPOConfig({
      outputDir,
      maxSteps: 20,
      perDeviceTrainBatchSize: 2,
      gradientAccumulationSteps: SLICES / SIZE,
      numGenerations: 4,
      maxCompletionLength: 8,
      learningRate: 1e-5,
      saveStrategy: "no",
      logTo: ["jsonl"],
      loggingSteps: 1,
      ...options,
    }),
    rewardFuncs: ({ completionIds }) =>
      completionIds.map((ids) => ids.filter((id) => id % 2 === 0).length / 8 - (ids.length % 3)),
    trainDataset: Dataset.from(rows),
    evalDataset: Dataset.from(rows.slice(0, 5)),
  });
  await trainer.train();
  await model.savePretrained(path.join(outputDir, `rank-${process.env.RANK ?? 0}`));
  model.dispose();
}

const [folder = "", ...names] = process.argv.slice(2);
for (const name of names) await train(folder, name);
