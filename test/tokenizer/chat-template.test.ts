// Chat templates of real models against transformers' texts and errors, the rules for choosing one, and masks.

import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { compileTemplate, renderConversation, selectTemplate } from "../../lib/tokenizer/chat-template.js";
import { compileJinja } from "../../lib/tokenizer/jinja/template.js";
import { Tokenizer } from "../../lib/tokenizer/tokenizer.js";
import type { Message } from "../../lib/types.js";
import { readGzipJson } from "../support/tokenizer-golden.js";

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
    expect(renderConversation(compileTemplate(entry.chat_template), messages, options, {}).text).toBe(entry.target);
  });
});

interface Renderings {
  now: string;
  specialTokens: Record<string, string>;
  conversations: { name: string; messages: Message[]; options: Record<string, unknown> }[];
  templates: {
    name: string;
    template: string;
    expected: { text?: string; generated?: number[][]; error?: string; message?: string }[];
  }[];
}

describe("transformers' renderings", () => {
  const renderings = readGzipJson(path.join(FIXTURES, "chat-renderings.json.gz")) as Renderings;

  beforeEach(() => {
    vi.useFakeTimers({ now: new Date(renderings.now), toFake: ["Date"] });
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  it.each(renderings.templates.map((entry) => [entry.name, entry] as const))("%s", (_, { template, expected }) => {
    const compiled = compileTemplate(template);
    renderings.conversations.forEach(({ name, messages, options }, i) => {
      const {
        add_generation_prompt: addGenerationPrompt,
        continue_final_message: continueFinalMessage,
        ...own
      } = options;
      const all = { addGenerationPrompt, continueFinalMessage, ...own } as Parameters<typeof renderConversation>[2];
      const { text, generated, error, message } = expected[i] ?? {};
      const render = () => renderConversation(compiled, messages, all, renderings.specialTokens);
      if (error === undefined) {
        const found = render();
        expect(found.text, name).toBe(text);
        if (generated) expect(inCodePoints(found.text, found.generated), name).toEqual(generated);
      } else {
        // What a template raises itself is passed on word for word; Python's own errors only have to be errors.
        const said = error === "TemplateError" ? message : "";
        expect(render, name).toThrow(
          expect.objectContaining({ name: "GrpoError", message: expect.stringContaining(said ?? "") }),
        );
      }
    });
  });
});

/** Python counts code points. */
function inCodePoints(text: string, spans: readonly (readonly number[])[]): number[][] {
  return spans.map((span) => span.map((at) => Array.from(text.slice(0, at)).length));
}

describe("the language of templates", () => {
  interface Snippets {
    now: string;
    variables: Record<string, unknown>;
    cases: { template: string; text?: string; error?: string }[];
  }

  it("renders and refuses what transformers' environment does, feature by feature", async () => {
    const file = await readFile(path.join(FIXTURES, "jinja-snippets.json"), "utf8");
    const { now, variables, cases: snippets } = JSON.parse(file) as Snippets;
    vi.useFakeTimers({ now: new Date(now), toFake: ["Date"] });
    try {
      expect(snippets.length).toBeGreaterThan(450);
      for (const { template, text } of snippets) {
        const render = () => compileJinja(template)(variables).text;
        if (text === undefined) expect(render, template).toThrow();
        else expect(render(), template).toBe(text);
      }
    } finally {
      vi.useRealTimers();
    }
  });

  it("writes all digits of integers that a number cannot hold", () => {
    const render = compileJinja(
      "{{ x }} {{ x | tojson }} {{ {'a': [x]} | tojson }} {{ x is integer }} {{ x > 1 }} {{ x == y }}",
    );
    expect(render({ x: 12345678901234567891n, y: 12345678901234567891n }).text).toBe(
      '12345678901234567891 12345678901234567891 {"a": [12345678901234567891]} True True True',
    );
    expect(render({ x: 7n, y: 7 }).text).toBe('7 7 {"a": [7]} True True True');
  });

  it("stops a template that calls itself without end", () => {
    const endless = "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}";
    expect(() => compileTemplate(endless).render({})).toThrow(expect.objectContaining({ code: "BAD_TEMPLATE" }));
  });

  it("says where a template cannot be read", () => {
    expect(() => compileTemplate("a\n{% if x %}\n{{ y z }}{% endif %}")).toThrow("line 3");
  });
});

describe("masks of what the assistant writes", () => {
  it.each([
    ["tiny-qwen2", TINY],
    ["stories260k", path.join(FIXTURES, "stories260k")],
  ])("equal those of transformers: %s", async (name, source) => {
    const golden = JSON.parse(await readFile(path.join(FIXTURES, `golden-${name}.json`), "utf8"));
    const tokenizer = await Tokenizer.fromPretrained(source);
    for (const { messages, ids, mask } of golden.masks) {
      const options = { chatTemplate: golden.maskTemplate, tokenize: true, returnAssistantMask: true } as const;
      expect(tokenizer.applyChatTemplate(messages, options)).toEqual({ ids, assistantMask: mask });
    }
  });

  it("need token ids, and a template that marks", async () => {
    const tokenizer = await Tokenizer.fromPretrained(TINY);
    const masked = { returnAssistantMask: true } as unknown as { returnAssistantMask: false };
    expect(() => tokenizer.applyChatTemplate(CHAT, masked)).toThrow("needs tokenize: true");
    expect(() => tokenizer.applyChatTemplate(CHAT, { tokenize: true, returnAssistantMask: true })).toThrow(
      "does not mark",
    );
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
    expect(() => selectTemplate(named, { chatTemplate: "tool_user" })).toThrow('did you mean "tool_use"?');
  });
});

describe("rendering", () => {
  const render = (template: string, options = {}, messages: readonly Message[] = CHAT) =>
    renderConversation(compileTemplate(template), messages, options, { bos_token: "<s>", eos_token: "</s>" }).text;

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
    expect(() => render("fixed, no content", { continueFinalMessage: true }, chat)).toThrow("cannot be continued");
    expect(() => render(plain, { continueFinalMessage: true, addGenerationPrompt: true }, chat)).toThrow("exclude");
  });

  it("continues another field, and the last text among parts", () => {
    const thinking = [...CHAT, { role: "assistant", content: "", thinking: "Two and" }];
    const fields = "{% for m in messages %}[{{ m.thinking }}{{ m.content }}]{% endfor %}";
    expect(render(fields, { continueFinalMessage: "thinking" }, thinking)).toBe("[hi][Two and");
    expect(() => render(fields, { continueFinalMessage: "plan" }, thinking)).toThrow("has no such field");
    const parts = [{ role: "assistant", content: [{ type: "text", text: "It" }, { type: "image" }] }];
    const listed = "{% for p in messages[0].content %}<{{ p.text }}>{% endfor %}";
    expect(render(listed, { continueFinalMessage: true }, parts as unknown as Message[])).toBe("<It");
    const none = [{ role: "assistant", content: null }] as unknown as Message[];
    expect(() => render(listed, { continueFinalMessage: true }, none)).toThrow("has no text in");
  });

  it("gives templates messages without null keys, and reasoning under the names that they read", () => {
    const shown = (message: object) => render("{{ messages[0] | tojson }}", {}, [message as Message]);
    const role = "assistant";
    expect(shown({ role, content: null, tool_calls: null })).toBe('{"role": "assistant"}');
    expect(shown({ role, content: "4", parts: [null, { a: null }] })).toBe(
      '{"role": "assistant", "content": "4", "parts": [null, {"a": null}]}',
    );
    expect(shown({ role, reasoning: "r" })).toBe(
      '{"thinking": "r", "role": "assistant", "reasoning": "r", "reasoning_content": "r"}',
    );
    expect(shown({ role, reasoning: "r", thinking: "t", reasoning_content: null })).toBe(
      '{"thinking": "t", "role": "assistant", "reasoning": "r", "reasoning_content": "t"}',
    );
    expect(shown({ reasoning_content: "", role, thinking: "t" })).toBe(
      '{"thinking": "t", "reasoning_content": "", "role": "assistant"}',
    );
    const given = { role, content: null, reasoning: "r" };
    render("{{ messages[0].thinking }}", {}, [given as unknown as Message]);
    expect(given).toEqual({ role, content: null, reasoning: "r" });
  });

  it("continues reasoning under whichever name the template reads", () => {
    const chat = [...CHAT, { role: "assistant", content: "4", reasoning: "Two and" }];
    const reads = (name: string) => `{% for m in messages %}[{{ m.${name} }}]{% endfor %}`;
    for (const name of ["reasoning", "thinking", "reasoning_content"]) {
      expect(render(reads(name), { continueFinalMessage: "reasoning" }, chat)).toBe("[][Two and");
    }
    expect(() => render(reads("plan"), { continueFinalMessage: "reasoning" }, chat)).toThrow("has no such field");
  });

  it("takes schemas for tools and objects for documents", () => {
    const add = (a: number, b: number) => a + b;
    expect(() => render("x", { tools: [add] })).toThrow("must be the JSON schema of a function, found a function");
    expect(() => render("x", { tools: {} })).toThrow("must be an array");
    expect(() => render("x", { documents: ["text"] })).toThrow("documents must be objects");
  });

  it("refuses conversations and variables that cannot be meant", () => {
    expect(() => render("x", {}, [])).toThrow("non-empty array");
    expect(() => render("x", {}, "hi" as unknown as Message[])).toThrow("non-empty array");
    expect(() => render("x", {}, [{ content: "hi" } as unknown as Message])).toThrow("message 0 has no role");
    expect(() => render("x", {}, [null as unknown as Message])).toThrow("message 0 has no role");
    expect(() => render("x", { range: 1 })).toThrow('"range" is a built-in');
    expect(() => render("x", { add_generation_prompt: true })).toThrow("use addGenerationPrompt");
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
