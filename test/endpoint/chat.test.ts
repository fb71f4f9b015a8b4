// Chat completions as OpenAI's clients need them: deltas, call ids, usage, log-probabilities, history as it comes back.

import { expect, it } from "vitest";
import { errorOf, LOGPROB, startEndpoint } from "./fake-generator.js";

const PATH = "/v1/chat/completions";
const ask = (content: string) => ({ role: "user", content });
const TOOLS = [
  {
    type: "function",
    function: { name: "weather", parameters: { type: "object", properties: { city: { type: "string" } } } },
  },
];
const callText = (city: string) => `<tool_call>\n{"name": "weather", "arguments": {"city": "${city}"}}\n</tool_call>`;

it("says what the model said, and counts every sampled id", async () => {
  const { client, tokenizer } = await startEndpoint(() => "Hello there.");
  const answer = await client.json(PATH, { model: "tiny", messages: [ask("hi")] });
  expect(answer).toMatchObject({ object: "chat.completion", model: "tiny" });
  expect(answer.choices).toEqual([
    {
      index: 0,
      message: { role: "assistant", content: "Hello there.", refusal: null },
      logprobs: null,
      finish_reason: "stop",
    },
  ]);
  const prompt = tokenizer.applyChatTemplate([ask("hi")], { addGenerationPrompt: true, tokenize: true }).length;
  const completion = tokenizer.encode("Hello there.").length + 1;
  expect(answer.usage).toEqual({
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: 0 },
  });
});

it("streams the same text: the role first, one finish reason, and usage in a chunk without choices", async () => {
  const { client } = await startEndpoint(() => "Hello there.");
  const body = { messages: [ask("hi")], stream: true, stream_options: { include_usage: true } };
  const events = await client.events(PATH, body);
  expect(events[0].choices).toEqual([{ index: 0, delta: { role: "assistant", content: "" }, finish_reason: null }]);
  const chunks = events.slice(0, -2);
  expect(chunks.map(({ choices }) => choices[0].delta.content ?? "").join("")).toBe("Hello there.");
  expect(chunks.map(({ choices }) => choices[0].finish_reason).filter(Boolean)).toEqual(["stop"]);
  expect(chunks.every(({ usage }) => usage === null)).toBe(true);
  expect(events.at(-2)).toMatchObject({ choices: [], usage: { completion_tokens: expect.any(Number) } });
  expect(events.at(-1)).toBe("[DONE]");
  expect(new Set(chunks.map(({ id }) => id)).size).toBe(1);
});

it("streams parallel calls with an index in every piece, and id, type and name in the first alone", async () => {
  const { client } = await startEndpoint(() => `Let me look.\n${callText("Paris")}\n${callText("Rome")}`);
  const events = await client.events(PATH, { messages: [ask("hi")], tools: TOOLS, stream: true });
  const pieces = events.slice(0, -1).flatMap(({ choices }) => choices[0].delta.tool_calls ?? []);
  expect(pieces.every(({ index }) => Number.isInteger(index))).toBe(true);
  for (const index of [0, 1]) {
    const [first, ...rest] = pieces.filter((piece) => piece.index === index);
    expect(first).toEqual({
      index,
      id: expect.any(String),
      type: "function",
      function: { name: "weather", arguments: "" },
    });
    for (const piece of rest) expect(Object.keys(piece)).toEqual(["index", "function"]);
    const text = rest.map((piece) => piece.function.arguments).join("");
    expect(JSON.parse(text)).toEqual({ city: ["Paris", "Rome"][index] });
  }
  expect(events.at(-2).choices[0].finish_reason).toBe("tool_calls");
});

it("gives each call of a server's life an id of its own, of nine letters and digits", async () => {
  const { client } = await startEndpoint(() => `${callText("Paris")}\n${callText("Rome")}`);
  const ids: string[] = [];
  for (let i = 0; i < 20; i++) {
    const { choices } = await client.json(PATH, { messages: [ask("hi")], tools: TOOLS, n: 2 });
    for (const { message } of choices) ids.push(...message.tool_calls.map((call: { id: string }) => call.id));
  }
  expect(new Set(ids).size).toBe(80);
  expect(ids.every((id) => /^[a-z0-9]{9}$/.test(id))).toBe(true);
});

it("has null for content beside calls and a text otherwise, since agents take null for no answer", async () => {
  let text = callText("Paris");
  const { client } = await startEndpoint(() => text);
  const body = { messages: [ask("hi")], tools: TOOLS };
  expect((await client.json(PATH, body)).choices[0].message.content).toBe(null);
  text = "";
  expect((await client.json(PATH, body)).choices[0]).toMatchObject({
    message: { content: "" },
    finish_reason: "stop",
  });
});

