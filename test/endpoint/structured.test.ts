// Answers in a form that the client asks for: JSON by a schema, patterns, choices, grammars, and calls of tools; drawn by a model that
// knows nothing of them.

import { expect, it } from "vitest";
import { ajv } from "../grammar/draw.js";
import { errorOf, startEndpoint } from "./fake-generator.js";
import { modelEndpoint } from "./plain-generator.js";

const CHAT = "/v1/chat/completions";
const messages = [{ role: "user", content: "Ada has 5 cards and gets 3 more. How many cards does Ada have now?" }];
const schema = {
  $schema: "http://json-schema.org/draft-07/schema#",
  type: "object",
  properties: {
    answer: { type: "integer", minimum: 0, maximum: 99 },
    sure: { type: "boolean" },
    unit: { enum: ["cards", "coins"] },
  },
  required: ["answer", "unit"],
  additionalProperties: false,
};
const format = (strict: boolean) => ({ type: "json_schema", json_schema: { name: "sum", strict, schema } });
const TOOLS = [
  {
    type: "function",
    function: {
      name: "weather",
      parameters: {
        type: "object",
        properties: { city: { enum: ["Paris", "Rome"] }, days: { type: "integer", minimum: 1, maximum: 7 } },
        required: ["city", "days"],
        additionalProperties: false,
      },
    },
  },
  { type: "function", function: { name: "ping" } },
];
/** Qwen's way of writing calls, and of thinking where it is told to. */
const TEMPLATE = `{%- set call = '<tool_call>' %}{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% if think %}<think>
{% elif think is defined %}<think>

</think>

{% endif %}{% endif %}`;
const validates = ajv.compile({ ...schema, $schema: undefined });

it("answers with JSON that fits the schema, strict or not, whole and streamed, and ends there", async () => {
  const { client, tokenizer } = await modelEndpoint(TEMPLATE);
  for (const strict of [true, false]) {
    for (let seed = 0; seed < 4; seed++) {
      const body = {
        messages,
        response_format: format(strict),
        seed,
        max_tokens: 400,
        chat_template_kwargs: { think: false },
      };
      const { choices } = await client.json(CHAT, { ...body, return_token_ids: true });
      expect(choices[0].finish_reason).toBe("stop");
      expect(choices[0].token_ids.at(-1)).toBe(tokenizer.eosTokenId);
      const { content } = choices[0].message;
      expect(validates(JSON.parse(content)), content).toBe(true);
      const events = await client.events(CHAT, { ...body, stream: true });
      const deltas = events.slice(0, -1).map((event) => event.choices[0].delta.content ?? "");
      expect(deltas.join("")).toBe(content);
    }
  }
});

it("tells the log-probabilities of the policy, not those under the mask", async () => {
  const { client, model, tokenizer } = await modelEndpoint(TEMPLATE);
  const asked = { messages, response_format: format(true), seed: 3, logprobs: true, return_token_ids: true };
  const { choices, prompt_token_ids: prompt } = await client.json(CHAT, {
    ...asked,
    chat_template_kwargs: { think: false },
  });
  const ids = [...prompt, ...choices[0].token_ids];
  const [expected = new Float32Array()] = await model.logprobs([ids]);
  const told = choices[0].logprobs.content.map(({ logprob }: { logprob: number }) => logprob);
  expect(told).toHaveLength(choices[0].token_ids.length);
  told.forEach((logprob: number, i: number) => {
    expect(logprob).toBeCloseTo(expected[prompt.length - 1 + i] as number, 4);
  });
  expect(tokenizer.decode(choices[0].token_ids)).toContain("answer");
});

it("answers in the form of the Responses API, and says in which", async () => {
  const { client } = await modelEndpoint(TEMPLATE);
  const text = { format: { type: "json_schema", name: "sum", strict: true, schema } };
  const body = { input: messages[0]?.content, text, chat_template_kwargs: { think: false } };
  const response = await client.json("/v1/responses", body);
  expect(response.text).toEqual(text);
  expect(response.output.map(({ type }: { type: string }) => type)).toEqual(["message"]);
  expect(validates(JSON.parse(response.output[0].content[0].text))).toBe(true);
});

