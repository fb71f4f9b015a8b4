// What clients make of a conversation, and what a chat template gets of it.

import { beforeAll, describe, expect, it } from "vitest";
import type { ChatFormat, ChatMessage } from "../../lib/chat/chat-format.js";
import { chatFormat } from "../../lib/chat/create-chat-format.js";
import { byteTokenizer, conversations, publishedTemplate } from "../support/chat-formats.js";

const { contexts, turns, next, families } = conversations;

interface Call {
  readonly id: string;
  readonly function: { readonly name: string; readonly arguments: string };
}

const callsOf = (message: ChatMessage) => (message.tool_calls ?? []) as readonly Call[];
const withCalls = (message: ChatMessage, change: (call: Call) => unknown): ChatMessage =>
  message.tool_calls === undefined ? message : { ...message, tool_calls: callsOf(message).map(change) };
const withText = (message: ChatMessage, change: (text: string) => unknown): ChatMessage => ({
  ...message,
  content: change(String(message.content)) as string,
});

/** A message and its ways through clients. */
const CHANGES: Readonly<Record<string, (message: ChatMessage) => ChatMessage>> = {
  "null for no content": (message) => withText(message, (text) => (text === "" ? null : text)),
  "no content at all": ({ content, ...rest }) => (content === "" ? rest : { ...rest, content }),
  "an empty list for no content": (message) => withText(message, (text) => (text === "" ? [] : text)),
  "parts with the whole message in them": (message) =>
    withText(message, (text) => [{ ...message, type: "text", text, annotations: [] }]),
  "text in two parts": (message) =>
    withText(message, (text) => [
      { type: "input_text", text: text.slice(0, 3) },
      { type: "output_text", text: text.slice(3) },
    ]),
  "reasoning under its other name": ({ reasoning_content: reasoning, ...rest }) =>
    reasoning === undefined ? rest : { ...rest, reasoning },
  "reasoning under a third name": ({ reasoning_content: thinking, ...rest }) =>
    thinking === undefined ? rest : { ...rest, thinking },
  "reasoning under both names": (message) => ({ ...message, reasoning: message.reasoning_content }),
  "reasoning among the parts": ({ reasoning_content: text, ...rest }) =>
    text === undefined ? rest : { ...rest, content: [{ type: "reasoning", text }, rest.content] },
  "empty reasoning, and no calls": (message) =>
    message.role === "assistant" ? { reasoning_content: null, reasoning: "", tool_calls: null, ...message } : message,
  "an empty list of calls": (message) => (message.role === "assistant" ? { tool_calls: [], ...message } : message),
  "foreign keys": (message) => ({
    index: 0,
    refusal: null,
    annotations: [],
    audio: null,
    function_call: null,
    parsed: { a: 1 },
    ...message,
  }),
  "calls with keys in another order": (message) =>
    withCalls(message, ({ id, function: { name, arguments: text } }) => ({
      index: 0,
      function: { arguments: text, parsed_arguments: {}, name },
      id,
      type: "function",
    })),
  "results without names": ({ name: _, ...message }) => message,
};

describe.each(Object.entries(families))("%s", (_, model) => {
  let format: ChatFormat;
  beforeAll(async () => {
    format = chatFormat(await byteTokenizer(publishedTemplate(model.template), model.ends));
  });

  it.each(Object.entries(CHANGES))("takes alike: %s", (_, change) => {
    for (const context of Object.values(contexts)) {
      for (const turn of Object.values(turns)) {
        const messages = [...context, turn, ...(next.user ?? [])];
        expect(format.prepare(messages.map(change), model.tools)).toEqual(format.prepare(messages, model.tools));
      }
    }
  });
});

