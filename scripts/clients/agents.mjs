// The Agents SDK, unmodified, against an endpoint: prints what each use of it gave.

import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.join(process.cwd(), "x.js"));
const { Agent, OpenAIProvider, Runner, tool } = require("@openai/agents");
const { z } = require("zod");
const ran = [];
const weather = tool({
  name: "weather",
  description: "the weather",
  parameters: z.object({ city: z.string(), days: z.number().nullable() }),
  execute: async ({ city }) => {
    ran.push(city);
    return `sunny in ${city}`;
  },
});
const result = {};

for (const useResponses of [true, false]) {
  const name = useResponses ? "responses" : "chat";
  const { BASE_URL: baseURL, KEY: apiKey, QUESTION: question } = process.env;
  const runner = new Runner({ modelProvider: new OpenAIProvider({ baseURL, apiKey, useResponses }) });
  const modelSettings = { temperature: 0 };
  const plain = new Agent({ name: "A", instructions: "Be short.", model: "policy", modelSettings });
  result[`${name}: text`] = (await runner.run(plain, question)).finalOutput;
  const agent = new Agent({ name: "B", model: "policy", tools: [weather], modelSettings });
  for (const stream of [false, true]) {
    ran.length = 0;
    const run = await runner.run(agent, question, { stream });
    if (stream) {
      for await (const _ of run);
      await run.completed;
    }
    result[`${name}: tools${stream ? " streamed" : ""}`] = [run.finalOutput, ...ran];
  }
  // Ids of calls that come twice in a run would end it.
  const first = await runner.run(agent, question);
  const again = [...first.history, { role: "user", content: question }];
  result[`${name}: second turn`] = (await runner.run(agent, again)).finalOutput;
  if (useResponses) {
    const next = await runner.run(plain, question, { previousResponseId: first.lastResponseId });
    result[`${name}: previous response`] = next.finalOutput.length > 0;
  }
}
console.log(JSON.stringify(result));