it("thinks first where the format has that: begun by the prompt, by the model, or not at all", async () => {
  const { client, plain, tokenizer } = await modelEndpoint(TEMPLATE, "plain");
  const close = tokenizer.encode("</think>", { addSpecialTokens: false });
  for (const think of [true, undefined]) {
    // A model that knows nothing of thinking: its reasoning is told to end by a bias towards the spelling of the mark.
    plain.bias = (id) => (close.includes(id) ? 12 : 0);
    const kwargs = think === undefined ? {} : { think };
    const body = { messages, response_format: format(true), seed: 1, max_tokens: 400, chat_template_kwargs: kwargs };
    const { choices } = await client.json(CHAT, body);
    expect(choices[0].finish_reason).toBe("stop");
    expect(validates(JSON.parse(choices[0].message.content)), choices[0].message.content).toBe(true);
  }
});

it.each([
  ["guided_regex", { guided_regex: "(?:yes|no), [0-9]{2,3}!?" }, /^(?:yes|no), [0-9]{2,3}!?$/],
  ["guided_choice", { guided_choice: ["left", "right\n", "“up”"] }, /^(?:left|right\n|“up”)$/],
  [
    "guided_grammar",
    { guided_grammar: 'root ::= item ("; " item){1,2}\nitem ::= [a-c]+ | "é"' },
    /^(?:[a-c]+|é)(?:; (?:[a-c]+|é)){1,2}$/,
  ],
  ["structured_outputs", { structured_outputs: { regex: "a{3}b?" } }, /^a{3}b?$/],
  ["structured_outputs of JSON", { structured_outputs: { json: JSON.stringify({ type: "null" }) } }, /^null$/],
  ["guided_json", { guided_json: { const: 7 } }, /^7$/],
])("answers by vLLM's %s, in chat, completions and generate alike", async (_, fields, pattern) => {
  const { client, tokenizer } = await modelEndpoint(TEMPLATE);
  const chat = await client.json(CHAT, { messages, ...fields, seed: 5, chat_template_kwargs: { think: false } });
  expect(chat.choices[0].message.content).toMatch(pattern);
  const completion = await client.json("/v1/completions", { prompt: "Hi", ...fields, seed: 6, max_tokens: 200 });
  expect(completion.choices[0].text).toMatch(pattern);
  const sampling = { ...fields, seed: 7, max_tokens: 200 };
  const raw = await client.json("/inference/v1/generate", { token_ids: [5, 6], sampling_params: sampling });
  expect(tokenizer.decode(raw.choices[0].token_ids, { skipSpecialTokens: true })).toMatch(pattern);
});

it("answers with any object where only an object is asked for", async () => {
  const { client, plain, tokenizer } = await modelEndpoint(TEMPLATE, "plain");
  const brace = tokenizer.tokenToId("}");
  plain.bias = (id) => (id === brace ? 20 : 0);
  const body = {
    messages,
    response_format: { type: "json_object" },
    max_tokens: 300,
    chat_template_kwargs: { think: false },
  };
  const { choices } = await client.json(CHAT, body);
  expect(choices[0].finish_reason).toBe("stop");
  expect(JSON.parse(choices[0].message.content)).toBeTypeOf("object");
});

