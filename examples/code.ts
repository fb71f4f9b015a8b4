// Code: small functions in Python, rewarded for the share of tests that they pass, and for being in one code block.
//
//   HF_ALLOW_CODE_EVAL=1 npx tsx code.ts --model Qwen/Qwen2.5-Coder-0.5B-Instruct --steps 200
//
// The variable is your consent to run what a model writes on this machine, where it is not locked in: docs/code-rewards.md says
// what protects you and what does not, and how to use sandboxes instead.

import { parseArgs } from "node:util";
import { GRPOConfig, GRPOTrainer, LoraConfig, rewards, tinyModel } from "grpo";

const { values: flags } = parseArgs({
  options: {
    model: { type: "string", default: tinyModel }, // shows that it runs; give an instruct model to learn something
    steps: { type: "string", default: "20" },
    output: { type: "string", default: "runs/code" },
  },
});

/** What a program should do, and what it should print for some inputs: the columns of open-r1's data sets. */
const tasks: { task: string; solve: (numbers: number[]) => number }[] = [
  { task: "the sum of the numbers", solve: (numbers) => numbers.reduce((sum, n) => sum + n, 0) },
  { task: "the largest of the numbers", solve: (numbers) => Math.max(...numbers) },
  { task: "how many of the numbers are even", solve: (numbers) => numbers.filter((n) => n % 2 === 0).length },
  { task: "the difference of the largest and the smallest", solve: (all) => Math.max(...all) - Math.min(...all) },
  {
    task: "the product of the first and the last number",
    solve: (numbers) => (numbers[0] ?? 0) * (numbers.at(-1) ?? 0),
  },
  { task: "how many different numbers there are", solve: (numbers) => new Set(numbers).size },
];
const inputs = [[3, 1, 2], [5], [4, 4, 8, 2], [10, -3, 7, 7, 0]];

const trainDataset = tasks.map(({ task, solve }) => {
  const cases = inputs.map((numbers) => ({ input: `${numbers.join(" ")}\n`, output: `${solve(numbers)}\n` }));
  const content = `Write a Python program that reads one line of whole numbers and prints ${task}. Answer with one code block.`;
  return { prompt: [{ role: "user", content }], verification_info: { language: "python", test_cases: cases } };
});

const passed = rewards.code({ provider: "local" });

const oneBlock = rewards.perSample(function oneBlock({ text }) {
  return text.match(/```python\n[\s\S]*?\n```/g)?.length === 1 ? 1 : 0;
});

const trainer = new GRPOTrainer({
  model: flags.model,
  peftConfig: new LoraConfig({ r: 16, loraAlpha: 32, targetModules: "all-linear" }),
  trainDataset,
  rewardFuncs: [passed, oneBlock],
  args: new GRPOConfig({
    outputDir: flags.output,
    maxSteps: Number(flags.steps),
    modelInitKwargs: { dtype: "auto" },
    rewardWeights: [1, 0.1],
    perDeviceTrainBatchSize: 16,
    numGenerations: 8,
    maxCompletionLength: 256,
    learningRate: 1e-5,
    loggingSteps: 1,
  }),
});
await trainer.train();
await trainer.saveModel();
