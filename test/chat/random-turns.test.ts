// Turns drawn from marks, broken marks, calls and text, cut in pieces of any length: whatever a model says and however it comes, the
// pieces are the message, and no text but that of marks is lost.

import { expect, it } from "vitest";
import type { ChatDelta, ChatFormat } from "../../lib/chat/chat-format.js";
import { chatFormat } from "../../lib/chat/create-chat-format.js";
import { byteTokenizer, joined, publishedTemplate } from "../support/chat-formats.js";

const TEXT = ["Hi", " ", "\n\n", "世界😀", "<", "{", "}", '"', "<thin", "</tool", "<|", "[", "it's\t", "\u2028"];
const THOUGHTS = ["<think>", "</think>", "<think>\na\n</think>\n\n"];
const CALL = '{"name": "f", "arguments": {"a": "}</"}}';

/** Template, end token and pieces of each family. */
// biome-ignore format: a family to a line
const FAMILIES: Readonly<Record<string, readonly [template: string, end: string, ...pieces: string[]]>> = {
  hermes: ["trl/qwen3", "<|im_end|>", ...THOUGHTS, `<tool_call>\n${CALL}\n</tool_call>`, "<tool_call>", "</tool_call>", CALL],
  "qwen3-coder": ["trl/qwen3_6", "<|im_end|>", ...THOUGHTS, "<tool_call>\n<function=f>", "<parameter=a>", "</parameter>", "</function>\n</tool_call>"],
  glm: ["trl/glm4moe", "<|user|>", ...THOUGHTS, "<tool_call>f", "<arg_key>a</arg_key>", "\n<arg_value>1</arg_value>", "</tool_call>"],
  llama3: ["trl/llama3_1", "<|eot_id|>", '{"name": "f", ', '"parameters": {}}', '{"name": "f", "parameters": {"a": 1}}', "; ", "<|python_tag|>"],
  mistral: ["mistralai/Mistral-Nemo-Instruct-2407", "</s>", "[THINK]", "[/THINK]", "[TOOL_CALLS]", `[${CALL}]`, "f[ARGS]", "{}"],
  deepseek: ["trl/deepseekv3", "<｜end▁of▁sentence｜>", ...THOUGHTS, "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{}", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"],
  gemma4: ["trl/gemma4_v5", "<turn|>", "<|channel>thought\n", "<channel|>", "<|tool_call>call:f{", 'a:<|"|>b<|"|>', "}<tool_call|>"],
  lfm2: ["trl/lfm2_v2", "<|im_end|>", ...THOUGHTS, "<|tool_call_start|>[", "f(a='b')", "]<|tool_call_end|>", ", "],
  "gpt-oss": ["trl/gptoss", "<|return|>", "<|channel|>analysis", "<|channel|>final", " to=functions.f", "<|message|>", "<|end|>", "<|start|>assistant", "{}", "<|call|>"],
};

/** Numbers from 0 to below `below`, the same in every run (xorshift). */
function drawing(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

function check(format: ChatFormat, encode: (text: string) => number[], pieces: readonly string[]): void {
  const draw = drawing(20250710);
  const pick = (list: readonly string[]) => list[draw(list.length)] as string;
  for (let turn = 0; turn < 400; turn++) {
    const text = Array.from({ length: draw(10) }, () => pick(draw(2) === 0 ? TEXT : pieces)).join("");
    const options = { keepSpace: draw(2) === 0, readCalls: draw(8) > 0 };
    const ids = encode(text);
    for (const output of [ids, text]) {
      const whole = format.parse(output, options);
      const stream = format.stream(options);
      const deltas: ChatDelta[] = [];
      for (let at = 0; at < output.length; ) {
        const length = 1 + draw(5);
        deltas.push(...stream.push(output.slice(at, at + length)));
        at += length;
      }
      deltas.push(...stream.end());
      expect(stream.message, text).toEqual(whole);
      const { content, reasoning, toolCalls } = whole;
      const calls = toolCalls.map((call) => [call.name, call.argumentsText]);
      expect(joined(deltas), text).toEqual({ content, reasoning, calls });
    }
  }
}

it.each(Object.entries(FAMILIES))("of %s are the same in pieces", async (family, [template, end, ...pieces]) => {
  const tokenizer = await byteTokenizer(publishedTemplate(template), [end]);
  const format = chatFormat(tokenizer);
  expect(format.family).toBe(family);
  check(format, (text) => tokenizer.encode(text, { addSpecialTokens: false }), [...pieces, end]);
});