it("gives reasoning one name", async () => {
  const { client } = await startEndpoint(() => "<think>hm</think>Yes.");
  const { message } = (await client.json(PATH, { messages: [ask("hi")] })).choices[0];
  expect(message).toEqual({ role: "assistant", content: "Yes.", refusal: null, reasoning: "hm" });
});

it("keeps to the first call where parallel calls are not wanted", async () => {
  const { client } = await startEndpoint(() => `${callText("Paris")}\n${callText("Rome")}`);
  const body = { messages: [ask("hi")], tools: TOOLS, parallel_tool_calls: false };
  const { message } = (await client.json(PATH, body)).choices[0];
  expect(message.tool_calls).toHaveLength(1);
  const events = await client.events(PATH, { ...body, stream: true });
  const indices = events.slice(0, -1).flatMap(({ choices }) => choices[0].delta.tool_calls ?? []);
  expect(indices.every(({ index }) => index === 0)).toBe(true);
});

it("tells a model that may not call of no tools, and reads no calls of it", async () => {
  const { client } = await startEndpoint((_, prompt) => (prompt.includes("weather") ? callText("Paris") : "No tools."));
  const body = { messages: [ask("hi")], tools: TOOLS, tool_choice: "none" };
  expect((await client.json(PATH, body)).choices[0].message.content).toBe("No tools.");
});

it("says that a cut turn was cut, with a whole call in it or half of one", async () => {
  let text = `${callText("Paris")}…`;
  const { client } = await startEndpoint(() => text);
  const body = { messages: [ask("hi")], tools: TOOLS };
  expect((await client.json(PATH, body)).choices[0]).toMatchObject({
    finish_reason: "length",
    message: { tool_calls: [{ function: { name: "weather" } }] },
  });
  text = '<tool_call>\n{"name": "weather", "argu…';
  const { message, finish_reason } = (await client.json(PATH, body)).choices[0];
  expect([message.tool_calls, finish_reason]).toEqual([undefined, "length"]);
});

it("cuts the text before a stop string, also one that comes in pieces", async () => {
  const { client } = await startEndpoint(() => "one two STOP three");
  const body = { messages: [ask("hi")], stop: "STOP" };
  expect((await client.json(PATH, body)).choices[0]).toMatchObject({
    message: { content: "one two " },
    finish_reason: "stop",
  });
  const events = await client.events(PATH, { ...body, stream: true });
  const text = events.slice(0, -1).map(({ choices }) => choices[0].delta.content ?? "");
  expect(text.join("")).toBe("one two ");
});

it("writes log-probabilities of all sampled tokens, whole and streamed", async () => {
  const { client, tokenizer } = await startEndpoint(() => "é!");
  const body = { messages: [ask("hi")], logprobs: true, top_logprobs: 2 };
  const { logprobs } = (await client.json(PATH, body)).choices[0];
  const ids = [...tokenizer.encode("é!"), tokenizer.eosTokenId as number];
  expect(logprobs.content).toHaveLength(ids.length);
  expect(logprobs.content.map(({ logprob }: { logprob: number }) => logprob)).toEqual(ids.map(() => LOGPROB));
  const bytes = logprobs.content.slice(0, -1).flatMap((entry: { bytes: number[] }) => entry.bytes);
  expect(Buffer.from(bytes).toString()).toBe("é!");
  expect(logprobs.content[0].top_logprobs).toHaveLength(2);
  const events = await client.events(PATH, { ...body, stream: true });
  const streamed = events.slice(0, -1).flatMap(({ choices }) => choices[0].logprobs?.content ?? []);
  expect(streamed).toEqual(logprobs.content);
});

it("gives ids where they are asked for", async () => {
  const { client, tokenizer, generator } = await startEndpoint(() => "Hello.");
  const body = { messages: [ask("hi")], return_token_ids: true };
  const answer = await client.json(PATH, body);
  const ids = [...tokenizer.encode("Hello."), tokenizer.eosTokenId];
  expect([answer.prompt_token_ids, answer.choices[0].token_ids]).toEqual([generator.requests[0]?.ids, ids]);
  const events = await client.events(PATH, { ...body, stream: true });
  expect(events[0].prompt_token_ids).toEqual(generator.requests[0]?.ids);
  expect(events.slice(0, -1).flatMap(({ choices }) => choices[0].token_ids ?? [])).toEqual(ids);
});

it("gives n answers, whole and streamed", async () => {
  const { client } = await startEndpoint(() => ["one", "two"]);
  const body = { messages: [ask("hi")], n: 2 };
  const { choices, usage } = await client.json(PATH, body);
  expect(choices.map(({ message }: { message: { content: string } }) => message.content)).toEqual(["one", "two"]);
  expect(usage.completion_tokens).toBeGreaterThan(3);
  const events = (await client.events(PATH, { ...body, stream: true })).slice(0, -1);
  for (const [index, text] of ["one", "two"].entries()) {
    const own = events.filter(({ choices: [choice] }) => choice.index === index);
    expect(own.map(({ choices: [choice] }) => choice.delta.content ?? "").join("")).toBe(text);
  }
});

