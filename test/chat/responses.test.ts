// Responses by hand: where a turn begins and ends, what is typed, what cannot be read, and when pieces are sent.

import { beforeAll, describe, expect, it } from "vitest";
import type { ChatFormat, ParseOptions } from "../../lib/chat/chat-format.js";
import { chatFormat } from "../../lib/chat/create-chat-format.js";
import type { Tokenizer } from "../../lib/tokenizer/tokenizer.js";
import { byteTokenizer, publishedTemplate } from "../support/chat-formats.js";

const PLAIN = { content: "", reasoning: "", toolCalls: [], malformedCalls: 0 };
const TOOLS = [
  {
    type: "function",
    function: {
      name: "f",
      parameters: {
        type: "object",
        properties: {
          text: { type: "string" },
          whole: { type: "integer" },
          number: { type: "number" },
          yes: { type: "boolean" },
          list: { type: "array" },
          object: { type: "object" },
          either: { anyOf: [{ type: "integer" }, { type: "null" }] },
          nullable: { type: "number", nullable: true },
          any: {},
        },
      },
    },
  },
];

let tokenizer: Tokenizer;
let qwen: ChatFormat;
let coder: ChatFormat;

async function modelOf(template: string, ...ends: string[]): Promise<ChatFormat> {
  return chatFormat(await byteTokenizer(publishedTemplate(template), ends));
}

beforeAll(async () => {
  tokenizer = await byteTokenizer(publishedTemplate("trl/qwen3"), ["<|im_end|>"]);
  qwen = chatFormat(tokenizer);
  coder = await modelOf("trl/qwen3_5_nothink", "<|im_end|>");
});

const ids = (text: string) => tokenizer.encode(text, { addSpecialTokens: false });

describe("the family", () => {
  it.each([
    ["trl/qwen2_5", "hermes"],
    ["trl/qwen3", "hermes"],
    ["HuggingFaceTB/SmolLM3-3B", "hermes"],
    ["NousResearch/Hermes-2-Pro-Llama-3-8B (JSON Schema)", "hermes"],
    ["trl/qwen3_5_think", "qwen3-coder"],
    ["trl/qwen3_8", "qwen3-coder"],
    ["trl/llama3_1", "llama3"],
    ["meta-llama/Llama-3.2-11B-Vision-Instruct", "llama3"],
    ["mistralai/Mistral-Nemo-Instruct-2407", "mistral"],
    ["deepseek-ai/DeepSeek-R1", "deepseek"],
    ["trl/deepseekv3", "deepseek"],
    ["trl/glm4moe", "glm"],
    ["zai-org/GLM-5.1", "glm"],
    ["trl/gemma4_v5", "gemma4"],
    ["trl/gemma3", "plain"],
    ["trl/lfm2", "lfm2"],
    ["trl/lfm2_2_5_v2", "lfm2"],
    ["trl/gptoss", "gpt-oss"],
    ["trl/llama3", "plain"],
    ["chujiezheng/vicuna", "plain"],
    ["CohereLabs/command-a-reasoning-08-2025", "plain"],
    ["moonshotai/Kimi-K2-Thinking", "think"],
  ])("of %s is %s", async (template, family) => {
    expect((await modelOf(template, "</s>")).family).toBe(family);
  });

  it("can be another than that of the template", () => {
    const text = "<tool_call>\n<function=f>\n</function>\n</tool_call>";
    expect(chatFormat(tokenizer, { family: "qwen3-coder" }).parse(text).toolCalls).toMatchObject([{ name: "f" }]);
  });

  it("is one of a list", () => {
    const options = { family: "qwen" } as unknown as { family: "plain" };
    expect(() => chatFormat(tokenizer, options)).toThrow('chatFormat: no family is called "qwen"');
    expect(() => chatFormat(tokenizer, { model: "x" } as object)).toThrow("unknown option model");
  });

  it("of a tokenizer with several templates is that of any of them", async () => {
    const templates = { default: publishedTemplate("chujiezheng/chatml"), tool_use: publishedTemplate("trl/qwen3") };
    const both = { ...tokenizer, eosTokenIds: [], chatTemplate: templates, tokenToId: () => undefined };
    expect(chatFormat(both as unknown as Tokenizer).family).toBe("hermes");
  });

  it("of a tokenizer without a template can read, and not write", async () => {
    const format = chatFormat(await byteTokenizer(undefined, ["<|im_end|>"]));
    expect(format.family).toBe("plain");
    expect(format.parse("<think>a</think>b", { prompt: "Hi" })).toEqual({ ...PLAIN, content: "<think>a</think>b" });
    expect(() => format.render([{ role: "user", content: "Hi" }])).toThrow("this tokenizer has no chat template");
  });
});

