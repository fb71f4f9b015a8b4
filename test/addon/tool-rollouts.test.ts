// Conversations with tools on the real engine: turns behind results are drawn with the log-probabilities that training computes, again and
// again the same. The bundled model calls no tools, so that its first turns are given.

import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { z } from "zod";
import { at } from "../../lib/at.js";
import type { GenerationRequest } from "../../lib/endpoint/generator.js";
import { ModelGenerator } from "../../lib/endpoint/model-generator.js";
import { GRPOConfig } from "../../lib/grpo/config.js";
import { ToolUse } from "../../lib/grpo/tool-use.js";
import { CausalLM } from "../../lib/model/model.js";
import { renderPrompt } from "../../lib/rollout/prompts.js";
import type { SampledRollout } from "../../lib/rollout/sample.js";
import { Tokenizer } from "../../lib/tokenizer/tokenizer.js";
import { publishedTemplate } from "../support/chat-formats.js";
import { DEVICE } from "../support/device.js";
import { ScriptedGenerator } from "../support/scripted-generator.js";

const TINY = fileURLToPath(new URL("../../scripts/assets/tiny-qwen2/", import.meta.url));
const CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call><|im_end|>';
const ROW = { prompt: [{ role: "user", content: "1 + 1?" }] };

it("turns behind results are as training computes them, and the same again", async () => {
  const tokenizer = await Tokenizer.fromPretrained(TINY);
  tokenizer.chatTemplate = publishedTemplate("trl/qwen2_5");
  await using model = await CausalLM.fromPretrained(TINY, { dtype: "float32", device: DEVICE });
  const add = { inputSchema: z.object({ a: z.number() }), execute: ({ a }: { a: number }) => a + 1 };
  const use = ToolUse.of({ tools: { add } }, new GRPOConfig());
  if (use === undefined) throw new Error("there are tools");
  const promptIds = renderPrompt(tokenizer, ROW.prompt, { chatTemplateKwargs: {}, tools: use.toolsOf(ROW) });

  const call = tokenizer.encode(CALL, { addSpecialTokens: false });
  const first = new ScriptedGenerator(() => call, tokenizer.eosTokenIds);
  const others = new ModelGenerator(model, tokenizer);
  const given = {
    maxPositions: model.maxPositions,
    sample: () => Promise.reject(new Error("turns are drawn one by one")),
    generate: (request: GenerationRequest) => {
      const isFirst = request.ids.length === promptIds.length;
      return (isFirst ? first : others).generate(request);
    },
  };
  const sampler = use.sampler(given, tokenizer);
  const sample = async (seed: number): Promise<readonly SampledRollout[]> => {
    const options = { groupSize: 3, maxNewTokens: 120, seed, step: 2, promptKeys: [7], stopIds: tokenizer.eosTokenIds };
    return at((await sampler.sample([promptIds], options, [ROW])).groups, 0).completions as readonly SampledRollout[];
  };

  const rollouts = await sample(4);
  expect(await sample(4)).toEqual(rollouts);
  const turns = rollouts.map(({ completion }) => JSON.stringify(completion));
  expect(new Set(turns).size).toBe(3);
  expect((await sample(5)).map(({ completion }) => JSON.stringify(completion))).not.toEqual(turns);
  const samples = rollouts.map((rollout) => at(rollout.samples, 0));
  const computed = await model.completionLogprobs(
    { promptIds: samples.map(() => promptIds), completionIds: samples.map(({ completionIds }) => completionIds) },
    { temperature: 1, reference: false },
  );
  for (const [i, { lossMask, samplingLogprobs, completionIds }] of samples.entries()) {
    expect(tokenizer.decode(completionIds.slice(call.length))).toMatch(/^\n<\|im_start\|>user\n<tool_response>\n2\n/);
    for (const [t, counts] of (lossMask ?? []).entries()) {
      // What was given has none; the first turn was not drawn by the model.
      if (counts === 0) expect(samplingLogprobs[t]).toBe(0);
      else if (t >= call.length) expect(samplingLogprobs[t]).toBeCloseTo(at(computed[i] ?? [], t), 4);
    }
  }
});
