// An agent of the AI SDK as it is, which writes the arguments of calls anew and changes their values by its schemas, goes on with the
// ids that were drawn.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { stepCountIs, ToolLoopAgent, tool } from "ai";
import type { RolloutContext } from "grpo";
import { expect, it } from "vitest";
import { z } from "zod";
import { type Row, rolloutBench } from "./rollout-bench.js";

const weather = tool({
  description: "The forecast of a city",
  inputSchema: z.object({ city: z.string().transform((city) => city.toUpperCase()), unit: z.string().default("C") }),
  execute: async ({ city, unit }) => `20 ${unit} in ${city}`,
});

it.each([false, true])("streamed: %s", async (streamed) => {
  const rollout = async ({ row, endpoint, signal }: RolloutContext<Row>) => {
    const policy = createOpenAICompatible({ name: "policy", baseURL: endpoint.baseURL, apiKey: endpoint.apiKey });
    const agent = new ToolLoopAgent({ model: policy(endpoint.model), tools: { weather }, stopWhen: stepCountIs(4) });
    const asked = { prompt: row.prompt, abortSignal: signal };
    const text = streamed ? await (await agent.stream(asked)).text : (await agent.generate(asked)).text;
    return { reward: text === "It is 20 degrees." };
  };
  const { sample, tokenizer } = await rolloutBench(rollout, {
    say: ({ ids }) =>
      tokenizer.decode(ids).includes("20 C in PARIS")
        ? "It is 20 degrees."
        : '<think>A tool.</think>\n<tool_call>\n{"name":  "weather", "arguments": { "city":"Paris" }}\n</tool_call>',
  });
  for (const { samples, report } of (await sample()).flat()) {
    expect(samples).toHaveLength(1);
    expect(report).toMatchObject({ result: { reward: true }, counts: { "rollout/realigned": 1, "rollout/forked": 0 } });
    const [{ completionIds, lossMask }] = samples as [(typeof samples)[0]];
    const given = tokenizer.decode(completionIds.filter((_, i) => lossMask?.[i] === 0));
    expect(given).toBe("\n<|im_start|>tool\n20 C in PARIS<|im_end|>\n<|im_start|>assistant\n");
  }
});