describe("a turn", () => {
  it.each([
    ["<|im_end|>", "Hi<|im_end|>\n<|im_start|>user\nAnd?<|im_end|>"],
    ["another end token", "Hi<|endoftext|>There"],
    ["its own end", "Hi"],
  ])("ends at %s", (_, text) => {
    expect(qwen.parse(ids(text))).toEqual({ ...PLAIN, content: "Hi" });
    expect(qwen.parse(text)).toEqual({ ...PLAIN, content: "Hi" });
  });

  it("has no end token half sent, for callers that decode themselves", () => {
    const stream = qwen.stream();
    expect(stream.push("Hi<|im")).toEqual([{ type: "content", text: "Hi" }]);
    expect(stream.push("_end|>more")).toEqual([]);
    expect(stream.push("more")).toEqual([]);
    expect(stream.end()).toEqual([]);
    expect(stream.message.content).toBe("Hi");
  });

  it("begins with the thoughts that the prompt opened", () => {
    const prompt = "<|im_start|>user\nSay <think><|im_end|>\n<|im_start|>assistant\n";
    expect(qwen.parse("a</think>b", { prompt: `${prompt}<think>\n` })).toEqual({
      ...PLAIN,
      reasoning: "a",
      content: "b",
    });
    expect(qwen.parse("a", { prompt: ids(`${prompt}<think>\n`) })).toEqual({ ...PLAIN, reasoning: "a" });
    expect(qwen.parse("a</think>b", { prompt })).toEqual({ ...PLAIN, content: "a</think>b" });
    expect(qwen.parse("a", { prompt: `${prompt}<think>\n\n</think>\n\n` })).toEqual({ ...PLAIN, content: "a" });
  });

  it("goes on where the prompt has begun it, and is only what is new", () => {
    const prompt = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nIt is";
    expect(qwen.parse(" 4", { prompt })).toEqual({ ...PLAIN, content: " 4" });
    expect(qwen.parse("4", { prompt: `${prompt} <tool_call>{"name": "f"}</tool_call>` }).toolCalls).toEqual([]);
  });

  it("has characters of several tokens in one piece", () => {
    const stream = qwen.stream();
    const sent = ids("é😀").map((id) => stream.push([id]));
    expect(sent.map((deltas) => deltas.map((delta) => "text" in delta && delta.text).join(""))).toEqual([
      "",
      "é",
      "",
      "",
      "",
      "😀",
    ]);
    expect(qwen.stream().push(ids("😀").slice(0, 2))).toEqual([]);
    expect(qwen.parse(ids("a😀").slice(0, 3)).content).toBe("a\uFFFD");
  });

  it("is never cut inside a character, however long the text", () => {
    for (const shift of ["", "a"]) {
      const text = shift + "😀".repeat(5000);
      const sent = qwen.stream().push(text);
      expect(sent).toEqual([{ type: "content", text }]);
      expect(qwen.parse(text).content).toBe(text);
    }
  });

  it("sends text as soon as it is no mark", () => {
    const stream = qwen.stream();
    const sent = Array.from("a <tool x <tool_call>").map((char) => stream.push(char));
    expect(sent.map((deltas) => deltas.map((delta) => "text" in delta && delta.text).join("|")).slice(0, 12)).toEqual([
      "a",
      "",
      "",
      "",
      "",
      "",
      "",
      " <tool",
      " x",
      "",
      "",
      "",
    ]);
  });

  it("keeps white space inside, and at its ends where that is asked for", () => {
    const text = "\n  a \n\n b \n";
    expect(qwen.parse(text)).toEqual({ ...PLAIN, content: "a \n\n b" });
    expect(qwen.parse(text, { keepSpace: true })).toEqual({ ...PLAIN, content: text });
    expect(qwen.parse(" \n")).toEqual(PLAIN);
    expect(qwen.parse(" \n", { keepSpace: true })).toEqual({ ...PLAIN, content: " \n" });
    const thought = "\n<think> a </think>\n\n b \n";
    expect(qwen.parse(thought, { keepSpace: true })).toEqual({ ...PLAIN, reasoning: "a", content: "b \n" });
    const called = ' b \n<tool_call>{"name": "f"}</tool_call>\n';
    expect(qwen.parse(called, { keepSpace: true })).toMatchObject({ content: " b", toolCalls: [{ name: "f" }] });
  });

  it("of text alone is that text, to the last space", async () => {
    const plain = await modelOf("chujiezheng/vicuna", "</s>");
    expect(plain.parse(" <think> a\n")).toEqual({ ...PLAIN, content: " <think> a\n" });
    expect(plain.parse(" a ", { keepSpace: false })).toEqual({ ...PLAIN, content: "a" });
  });

  it("does not end at markup that is another model's EOS", async () => {
    const plain = await modelOf("trl/gemma3", "<eos>");
    expect(plain.parse(ids("<s>a</s> b<end_of_turn>c")).content).toBe("a b");
    expect((await modelOf("chujiezheng/vicuna", "</s>")).parse(ids("a</s> b")).content).toBe("a");
  });

  it("has no special tokens in its text, where no mark is one", async () => {
    expect(qwen.parse(ids("a<|im_start|>b<pad>"))).toEqual({ ...PLAIN, content: "ab" });
    const gemma = await modelOf("trl/gemma4_v5", "<eos>");
    expect(gemma.parse(ids("a<|im_start|>b"))).toEqual({ ...PLAIN, content: "a<|im_start|>b" });
  });
});

