// A program that trains on several ranks and checkpoints every step: FOLDER WHAT RANK. In step 3 that rank is killed, stopped, or its reward
// throws; with WHAT "resume" the run goes on from its last checkpoint. Prints the error that ended it.

import { CausalLM, Dataset, GRPOConfig, GRPOTrainer, LoraConfig, Tokenizer } from "../../lib/index.js";
import { tinyModel } from "../../lib/package-files.js";

const [outputDir = "", what = "", failing = "0"] = process.argv.slice(2);
const isFailing = process.env.RANK === failing;

const model = await CausalLM.fromPretrained(tinyModel, { threads: 1, dtype: "float32" });
model.applyLora(new LoraConfig({ r: 4, targetModules: "all-linear" }));
let calls = 0;
const trainer = new GRPOTrainer({
  model,
  processingClass: await Tokenizer.fromPretrained(tinyModel),
  args: new GRPOConfig({
    outputDir,
    maxSteps: 5,
    perDeviceTrainBatchSize: 4,
    gradientAccumulationSteps: 6 / Number(process.env.WORLD_SIZE ?? 1),
    numGenerations: 4,
    maxCompletionLength: 6,
    learningRate: 1e-5,
    saveSteps: 1,
    logTo: ["jsonl"],
    ddpTimeout: 5,
    rewardBatching: "batch",
  }),
  rewardFuncs: ({ completionIds }) => {
    if (isFailing && ++calls === 3) {
      if (what === "kill") process.kill(process.pid, "SIGKILL");
      if (what === "stop") process.kill(process.pid, "SIGSTOP");
      if (what === "throw") throw new Error("the judge is down");
    }
    return completionIds.map((ids) => ids.filter((id) => id % 2 === 0).length);
  },
  trainDataset: Dataset.from(Array.from({ length: 30 }, (_, i) => ({ prompt: `${i} + ${i % 7} = ` }))),
});
try {
  await trainer.train({ resumeFromCheckpoint: what === "resume" });
  if (process.env.RANK === "0" || process.env.RANK === undefined) await model.savePretrained(`${outputDir}/final`);
} catch (error) {
  console.log(
    `${error instanceof Error && "code" in error ? error.code : "?"} ${error instanceof Error ? error.message : error}`,
  );
  process.exit(1);
}
process.exit(0);
