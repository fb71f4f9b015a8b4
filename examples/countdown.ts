// Countdown: reach a target with the given numbers, each used once, by + - * and /. There are too many right answers
// to list in a column, so the reward evaluates what the model wrote.
//
//   npx tsx countdown.ts --model Qwen/Qwen2.5-1.5B-Instruct --steps 300

import { parseArgs } from "node:util";
import { GRPOConfig, GRPOTrainer, LoraConfig, rewards, tinyModel } from "grpo";

const { values: flags } = parseArgs({
  options: {
    model: { type: "string", default: tinyModel }, // shows that it runs; give an instruct model to learn something
    steps: { type: "string", default: "20" },
    output: { type: "string", default: "runs/countdown" },
  },
});

/** Puzzles that can be solved, since the target is made from the numbers. */
const trainDataset = Array.from({ length: 500 }, (_, i) => {
  const numbers = [2 + (i % 7), 3 + (i % 11), 1 + (i % 13)] as const;
  const [a, b, c] = numbers;
  const target = i % 2 === 0 ? a * b + c : a * (b + c);
  const task = `Make ${target} from the numbers ${numbers.join(", ")}, each used once, with + - * / and parentheses.`;
  const prompt = [{ role: "user", content: `${task} Think, then write the expression in <answer> </answer>.` }];
  return { prompt, numbers: [...numbers], target };
});

/** The value of an expression of whole numbers, + - * / and parentheses; NaN if the text is not one. */
function evaluate(expression: string): number {
  const tokens = expression.match(/\d+|[^\s\d]/g) ?? [];
  let next = 0;
  const atom = (): number => {
    const token = tokens[next++];
    if (token !== "(") return /^\d+$/.test(token ?? "") ? Number(token) : Number.NaN;
    const value = sum();
    return tokens[next++] === ")" ? value : Number.NaN;
  };
  const product = (): number => {
    let value = atom();
    while (tokens[next] === "*" || tokens[next] === "/")
      value = tokens[next++] === "*" ? value * atom() : value / atom();
    return value;
  };
  const sum = (): number => {
    let value = product();
    while (tokens[next] === "+" || tokens[next] === "-") value += tokens[next++] === "+" ? product() : -product();
    return value;
  };
  const value = sum();
  return next === tokens.length ? value : Number.NaN;
}

const sorted = (numbers: readonly number[]) => [...numbers].sort((a, b) => a - b).join(" ");

const solved = rewards.perSample<{ numbers: number[]; target: number }>(function solved({ text, numbers, target }) {
  const answer = /<answer>([^<]*)<\/answer>\s*$/.exec(text)?.[1];
  if (answer === undefined) return 0;
  const used = (answer.match(/\d+/g) ?? []).map(Number);
  const reached = Math.abs(evaluate(answer) - target) < 1e-6;
  return sorted(used) === sorted(numbers) && reached ? 1 : 0.1; // a tenth for an answer at all
});

const trainer = new GRPOTrainer({
  model: flags.model,
  peftConfig: new LoraConfig({ r: 16, loraAlpha: 32, targetModules: "all-linear" }),
  trainDataset,
  rewardFuncs: solved,
  args: new GRPOConfig({
    outputDir: flags.output,
    maxSteps: Number(flags.steps),
    modelInitKwargs: { dtype: "auto" },
    perDeviceTrainBatchSize: 32,
    numGenerations: 16, // hard puzzles need more tries, so that one of a group is right
    maxCompletionLength: 256,
    learningRate: 1e-5,
    loggingSteps: 1,
  }),
});
await trainer.train();
await trainer.saveModel();
