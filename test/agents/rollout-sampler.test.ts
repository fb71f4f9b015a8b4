// Rollouts of one's own: what they are called with, what is recorded of them, and what becomes of those that fail.

import type { Message, RolloutContext } from "grpo";
import { expect, it } from "vitest";
import { GrpoError } from "../../lib/errors.js";
import { countTokens } from "../../lib/rollout/sample.js";
import { Client } from "../endpoint/fake-generator.js";
import { CHAT, clientOf, type Row, rolloutBench } from "./rollout-bench.js";
import { TOOLS } from "./wild-client.js";

const ask = (content: string) => ({ role: "user", content });
const CALL = 'Let me look.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>';

/** Calls a tool once, and answers. */
async function agent(context: RolloutContext<Row>) {
  const { chat } = clientOf(context);
  const messages: object[] = [{ role: "system", content: "Be brief." }, ask(context.row.prompt)];
  const { message } = await chat({ messages, tools: TOOLS });
  const [{ id, function: called }] = message.tool_calls;
  const back = {
    role: "assistant",
    content: message.content,
    tool_calls: [{ id, type: "function", function: called }],
  };
  messages.push(back, { role: "tool", tool_call_id: id, content: `sunny ${context.attempt}` });
  const last = await chat({ messages, tools: TOOLS });
  return { reward: last.message.content.length, seen: context.row.n };
}

/** The first turn of a conversation calls, the second does not. */
const callsOnce: NonNullable<Parameters<typeof rolloutBench>[1]>["say"] = ({ ids }) => {
  // The tools, the system's message, the user's and the first turn have ended.
  return ids.filter((id) => id === 467).length > 3 ? "It is sunny." : CALL;
};

it("records an agent's conversation as one sample, with results masked, and tells reward functions what it returned", async () => {
  const { sample, tokenizer } = await rolloutBench(agent, { say: callsOnce });
  const [[rollout] = []] = await sample();
  const [recorded] = rollout?.samples ?? [];
  expect(rollout?.samples).toHaveLength(1);
  const text = (ids: readonly number[]) => tokenizer.decode(ids);
  const counted = recorded?.completionIds.filter((_, i) => recorded.lossMask?.[i] === 1) ?? [];
  const given = recorded?.completionIds.filter((_, i) => recorded.lossMask?.[i] === 0) ?? [];
  expect(text(counted)).toBe(`${CALL}<|im_end|>It is sunny.<|im_end|>`);
  expect(text(given)).toBe("\n<|im_start|>tool\nsunny 0<|im_end|>\n<|im_start|>assistant\n");
  expect(text(recorded?.promptIds ?? [])).toContain("Be brief.<|im_end|>\n<|im_start|>user\nquestion 0<|im_end|>");
  const said = (rollout?.completion ?? []) as readonly Message[];
  const roles = said.map(({ role }) => role);
  expect(roles).toEqual(["assistant", "tool", "assistant"]);
  expect(rollout?.report).toMatchObject({
    result: { reward: 12, seen: 0 },
    metrics: { "rollout/turns": 2, "rollout/samples": 1 },
    counts: { "rollout/continued": 1, "rollout/realigned": 0, "rollout/forked": 0, "tokens/sampled": counted.length },
  });
  expect(rollout?.conversations).toMatchObject([{ sampled: [2, 4], tools: TOOLS }]);
});

it("draws as the trainer samples, whatever a client asks for, and no more tokens than it allows", async () => {
  const asked = { temperature: 0.1, top_p: 0.2, top_k: 3, min_p: 0.4, repetition_penalty: 2, seed: 5 };
  const { sample, generator } = await rolloutBench(async (context) => {
    await clientOf(context).chat({ messages: [ask("hi")], max_tokens: 500, logprobs: false, ...asked });
    return { reward: 1 };
  });
  const requests: unknown[] = [];
  generator.beforeToken = ({ sampling, maxNewTokens, logprobs }) => {
    requests.push({ sampling, maxNewTokens, logprobs });
  };
  await sample({ temperature: 0.9, topK: 7, maxNewTokens: 3 });
  const sampling = { temperature: 0.9, topP: 1, topK: 7, minP: 0, repetitionPenalty: 1, minNewTokens: undefined };
  expect(new Set(requests.map((request) => JSON.stringify(request))).size).toBe(1);
  expect(requests[0]).toEqual({ sampling, maxNewTokens: 3, logprobs: true });
  requests.length = 0;
  await sample({ doSample: false });
  expect(requests[0]).toMatchObject({ sampling: { temperature: 0 } });
});