it("asks the engine for what the request says", async () => {
  const { client, generator } = await startEndpoint(() => "ok");
  await client.json(PATH, {
    model: "tuned",
    messages: [ask("hi")],
    temperature: 0.5,
    top_p: 0,
    top_k: -1,
    min_p: 0.1,
    repetition_penalty: 1.2,
    min_tokens: 2,
    max_tokens: 5,
    max_completion_tokens: 6,
    seed: -7,
    stop: ["a", ""],
    stop_token_ids: [9],
  });
  expect(generator.requests[0]).toMatchObject({
    sampling: {
      temperature: 0.5,
      topP: Number.MIN_VALUE,
      topK: 0,
      minP: 0.1,
      repetitionPenalty: 1.2,
      minNewTokens: 2,
    },
    maxNewTokens: 6,
    seed: 7,
    stopStrings: ["a"],
    stopIds: expect.arrayContaining([9, 467]),
    adapter: "tuned",
    logprobs: false,
  });
});

it("takes null, empty and absent content, parts and foreign keys, and reasoning under either name alike", async () => {
  const { client, generator } = await startEndpoint(() => "ok");
  const call = { id: "call00001", type: "function", function: { name: "weather", arguments: '{"city":"Paris"}' } };
  const turns = [
    { role: "assistant", tool_calls: [call] },
    { role: "assistant", content: null, tool_calls: [call], refusal: null, audio: null, function_call: null },
    { role: "assistant", content: "", tool_calls: [{ ...call, index: 0 }] },
    {
      role: "assistant",
      content: [{ type: "text", text: "", role: "assistant", tool_calls: [call] }],
      tool_calls: [call],
    },
  ];
  const result = { role: "tool", tool_call_id: "call00001", content: "sunny" };
  for (const turn of turns) await client.json(PATH, { messages: [ask("hi"), turn, result], tools: TOOLS });
  const thoughts = [{ reasoning: "hm" }, { reasoning_content: "hm" }].map((said) => ({
    role: "assistant",
    content: "Yes.",
    ...said,
  }));
  for (const turn of thoughts) await client.json(PATH, { messages: [ask("hi"), turn, ask("and?")] });
  const prompts = generator.requests.map(({ ids }) => ids.join());
  expect([new Set(prompts.slice(0, 4)).size, new Set(prompts.slice(4)).size]).toEqual([1, 1]);
});

it("continues a conversation on the ids that were sampled, however the client writes it down", async () => {
  const said = [
    `<think>hm</think>Look.\n<tool_call>\n{"name": "weather",   "arguments": {"city": "Paris", "days": 2.0}}\n</tool_call>`,
    "It is sunny.",
    "Bye.",
  ];
  const { client, generator, tokenizer } = await startEndpoint(() => said[generator.requests.length - 1] ?? "?");
  const first = (await client.json(PATH, { messages: [ask("hi")], tools: TOOLS })).choices[0].message;
  const [{ id, type, function: called }] = first.tool_calls;
  // Arguments anew, reasoning dropped, content as parts.
  const turn = {
    role: "assistant",
    content: [{ type: "text", text: "Look.", annotations: [] }],
    tool_calls: [{ function: { arguments: '{"days":2,"city":"PARIS","unit":"C"}', name: called.name }, id, type }],
  };
  const messages = [ask("hi"), turn, { role: "tool", tool_call_id: id, content: "sunny" }];
  const second = (await client.json(PATH, { messages, tools: TOOLS })).choices[0].message;
  await client.json(PATH, { messages: [...messages, second, ask("bye")], tools: TOOLS });
  const [one, two, three] = generator.requests.map(({ ids }) => [...ids]);
  const held = [...(one ?? []), ...tokenizer.encode(said[0] ?? ""), tokenizer.eosTokenId];
  expect(two?.slice(0, held.length)).toEqual(held);
  const longer = [...(two ?? []), ...tokenizer.encode(said[1] ?? ""), tokenizer.eosTokenId];
  expect(three?.slice(0, longer.length)).toEqual(longer);
});

it("renders a conversation anew that it has not had, or not with these tools", async () => {
  const { client, generator, tokenizer } = await startEndpoint(() => "Hello  there.");
  await client.json(PATH, { messages: [ask("hi")] });
  const other = [ask("hi"), { role: "assistant", content: "Something else." }, ask("and?")];
  await client.json(PATH, { messages: other });
  const expected = tokenizer.applyChatTemplate(other, { addGenerationPrompt: true, tokenize: true });
  expect(generator.requests[1]?.ids).toEqual(expected);
});

