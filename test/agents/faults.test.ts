// What tools may do to a conversation: throw, hang, return megabytes or what is no text; and many of them at once.

import { describe, expect, it } from "vitest";
import { z } from "zod";
import { readyTools, type Tool, type Tools } from "../../lib/agents/tool.js";
import { ToolSampler, type ToolSamplerOptions } from "../../lib/agents/tool-sampler.js";
import { at } from "../../lib/at.js";
import { chatFormat } from "../../lib/chat/create-chat-format.js";
import type { GenerationRequest } from "../../lib/endpoint/generator.js";
import type { SampledRollout } from "../../lib/rollout/sample.js";
import type { Tokenizer } from "../../lib/tokenizer/tokenizer.js";
import type { Message } from "../../lib/types.js";
import { byteTokenizer, publishedTemplate } from "../support/chat-formats.js";
import { ScriptedGenerator } from "../support/scripted-generator.js";

const tokenizer: Tokenizer = await byteTokenizer(publishedTemplate("trl/qwen3"), ["<|im_end|>"]);
const format = chatFormat(tokenizer);
const encode = (text: string) => tokenizer.encode(text, { addSpecialTokens: false });

function call(name: string, values: object): string {
  return `<tool_call>\n${JSON.stringify({ name, arguments: values })}\n</tool_call>`;
}

/** Calls one tool, and says "done" when it has the result. */
function callsOnce(name: string, values: object): (request: GenerationRequest) => number[] {
  return ({ ids }) =>
    encode(`${tokenizer.decode(ids).includes("<tool_response>") ? "done" : call(name, values)}<|im_end|>`);
}

interface Held {
  readonly rollout: SampledRollout;
  readonly result: string | undefined;
}

