// openai for Node, unmodified, against an endpoint: prints what each use of it gave. BASE_URL and KEY say where.

import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.join(process.cwd(), "x.js"));
const OpenAI = require("openai").default ?? require("openai");
const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: process.env.KEY });
const question = process.env.QUESTION;
const messages = [{ role: "user", content: question }];
const parameters = { type: "object", properties: { city: { type: "string" }, days: { type: "number" } } };
const ran = [];
const weather = {
  name: "weather",
  description: "the weather",
  parameters,
  parse: JSON.parse,
  function: ({ city }) => {
    ran.push(city);
    return `sunny in ${city}`;
  },
};
const result = {};

result.models = (await client.models.list()).data.map(({ id }) => id);
const whole = await client.chat.completions.create({ model: "policy", messages, temperature: 0 });
result.chat = [whole.choices[0].message.content, whole.choices[0].finish_reason, whole.usage.total_tokens > 0];

const stream = await client.chat.completions.create({
  model: "policy",
  messages,
  temperature: 0,
  stream: true,
  stream_options: { include_usage: true },
});
let text = "";
let usage;
for await (const chunk of stream) {
  text += chunk.choices[0]?.delta.content ?? "";
  usage = chunk.usage ?? usage;
}
result.stream = [text, usage.total_tokens === whole.usage.total_tokens];

for (const streamed of [false, true]) {
  ran.length = 0;
  const runner = client.chat.completions.runTools({
    model: "policy",
    messages,
    temperature: 0,
    stream: streamed,
    tools: [{ type: "function", function: weather }],
  });
  result[streamed ? "toolsStreamed" : "tools"] = [await runner.finalContent(), ...ran];
}

const tools = [{ type: "function", name: "weather", parameters, strict: false }];
const first = await client.responses.create({ model: "policy", input: question, tools, temperature: 0 });
const calls = first.output.filter(({ type }) => type === "function_call");
const outputs = calls.map(({ call_id }) => ({ type: "function_call_output", call_id, output: "sunny" }));
const second = await client.responses.create({
  model: "policy",
  input: outputs,
  previous_response_id: first.id,
  tools,
  temperature: 0,
});
result.responses = [calls.length, first.output_text, second.output_text];
const events = client.responses.stream({ model: "policy", input: question, tools, temperature: 0 });
const final = await events.finalResponse();
result.responsesStreamed = final.output.map(({ type }) => type);

const { z } = require("zod");
const { zodResponseFormat, zodTextFormat } = require("openai/helpers/zod");
const sum = z.object({ answer: z.int().min(0).max(99), unit: z.enum(["cards", "coins"]) });
const limits = { model: "policy", temperature: 1, seed: 1 };
const formed = await client.chat.completions.parse({
  ...limits,
  messages,
  max_tokens: 400,
  response_format: zodResponseFormat(sum, "sum"),
});
const parsed = await client.responses.parse({
  ...limits,
  input: question,
  max_output_tokens: 400,
  text: { format: zodTextFormat(sum, "sum") },
});
result.structured = [formed.choices[0].message.parsed, parsed.output_parsed].map(
  (value) => sum.safeParse(value).success,
);
const required = await client.chat.completions.create({
  ...limits,
  messages,
  max_tokens: 400,
  tools: [{ type: "function", function: { name: "choose", parameters: z.toJSONSchema(sum) } }],
  tool_choice: { type: "function", function: { name: "choose" } },
});
result.forced = required.choices[0].message.tool_calls.map((call) => [
  call.function.name,
  sum.safeParse(JSON.parse(call.function.arguments)).success,
]);

const long = { model: "policy", messages, max_tokens: 900, temperature: 1, stream: true };
const aborted = await client.chat.completions.create({ ...long, min_tokens: 900 });
let chunks = 0;
for await (const _ of aborted) if (++chunks === 3) break;
result.aborted = chunks;

const errorOf = (promise) => promise.then(() => "none").catch((e) => [e.constructor.name, e.status, e.code]);
result.badRequest = await errorOf(client.chat.completions.create({ model: "policy", messages, frequency_penalty: 1 }));
result.badModel = await errorOf(client.chat.completions.create({ model: "gpt-9", messages }));
result.badKey = await errorOf(new OpenAI({ baseURL: process.env.BASE_URL, apiKey: "wrong" }).models.list());

// More rows than the server takes at a time: the client tries again.
const many = Array.from({ length: 4 }, () =>
  client.chat.completions.create({ model: "policy", messages, n: 60, max_tokens: 20 }, { maxRetries: 8 }),
);
result.retried = (await Promise.all(many)).map(({ choices }) => choices.length);
console.log(JSON.stringify(result));
