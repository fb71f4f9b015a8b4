// More than a thousand turns of twenty models, against what transformers renders and what TRL and renderers read and append
// (scripts/golden/chat_formats.py). Where this project does otherwise, docs/decisions.md says why.

import { isDeepStrictEqual } from "node:util";
import { beforeEach, describe, expect, it, vi } from "vitest";
import type { ChatDelta, ChatFormat, ParsedMessage } from "../../lib/chat/chat-format.js";
import { chatFormat } from "../../lib/chat/create-chat-format.js";
import type { Tokenizer } from "../../lib/tokenizer/tokenizer.js";
import {
  byteTokenizer,
  type ChatModel,
  conversations,
  joined,
  publishedTemplate,
  type Reading,
} from "../support/chat-formats.js";

const { contexts, turns, next, families } = conversations;
const models = Object.entries(families);

/** What templates without an oracle of their own leave out of a turn, and so cannot be read back. */
const LEFT_OUT: Readonly<Record<string, { calls?: true; contentBesideCalls?: true; secondCall?: true }>> = {
  "gemma-3": { calls: true },
  "hermes-2": { contentBesideCalls: true, secondCall: true },
  "mistral-nemo": { contentBesideCalls: true },
  "mistral-0.3": { contentBesideCalls: true },
};

const JOINED = { content: "Look.\nDone.", reasoning: "", calls: [["ping", {}]] } as const;
const NO_CALL = { reasoning: "", calls: [] } as const;
const QWEN = {
  "good and bad": { content: "<tool_call>\n{bad}\n</tool_call>", reasoning: "", calls: [["ping", {}]] },
  "good and bad, ended": { content: "<tool_call>\n{bad}\n</tool_call>", reasoning: "", calls: [["ping", {}]] },
  "text behind": JOINED,
  "text behind, ended": JOINED,
  "not closed, whole, ended": { ...NO_CALL, content: '<tool_call>\n{"name": "add", "arguments": {"a": 1}}' },
  "thinks twice": { content: "b\nd", reasoning: "a\nc", calls: [] },
  "thinks twice, ended": { content: "b\nd", reasoning: "a\nc", calls: [] },
  "thinks without end, ended": { ...NO_CALL, content: "", reasoning: "And so on" },
} as const;
const CUT_XML = "<tool_call>\n<function=add>\n<parameter=a>\n1\n</para";
const TWO: Reading = {
  content: "",
  reasoning: "",
  calls: [
    ["add", { a: 1 }],
    ["ping", {}],
  ],
};
const SPACED: Reading = { content: "", reasoning: "", calls: [["add", { a: 1, b: 2 }]] };
const LLAMA = { spaces: SPACED, two: TWO, "two, ended": TWO };
const LISTED = { content: "", reasoning: "", calls: [["search", { query: "a, b", tags: ["c"] }]] } as const;
const POSITIONAL = { ...NO_CALL, content: "<|tool_call_start|>[add(1, 2)]<|tool_call_end|>" } as const;
const CUT_PYTHON = { ...NO_CALL, content: "<|tool_call_start|>[add(a=1" } as const;
const LFM = {
  "double quotes": LISTED,
  "double quotes, ended": LISTED,
  positional: POSITIONAL,
  "positional, ended": POSITIONAL,
  "not closed": CUT_PYTHON,
  "not closed, ended": CUT_PYTHON,
} as const;
const search = (query: string): Reading => ({ content: "", reasoning: "", calls: [["search", { query }]] });