it("keeps rollouts apart: a key reads nothing of another, opens nothing afterwards, and without one nobody is let in", async () => {
  const keys: { baseURL: string; apiKey: string }[] = [];
  const { sample } = await rolloutBench(
    async (context) => {
      const { endpoint, attempt, row } = context;
      keys.push(endpoint);
      const client = new Client(endpoint.baseURL, endpoint.apiKey);
      const body = { model: endpoint.model, input: `secret ${row.n} ${attempt}` };
      const { id } = await client.json("/v1/responses", body);
      const others = keys.filter(({ apiKey }) => apiKey !== endpoint.apiKey);
      for (const other of others) {
        const response = await new Client(other.baseURL, other.apiKey).fetch(`/v1/responses/${id}`);
        expect([401, 404]).toContain(response.status);
      }
      for (const wrong of ["wrong", "", `${endpoint.apiKey}x`]) {
        expect((await new Client(endpoint.baseURL, wrong).post("/v1/responses", body)).status).toBe(401);
      }
      expect((await new Client(endpoint.baseURL).post("/v1/responses", body)).status).toBe(401);
      return { reward: 1 };
    },
    { say: () => "Heard." },
  );
  const rollouts = (await sample({ groupSize: 4 })).flat();
  expect(new Set(keys.map(({ apiKey }) => apiKey)).size).toBe(8);
  for (const [i, { conversations }] of rollouts.entries()) {
    const said = JSON.stringify(conversations);
    expect(said.match(/secret \d \d/g)).toEqual([`secret ${Math.floor(i / 4)} ${i % 4}`]);
  }
  const [{ baseURL, apiKey }] = keys as [(typeof keys)[0]];
  expect((await new Client(baseURL, apiKey).post("/v1/responses", { input: "hi" })).status).toBe(401);
});

it("draws the same again, ids of calls too, whatever else is drawn at the time and in whichever order requests come", async () => {
  const parallel = (order: readonly number[]) => async (context: RolloutContext<Row>) => {
    const { chat } = clientOf(context);
    await agent(context);
    const asked = order.map((n) => ({ messages: [ask(`part ${n} of ${context.row.n}`)] }));
    await Promise.all(asked.map((body) => chat(body)));
    return { reward: 0 };
  };
  const say: typeof callsOnce = (request, draw) => `${callsOnce?.(request, draw)} ${draw(1000)}`;
  const bare = (groups: readonly (readonly { readonly samples: unknown }[])[]) =>
    JSON.stringify(
      groups.map((rollouts) =>
        rollouts.map(({ samples }) =>
          (samples as { promptIds: number[]; completionIds: number[] }[]).map(({ promptIds, completionIds }) => [
            promptIds,
            completionIds,
          ]),
        ),
      ),
    );
  const drawn = async (order: readonly number[], options = {}) => {
    const { sample } = await rolloutBench(parallel(order), { say });
    return bare(await sample(options));
  };
  const first = await drawn([1, 2, 3]);
  expect(await drawn([3, 1, 2])).toBe(first);
  expect(await drawn([1, 2, 3], { seed: 2 })).not.toBe(first);
  expect(await drawn([1, 2, 3], { step: 1 })).not.toBe(first);
  expect(new Set((JSON.parse(first) as unknown[][]).flat().map((one) => JSON.stringify(one))).size).toBe(4);
});

