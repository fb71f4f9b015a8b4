// Grade-school mathematics: GSM8K with a reward for the right number, and one for putting it on a line of its own.
//
//   npx tsx gsm8k.ts --model Qwen/Qwen2.5-0.5B-Instruct --steps 200
//
// The data is openai/gsm8k from the Hub, or what --data names: a file, a folder or a Hub id with the columns question and answer.

import { parseArgs } from "node:util";
import { datasets, GRPOConfig, GRPOTrainer, LoraConfig, rewards, tinyModel } from "grpo";

const { values: flags } = parseArgs({
  options: {
    model: { type: "string", default: tinyModel }, // shows that it runs; give an instruct model to learn something
    data: { type: "string", default: "openai/gsm8k" },
    steps: { type: "string", default: "20" },
    output: { type: "string", default: "runs/gsm8k" },
  },
});

const systemPrompt = "Think step by step. End with a line that says only: Answer: <number>";
const trainDataset = await datasets.gsm8k({ source: flags.data, systemPrompt });

/** The last number of a text; answers write "1,234" and "$18.00" too. */
function lastNumber(text: string): number | undefined {
  const number = text
    .replaceAll(",", "")
    .match(/-?\d+(?:\.\d+)?/g)
    ?.at(-1);
  return number === undefined ? undefined : Number(number);
}

const correct = rewards.perSample<{ solution: string }>(function correct({ text, solution }) {
  return lastNumber(text) === Number(solution) ? 1 : 0;
});

const format = rewards.perSample(function format({ text }) {
  return /^Answer: -?[\d.,]+$/.test(text.trimEnd().split("\n").at(-1) ?? "") ? 1 : 0;
});

const trainer = new GRPOTrainer({
  model: flags.model,
  peftConfig: new LoraConfig({ r: 16, loraAlpha: 32, targetModules: "all-linear" }), // leave it out to train all weights
  trainDataset,
  rewardFuncs: [correct, format],
  args: new GRPOConfig({
    outputDir: flags.output,
    maxSteps: Number(flags.steps),
    modelInitKwargs: { dtype: "auto" }, // the type that the checkpoint has
    rewardWeights: [1, 0.2],
    perDeviceTrainBatchSize: 32, // completions in a step
    numGenerations: 8, // of them for each question
    maxCompletionLength: 256,
    learningRate: 1e-5,
    loggingSteps: 1,
  }),
});
await trainer.train();
await trainer.saveModel(); // the adapter, into outputDir
