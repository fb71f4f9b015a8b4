// The Responses API: items and their events, what is stored and referred to, conversations that go on.

import { expect, it } from "vitest";
import { Client, startEndpoint } from "./fake-generator.js";

const PATH = "/v1/responses";
const TOOLS = [{ type: "function", name: "weather", parameters: { type: "object" }, strict: true }];
const CALL = `<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>`;
const THOUGHT_AND_CALL = `<think>hm</think>Look.\n${CALL}`;

it("answers with items: reasoning, message, call, each with an id of its own", async () => {
  const { client } = await startEndpoint(() => THOUGHT_AND_CALL);
  const answer = await client.json(PATH, { model: "tiny", input: "hi", tools: TOOLS });
  expect(answer).toMatchObject({
    object: "response",
    status: "completed",
    error: null,
    model: "tiny",
    output: [
      { type: "reasoning", id: expect.stringMatching(/^rs_/), content: [{ type: "reasoning_text", text: "hm" }] },
      {
        type: "message",
        id: expect.stringMatching(/^msg_/),
        content: [{ type: "output_text", text: "Look.", annotations: [] }],
      },
      {
        type: "function_call",
        id: expect.stringMatching(/^fc_/),
        call_id: expect.stringMatching(/^[a-z0-9]{9}$/),
        name: "weather",
      },
    ],
    usage: { input_tokens: expect.any(Number), output_tokens: expect.any(Number) },
  });
  expect(answer.usage.output_tokens_details.reasoning_tokens).toBeGreaterThan(0);
});

it("streams the items in numbered events; a part is opened before it grows, and the end has all", async () => {
  const { client } = await startEndpoint(() => THOUGHT_AND_CALL);
  const response = await client.post(PATH, { input: "hi", tools: TOOLS, stream: true, reasoning: { summary: "auto" } });
  const text = await response.text();
  const events = [...text.matchAll(/^event: (.*)\ndata: (.*)$/gm)].map(([, name, data = ""]) => ({
    ...JSON.parse(data),
    line: name,
  }));
  expect(events.every(({ line, type }) => line === type)).toBe(true);
  expect(events.map(({ sequence_number: number }) => number)).toEqual(events.map((_, i) => i));
  const order = events.map(({ type }) => type.replace("response.", "")).filter((type, i, all) => type !== all[i - 1]);
  expect(order).toEqual([
    "created",
    "in_progress",
    "output_item.added",
    "content_part.added",
    "reasoning_text.delta",
    "reasoning_text.done",
    "content_part.done",
    "reasoning_summary_part.added",
    "reasoning_summary_text.delta",
    "reasoning_summary_text.done",
    "reasoning_summary_part.done",
    "output_item.done",
    "output_item.added",
    "content_part.added",
    "output_text.delta",
    "output_text.done",
    "content_part.done",
    "output_item.done",
    "output_item.added",
    "function_call_arguments.delta",
    "function_call_arguments.done",
    "output_item.done",
    "completed",
  ]);
  const done = events.filter(({ type }) => type === "response.output_item.done").map(({ item }) => item);
  expect(events.at(-1).response.output).toEqual(done);
  expect(done[0].summary).toEqual([{ type: "summary_text", text: "hm" }]);
  const added = events.filter(({ type }) => type === "response.output_item.added").map(({ item }) => item.id);
  expect(added).toEqual(done.map(({ id }) => id));
});

it("follows references to its items in place of their text", async () => {
  const said = [THOUGHT_AND_CALL, "It is sunny.", "Bye."];
  const { client, generator, tokenizer } = await startEndpoint(() => said[generator.requests.length - 1] ?? "?");
  const input: object[] = [{ role: "user", content: [{ type: "input_text", text: "hi" }] }];
  const first = await client.json(PATH, { input, tools: TOOLS });
  const [reasoning, message, call] = first.output;
  input.push(
    { type: "item_reference", id: reasoning.id },
    { type: "item_reference", id: message.id },
    { type: "function_call", call_id: call.call_id, name: "weather", arguments: '{"city":"Paris"}' },
    { type: "function_call_output", call_id: call.call_id, output: "sunny" },
  );
  const second = await client.json(PATH, { input, tools: TOOLS, stream: false });
  expect(second.output[0].content[0].text).toBe("It is sunny.");
  const [one, two] = generator.requests.map(({ ids }) => [...ids]);
  const held = [...(one ?? []), ...tokenizer.encode(THOUGHT_AND_CALL), tokenizer.eosTokenId];
  expect(two?.slice(0, held.length)).toEqual(held);
});

it("continues a response by its id, with the new input alone", async () => {
  const { client, generator, tokenizer } = await startEndpoint(() => "Hello.");
  const first = await client.json(PATH, { input: "hi", instructions: "Be short." });
  await client.json(PATH, { input: "and?", previous_response_id: first.id, instructions: "Be short." });
  expect(tokenizer.decode(generator.requests[1]?.ids ?? [])).toBe(
    "<|im_start|>system\nBe short.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n" +
      "<|im_start|>user\nand?<|im_end|>\n<|im_start|>assistant\n",
  );
  // Instructions are of one response alone.
  await client.json(PATH, { input: "and?", previous_response_id: first.id });
  expect(tokenizer.decode(generator.requests[2]?.ids ?? [])).not.toContain("Be short.");
});

