// What conversations cost whose tools take their time: how long the engine has nothing to do though a conversation could go on, and how many
// tokens a second it draws in the time in which one could, beside the same conversations with tools that answer at once. For `tools`, and for
// `rollout` through the endpoint.
//
//   npx tsx scripts/bench-tools.ts [--model FOLDER] [--conversations 256] [--rounds 4] [--tokens 32] [--fastest 0.05] [--slowest 5]

import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { CausalLM, Tokenizer, tinyModel } from "grpo";
import { RolloutSampler } from "../lib/agents/rollout-sampler.js";
import { readyTools } from "../lib/agents/tool.js";
import { ToolSampler } from "../lib/agents/tool-sampler.js";
import type { ParsedMessage } from "../lib/chat/chat-format.js";
import { chatFormat } from "../lib/chat/create-chat-format.js";
import type { GenerationRequest, Generator } from "../lib/endpoint/generator.js";
import { ModelGenerator } from "../lib/endpoint/model-generator.js";
import type { Sampler } from "../lib/rollout/sampler.js";

const { values } = parseArgs({
  options: {
    model: { type: "string", default: tinyModel },
    dtype: { type: "string", default: "float32" },
    conversations: { type: "string", default: "256" },
    rounds: { type: "string", default: "4" },
    tokens: { type: "string", default: "32" },
    fastest: { type: "string", default: "0.05" },
    slowest: { type: "string", default: "5" },
  },
});
const [conversations, rounds, tokens] = [Number(values.conversations), Number(values.rounds), Number(values.tokens)];
const model = await CausalLM.fromPretrained(values.model, { dtype: values.dtype as "float32", device: "cpu" });
const tokenizer = await Tokenizer.fromPretrained(values.model);
tokenizer.chatTemplate = `{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}{% for call in message.tool_calls %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`;
const plain = { temperature: 1, topP: 1, topK: 0, minP: 0, repetitionPenalty: 1 };

/** Times at which something is: how long it was, alone and beside another. */
class Meter {
  #able = conversations;
  #atWork = 0;
  #last = performance.now();
  /** Milliseconds in which a conversation could go on, and of those in which the engine had none of them. */
  able = 0;
  idle = 0;
  tokens = 0;

  change(able: number, atWork: number): void {
    const now = performance.now();
    if (this.#able > 0) this.able += now - this.#last;
    if (this.#able > 0 && this.#atWork === 0) this.idle += now - this.#last;
    this.#last = now;
    this.#able += able;
    this.#atWork += atWork;
  }
}

/** The model, whose turns are all of one length. */
function meteredEngine(meter: Meter): Generator {
  const engine = new ModelGenerator(model, tokenizer);
  return {
    vocabSize: engine.vocabSize,
    maxPositions: engine.maxPositions,
    score: (request) => engine.score(request),
    async *generate(request: GenerationRequest) {
      const sampling = { ...request.sampling, minNewTokens: tokens };
      let isAtWork = false;
      for await (const event of engine.generate({ ...request, sampling, maxNewTokens: tokens })) {
        if (!isAtWork) meter.change(0, 1);
        isAtWork = true;
        if (event.type === "token") meter.tokens++;
        else meter.change(0, -1);
        yield event;
      }
    },
  };
}

/** Waits as long as the lot says, which depends on the conversation and the turn: evenly in the logarithm. */
async function wait(meter: Meter, lot: number, isSlow: boolean): Promise<void> {
  const share = (Math.imul(lot, 2654435761) >>> 0) / 2 ** 32;
  const [fastest, slowest] = [Number(values.fastest), Number(values.slowest)];
  meter.change(-1, 0);
  if (isSlow) await sleep(1000 * fastest * (slowest / fastest) ** share);
  meter.change(1, 0);
}

function withTools(meter: Meter, isSlow: boolean): Sampler {
  let lot = 0;
  const format = chatFormat(tokenizer);
  // The model calls whatever it says.
  const calls: ParsedMessage["toolCalls"] = [{ name: "wait", arguments: {}, argumentsText: "{}" }];
  format.parse = () => ({ content: "", reasoning: "", toolCalls: calls, malformedCalls: 0 });
  return new ToolSampler({
    generator: meteredEngine(meter),
    format,
    tools: readyTools("tools", { wait: { execute: () => wait(meter, lot++, isSlow).then(() => "ok") } }),
    render: () => [],
    minP: 0,
    maxRounds: rounds,
    toolTimeout: null,
    variables: {},
  });
}

function withAgent(meter: Meter, isSlow: boolean): RolloutSampler<unknown> {
  return new RolloutSampler<unknown>({
    async rollout({ endpoint, seed, signal }) {
      const messages: object[] = [{ role: "user", content: `Number ${seed % 1000}.` }];
      for (let round = 0; ; round++) {
        const response = await fetch(`${endpoint.baseURL}/chat/completions`, {
          method: "POST",
          headers: { "content-type": "application/json", authorization: `Bearer ${endpoint.apiKey}` },
          body: JSON.stringify({ model: endpoint.model, messages }),
          signal,
        });
        if (!response.ok) throw new Error(await response.text());
        const { choices } = (await response.json()) as { choices: [{ message: object }] };
        if (round === rounds) return { reward: 0 };
        await wait(meter, seed + round, isSlow);
        messages.push(choices[0].message, { role: "user", content: "Go on." });
      }
    },
    generator: meteredEngine(meter),
    tokenizer,
    model: "policy",
    defaults: { ...plain, maxNewTokens: undefined },
    variables: {},
    concurrency: conversations,
    timeout: null,
    onError: "fail",
    onFailure: () => {},
    reserved: () => false,
  });
}

/** Tokens a second in the time in which a conversation could go on, and the share of it in which the engine had none. */
async function measure(make: (meter: Meter, isSlow: boolean) => Sampler, isSlow: boolean) {
  const meter = new Meter();
  const sampler = make(meter, isSlow);
  const rows = Array.from({ length: conversations }, (_, i) => ({
    prompt: [{ role: "user", content: `Number ${i}.` }],
  }));
  const prompts = rows.map(({ prompt }) => tokenizer.applyChatTemplate(prompt, { addGenerationPrompt: true }));
  const ids = prompts.map((prompt) => tokenizer.encode(prompt));
  const start = performance.now();
  await sampler.sample(ids, { groupSize: 1, maxNewTokens: 900, seed: 1, ...plain }, rows);
  const seconds = (performance.now() - start) / 1000;
  if (sampler instanceof RolloutSampler) await sampler.close();
  return { seconds, idle: meter.idle / meter.able, rate: (1000 * meter.tokens) / meter.able, tokens: meter.tokens };
}

const kinds = { tools: withTools, rollout: withAgent } as const;
for (const [kind, make] of Object.entries(kinds)) {
  await measure(make, false);
  const [atOnce, slow] = [await measure(make, false), await measure(make, true)];
  const idle = `${(100 * slow.idle).toFixed(1)} % (${(100 * atOnce.idle).toFixed(1)} %)`;
  const rates = `${slow.rate.toFixed(0)} (${atOnce.rate.toFixed(0)}) tokens/s`;
  console.log(
    `${kind}: ${conversations} conversations, ${slow.tokens} tokens (${atOnce.tokens} with tools that answer at once) in ${slow.seconds.toFixed(1)} s ` +
      `(${atOnce.seconds.toFixed(1)} s): the engine idle ${idle} of the time with work; ${rates}`,
  );
}
model.dispose();