it("answers a request again as it would have been answered, and counts what was cut off", async () => {
  let leaves = true;
  const rollout = async (context: RolloutContext<Row>) => {
    const { endpoint } = context;
    const client = new Client(endpoint.baseURL, endpoint.apiKey);
    const leave = new AbortController();
    const body = { messages: [ask(context.row.prompt)] };
    let drawn = 0;
    generator.beforeToken = async ({ signal }) => {
      if (!leaves || ++drawn !== 5) return;
      leave.abort();
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
    };
    if (leaves) await client.post(CHAT, body, { signal: leave.signal }).catch(() => {});
    leaves = false;
    await client.json(CHAT, body);
  };
  const say: typeof callsOnce = (_, draw) => `A long answer with many tokens ${draw(1000)}`;
  const { sample, generator } = await rolloutBench(rollout, { say, concurrency: 1 });
  const first = (await sample({ groupSize: 1 }))[0]?.[0];
  const again = (await sample({ groupSize: 1 }))[0]?.[0];
  expect(first?.samples.map(({ completionIds }) => completionIds)).toEqual(
    again?.samples.map(({ completionIds }) => completionIds),
  );
  expect(first?.report?.counts?.["tokens/dropped/cancelled"]).toBe(4);
  expect(first?.report?.counts?.["tokens/sampled"]).toBe(4 + (first?.samples[0]?.completionIds.length ?? 0));
  expect(again?.report?.counts).not.toHaveProperty("tokens/dropped/cancelled");
});

it("answers a sub-agent in a sample of its own, and leaves out what is no part of the task", async () => {
  const { sample } = await rolloutBench(
    async (context) => {
      const { chat } = clientOf(context);
      const { message } = await chat({ messages: [ask("main")] });
      await chat({ messages: [ask("helper")] });
      await chat({ model: context.endpoint.untrainedModel, messages: [ask("Give it a title.")] });
      await chat({ messages: [ask("main"), message, ask("and now?")] });
    },
    { say: ({ ids }) => `${ids.length}` },
  );
  const [[rollout] = []] = await sample();
  expect(rollout?.samples).toHaveLength(2);
  expect(rollout?.report?.counts).toMatchObject({ "rollout/continued": 1, "rollout/forked": 0 });
  expect(rollout?.report?.counts?.["tokens/dropped/untrained_model"]).toBeGreaterThan(1);
  // The completion is that of the conversation which ended last.
  expect(rollout?.completion).toHaveLength(3);
  const beginnings = rollout?.conversations?.map(({ messages }) => messages[0]?.content);
  expect(new Set(beginnings)).toEqual(new Set(["main", "helper"]));
});

it("begins a new sample where history was rewritten, and trains nothing twice", async () => {
  const { sample } = await rolloutBench(
    async (context) => {
      const { chat } = clientOf(context);
      const first = (await chat({ messages: [ask("one")] })).message;
      const second = (await chat({ messages: [ask("one"), first, ask("two")] })).message;
      await chat({ messages: [ask("ONE"), first, ask("two"), second, ask("three")] });
      await chat({ messages: [ask("one"), first, ask("another way")] });
    },
    { say: ({ ids }) => `turn ${ids.length}` },
  );
  const [[rollout] = []] = await sample();
  expect(rollout?.samples).toHaveLength(3);
  expect(rollout?.report?.counts).toMatchObject({ "rollout/continued": 1, "rollout/forked": 2 });
  const trained = rollout?.samples.reduce((sum, { completionIds, lossMask }) => {
    return sum + (lossMask?.reduce((all, counts) => all + counts, 0) ?? completionIds.length);
  }, 0);
  expect(trained).toBe(rollout?.report?.counts?.["tokens/sampled"]);
  const branch = rollout?.conversations?.find(({ branchOf }) => branchOf !== undefined);
  expect(branch?.messages.map(({ content }) => content)).toContain("another way");
});

it("goes on from ids, for clients that have no messages, and begins anew where they are others", async () => {
  const { sample, tokenizer } = await rolloutBench(
    async ({ endpoint, attempt }) => {
      const client = new Client(endpoint.baseURL, endpoint.apiKey);
      const draw = async (ids: readonly number[]): Promise<number[]> => {
        const body = { model: endpoint.model, token_ids: ids, sampling_params: { max_tokens: 20, logprobs: 1 } };
        return (await client.json("/inference/v1/generate", body)).choices[0].token_ids;
      };
      const prompt = tokenizer.encode("1 + 1 = ");
      const first = await draw(prompt);
      // The second attempt has lost a token on the way.
      const held = [...prompt, ...(attempt === 0 ? first : first.slice(1))];
      await draw([...held, ...tokenizer.encode(" so ")]);
    },
    { say: (_, draw) => `${draw(100)}` },
  );
  const [[whole, other] = []] = await sample();
  expect(whole?.report?.counts).toMatchObject({ "rollout/continued": 1, "rollout/forked": 0 });
  expect(other?.report?.counts).toMatchObject({ "rollout/continued": 0, "rollout/forked": 1 });
  for (const rollout of [whole, other]) {
    const counted = rollout?.samples.map(countTokens).reduce((a, b) => a + b, 0);
    expect(counted).toBe(rollout?.report?.counts?.["tokens/sampled"]);
  }
});