describe("calls", () => {
  const read = (text: string, options?: ParseOptions) => qwen.parse(text, options).toolCalls;

  it("keep the characters of their arguments", () => {
    const text = '{ "note":"caf\\u00e9 \\/ x",  "city": "Paris",\n "days": 2.0 }';
    expect(read(`<tool_call>{"name": "g", "arguments": ${text}}</tool_call>`)).toEqual([
      { name: "g", arguments: { note: "café / x", city: "Paris", days: 2 }, argumentsText: text },
    ]);
  });

  it.each([
    ["whole", "7", 7, "7"],
    ["whole", " +7 ", 7, "7"],
    ["whole", "1_000", 1000, "1000"],
    ["whole", "3.0", 3, "3"],
    ["whole", "3.5", "3.5", '"3.5"'],
    ["whole", "seven", "seven", '"seven"'],
    ["whole", "1234567890123456789", 1234567890123456800, "1234567890123456789"],
    ["number", "2.0", 2, "2.0"],
    ["number", "1e3", 1000, "1000"],
    ["number", "-.5", -0.5, "-0.5"],
    ["number", "inf", "inf", '"inf"'],
    ["yes", "True", true, "true"],
    ["yes", "0", false, "false"],
    ["yes", "no", "no", '"no"'],
    ["list", '[1, "a"]', [1, "a"], '[1, "a"]'],
    ["list", '{"a": 1}', '{"a": 1}', '"{\\"a\\": 1}"'],
    ["object", '{"a": [2.0]}', { a: [2] }, '{"a": [2.0]}'],
    ["either", "None", null, "null"],
    ["either", "5", 5, "5"],
    ["nullable", "null", null, "null"],
    ["text", "7", "7", '"7"'],
    ["any", "7", "7", '"7"'],
    ["other", "7", "7", '"7"'],
  ])("type %s: %j by the tool's schema", (key, text, value, json) => {
    const expected = [{ name: "f", arguments: { [key]: value }, argumentsText: `{"${key}": ${json}}` }];
    const xml = `<tool_call>\n<function=f>\n<parameter=${key}>\n${text}\n</parameter>\n</function>\n</tool_call>`;
    expect(coder.parse(xml, { tools: TOOLS }).toolCalls).toEqual(expected);
    const quoted = `<tool_call>{"name": "f", "arguments": {"${key}": ${JSON.stringify(text.trim())}}}</tool_call>`;
    expect(read(quoted, { tools: TOOLS })[0]?.arguments).toEqual({ [key]: value });
    expect(coder.parse(xml).toolCalls[0]?.arguments).toEqual({ [key]: text.trim() });
  });

  it("keep all digits of long numbers", () => {
    const text = '{"id": 1234567890123456789, "text": 5}';
    expect(read(`<tool_call>{"name": "f", "arguments": ${text}}</tool_call>`)[0]?.argumentsText).toBe(text);
    const quoted = '{"id": 1234567890123456789, "whole": "5"}';
    expect(read(`<tool_call>{"name": "f", "arguments": ${quoted}}</tool_call>`, { tools: TOOLS })).toEqual([
      {
        name: "f",
        arguments: { id: 1234567890123456800, whole: 5 },
        argumentsText: '{"id": 1234567890123456789, "whole": 5}',
      },
    ]);
  });

  it("are content where they are not to be read", () => {
    const text = '<think>a</think>b <tool_call>{"name": "f"}</tool_call>';
    expect(qwen.parse(text, { readCalls: false })).toEqual({
      ...PLAIN,
      reasoning: "a",
      content: 'b <tool_call>{"name": "f"}</tool_call>',
    });
  });

  it("that cannot be read are content, and counted", () => {
    const text =
      'A <tool_call>{"name": 5}</tool_call> B <tool_call>{"name": "f"}</tool_call> <tool_call>[]</tool_call> C';
    expect(qwen.parse(text)).toEqual({
      content: 'A <tool_call>{"name": 5}</tool_call> B\n<tool_call>[]</tool_call> C',
      reasoning: "",
      toolCalls: [{ name: "f", arguments: {}, argumentsText: "{}" }],
      malformedCalls: 2,
    });
  });

  it("that are cut off count if they are whole, and do not if an end token cuts them off", () => {
    const text = '<tool_call>{"name": "f", "arguments": {}}';
    expect(qwen.parse(text)).toMatchObject({ toolCalls: [{ name: "f" }], malformedCalls: 0 });
    expect(qwen.parse(`${text}<|im_end|>`)).toMatchObject({ toolCalls: [], malformedCalls: 1, content: text });
    expect(qwen.parse(text.slice(0, -1))).toMatchObject({
      toolCalls: [],
      malformedCalls: 1,
      content: text.slice(0, -1),
    });
  });

  it("are sent whole, the name before the arguments", () => {
    const stream = qwen.stream();
    expect(stream.push('Look. <tool_call>{"name": "f", "arguments": {"a": 1}}')).toEqual([
      { type: "content", text: "Look." },
    ]);
    expect(stream.push('</tool_call>\n<tool_call>{"name": "g"}</tool_call>')).toEqual([
      { type: "call", index: 0, name: "f" },
      { type: "arguments", index: 0, text: '{"a": 1}' },
      { type: "call", index: 1, name: "g" },
      { type: "arguments", index: 1, text: "{}" },
    ]);
  });

  it("of Mistral have two forms", async () => {
    const mistral = await modelOf("mistralai/Mistral-Nemo-Instruct-2407", "</s>");
    const calls = [
      { name: "f", arguments: { a: "[1] {" }, argumentsText: '{"a": "[1] {"}' },
      { name: "g", arguments: {}, argumentsText: "{}" },
    ];
    const old = '[TOOL_CALLS] [{"name": "f", "arguments": {"a": "[1] {"}}, {"name": "g", "arguments": {}}]</s>';
    expect(mistral.parse(old)).toEqual({ ...PLAIN, toolCalls: calls });
    const newer = 'Hm[TOOL_CALLS]f[CALL_ID]123456789[ARGS]{"a": "[1] {"}[TOOL_CALLS]g[ARGS]{}</s>';
    expect(mistral.parse(newer)).toEqual({ ...PLAIN, content: "Hm", toolCalls: calls });
    expect(mistral.parse("[THINK]a[/THINK]b")).toEqual({ ...PLAIN, reasoning: "a", content: "b" });
    expect(mistral.parse("[TOOL_CALLS]f")).toEqual({ ...PLAIN, content: "[TOOL_CALLS]f", malformedCalls: 1 });
  });

  it("of DeepSeek have two forms", async () => {
    const deepseek = await modelOf("trl/deepseekv3", "<｜end▁of▁sentence｜>");
    const block = (...calls: string[]) =>
      `<｜tool▁calls▁begin｜>${calls.map((call) => `<｜tool▁call▁begin｜>${call}<｜tool▁call▁end｜>`).join("\n")}<｜tool▁calls▁end｜>`;
    const calls = [{ name: "f", arguments: { a: 1 }, argumentsText: '{"a": 1}' }];
    const fenced = 'function<｜tool▁sep｜>f\n```json\n{"a": 1}\n```';
    expect(deepseek.parse(`Hm${block(fenced)}`)).toEqual({ ...PLAIN, content: "Hm", toolCalls: calls });
    expect(deepseek.parse(block('f<｜tool▁sep｜>{"a": 1}'))).toEqual({ ...PLAIN, toolCalls: calls });
    expect(deepseek.parse(block("f", fenced))).toMatchObject({ toolCalls: calls, malformedCalls: 1 });
  });

  it("of Llama may follow its Python mark", async () => {
    const llama = await modelOf("trl/llama3_1", "<|eot_id|>");
    expect(llama.parse('<|python_tag|>{"name": "f", "parameters": {"a": 1}}<|eom_id|>')).toEqual({
      ...PLAIN,
      toolCalls: [{ name: "f", arguments: { a: 1 }, argumentsText: '{"a": 1}' }],
    });
  });
});