/** By model and turn: what is read here where TRL reads something else. */
const OTHER_THAN_TRL: Readonly<Record<string, Readonly<Record<string, Reading>>>> = {
  "qwen2.5": QWEN,
  qwen3: QWEN,
  "qwen3.5": {
    "not closed": { ...NO_CALL, content: CUT_XML, reasoning: "Hm." },
    "not closed, ended": { ...NO_CALL, content: CUT_XML, reasoning: "Hm." },
    "text behind": { ...JOINED, reasoning: "Hm." },
    "text behind, ended": { ...JOINED, reasoning: "Hm." },
  },
  "qwen3.5-nothink": {
    "not closed": { ...NO_CALL, content: CUT_XML },
    "not closed, ended": { ...NO_CALL, content: CUT_XML },
    "text behind": JOINED,
    "text behind, ended": JOINED,
  },
  "glm-4.5": {
    "no key": { ...NO_CALL, content: "<tool_call>add\n<arg_value>1</arg_value>\n</tool_call>" },
    "no key, ended": { ...NO_CALL, content: "<tool_call>add\n<arg_value>1</arg_value>\n</tool_call>" },
    "no name": { ...NO_CALL, content: "<tool_call></tool_call>" },
    "no name, ended": { ...NO_CALL, content: "<tool_call></tool_call>" },
    tight: { content: "", reasoning: "", calls: [["add", { a: 1 }]] },
    "tight, ended": { content: "", reasoning: "", calls: [["add", { a: 1 }]] },
    "not closed": { ...NO_CALL, content: "<tool_call>add\n<arg_key>a</arg_key>\n<arg_val" },
    "not closed, ended": { ...NO_CALL, content: "<tool_call>add\n<arg_key>a</arg_key>\n<arg_val" },
    "text behind": JOINED,
    "text behind, ended": JOINED,
  },
  "llama-3.1": LLAMA,
  "llama-3.2": LLAMA,
  "gpt-oss": {
    "recipient behind the channel": { content: "", reasoning: "", calls: [["ping", { a: 1 }]] },
    "recipient behind the channel, ended": { content: "", reasoning: "", calls: [["ping", { a: 1 }]] },
    preamble: { ...NO_CALL, content: "I look.\nDone." },
    "preamble, ended": { ...NO_CALL, content: "I look.\nDone." },
    "two thoughts": { ...NO_CALL, content: "", reasoning: "One.\nTwo." },
    "two thoughts, ended": { ...NO_CALL, content: "", reasoning: "One.\nTwo." },
    "not JSON": { ...NO_CALL, content: "to=functions.add<|channel|>commentary json<|message|>{a}" },
    "not JSON, ended": { ...NO_CALL, content: "to=functions.add<|channel|>commentary json<|message|>{a}" },
    "cut off, ended": { ...NO_CALL, content: "", reasoning: "And so" },
  },
  lfm2: {
    quotes: search('say "hi" to C:\\dir & it'),
    apostrophe: search("it's"),
    "text with lines": search("one\ntwo\n\nthree"),
    ...LFM,
  },
  "lfm2.5": {
    apostrophe: { ...NO_CALL, content: "<|tool_call_start|>[search(query='it's')]<|tool_call_end|>" },
    ...LFM,
  },
  "gemma-4": {
    "not JSON": { ...NO_CALL, content: "<|tool_call>call:add{a:}<tool_call|>" },
    "not JSON, ended": { ...NO_CALL, content: "<|tool_call>call:add{a:}<tool_call|>" },
    "not closed": { ...NO_CALL, content: "<|tool_call>call:add{a:1" },
    "not closed, ended": { ...NO_CALL, content: "<|tool_call>call:add{a:1" },
  },
  "deepseek-r1-distill": {
    "result: text": { ...NO_CALL, content: "Hello!" },
    "result: reasoning": { ...NO_CALL, content: "It is 4." },
    "result: one call": { ...NO_CALL, content: "" },
    "result: all": { ...NO_CALL, content: "I look it up." },
  },
};

const bothWays = (turns: string) => turns.split("|").flatMap((turn) => [turn, `${turn}, ended`]);

/** By model: turns that renderers reads otherwise. */
const OTHER_THAN_RENDERERS: Readonly<Record<string, readonly string[]>> = {
  qwen3: bothWays("null arguments|quoted numbers|text behind").concat("not closed, whole", bothWays("thinks twice")),
  "qwen3.5": ["typed", "false", "unknown tool"].concat(bothWays("numbers|no numbers|text behind")),
  "qwen3.6": ["unknown tool"],
  "qwen3.8": ["unknown tool"],
  "nemotron-3": ["typed", "false", "unknown tool"],
  "glm-4.5": ["unknown tool"].concat(bothWays("text behind")),
  "glm-5.1": ["unknown tool"].concat(bothWays("text behind")),
  "llama-3.2": bothWays("prose|not JSON|spaces|other order|two|not closed|object"),
  "gemma-4": ["unknown tool"].concat(bothWays("quoted")),
};

function readingOf({ content, reasoning, toolCalls }: ParsedMessage): Reading {
  return { content, reasoning, calls: toolCalls.map((call) => [call.name, call.arguments]) };
}

function nameOf({ context, turn }: { readonly context?: string; readonly turn: string }): string {
  return context === undefined || context === "user" ? turn.replace("by hand: ", "") : `${context}: ${turn}`;
}

