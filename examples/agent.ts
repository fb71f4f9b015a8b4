// An agent of the AI SDK, trained as it is: it answers questions about prices with two tools, one that looks up a price and one that
// multiplies. The reward looks at its answer; a small share is for using the tools at all.
//
//   npm install ai @ai-sdk/openai-compatible zod
//   npx tsx agent.ts --model Qwen/Qwen2.5-0.5B-Instruct --steps 200

import { parseArgs } from "node:util";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { stepCountIs, ToolLoopAgent, tool } from "ai";
import { GRPOConfig, GRPOTrainer, LoraConfig, tinyModel } from "grpo";
import { z } from "zod";

const { values: flags } = parseArgs({
  options: {
    model: { type: "string", default: tinyModel }, // shows that it runs; give an instruct model to learn something
    steps: { type: "string", default: "20" },
    output: { type: "string", default: "runs/agent" },
  },
});

const prices: Readonly<Record<string, number>> = { mug: 7, lamp: 34, chair: 58, book: 12, kettle: 29 };

const tools = {
  price: tool({
    description: "The price of an item in euros",
    inputSchema: z.object({ item: z.string() }),
    execute: async ({ item }) => prices[item] ?? "There is no such item.",
  }),
  multiply: tool({
    description: "The product of two numbers",
    inputSchema: z.object({ a: z.number(), b: z.number() }),
    execute: async ({ a, b }) => a * b,
  }),
};

const trainDataset = Object.keys(prices).flatMap((item) =>
  [2, 3, 6, 11, 17].map((count) => ({
    prompt: `How many euros are ${count} ${item}s? Answer with the number.`,
    answer: count * (prices[item] ?? 0),
  })),
);

const trainer = new GRPOTrainer({
  model: flags.model,
  peftConfig: new LoraConfig({ r: 16, loraAlpha: 32, targetModules: "all-linear" }),
  trainDataset,
  async rollout({ row, endpoint, signal }) {
    const policy = createOpenAICompatible({ name: "policy", baseURL: endpoint.baseURL, apiKey: endpoint.apiKey });
    const agent = new ToolLoopAgent({ model: policy(endpoint.model), tools, stopWhen: stepCountIs(5) });
    const { text, steps } = await agent.generate({ prompt: row.prompt, abortSignal: signal });
    const calls = steps.flatMap(({ toolCalls }) => toolCalls).length;
    const last = text.match(/\d+/g)?.at(-1);
    return {
      rewards: { right: Number(last) === row.answer ? 1 : 0, calls: calls > 0 ? 0.1 : 0 },
      metrics: { calls },
    };
  },
  args: new GRPOConfig({
    outputDir: flags.output,
    maxSteps: Number(flags.steps),
    modelInitKwargs: { dtype: "auto" },
    perDeviceTrainBatchSize: 16,
    numGenerations: 8,
    maxCompletionLength: 96,
    learningRate: 1e-5,
    onRewardError: 0,
    loggingSteps: 1,
  }),
});
await trainer.train();
await trainer.saveModel();