async function hold(
  tools: Tools,
  next: (request: GenerationRequest) => number[],
  options: Partial<ToolSamplerOptions> & { readonly maxNewTokens?: number; readonly signal?: AbortSignal } = {},
): Promise<Held> {
  const { maxNewTokens = 1000, signal, ...given } = options;
  const sampler = new ToolSampler({
    generator: new ScriptedGenerator(next, tokenizer.eosTokenIds),
    format,
    tools: readyTools("tools", tools),
    render: () => [],
    minP: 0,
    maxRounds: null,
    toolTimeout: 60,
    variables: {},
    ...given,
  });
  const row = { prompt: [{ role: "user", content: "Hi" }] };
  const prompt = encode("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  const sampling = { groupSize: 1, maxNewTokens, ...(signal && { signal }) };
  const { groups } = await sampler.sample([prompt], sampling, [row]);
  const rollout = at(at(groups, 0).completions, 0);
  const messages = rollout.completion as readonly Message[];
  return { rollout, result: messages.find(({ role }) => role === "tool")?.content };
}

describe("a tool that", () => {
  const sum = z.object({ a: z.number(), b: z.coerce.number().default(10) });

  it("hangs is left after its time, is told so, and the model reads that it failed", async () => {
    const aborted: unknown[] = [];
    const tool: Tool = {
      execute: (_: never, { abortSignal }) => {
        abortSignal?.addEventListener("abort", () => aborted.push(abortSignal.reason));
        return new Promise(() => {});
      },
    };
    const { rollout, result } = await hold({ wait: tool }, callsOnce("wait", {}), { toolTimeout: 0.05 });
    expect(result).toBe("{'error': 'Tool wait took longer than 0.05 s.'}");
    expect(rollout.tools).toEqual({ calls: 1, failures: 1 });
    expect(aborted).toHaveLength(1);
  });

  it("hangs does not keep a run from being stopped", async () => {
    const stop = new AbortController();
    const tool: Tool = { execute: () => new Promise(() => setTimeout(() => stop.abort(), 20)) };
    const held = hold({ wait: tool }, callsOnce("wait", {}), { signal: stop.signal });
    await expect(held).rejects.toMatchObject({ code: "CANCELLED" });
  });

  it("returns megabytes ends the conversation where it stood", async () => {
    const { rollout } = await hold({ much: { execute: () => "x y ".repeat(5e6) } }, callsOnce("much", {}));
    expect(rollout.completion).toHaveLength(1);
    expect(rollout.tools).toEqual({ calls: 1, failures: 0 });
    expect(rollout.samples[0]?.finishReason).toBe("eos");
    expect(rollout.samples[0]?.lossMask).toBeUndefined();
  });

  it.each([
    ["throws what is no error", "{'error': 'out'}"],
    ["rejects with nothing", "{'error': 'undefined'}"],
  ])("%s", async (kind, expected) => {
    const execute = kind.startsWith("throws")
      ? () => {
          throw "out";
        }
      : () => Promise.reject(undefined);
    const { rollout, result } = await hold({ bad: { execute } }, callsOnce("bad", {}));
    expect(result).toBe(expected);
    expect(rollout.tools?.failures).toBe(1);
  });

  it.each<[string, unknown, string]>([
    ["nothing", undefined, "None"],
    [
      "parts of text",
      [
        { type: "text", text: "one " },
        { type: "text", text: "two" },
      ],
      "one two",
    ],
    ["a list of numbers", [1, 2.5], "[1, 2.5]"],
    ["a big integer", 2n ** 70n, "1180591620717411303424"],
    ["a date", new Date(0), "1970-01-01T00:00:00.000Z"],
  ])("returns %s", async (_, value, expected) => {
    expect((await hold({ give: { execute: () => value } }, callsOnce("give", {}))).result).toBe(expected);
  });

  it("returns what cannot be written has failed", async () => {
    const { result, rollout } = await hold({ give: { execute: () => Symbol("x") } }, callsOnce("give", {}));
    expect(result).toContain("'error'");
    expect(rollout.tools?.failures).toBe(1);
  });

  it("gives preliminary results has the last one", async () => {
    async function* execute() {
      yield "wait";
      yield "ready";
    }
    expect((await hold({ slow: { execute } }, callsOnce("slow", {}))).result).toBe("ready");
  });

  it("has a schema that checks gets what the schema makes of its arguments", async () => {
    const tools = { add: { inputSchema: sum, execute: ({ a, b }: z.output<typeof sum>) => a + b } };
    expect((await hold(tools, callsOnce("add", { a: 1 }))).result).toBe("11");
    expect((await hold(tools, callsOnce("add", { a: "2", b: "3" }))).result).toBe("5");
    expect((await hold(tools, callsOnce("add", { a: "two" }))).result).toMatch(
      /^\{'error': '(add\(\) got invalid arguments: a: .*)'\}$/,
    );
    expect((await hold(tools, callsOnce("add", { b: 1 }))).result).toContain("missing 1 required positional argument");
  });
});

it("a tool is told of its call: id, conversation, arguments", async () => {
  const seen: unknown[] = [];
  const tool: Tool = {
    inputSchema: { type: "object", properties: { n: { type: "integer" } } },
    execute: (input: unknown, { toolCallId, messages }) =>
      seen.push({ input, toolCallId, roles: (messages as Message[]).map(({ role }) => role) }),
  };
  await hold({ note: tool }, callsOnce("note", { n: "4" }));
  expect(seen).toEqual([{ input: { n: 4 }, toolCallId: "call_0", roles: ["user", "assistant"] }]);
});

it("results come in the order of the calls, whichever tool is faster", async () => {
  const tools = {
    slow: { execute: () => new Promise((resolve) => setTimeout(() => resolve("slow"), 30)) },
    fast: { execute: () => "fast" },
  };
  const turn = ["slow", "fast", "slow"].map((name) => call(name, {})).join("\n");
  const next = ({ ids }: GenerationRequest) =>
    encode(`${tokenizer.decode(ids).includes("<tool_response>") ? "done" : turn}<|im_end|>`);
  const { rollout } = await hold(tools, next);
  const results = (rollout.completion as readonly Message[]).filter(({ role }) => role === "tool");
  expect(results.map(({ content, tool_call_id: id }) => [content, id])).toEqual([
    ["slow", "call_0"],
    ["fast", "call_1"],
    ["slow", "call_2"],
  ]);
});

describe("64 conversations at once", () => {
  const random = (seed: number) => (Math.imul(seed, 2654435761) >>> 0) / 2 ** 32;
  /** Each conversation asks for its own number, several times, and ends with what it was told. */
  const sample = async () => {
    let running = 0;
    let most = 0;
    const echo: Tool = {
      inputSchema: { type: "object", properties: { n: { type: "integer" }, turn: { type: "integer" } } },
      execute: async ({ n, turn }: { n: number; turn: number }) => {
        most = Math.max(most, ++running);
        await new Promise((resolve) => setTimeout(resolve, 20 * random(n * 7 + turn + performance.now())));
        running--;
        return `result ${n}.${turn}`;
      },
    };
    const next = ({ ids, seed }: GenerationRequest) => {
      const text = tokenizer.decode(ids);
      const results = text.match(/result \d+\.\d+/g) ?? [];
      const n = Number(/user\n(\d+)<\|im_end\|>/.exec(text)?.[1]);
      if (results.length === 1 + (n % 4)) return encode(`${results.join(" ")} by ${seed}<|im_end|>`);
      return encode(`${call("echo", { n, turn: results.length })}<|im_end|>`);
    };
    const generator = new ScriptedGenerator(next, tokenizer.eosTokenIds);
    const sampler = new ToolSampler({
      generator,
      format,
      tools: readyTools("tools", { echo }),
      render: () => [],
      minP: 0,
      maxRounds: null,
      toolTimeout: 60,
      variables: {},
    });
    const rows = Array.from({ length: 16 }, (_, i) => ({ prompt: [{ role: "user", content: String(i) }] }));
    const prompts = rows.map(({ prompt }) => format.render(prompt));
    const finished: number[] = [];
    const options = {
      groupSize: 4,
      maxNewTokens: 2000,
      seed: 5,
      step: 3,
      promptKeys: rows.map((_, i) => i),
      onGroup: ({ prompt }: { readonly prompt: number }) => finished.push(prompt),
    };
    const { groups } = await sampler.sample(prompts, options, rows);
    return { groups, finished, most, seeds: generator.requests.map(({ seed }) => seed) };
  };

  it("wait for no other, never hear of each other, and come in the order of their prompts", async () => {
    const { groups, finished, most, seeds } = await sample();
    expect(groups.map(({ prompt }) => prompt)).toEqual(Array.from({ length: 16 }, (_, i) => i));
    expect(new Set(finished).size).toBe(16);
    expect(most).toBeGreaterThan(16);
    // Every turn of every conversation has its own.
    expect(new Set(seeds).size).toBe(seeds.length);
    for (const { prompt, completions } of groups) {
      const expected = Array.from({ length: 1 + (prompt % 4) }, (_, turn) => `result ${prompt}.${turn}`).join(" ");
      for (const { completion, tools } of completions) {
        const last = (completion as readonly Message[]).at(-1)?.content;
        expect(last?.replace(/ by \d+$/, "")).toBe(expected);
        expect(tools).toEqual({ calls: 1 + (prompt % 4), failures: 0 });
      }
    }
  });

  it("are the same again, whatever tools take", async () => {
    const [first, second] = [await sample(), await sample()];
    expect(first.groups).toEqual(second.groups);
  });
});

describe("tools are refused", () => {
  it.each<[string, Tools, string]>([
    ["without a function", { add: { description: "Adds." } }, 'the tool "add" has no function execute'],
    ["without a name", [{ execute: () => 1 }], "tools[0]: expected a tool with a name"],
    [
      "with a schema of no object",
      { add: { inputSchema: z.string(), execute: () => 1 } },
      "describes no object of arguments",
    ],
    [
      "with the name of another",
      [
        { name: "a", execute: () => 1 },
        { name: "a", execute: () => 2 },
      ],
      'two tools are called "a"',
    ],
  ])("%s", (_, tools, message) => {
    expect(() => readyTools("tools", tools)).toThrow(message);
  });
});