it.each([
  ["exceptions", () => Promise.reject(new Error("the agent broke")), "threw: the agent broke"],
  ["timeouts", () => new Promise<void>(() => {}), "took longer than 1 s"],
  ["invalid", async () => ({ reward: Number.NaN }), "returned the reward NaN"],
  ["invalid", async () => ({ rewards: { good: "yes" } }) as never, 'returned the rewards {"good":"yes"}'],
  ["invalid", async () => 1 as never, "returned 1, expected"],
  ["invalid", async () => ({ reward: 1, metrics: { loss: 1 } }), 'returned the metric "loss"'],
])("counts a rollout that fails (%s %#) as a failed reward, or ends the run", async (kind, fail, message) => {
  const rollout = async (context: RolloutContext<Row>) => {
    await clientOf(context).chat({ messages: [ask("hi")] });
    return context.row.n === 0 && context.attempt === 1 ? fail() : { reward: 2 };
  };
  const timeout = kind === "timeouts" ? 1 : null;
  const ending = await rolloutBench(rollout, { timeout });
  const error = await ending.sample().catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(GrpoError);
  expect(error).toMatchObject({ code: "ROLLOUT_FAILED", message: expect.stringContaining(message) });
  const abstaining = await rolloutBench(rollout, { timeout, onError: "null" });
  const [[, failed] = [], others] = await abstaining.sample();
  expect(abstaining.failures).toEqual([kind]);
  expect(failed?.report).toMatchObject({ failure: kind, unscored: true });
  expect(failed?.samples[0]?.completionIds.length).toBeGreaterThan(0);
  expect(others?.map(({ report }) => report?.result)).toEqual([{ reward: 2 }, { reward: 2 }]);
  const counting = await rolloutBench(rollout, { timeout, onError: -1 });
  const [[, counted] = []] = await counting.sample();
  expect(counted?.report).toMatchObject({ failure: kind, result: { reward: -1 } });
});

it("ends the run with what the engine failed with, whatever the agent makes of it", async () => {
  const { sample, generator } = await rolloutBench(
    async (context) => {
      await clientOf(context)
        .chat({ messages: [ask("hi")] })
        .catch(() => {});
      return { reward: 0 };
    },
    { onError: "null" },
  );
  generator.beforeToken = () => {
    throw new GrpoError("OUT_OF_MEMORY", "no room");
  };
  await expect(sample()).rejects.toMatchObject({ code: "OUT_OF_MEMORY" });
});

it("runs so many at a time, and ends all of them when it is aborted", async () => {
  let [running, most] = [0, 0];
  const counted = async () => {
    most = Math.max(most, ++running);
    await new Promise((resolve) => setTimeout(resolve, 5));
    running--;
  };
  const { sample } = await rolloutBench(counted, { concurrency: 3 });
  await sample({ groupSize: 6 });
  expect(most).toBe(3);
  const signals: AbortSignal[] = [];
  const hanging = await rolloutBench(({ signal }) => {
    signals.push(signal);
    return new Promise<void>(() => {});
  });
  const stop = new AbortController();
  setTimeout(() => stop.abort(), 30);
  await expect(hanging.sample({ signal: stop.signal })).rejects.toMatchObject({ code: "CANCELLED" });
  expect([signals.length, signals.every(({ aborted }) => aborted)]).toEqual([4, true]);
});

it("has a sample without tokens where nothing was asked, and a sum where the reward has parts", async () => {
  const { sample } = await rolloutBench(async () => ({ rewards: { right: 1, short: 0.5 }, metrics: { steps: 3 } }));
  const [[rollout] = []] = await sample();
  expect(rollout?.samples).toEqual([
    { promptIds: [1], completionIds: [], samplingLogprobs: new Float32Array(), finishReason: "stop" },
  ]);
  expect(rollout?.report).toMatchObject({ rewards: { right: 1, short: 0.5 }, metrics: { steps: 3 } });
});