describe("conversations", () => {
  let format: ChatFormat;
  beforeAll(async () => {
    format = chatFormat(await byteTokenizer(publishedTemplate("trl/qwen3"), ["<|im_end|>"]));
  });
  const user = { role: "user", content: "Hi" };
  const calling = (...calls: unknown[]) => ({ role: "assistant", content: null, tool_calls: calls });
  const call = (id: string, name: string, text: unknown = "{}") => ({
    id,
    type: "function",
    function: { name, arguments: text },
  });
  const result = (id: string, content: unknown) => ({ role: "tool", tool_call_id: id, content }) as ChatMessage;

  it("keep the characters and the fractions of arguments", () => {
    const text =
      '{ "note":"caf\\u00e9 \\/ x",  "city": "Paris",\n "days": 2.0, "rate": 1e3, "small": 1.5e-7, "none": null }';
    const { messages } = format.prepare([user, calling(call("a", "f", text))]);
    const [, turn] = messages;
    expect(format.prepare([user, calling(call("a", "f", text))]).messages).toEqual(messages);
    expect(turn?.tool_calls).toMatchObject([{ function: { arguments: { note: "café / x", rate: { value: 1000 } } } }]);
  });

  it.each(["trl/qwen3", "trl/qwen3_6", "trl/deepseekv3", "trl/lfm2_v2", "trl/lfm2"])(
    "keep all digits of long numbers with %s",
    async (template) => {
      const tokenizer = await byteTokenizer(publishedTemplate(template), ["<|im_end|>"]);
      const text = '{"id": 1234567890123456789, "price": 2.0, "list": [-98765432109876543210]}';
      const rendered = tokenizer.decode(chatFormat(tokenizer).render([user, calling(call("a", "f", text)), user]));
      for (const number of ["1234567890123456789", "2.0", "-98765432109876543210"]) expect(rendered).toContain(number);
    },
  );

  it.each(["", null, undefined])("take %j for no arguments", (text) => {
    expect(format.prepare([calling(call("a", "f", text))]).messages[0]?.tool_calls).toEqual([
      { type: "function", id: "a", function: { name: "f", arguments: {} } },
    ]);
  });

  it("have results in the order of their calls, with their names", () => {
    const messages = [user, calling(call("a", "f"), call("b", "g")), result("b", "2"), result("a", ["1"]), user];
    expect(format.prepare(messages).messages.slice(2)).toEqual([
      { role: "tool", content: "1", tool_call_id: "a", name: "f" },
      { role: "tool", content: "2", tool_call_id: "b", name: "g" },
      user,
    ]);
  });

  it("leave results of unknown calls where they are", () => {
    const messages = [
      user,
      calling(call("a", "f"), call("b", "g")),
      result("b", "2"),
      result("x", "3"),
      result("a", "1"),
    ];
    expect(
      format
        .prepare(messages)
        .messages.slice(2)
        .map(({ tool_call_id: id }) => id),
    ).toEqual(["b", "x", "a"]);
  });

  it("give instructions of developers to the system, where the template knows no developers", () => {
    expect(format.prepare([{ role: "developer", content: "Be kind" }]).messages).toEqual([
      { role: "system", content: "Be kind" },
    ]);
  });

  it("take tools with and without an envelope", () => {
    const described = { name: "f", description: "Does", parameters: { type: "object", properties: {} } };
    const expected = [{ type: "function", function: described }];
    for (const tool of [
      expected[0],
      described,
      { type: "function", ...described, strict: true },
      { type: "function", function: { ...described, strict: false } },
    ]) {
      expect(format.prepare([user], [tool as typeof described]).tools).toEqual(expected);
    }
    expect(format.prepare([user], []).tools).toBeUndefined();
  });

  it.each([
    [
      "a picture",
      [{ role: "user", content: [{ type: "image_url", image_url: {} }] }],
      'message 0: this model reads text, found a part of type "image_url"',
    ],
    [
      "content that is none",
      [{ role: "user", content: 5 }],
      "message 0: content must be a text or a list of parts, found a number",
    ],
    [
      "arguments that are no JSON",
      [user, calling(call("a", "f", "{a}"))],
      "message 1: call 0 (f): arguments must be a JSON object",
    ],
    ["arguments that are a list", [user, calling(call("a", "f", "[1]"))], 'found "[1]"'],
    ["a message without a role", [user, { content: "Hi" }], 'message 1 has no role, found {"content":"Hi"}'],
    ["a message that is none", [null], "message 0 has no role, found null"],
    ["a call without a name", [user, calling({ id: "a" })], "message 1: call 0 has no name of a function"],
    ["calls that are no list", [{ role: "assistant", tool_calls: 5 }], "message 0: tool_calls must be a list"],
  ])("are refused: %s", (_, messages, message) => {
    expect(() => format.prepare(messages as ChatMessage[])).toThrow(
      expect.objectContaining({ code: "BAD_INPUT", message: expect.stringContaining(message) }),
    );
  });

  it("are refused with a tool that is no function", () => {
    expect(() => format.prepare([user], [{ type: "web_search" }])).toThrow("a tool must be a function with a name");
  });

  it("shorten the ids of calls for a template that asks for a length, alike in calls and results", async () => {
    const mistral = chatFormat(
      await byteTokenizer(publishedTemplate("mistralai/Mistral-Nemo-Instruct-2407"), ["</s>"]),
    );
    const id = "call_0123456789-abcDEF";
    const { messages } = mistral.prepare([
      user,
      calling(call(id, "f"), call("x", "g")),
      result(id, "1"),
      result("x", "2"),
    ]);
    expect(messages[1]?.tool_calls).toMatchObject([{ id: "789abcDEF" }, { id: "00000000x" }]);
    expect(messages.slice(2).map(({ tool_call_id }) => tool_call_id)).toEqual(["789abcDEF", "00000000x"]);
    expect(mistral.render([user, calling(call(id, "f")), result(id, "1")])).toBeInstanceOf(Array);
  });

  it("write calls into the content for a template that passes over them", async () => {
    const lfm = chatFormat(await byteTokenizer(publishedTemplate("trl/lfm2"), ["<|im_end|>"]));
    const text = '{"a": "it\'s", "b": [true, null, 2.0], "c": {"d": false}}';
    expect(lfm.prepare([calling(call("x", "f", text), call("y", "g"))]).messages).toEqual([
      {
        role: "assistant",
        content: '<|tool_call_start|>[f(a="it\'s", b=[True, None, 2.0], c={"d": False}), g()]<|tool_call_end|>',
      },
    ]);
    expect(lfm.parse(String(lfm.prepare([calling(call("x", "f", text))]).messages[0]?.content)).toolCalls).toEqual([
      { name: "f", arguments: JSON.parse(text), argumentsText: text },
    ]);
  });
});
