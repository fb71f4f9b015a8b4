// What the endpoint's running batch costs and gives, over HTTP on loopback:
//   - conversations of several turns at once, beside one plain rollout of as many tokens
//   - the first token of a short request while a long prompt is computed, in steps of a batch that decodes meanwhile
//   - many connections that wait at the same time
// npx tsx scripts/bench-endpoint.ts [--model FOLDER] [--dtype bfloat16] [--conversations 64] [--turns 6] [--tokens 32] [--long 4000]

import { parseArgs } from "node:util";
import { CausalLM, type Endpoint, serveModel, Tokenizer, tinyModel } from "grpo";

const { values } = parseArgs({
  options: {
    model: { type: "string", default: tinyModel },
    dtype: { type: "string", default: "bfloat16" },
    conversations: { type: "string", default: "64" },
    turns: { type: "string", default: "6" },
    tokens: { type: "string", default: "32" },
    long: { type: "string", default: "900" },
    connections: { type: "string", default: "1000" },
  },
});
const [conversations, turns, tokens] = [Number(values.conversations), Number(values.turns), Number(values.tokens)];
const model = await CausalLM.fromPretrained(values.model, { dtype: values.dtype as "bfloat16", device: "cpu" });
const tokenizer = await Tokenizer.fromPretrained(values.model);
const endpoint = await serveModel(model, tokenizer, { name: "model" });

interface Answer {
  readonly choices: readonly { readonly token_ids: readonly number[] }[];
  readonly usage: {
    readonly prompt_tokens: number;
    readonly prompt_tokens_details: { readonly cached_tokens: number };
  };
}

async function generate({ baseURL }: Endpoint, ids: readonly number[], maxTokens: number): Promise<Answer> {
  const response = await fetch(new URL("/inference/v1/generate", baseURL), {
    method: "POST",
    headers: { "content-type": "application/json" },
    // No id ends a completion before its time.
    body: JSON.stringify({ token_ids: ids, sampling_params: { max_tokens: maxTokens, min_tokens: maxTokens } }),
  });
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
  return (await response.json()) as Answer;
}

const idsOf = (length: number, seed: number) =>
  Array.from({ length }, (_, i) => (i * 37 + seed * 101 + seed ** 2) % 300);
const seconds = async (work: () => Promise<unknown>) => {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
};

/** Turns of a conversation; what each computed beside its new tokens is counted. */
async function converse(seed: number): Promise<number> {
  let ids = idsOf(40, seed);
  let computedAgain = 0;
  for (let turn = 0; turn < turns; turn++) {
    const { choices, usage } = await generate(endpoint, ids, tokens);
    // Of the turn before, the last token was drawn and not computed; then come 10 new ones.
    computedAgain += turn === 0 ? 0 : usage.prompt_tokens - usage.prompt_tokens_details.cached_tokens - 11;
    ids = [...ids, ...(choices[0]?.token_ids ?? []), ...idsOf(10, seed + turn)];
  }
  return computedAgain;
}

const plain = () =>
  model.sample(
    Array.from({ length: conversations }, (_, i) => idsOf(40 + 10 * (turns - 1), i)),
    { groupSize: 1, maxNewTokens: tokens * turns, minNewTokens: tokens * turns, seed: 1 },
  );
await plain();
let again = 0;
let seeds = 1000;
const talks = async () => {
  const counts = await Promise.all(Array.from({ length: conversations }, () => converse(seeds++)));
  again += counts.reduce((sum, count) => sum + count, 0);
};
const ratios: number[] = [];
for (let round = 0; round < 3; round++) {
  const [rollout, conversation] = [await seconds(plain), await seconds(talks)];
  ratios.push(conversation / rollout);
  const rate = (conversations * turns * tokens) / conversation;
  console.log(
    `${conversations} conversations of ${turns} turns of ${tokens} tokens: ${conversation.toFixed(2)} s, ${rate.toFixed(0)} tokens/s; ` +
      `one rollout of as many: ${rollout.toFixed(2)} s; ratio ${(conversation / rollout).toFixed(2)}`,
  );
}
console.log(`tokens computed again: ${again}; median ratio ${ratios.sort((a, b) => a - b)[1]?.toFixed(2)}`);

/** Steps of a request that decodes while a long prompt comes, and then a short one. */
async function behind(): Promise<void> {
  let steps = 0;
  const stop = new AbortController();
  const running = (async () => {
    const events = model.stream(idsOf(20, 5), { maxNewTokens: 800, minNewTokens: 800, seed: 1, signal: stop.signal });
    for await (const { type } of events) steps += type === "token" ? 1 : 0;
  })().catch(() => {});
  while (steps < 5) await new Promise((resolve) => setTimeout(resolve, 1));
  const long = generate(endpoint, idsOf(Number(values.long), 6), 1);
  await new Promise((resolve) => setTimeout(resolve, 20));
  const before = steps;
  const alone = await seconds(() => generate(endpoint, idsOf(12, 7), 1));
  const after = steps;
  const rest = await seconds(() => long);
  console.log(
    `a short request behind a prompt of ${values.long} tokens: its token after ${(1000 * alone).toFixed(0)} ms and ${after - before} steps ` +
      `of another, the long one's ${(1000 * rest).toFixed(0)} ms later`,
  );
  stop.abort();
  await running;
}
await behind();

const many = Number(values.connections);
const all = await seconds(() =>
  Promise.all(Array.from({ length: many }, (_, i) => generate(endpoint, idsOf(5, i), 4))),
);
console.log(
  `${many} requests at once, 4 tokens each: ${all.toFixed(2)} s; ${Math.round(process.memoryUsage().rss / 1e6)} MB`,
);
await endpoint.close();
model.dispose();
