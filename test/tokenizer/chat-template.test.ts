// Chat templates of real models against transformers' texts, and the rules for choosing one.

import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { compileTemplate, renderConversation, selectTemplate } from "../../lib/tokenizer/chat-template.js";
import { Tokenizer } from "../../lib/tokenizer/tokenizer.js";
import type { Message } from "../../lib/types.js";

const FIXTURES = new URL("../fixtures/tokenizers/", import.meta.url).pathname;
const TINY = new URL("../../scripts/assets/tiny-qwen2/", import.meta.url).pathname;
const CHAT: Message[] = [{ role: "user", content: "hi" }];

interface Case {
  name: string;
  chat_template: string;
  data: { messages: Message[]; tools?: unknown[]; add_generation_prompt?: boolean; [key: string]: unknown };
  target: string;
}

const cases = JSON.parse(await readFile(path.join(FIXTURES, "chat-templates.json"), "utf8")) as Case[];

describe("templates of published models", () => {
  it.each(cases.map((entry) => [entry.name, entry] as const))("renders %s as transformers does", (_, entry) => {
    const { messages, add_generation_prompt, ...rest } = entry.data;
    const options =
      add_generation_prompt === undefined ? rest : { ...rest, addGenerationPrompt: add_generation_prompt };
    expect(renderConversation(compileTemplate(entry.chat_template), messages, options, {})).toBe(entry.target);
  });
});

describe("choosing a template", () => {
  const named = { default: "D", tool_use: "T", rag: "R" };

  it("takes tool_use when there are tools, else default, else the one asked for", () => {
    expect(selectTemplate(named, {})).toBe("D");
    expect(selectTemplate(named, { tools: [{}] })).toBe("T");
    expect(selectTemplate(named, { tools: null })).toBe("D");
    expect(selectTemplate({ default: "D" }, { tools: [{}] })).toBe("D");
    expect(selectTemplate(named, { chatTemplate: "rag", tools: [{}] })).toBe("R");
    expect(selectTemplate(named, { chatTemplate: "{{ own }}" })).toBe("{{ own }}");
    expect(selectTemplate("only", { tools: [{}] })).toBe("only");
  });

  it("says what there is when it cannot choose", () => {
    expect(() => selectTemplate(undefined, {})).toThrow("has no chat template");
    expect(() => selectTemplate({ rag: "R", sql: "S" }, {})).toThrow("one of: rag, sql");
    expect(() => selectTemplate(named, { chatTemplate: "tool_user" })).toThrow('Did you mean "tool_use"?');
  });
});

describe("rendering", () => {
  const render = (template: string, options = {}, messages: readonly Message[] = CHAT) =>
    renderConversation(compileTemplate(template), messages, options, { bos_token: "<s>", eos_token: "</s>" });

  it("defines what transformers defines", () => {
    const nothing = "{% if tools is none and documents is none and not add_generation_prompt %}none{% endif %}";
    expect(render(`{{ bos_token }}${nothing}`)).toBe("<s>none");
    expect(render("{% if enable_thinking is defined %}x{% endif %}{{ eos_token }}", { eos_token: "E" })).toBe("E");
    expect(render("{% if enable_thinking %}yes{% endif %}", { enable_thinking: true })).toBe("yes");
    expect(render("{% for m in messages %}\n  {{ m.content }}\n{% endfor %}\n")).toBe("  hi\n");
    expect(render("a\r\nb")).toBe("a\nb");
  });

  it("passes on what a template raises", () => {
    const template = "{{ raise_exception('Conversation roles must alternate') }}";
    expect(() => render(template)).toThrow(
      expect.objectContaining({
        code: "BAD_TEMPLATE",
        message: expect.stringContaining("Conversation roles must alternate"),
      }),
    );
    expect(() => compileTemplate("{% for %}")).toThrow(expect.objectContaining({ code: "BAD_TEMPLATE" }));
  });

  it("leaves a continued message open, with and without a template that trims", () => {
    const chat = [...CHAT, { role: "assistant", content: "The answer is " }];
    const plain = "{% for m in messages %}[{{ m.content }}]{% endfor %}";
    const trimming = "{% for m in messages %}[{{ m.content | trim }}]{% endfor %}";
    expect(render(plain, { continueFinalMessage: true }, chat)).toBe("[hi][The answer is ");
    expect(render(trimming, { continueFinalMessage: true }, chat)).toBe("[hi][The answer is");
    expect(() => render("fixed", { continueFinalMessage: true }, chat)).toThrow("cannot be continued");
    expect(() => render(plain, { continueFinalMessage: true, addGenerationPrompt: true }, chat)).toThrow("exclude");
  });

  it("refuses conversations and variables that cannot be meant", () => {
    expect(() => render("x", {}, [])).toThrow("non-empty array");
    expect(() => render("x", {}, "hi" as unknown as Message[])).toThrow("non-empty array");
    expect(() => render("x", {}, [{ content: "hi" } as unknown as Message])).toThrow("Message 0 has no role");
    expect(() => render("x", {}, [null as unknown as Message])).toThrow("Message 0 has no role");
    expect(() => render("x", { range: 1 })).toThrow('"range" is a built-in');
    expect(() => render("x", { add_generation_prompt: true })).toThrow("Use addGenerationPrompt");
  });
});

