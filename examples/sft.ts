// Supervised fine-tuning: a model learns the form of answers from rows that have them, before GRPO has something to reward.
//
//   npx tsx sft.ts --model Qwen/Qwen2.5-0.5B --steps 100

import { parseArgs } from "node:util";
import { Dataset, LoraConfig, SFTConfig, SFTTrainer, tinyModel } from "grpo";

const { values: flags } = parseArgs({
  options: {
    model: { type: "string", default: tinyModel }, // shows that it runs; give a base model to learn something
    steps: { type: "string", default: "20" },
    output: { type: "string", default: "runs/sft" },
  },
});

/** Yours would come from a file or the Hub: await loadDataset<{ messages: Message[] }>("chats.jsonl", { split: "train" }). */
const rows = Array.from({ length: 60 }, (_, i) => {
  const [a, b] = [3 * i + 2, (7 * i) % 20];
  return {
    prompt: [{ role: "user", content: `What is ${a} + ${b}?` }],
    completion: [{ role: "assistant", content: `The sum of ${a} and ${b} is $${a + b}$.` }],
  };
});
const { train, test } = Dataset.from(rows).trainTestSplit({ testSize: 8, seed: 1 });

const trainer = new SFTTrainer({
  model: flags.model,
  peftConfig: new LoraConfig({ r: 16, loraAlpha: 32, targetModules: "all-linear" }),
  trainDataset: train,
  evalDataset: test,
  args: new SFTConfig({
    outputDir: flags.output,
    maxSteps: Number(flags.steps),
    learningRate: 5e-4,
    loggingSteps: 5,
    evalStrategy: "steps",
    evalOnStart: true,
    saveStrategy: "no",
  }),
});

const before = await trainer.evaluate();
await trainer.train();
const after = await trainer.evaluate();
await trainer.saveModel();
const shown = ({ metrics }: typeof before) =>
  `loss ${metrics.eval_loss?.toFixed(3)}, token accuracy ${metrics.eval_mean_token_accuracy?.toFixed(3)}`;
console.log(`before: ${shown(before)}\nafter:  ${shown(after)}`);
