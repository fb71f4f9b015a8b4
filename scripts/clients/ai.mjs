// The AI SDK with its two providers for OpenAI's protocols, unmodified, against an endpoint: prints what each use of it gave.

import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.join(process.cwd(), "x.js"));
const { generateText, streamText, stepCountIs, isStepCount, tool, Output } = require("ai");
const { createOpenAICompatible } = require("@ai-sdk/openai-compatible");
const { createOpenAI } = require("@ai-sdk/openai");
const { z } = require("zod");
const [baseURL, apiKey, prompt] = [process.env.BASE_URL, process.env.KEY, process.env.QUESTION];
const compatible = createOpenAICompatible({ name: "policy", baseURL, apiKey, supportsStructuredOutputs: true });
const openai = createOpenAI({ baseURL, apiKey });
const stopWhen = (isStepCount ?? stepCountIs)(5);
const ran = [];
const tools = {
  weather: tool({
    description: "the weather",
    // What a schema does with arguments is not what the model wrote.
    inputSchema: z.object({ city: z.string().transform((city) => city.toUpperCase()), days: z.number().default(1) }),
    execute: async ({ city }) => {
      ran.push(city);
      return `sunny in ${city}`;
    },
  }),
};
const result = {};
const providers = { compatible, chat: (name) => openai.chat(name), responses: openai };

for (const [name, model] of Object.entries(providers)) {
  const plain = await generateText({ model: model("policy"), prompt, temperature: 0 });
  result[`${name}: text`] = [plain.text, plain.finishReason, plain.usage.outputTokens > 0];
  let text = "";
  for await (const part of streamText({ model: model("policy"), prompt, temperature: 0 }).textStream) text += part;
  result[`${name}: streamed`] = text;
  ran.length = 0;
  const looped = await generateText({ model: model("policy"), prompt, tools, stopWhen, temperature: 0 });
  result[`${name}: tools`] = [looped.text, looped.steps.length, ...ran];
  ran.length = 0;
  const streamed = streamText({ model: model("policy"), prompt, tools, stopWhen, temperature: 0 });
  result[`${name}: tools streamed`] = [await streamed.text, (await streamed.steps).length, ...ran];
  const sum = z.object({ answer: z.int().min(0).max(99), unit: z.enum(["cards", "coins"]) });
  const formed = { model: model("policy"), prompt, maxOutputTokens: 400, maxRetries: 0 };
  const output = await generateText({ ...formed, output: Output.object({ schema: sum }) });
  result[`${name}: structured`] = sum.safeParse(output.output).success;
  const forced = await generateText({
    ...formed,
    tools: { choose: tool({ description: "choose", inputSchema: sum }) },
    toolChoice: "required",
  });
  result[`${name}: forced`] = forced.toolCalls.map((call) => sum.safeParse(call.input).success).every(Boolean);
  const abort = new AbortController();
  const long = streamText({ model: model("policy"), prompt, abortSignal: abort.signal, onError: () => {} });
  let parts = 0;
  try {
    for await (const _ of long.fullStream) if (++parts === 4) abort.abort();
  } catch {}
  result[`${name}: aborted`] = parts >= 4;
  const failed = await generateText({ model: model("gpt-9"), prompt, maxRetries: 0 }).catch((e) => e.statusCode);
  result[`${name}: bad model`] = failed;
}
const completion = await generateText({
  model: compatible.completionModel("policy"),
  prompt,
  temperature: 0,
  maxOutputTokens: 5,
});
result.completion = completion.finishReason;

const twice = await generateText({ model: openai("policy"), prompt, temperature: 0 });
const messages = [{ role: "user", content: prompt }, ...twice.response.messages, { role: "user", content: prompt }];
result.conversation = (await generateText({ model: openai("policy"), messages, temperature: 0 })).text.length > 0;
console.log(JSON.stringify(result));