describe.each(models)("%s", (name, model) => {
  let tokenizer: Tokenizer;
  let format: ChatFormat;
  const encode = (text: string) => tokenizer.encode(text, { addSpecialTokens: false });

  beforeEach(async () => {
    tokenizer ??= await byteTokenizer(publishedTemplate(model.template), model.ends);
    format ??= chatFormat(tokenizer);
  });

  it("renders as transformers does", () => {
    vi.useFakeTimers({ now: new Date(conversations.now), toFake: ["Date"] });
    try {
      const { found, expected } = renderings(model, (messages) =>
        tokenizer.decode(format.render(messages, { tools: model.tools })),
      );
      expect(found).toEqual(expected);
    } finally {
      vi.useRealTimers();
    }
  });

  it("reads responses as TRL does", () => {
    const otherwise = OTHER_THAN_TRL[name] ?? {};
    const differing: Record<string, Reading> = {};
    for (const response of model.responses) {
      const options = { prompt: encode(response.prompt), tools: model.tools };
      const found = readingOf(format.parse(encode(response.response), options));
      const expected = response.trl ?? (response.renderers === null ? written(name, response) : undefined);
      if (expected === undefined) continue;
      if (nameOf(response) in otherwise) differing[nameOf(response)] = found;
      else expect(found, nameOf(response)).toEqual(expected);
    }
    expect(differing).toEqual(otherwise);
  });

  it("reads responses as renderers does", () => {
    const differing: string[] = [];
    for (const response of model.responses) {
      if (response.renderers === null) continue;
      const { malformed, ...expected } = response.renderers;
      const parsed = format.parse(encode(response.response), { prompt: response.prompt, tools: model.tools });
      const found = { ...readingOf(parsed), malformed: parsed.malformedCalls };
      // renderers keeps white space, and leaves the text of a call that it cannot read to its caller.
      const content = malformed === 0 ? expected.content.trim() : found.content;
      const trimmed = { ...expected, malformed, content, reasoning: expected.reasoning.trim() };
      if (!isDeepStrictEqual(found, trimmed)) differing.push(nameOf(response));
    }
    expect(differing).toEqual(OTHER_THAN_RENDERERS[name] ?? []);
  });

  it("continues as TRL, renderers and the template do", () => {
    for (const { next: followed, prompt, response, refused, ...expected } of model.continuations) {
      const held = [...encode(prompt), ...encode(response)];
      const found = () => format.continuation(held, next[followed] ?? [], { tools: model.tools });
      if (refused) {
        expect(found, followed).toThrow(expect.objectContaining({ code: "BAD_TEMPLATE" }));
        continue;
      }
      const text = tokenizer.decode(found() ?? []);
      const renderers = expected.renderers && asRenderers(name, expected.renderers);
      for (const oracle of [expected.trl, renderers, expected.template]) {
        if (oracle !== null) expect(text, `${followed}: ${response}`).toBe(oracle);
      }
    }
  });

  it("reads the same bit by bit", () => {
    for (const { prompt, response, turn } of model.responses) {
      const options = { prompt, tools: model.tools };
      const ids = encode(response);
      const whole = format.parse(ids, options);
      const expected = {
        content: whole.content,
        reasoning: whole.reasoning,
        calls: whole.toolCalls.map((call) => [call.name, call.argumentsText]),
      };
      for (const size of [1, 2, 7]) {
        const stream = format.stream(options);
        const deltas: ChatDelta[] = [];
        for (let i = 0; i < ids.length; i += size) deltas.push(...stream.push(ids.slice(i, i + size)));
        expect(joined([...deltas, ...stream.end()]), turn).toEqual(expected);
        expect(stream.message, turn).toEqual(whole);
      }
      const stream = format.stream(options);
      const deltas = Array.from(response).flatMap((char) => stream.push(char));
      expect(joined([...deltas, ...stream.end()]), turn).toEqual(expected);
    }
  });
});

/**
 * What renderers appends, but for an end token that GLM's template never writes, the thoughts that DeepSeek's begins, and a mark that it
 * leaves out before a user's message.
 */
function asRenderers(name: string, text: string): string {
  if (name.startsWith("glm")) return text.replace(/^<\|endoftext\|>/, "");
  if (name !== "deepseek-v3") return text;
  return text
    .replace(/<｜Assistant｜>$/, "<｜Assistant｜><think>\n")
    .replace("<｜tool▁outputs▁end｜><｜User｜>", "<｜User｜>");
}

/** A turn as templates without an oracle write it. */
function written(name: string, { context, turn }: ChatModel["responses"][number]): Reading | undefined {
  const message = context === undefined ? undefined : turns[turn];
  if (message === undefined) return undefined;
  const calls = (message.tool_calls ?? []) as readonly { function: { name: string; arguments: string } }[];
  const leftOut = LEFT_OUT[name] ?? {};
  if (leftOut.secondCall && calls.length > 1) return undefined;
  return {
    content: leftOut.contentBesideCalls && calls.length > 0 ? "" : String(message.content).trim(),
    reasoning: "",
    calls: leftOut.calls ? [] : calls.map((call) => [call.function.name, JSON.parse(call.function.arguments)]),
  };
}

type Rendered = Record<string, string | null>;

function renderings(
  model: ChatModel,
  render: (messages: (typeof contexts)[string]) => string,
): { readonly found: Rendered; readonly expected: Rendered } {
  const found: Rendered = {};
  const expected: Rendered = {};
  for (const { context, turn, text } of model.renderings) {
    const messages = [...(contexts[context] ?? []), turns[turn] ?? { role: "" }, ...(next.user ?? [])];
    const name = `${context}: ${turn}`;
    expected[name] = text;
    try {
      found[name] = render(messages);
    } catch {
      found[name] = null;
    }
  }
  return { found, expected };
}
