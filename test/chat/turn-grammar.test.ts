// Turns drawn under a grammar of a family: what is drawn reads back as calls of the tools, with arguments by their schemas.

import { expect, it } from "vitest";
import { chatFormat } from "../../lib/chat/create-chat-format.js";
import { charactersOf } from "../../lib/grammar/code-ranges.js";
import { chars, repeat, sequence, text } from "../../lib/grammar/expression.js";
import { Grammar } from "../../lib/grammar/grammar.js";
import { TokenTrie } from "../../lib/grammar/token-trie.js";
import { maskWords } from "../../lib/model/token-constraint.js";
import type { Tokenizer } from "../../lib/tokenizer/tokenizer.js";
import { ajv, allowedIds, randomFrom } from "../grammar/draw.js";
import { byteTokenizer, publishedTemplate } from "../support/chat-formats.js";

const VOCABULARY = 512;
const weather = {
  type: "object",
  properties: {
    city: { enum: ["Paris", "Rome"] },
    days: { type: "integer", minimum: 1, maximum: 30 },
    exact: { type: "boolean" },
  },
  required: ["city", "days"],
  additionalProperties: false,
};
const TOOLS = [
  { type: "function", function: { name: "weather", parameters: weather } },
  { type: "function", function: { name: "ping" } },
];
const checks = new Map([
  ["weather", ajv.compile(weather)],
  ["ping", ajv.compile({ type: "object", additionalProperties: false })],
]);

/** Draws until the grammar may end: what is asked for is as short as it may be. */
function drawTurn(tokenizer: Tokenizer, grammar: Grammar, ends: readonly number[], seed: number): number[] {
  const random = randomFrom(seed);
  const constraint = grammar.constraint(ends);
  const mask = new Int32Array(maskWords(VOCABULARY));
  const ids: number[] = [];
  while (!constraint.isComplete && ids.length < 2000) {
    constraint.fill(mask);
    const allowed = allowedIds(mask);
    const id = allowed[Math.floor(random() * allowed.length)] as number;
    constraint.accept(id);
    ids.push(id);
  }
  expect(constraint.isComplete, tokenizer.decode(ids)).toBe(true);
  return [...ids, ends[0] as number];
}

it.each([
  ["hermes", "trl/qwen3", "<|im_end|>"],
  ["qwen3-coder", "trl/qwen3_6", "<|im_end|>"],
  ["glm", "trl/glm4moe", "<|user|>"],
  ["llama3", "trl/llama3_1", "<|eot_id|>"],
  ["mistral", "mistralai/Mistral-Nemo-Instruct-2407", "</s>"],
  ["deepseek", "trl/deepseekv3", "<｜end▁of▁sentence｜>"],
  ["lfm2", "trl/lfm2_v2", "<|im_end|>"],
  ["gpt-oss", "trl/gptoss", "<|call|>"],
])("writes calls of %s that are read back, any of them and one alone", async (family, template, end) => {
  const tokenizer = await byteTokenizer(publishedTemplate(template), [end]);
  const format = chatFormat(tokenizer);
  expect(format.family).toBe(family);
  const tokens = new TokenTrie(tokenizer.tokenBytes(), VOCABULARY);
  for (const most of [1, 3]) {
    const expression = format.turnExpression({ reasoning: "none", calls: { tools: TOOLS, most } });
    const grammar = new Grammar(expression, tokens);
    for (let seed = 0; seed < 12; seed++) {
      const ids = drawTurn(tokenizer, grammar, [tokenizer.eosTokenId as number], seed);
      const { toolCalls, malformedCalls, content } = format.parse(ids, { tools: TOOLS });
      const said = tokenizer.decode(ids);
      expect([malformedCalls, content], said).toEqual([0, ""]);
      expect(toolCalls.length, said).toBeGreaterThan(0);
      for (const { name, arguments: values } of toolCalls) expect(checks.get(name)?.(values), said).toBe(true);
    }
  }
});

it("says that a call cannot be asked for where no grammar writes the family's", async () => {
  const tokenizer = await byteTokenizer(publishedTemplate("trl/gemma4_v5"), ["<turn|>"]);
  const format = chatFormat(tokenizer);
  const calls = { tools: TOOLS, most: 1 };
  expect(() => format.turnExpression({ reasoning: "none", calls })).toThrow("a call cannot be asked for");
  expect(() => format.turnExpression({ reasoning: "none", calls, content: text("yes") })).not.toThrow();
});

it.each([
  ["hermes", "trl/qwen3", "<|im_end|>"],
  ["mistral", "mistralai/Mistral-Nemo-Instruct-2407", "</s>"],
  ["gpt-oss", "trl/gptoss", "<|return|>"],
])(
  "lets %s think before an answer that has a form, and reads the answer alone as content",
  async (_, template, end) => {
    const tokenizer = await byteTokenizer(publishedTemplate(template), [end]);
    const format = chatFormat(tokenizer);
    const tokens = new TokenTrie(tokenizer.tokenBytes(), VOCABULARY);
    const content = sequence(text("{"), repeat(chars(charactersOf("<think>{}")), 3, 9));
    for (const reasoning of ["none", "possible"] as const) {
      const grammar = new Grammar(format.turnExpression({ reasoning, content }), tokens);
      for (let seed = 0; seed < 8; seed++) {
        const ids = drawTurn(tokenizer, grammar, [tokenizer.eosTokenId as number], seed);
        const message = format.parse(ids, { verbatim: true });
        expect(message.content, tokenizer.decode(ids)).toMatch(/^\{[<think>{}]{3,9}$/);
      }
    }
  },
);

it("knows what a prompt has begun of the reasoning", async () => {
  const tokenizer = await byteTokenizer(publishedTemplate("trl/qwen3"), ["<|im_end|>"]);
  const format = chatFormat(tokenizer);
  const header = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n";
  expect(format.reasoningPlace(header)).toBe("possible");
  expect(format.reasoningPlace(`${header}<think>\n`)).toBe("open");
  expect(format.reasoningPlace(`${header}<think>\n\n</think>\n\n`)).toBe("none");
  // Its template knows of no reasoning.
  const other = chatFormat(await byteTokenizer(publishedTemplate("trl/qwen2_5"), ["<|im_end|>"]));
  expect([other.family, other.reasoningPlace(header)]).toEqual(["hermes", "none"]);
});