it("calls a tool where it must: any of them, one, or the named one, with arguments by its schema", async () => {
  const { client } = await modelEndpoint(TEMPLATE);
  const body = { messages, tools: TOOLS, max_tokens: 300, chat_template_kwargs: { think: false } };
  const check = ajv.compile(TOOLS[0]?.function.parameters as object);
  for (let seed = 0; seed < 4; seed++) {
    const any = await client.json(CHAT, { ...body, tool_choice: "required", parallel_tool_calls: seed > 1, seed });
    expect(any.choices[0].finish_reason).toBe("tool_calls");
    expect(any.choices[0].message.content).toBeNull();
    const choice = { type: "function", function: { name: "weather" } };
    const named = await client.json(CHAT, { ...body, tool_choice: choice, seed });
    const [call, ...others] = named.choices[0].message.tool_calls;
    expect([call.function.name, others]).toEqual(["weather", []]);
    expect(check(JSON.parse(call.function.arguments)), call.function.arguments).toBe(true);
  }
  const tools = [{ type: "function", ...TOOLS[0]?.function }];
  const asked = { input: "hi", tools, tool_choice: { type: "function", name: "weather" }, max_output_tokens: 500 };
  const { output } = await client.json("/v1/responses", { ...asked, chat_template_kwargs: { think: false } });
  expect(output.map(({ type, name }: { type: string; name: string }) => [type, name])).toEqual([
    ["function_call", "weather"],
  ]);
});

it("reads a text in JSON as it is, whatever marks are in it", async () => {
  const said = '{"a": "<think>x</think> <tool_call>{}</tool_call>"}';
  const { client } = await startEndpoint(() => said);
  const { choices } = await client.json(CHAT, { messages, response_format: { type: "json_object" } });
  expect(choices[0].message.content).toBe(said);
  expect(choices[0].message.reasoning).toBeUndefined();
});

it.each([
  [
    "a schema with a keyword that no grammar keeps",
    { response_format: { type: "json_schema", json_schema: { name: "x", schema: { not: {} } } } },
    "not",
  ],
  ["a schema that is none", { guided_json: 7 }, "no schema"],
  ["a reference to nothing", { guided_json: { $ref: "#/$defs/x" } }, "reference to nothing"],
  [
    "a schema that begins with itself",
    { guided_json: { anyOf: [{ $ref: "#" }, { type: "null" }] } },
    "begins with itself",
  ],
  [
    "a schema that nothing fits",
    { guided_json: { type: "object", properties: { a: { $ref: "#" } }, required: ["a"] } },
    "no text fits",
  ],
  ["a pattern that looks ahead", { guided_regex: "(?=a)b" }, "(?="],
  ["a pattern of another kind", { guided_regex: "(a" }, "( without a )"],
  ["a grammar without a root", { guided_grammar: 'start ::= "a"' }, "root"],
  ["a grammar of another kind", { guided_grammar: 'start: "a"' }, "cannot be read"],
  ["a format of another kind", { response_format: { type: "grammar" } }, "response_format.type"],
  ["a schema that is missing", { response_format: { type: "json_schema" } }, "schema"],
  ["two forms", { guided_regex: "a", response_format: { type: "json_object" } }, "already"],
  ["a form of vLLM's that is not here", { structured_outputs: { structural_tag: "{}" } }, "structural_tag"],
  ["a form and words that may not come", { guided_regex: "a", bad_words: ["a"] }, "bad_words"],
  ["a form and tokens that must come", { guided_regex: "a", min_tokens: 5 }, "min_tokens"],
  ["an endless schema", { guided_json: { enum: Array.from({ length: 50_000 }, (_, i) => i) } }, "characters"],
  ["a call without tools", { tool_choice: "required" }, "tool_choice"],
  [
    "a call of a tool that is not there",
    { tools: TOOLS, tool_choice: { type: "function", function: { name: "x" } } },
    "there is no tool",
  ],
  ["a choice of another kind", { tools: TOOLS, tool_choice: { type: "allowed_tools" } }, "tool_choice"],
])("refuses %s by name", async (_, fields, named) => {
  const { client } = await startEndpoint(() => "x");
  const response = await client.post(CHAT, { messages, ...fields });
  expect(response.status).toBe(400);
  expect((await errorOf(response)).message).toContain(named);
});

it("passes words that may not come to the engine, each alone and behind a space", async () => {
  const { client, generator, tokenizer } = await startEndpoint(() => "x");
  await client.json(CHAT, { messages, bad_words: ["cards"] });
  const { badWords } = generator.requests[0]?.sampling ?? {};
  expect(badWords?.[0]).toEqual(tokenizer.encode("cards", { addSpecialTokens: false }));
});
