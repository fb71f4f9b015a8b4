// Classification: support messages get one of four labels, and what training changed is measured on messages that it has not seen.
//
//   npx tsx classification.ts --model Qwen/Qwen2.5-0.5B-Instruct --steps 100

import { parseArgs } from "node:util";
import { Dataset, GRPOConfig, GRPOTrainer, LoraConfig, rewards, tinyModel } from "grpo";

const { values: flags } = parseArgs({
  options: {
    model: { type: "string", default: tinyModel }, // shows that it runs; give an instruct model to learn something
    steps: { type: "string", default: "20" },
    output: { type: "string", default: "runs/classification" },
  },
});

/** Yours would come from a file: await loadDataset<{ text: string; label: string }>("tickets.csv", { split: "train" }). */
const messages = {
  billing: [
    "I was charged twice",
    "Where is my invoice?",
    "Please refund me",
    "My card was declined",
    "Is VAT included?",
  ],
  bug: [
    "The page stays white",
    "It crashes on start",
    "Saving gives error 500",
    "The button does nothing",
    "Dates are wrong",
  ],
  account: ["I forgot my password", "Delete my profile", "Change my address", "I cannot log in", "Who sees my data?"],
  praise: ["I love it", "Great support, thanks", "Best tool I have used", "It just works", "You made my day"],
};
const labels = Object.keys(messages);
const system = {
  role: "system",
  content: `Which kind of message is this? Answer with one word: ${labels.join(", ")}.`,
};

const rows = Object.entries(messages).flatMap(([label, texts]) =>
  texts.map((content) => ({ prompt: [system, { role: "user", content }], label })),
);
const { train, test } = Dataset.from(rows).trainTestSplit({ testSize: 8, seed: 1 });

/** A wrong label is better than no label, so that there is something to learn from at the beginning. */
const labelled = rewards.perSample<{ label: string }>(function labelled({ text, label }) {
  const answer = text.trim().toLowerCase();
  if (answer === label) return 1;
  return labels.includes(answer) ? 0.1 : 0;
});

const trainer = new GRPOTrainer({
  model: flags.model,
  peftConfig: new LoraConfig({ r: 16, loraAlpha: 32, targetModules: "all-linear" }),
  trainDataset: train,
  evalDataset: test,
  rewardFuncs: labelled,
  args: new GRPOConfig({
    outputDir: flags.output,
    maxSteps: Number(flags.steps),
    modelInitKwargs: { dtype: "auto" },
    perDeviceTrainBatchSize: 32,
    numGenerations: 8,
    maxCompletionLength: 8,
    learningRate: 1e-5,
    loggingSteps: 1,
  }),
});
const before = await trainer.evaluate({ doSample: false });
await trainer.train();
const after = await trainer.evaluate({ doSample: false });
await trainer.saveModel();
console.log(`reward on ${test.length} other messages: ${before.metrics.eval_reward} → ${after.metrics.eval_reward}`);
