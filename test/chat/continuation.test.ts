// What is appended to held ids: other end tokens than the template's, turns that were cut off, names of tools, a tokenizer with merges.

import { describe, expect, it } from "vitest";
import { chatFormat } from "../../lib/chat/create-chat-format.js";
import { Tokenizer } from "../../lib/tokenizer/tokenizer.js";
import { byteTokenizer, publishedTemplate } from "../support/chat-formats.js";

const USER = { role: "user", content: "And then?" };

/** What is appended, as text, to a prompt and a response. */
async function continued(
  template: string,
  end: string,
  held: string,
  messages: readonly { role: string; content: string }[],
  options: Parameters<ReturnType<typeof chatFormat>["continuation"]>[2] = {},
): Promise<string | undefined> {
  const tokenizer = await byteTokenizer(template, [end]);
  const ids = chatFormat(tokenizer).continuation(
    tokenizer.encode(held, { addSpecialTokens: false }),
    messages,
    options,
  );
  return ids && tokenizer.decode(ids);
}

const QWEN = [publishedTemplate("trl/qwen3"), "<|im_end|>"] as const;
const ASKED = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n";
const NEXT = "<|im_start|>user\nAnd then?<|im_end|>\n<|im_start|>assistant\n";

describe("a turn that ended", () => {
  it("is followed by what the template writes behind its end token", async () => {
    expect(await continued(...QWEN, `${ASKED}<think>\na\n</think>\n\nb<|im_end|>`, [USER])).toBe(`\n${NEXT}`);
  });

  it("with another end token than the template's is not ended twice", async () => {
    expect(await continued(...QWEN, `${ASKED}b<|endoftext|>`, [USER])).toBe(`\n${NEXT}`);
    const gptoss = publishedTemplate("trl/gptoss");
    const held = "<|start|>assistant<|channel|>final<|message|>b<|return|>";
    expect(await continued(gptoss, "<|return|>", held, [USER])).toBe(
      "<|start|>user<|message|>And then?<|end|><|start|>assistant",
    );
  });

  it("with the mark of another role than the next one has both", async () => {
    const glm = publishedTemplate("trl/glm4moe");
    const result = { role: "tool", name: "f", content: "1" };
    expect(await continued(glm, "<|endoftext|>", "<|assistant|>\nb<|user|>", [result])).toMatch(/^<\|observation\|>/);
    expect(await continued(glm, "<|endoftext|>", "<|assistant|>\nb<|observation|>", [result])).toMatch(
      /^\n<tool_response>/,
    );
  });
});

describe("a turn that was cut off", () => {
  it("is closed as the template closes it", async () => {
    expect(await continued(...QWEN, `${ASKED}b`, [USER])).toBe(`<|im_end|>\n${NEXT}`);
    expect(await continued(...QWEN, ASKED, [USER])).toBe(`<|im_end|>\n${NEXT}`);
  });

  it("in its thoughts has them closed first", async () => {
    expect(await continued(...QWEN, `${ASKED}<think>\nHm`, [USER])).toBe(`</think><|im_end|>\n${NEXT}`);
    const thinking = publishedTemplate("trl/qwen3_5_think");
    expect(await continued(thinking, "<|im_end|>", `${ASKED}<think>\nHm`, [USER])).toMatch(/^<\/think><\|im_end\|>\n/);
    expect(await continued(thinking, "<|im_end|>", `${ASKED}<think>\nHm</think>x`, [USER])).toMatch(/^<\|im_end\|>\n/);
  });
});

describe("results of tools", () => {
  const gptoss = publishedTemplate("trl/gptoss");
  const held = "<|start|>assistant to=functions.f<|channel|>commentary json<|message|>{}<|call|>";
  const turn = {
    role: "assistant",
    content: null,
    tool_calls: ["f", "g"].map((name) => ({ id: `id-${name}`, type: "function", function: { name, arguments: "{}" } })),
  };
  const results = ["g", "f"].map((name) => ({ role: "tool", tool_call_id: `id-${name}`, content: `of ${name}` }));

  it("have the names and the order of the calls of their turn", async () => {
    expect(await continued(gptoss, "<|return|>", held, results.slice(1), { turn })).toBe(
      '<|start|>functions.f to=assistant<|channel|>commentary<|message|>"of f"<|end|><|start|>assistant',
    );
    expect(await continued(...QWEN, `${ASKED}x<|im_end|>`, results, { turn })).toBe(
      "\n<|im_start|>user\n<tool_response>\nof f\n</tool_response>\n<tool_response>\nof g\n</tool_response><|im_end|>\n<|im_start|>assistant\n",
    );
  });

  it("of a turn that is not given are those of a tool without a name", async () => {
    expect(await continued(gptoss, "<|return|>", held, results.slice(1))).toMatch(
      /^<\|start\|>functions\.tool to=assistant/,
    );
  });
});

it("variables of the template are those of the first prompt", async () => {
  const variables = { enable_thinking: false };
  expect(await continued(...QWEN, `${ASKED}x<|im_end|>`, [USER], { variables })).toBe(
    `\n${NEXT}<think>\n\n</think>\n\n`,
  );
});

it("a template that closes its turns with no token gives nothing", async () => {
  const template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:";
  expect(await continued(template, "</s>", "user: Hi\nassistant: Ho", [USER])).toBeUndefined();
});

it("a continuation without messages is refused", async () => {
  await expect(continued(...QWEN, ASKED, [])).rejects.toMatchObject({ code: "BAD_INPUT" });
});

it("held ids stay as they are where their text would be tokenized otherwise", async () => {
  const tokenizer = await Tokenizer.fromPretrained(
    new URL("../../scripts/assets/tiny-qwen2/", import.meta.url).pathname,
  );
  tokenizer.chatTemplate = publishedTemplate("trl/qwen2_5");
  const format = chatFormat(tokenizer);
  const prompt = format.render([{ role: "user", content: "What is 2 + 2?" }]);
  // Every character alone, as a model may well sample them.
  const sampled = Array.from("the answer").flatMap((char) => tokenizer.encode(char, { addSpecialTokens: false }));
  expect(sampled.length).toBeGreaterThan(tokenizer.encode("the answer", { addSpecialTokens: false }).length);
  sampled.push(tokenizer.tokenToId("<|im_end|>") as number);
  const held = [...prompt, ...sampled];
  const ids = format.continuation(held, [USER]) ?? [];
  expect(tokenizer.decode([...held, ...ids])).toBe(
    tokenizer.decode(
      format.render([{ role: "user", content: "What is 2 + 2?" }, { role: "assistant", content: "the answer" }, USER]),
    ),
  );
  expect(format.parse([...sampled, ...ids]).content).toBe("the answer");
});