describe("where a tokenizer finds its template", () => {
  let folder: string;

  beforeEach(async () => {
    folder = await mkdtemp(path.join(tmpdir(), "grpo-template-"));
    await writeFile(path.join(folder, "tokenizer.json"), await readFile(path.join(TINY, "tokenizer.json")));
  });

  afterEach(() => rm(folder, { recursive: true, force: true }));

  it("takes the string or the list of tokenizer_config.json", async () => {
    await writeConfig({ chat_template: "one {{ messages[0].content }}" });
    expect((await Tokenizer.fromPretrained(folder)).applyChatTemplate(CHAT)).toBe("one hi");
    await writeConfig({
      chat_template: [
        { name: "default", template: "two" },
        { name: "tool_use", template: "tools" },
      ],
    });
    const tokenizer = await Tokenizer.fromPretrained(folder);
    expect(tokenizer.applyChatTemplate(CHAT)).toBe("two");
    expect(tokenizer.applyChatTemplate(CHAT, { tools: [{}] })).toBe("tools");
  });

  it("prefers the files beside it", async () => {
    await writeConfig({ chat_template: "config" });
    await writeFile(path.join(folder, "chat_template.jinja"), "file {{ eos_token }}");
    expect((await Tokenizer.fromPretrained(folder)).applyChatTemplate(CHAT)).toBe("file <|im_end|>");
    await mkdir(path.join(folder, "additional_chat_templates"));
    await writeFile(path.join(folder, "additional_chat_templates", "tool_use.jinja"), "extra");
    const tokenizer = await Tokenizer.fromPretrained(folder);
    expect(tokenizer.applyChatTemplate(CHAT)).toBe("file <|im_end|>");
    expect(tokenizer.applyChatTemplate(CHAT, { tools: [{}] })).toBe("extra");
    await tokenizer.savePretrained(path.join(folder, "out"));
    const again = await Tokenizer.fromPretrained(path.join(folder, "out"));
    expect(again.applyChatTemplate(CHAT, { tools: [{}] })).toBe("extra");
  });

  it("adds no special token when it tokenizes a rendered conversation", async () => {
    const tokenizer = await Tokenizer.fromPretrained(path.join(FIXTURES, "stories260k"));
    const ids = tokenizer.applyChatTemplate(CHAT, { tokenize: true });
    expect(ids).toEqual(tokenizer.encode("hi", { addSpecialTokens: false }));
  });

  async function writeConfig(config: Readonly<Record<string, unknown>>): Promise<void> {
    await writeFile(path.join(folder, "tokenizer_config.json"), JSON.stringify({ eos_token: "<|im_end|>", ...config }));
  }
});
