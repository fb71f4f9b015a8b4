// While conversations wait for their tools, each of the others goes on: one tool ends at a time, and the next turn of its
// conversation is asked of the engine while all other tools still run. So the engine has work whenever a conversation could go on.

import { expect, it } from "vitest";
import { readyTools } from "../../lib/agents/tool.js";
import { ToolSampler } from "../../lib/agents/tool-sampler.js";
import { chatFormat } from "../../lib/chat/create-chat-format.js";
import type { GenerationRequest } from "../../lib/endpoint/generator.js";
import { byteTokenizer, publishedTemplate } from "../support/chat-formats.js";
import { ScriptedGenerator } from "../support/scripted-generator.js";
import { lots } from "./logging-generator.js";
import { clientOf, rolloutBench } from "./rollout-bench.js";

const CONVERSATIONS = 64;
const ROUNDS = 2;

/** Tools that wait, ended one by one in an order drawn by lot; what each was followed by. */
class WaitingTools {
  readonly #waiting: { readonly name: string; readonly end: () => void }[] = [];
  readonly #changed: (() => void)[] = [];
  readonly #draw = lots(5);
  /** The conversation whose tool has ended last. */
  ended = "";
  /** Conversations that asked for a turn though the tool of another one had ended last. */
  readonly others: string[] = [];

  wait(name: string): Promise<void> {
    return new Promise((end) => {
      this.#waiting.push({ name, end });
      this.#wake();
    });
  }

  asked(name: string): void {
    if (this.ended !== "" && name !== this.ended) this.others.push(name);
    this.ended = "";
    this.#wake();
  }

  /** Ends so many tools, each when the conversation of the one before has asked for its turn and all that can wait do. */
  async endAll(rounds: number): Promise<void> {
    const left = new Map<string, number>();
    await this.#until(() => this.#waiting.length === CONVERSATIONS);
    for (const { name } of this.#waiting) left.set(name, rounds);
    for (let ends = CONVERSATIONS * rounds; ends > 0; ends--) {
      const [next] = this.#waiting.splice(this.#draw(this.#waiting.length), 1);
      if (next === undefined) throw new Error("expected a tool that waits");
      const { name, end } = next;
      left.set(name, (left.get(name) ?? 0) - 1);
      this.ended = name;
      end();
      const waits = [...left.values()].filter((count) => count > 0).length;
      await this.#until(() => this.ended === "" && this.#waiting.length === waits);
    }
  }

  async #until(holds: () => boolean): Promise<void> {
    while (!holds()) await new Promise<void>((resolve) => this.#changed.push(resolve));
  }

  #wake(): void {
    for (const resolve of this.#changed.splice(0)) resolve();
  }
}

it("goes on with each conversation as soon as its own tool has ended, with tools of the trainer", async () => {
  const tokenizer = await byteTokenizer(publishedTemplate("trl/qwen3"), ["<|im_end|>"]);
  const format = chatFormat(tokenizer);
  const waiting = new WaitingTools();
  const next = ({ ids, seed }: GenerationRequest) => {
    const text = tokenizer.decode(ids);
    // Of the turns of a conversation each has another seed; the first one names it.
    const name = /"name": "wait", "arguments": \{"of": "(\d+)"/.exec(text)?.[1];
    if (name !== undefined) waiting.asked(name);
    const results = text.split("<tool_response>").length - 1;
    const call = `<tool_call>\n{"name": "wait", "arguments": {"of": "${name ?? seed}"}}\n</tool_call>`;
    return tokenizer.encode(`${results < ROUNDS ? call : "done"}<|im_end|>`);
  };
  const sampler = new ToolSampler({
    generator: new ScriptedGenerator(next, tokenizer.eosTokenIds),
    format,
    tools: readyTools("tools", {
      wait: {
        inputSchema: { type: "object", properties: { of: { type: "string" } } },
        execute: ({ of }: { of: string }) => waiting.wait(of).then(() => "ok"),
      },
    }),
    render: () => [],
    minP: 0,
    maxRounds: null,
    toolTimeout: null,
    variables: {},
  });
  const rows = Array.from({ length: CONVERSATIONS / 8 }, (_, i) => ({
    prompt: [{ role: "user", content: String(i) }],
  }));
  const prompts = rows.map(({ prompt }) => format.render(prompt));
  const sampled = sampler.sample(prompts, { groupSize: 8, maxNewTokens: 2000 }, rows);
  await Promise.all([waiting.endAll(ROUNDS), sampled]);
  expect(waiting.others).toEqual([]);
});

it("goes on with each conversation as soon as its own tool has ended, with an agent behind the endpoint", async () => {
  const waiting = new WaitingTools();
  const { sample, generator, tokenizer } = await rolloutBench(
    async (context) => {
      const client = clientOf(context);
      const messages: object[] = [{ role: "user", content: `of ${context.seed}.` }];
      for (let round = 0; ; round++) {
        const { message } = await client.chat({ messages });
        if (round === ROUNDS) return { reward: 1 };
        await waiting.wait(String(context.seed));
        messages.push(message, { role: "user", content: "And?" });
      }
    },
    { concurrency: CONVERSATIONS },
  );
  generator.say = ({ ids }) => {
    const text = tokenizer.decode(ids);
    const name = /of (\d+)\./.exec(text)?.[1];
    if (name !== undefined && text.includes("And?")) waiting.asked(name);
    return "Go on.";
  };
  await Promise.all([waiting.endAll(ROUNDS), sample({ groupSize: CONVERSATIONS / 2 })]);
  expect(waiting.others).toEqual([]);
});