it("keeps what it may: it is fetched and deleted by its id, and nothing is kept with store false", async () => {
  const { client } = await startEndpoint(() => "Hello.");
  const kept = await client.json(PATH, { input: "hi", metadata: { a: "b" } });
  expect(await client.json(`${PATH}/${kept.id}`)).toEqual(kept);
  expect((await client.fetch(`${PATH}/${kept.id}`, { method: "DELETE" })).status).toBe(200);
  expect((await client.fetch(`${PATH}/${kept.id}`)).status).toBe(404);
  const secret = await client.json(PATH, { input: "hi", store: false });
  const { error } = await client.json(PATH, { input: "and?", previous_response_id: secret.id }, 404);
  expect(error.code).toBe("response_not_found");
  const item = { type: "item_reference", id: secret.output[0].id };
  expect((await client.json(PATH, { input: [item] }, 404)).error.code).toBe("item_not_found");
});

it("gives clients that keep conversations themselves their reasoning in a form that comes back", async () => {
  const { client, generator, tokenizer } = await startEndpoint(() => "<think>hm</think>Yes.");
  const include = ["reasoning.encrypted_content"];
  const first = await client.json(PATH, { input: "hi", store: false, include });
  const [{ encrypted_content: kept }] = first.output;
  const input = [
    { role: "user", content: "hi" },
    { type: "reasoning", encrypted_content: kept, summary: [] },
    { role: "assistant", content: "No." },
    { role: "user", content: "and?" },
  ];
  await client.json(PATH, { input, store: false });
  expect(tokenizer.decode(generator.requests[1]?.ids ?? [])).toContain("<think>hm</think>No.<|im_end|>");
});

it("says that an answer was cut, and keeps what there is of it", async () => {
  const { client } = await startEndpoint(() => "one two…");
  const whole = await client.json(PATH, { input: "hi", max_output_tokens: 9 });
  expect(whole).toMatchObject({
    status: "incomplete",
    incomplete_details: { reason: "max_output_tokens" },
    output: [{ content: [{ text: "one two" }] }],
  });
  const events = await client.events(PATH, { input: "hi", max_output_tokens: 9, stream: true });
  expect(events.at(-1).type).toBe("response.incomplete");
});

it("has a message item where nothing was said, since an agent asks again without one", async () => {
  const { client } = await startEndpoint(() => "");
  const { output } = await client.json(PATH, { input: "hi" });
  expect(output).toMatchObject([{ type: "message", content: [{ type: "output_text", text: "" }] }]);
  const events = await client.events(PATH, { input: "hi", stream: true });
  expect(events.at(-1).response.output).toMatchObject([{ type: "message" }]);
});

it("writes log-probabilities where they are included", async () => {
  const { client } = await startEndpoint(() => "Hello.");
  const body = { input: "hi", include: ["message.output_text.logprobs"], top_logprobs: 2 };
  const { output } = await client.json(PATH, body);
  const { logprobs } = output[0].content[0];
  expect(logprobs[0]).toMatchObject({ token: expect.any(String), logprob: -0.25, top_logprobs: [{}, {}] });
  const events = await client.events(PATH, { ...body, stream: true });
  const deltas = events.filter(({ type }) => type === "response.output_text.delta");
  expect(deltas.every(({ logprobs: own }) => own.length > 0)).toBe(true);
});

it("ends a stream with an error event", async () => {
  const { client, generator } = await startEndpoint(() => "one two three");
  generator.beforeToken = (_, index) => {
    if (index === 2) throw new Error("engine failed");
  };
  const events = await client.events(PATH, { input: "hi", stream: true });
  expect(events.at(-1)).toEqual({
    type: "error",
    sequence_number: events.length - 1,
    code: "internal_error",
    message: "engine failed",
    param: null,
  });
});

it("shows nobody what another key was told", async () => {
  const { client, endpoint } = await startEndpoint(() => "Hello.", { apiKey: "one" });
  const { id } = await client.json(PATH, { input: "hi" });
  const stranger = new Client(endpoint.baseURL, "two");
  expect((await stranger.fetch(`${PATH}/${id}`)).status).toBe(401);
});

it.each([
  [{ input: "hi", text: { format: { type: "grammar" } } }, "text.format.type"],
  [{ input: [{ role: "user", content: [{ type: "input_image", image_url: "data:" }] }] }, "input.0.content.0.type"],
  [{ input: [{ type: "computer_call" }] }, "input.0.type"],
  [{ input: "hi", tools: [{ type: "web_search_preview" }] }, "tools.0.type"],
  [{ input: "hi", tools: TOOLS, tool_choice: { type: "allowed_tools" } }, "tool_choice"],
  [{ input: "hi", background: true }, "background"],
  [{ input: "hi", conversation: "conv_1" }, "conversation"],
])("refuses %j by name", async (body, param) => {
  const { client } = await startEndpoint(() => "ok");
  const { error } = await client.json(PATH, body, 400);
  expect(error).toMatchObject({ code: "unsupported_parameter", param });
});

it.each([
  [{}, "input"],
  [{ input: [] }, "input"],
  [{ input: [{ type: "function_call", name: "weather" }] }, "input.0"],
  [{ input: [{ role: "robot", content: "x" }] }, "input.0.role"],
  [{ input: "hi", max_output_tokens: 0 }, "max_output_tokens"],
])("says which field is wrong: %j", async (body, param) => {
  const { client } = await startEndpoint(() => "ok");
  expect((await client.json(PATH, body, 400)).error.param).toBe(param);
});