it.each([
  [{ response_format: { type: "json_object" } }, "response_format"],
  [{ response_format: { type: "json_schema", json_schema: { name: "x", schema: {} } } }, "response_format"],
  [{ tools: TOOLS, tool_choice: "required" }, "tool_choice"],
  [{ tools: TOOLS, tool_choice: { type: "function", function: { name: "weather" } } }, "tool_choice"],
  [{ frequency_penalty: 0.1 }, "frequency_penalty"],
  [{ presence_penalty: -1 }, "presence_penalty"],
  [{ logit_bias: { 5: -100 } }, "logit_bias"],
  [{ tools: [{ type: "web_search" }] }, "tools.0.type"],
  [{ functions: [{ name: "f" }] }, "functions"],
  [{ ignore_eos: true }, "ignore_eos"],
])("refuses %j by name", async (fields, param) => {
  const { client, generator } = await startEndpoint(() => "ok");
  const { error } = await client.json(PATH, { messages: [ask("hi")], ...fields }, 400);
  expect(error).toMatchObject({ type: "invalid_request_error", code: "unsupported_parameter", param });
  expect(error.message).toContain(`${param} is not supported`);
  expect(generator.requests).toEqual([]);
});

it("takes neutral values of what it does not do, and tells of fields that mean nothing, once", async () => {
  const notices: string[] = [];
  const { client } = await startEndpoint(() => "ok", { onNotice: (text) => notices.push(text) });
  const fields = { frequency_penalty: 0, logit_bias: {}, response_format: { type: "text" }, user: "u", extra_field: 1 };
  for (let i = 0; i < 2; i++) await client.json(PATH, { messages: [ask("hi")], ...fields, functions: null });
  expect(notices).toEqual(["/v1/chat/completions: the field extra_field means nothing here"]);
});

it.each([
  [{ messages: [] }, "messages"],
  [{}, "messages"],
  [{ messages: [{ role: "robot", content: "x" }] }, "messages.0.role"],
  [{ messages: [ask("hi")], temperature: -1 }, "temperature"],
  [{ messages: [ask("hi")], temperature: "hot" }, "temperature"],
  [{ messages: [ask("hi")], top_p: 1.5 }, "top_p"],
  [{ messages: [ask("hi")], n: 0 }, "n"],
  [{ messages: [ask("hi")], n: 1000 }, "n"],
  [{ messages: [ask("hi")], max_tokens: 0 }, "max_tokens"],
  [{ messages: [ask("hi")], max_tokens: 10_000 }, "max_tokens"],
  [{ messages: [ask("x ".repeat(5000))] }, "max_tokens"],
  [{ messages: [ask("x".repeat(4_000_000))] }, "max_tokens"],
  [{ messages: [ask("hi")], logprobs: true, top_logprobs: 21 }, "top_logprobs"],
  [{ messages: [ask("hi")], stop: [1] }, "stop.0"],
])("says which field is wrong: %#", async (body, param) => {
  const { client } = await startEndpoint(() => "ok");
  const { error } = await client.json(PATH, body, 400);
  expect(error).toMatchObject({ type: "invalid_request_error", code: expect.any(String), param });
});

it("says what is wrong with a message: a part that is no text", async () => {
  const { client } = await startEndpoint(() => "ok");
  const image = { type: "image_url", image_url: { url: "data:" } };
  const { error } = await client.json(PATH, { messages: [{ role: "user", content: [image] }] }, 400);
  expect(error).toMatchObject({ code: "bad_input", message: expect.stringContaining("image_url") });
});

it("answers 404 for a model that is not served, naming those that are", async () => {
  const { client } = await startEndpoint(() => "ok");
  const { error } = await client.json(PATH, { model: "gpt-9", messages: [ask("hi")] }, 404);
  expect(error).toMatchObject({
    code: "model_not_found",
    param: "model",
    message: expect.stringContaining("tiny, tuned"),
  });
});

it("ends a stream with an error that clients can read when the engine fails, or has a status where it fails at once", async () => {
  const { client, generator } = await startEndpoint(() => "one two three");
  generator.beforeToken = (_, index) => {
    if (index === 2) throw new Error("engine failed");
  };
  const body = { messages: [ask("hi")], stream: true };
  const events = await client.events(PATH, body);
  expect(events.at(-1)).toEqual({
    error: { message: "engine failed", type: "server_error", code: "internal_error", param: null },
  });
  generator.beforeToken = () => {
    throw new Error("engine failed");
  };
  const response = await client.post(PATH, body);
  expect([response.status, (await errorOf(response)).type]).toEqual([500, "server_error"]);
});
