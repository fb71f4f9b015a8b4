// The endpoint over the bundled model: what it says is what the model says, whatever else is asked of it at the time.

import { CausalLM, type Endpoint, LoraConfig, type ServeModelOptions, serveModel, Tokenizer, tinyModel } from "grpo";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Client } from "../endpoint/fake-generator.js";
import { DEVICE } from "../support/device.js";

let model: CausalLM;
let tokenizer: Tokenizer;
let endpoint: Endpoint;
let client: Client;
beforeAll(async () => {
  model = await CausalLM.fromPretrained(tinyModel, { device: DEVICE, dtype: "float32" });
  model.applyLora(new LoraConfig({ r: 4, targetModules: "all-linear", initLoraWeights: false }), { seed: 3 });
  tokenizer = await Tokenizer.fromPretrained(tinyModel);
  endpoint = await serveModel(model, tokenizer, { name: "tiny", adapters: ["default"] });
  client = new Client(endpoint.baseURL);
});
afterAll(async () => {
  await endpoint.close();
  model.dispose();
});

const question = (a: number, b: number) => `Ada has ${a} cards and gets ${b} more. How many cards does Ada have now?`;
const chat = (content: string) => [{ role: "user", content }];
const promptOf = (content: string) =>
  tokenizer.applyChatTemplate(chat(content), { addGenerationPrompt: true, tokenize: true });

/** The model's own answer, without its adapter. */
async function own(content: string, options: object = {}) {
  const ids = promptOf(content);
  return model.disableAdapter(async () => {
    const [completion] = await model.generate([ids], { stop: tokenizer.eosTokenIds, ...options });
    return { ...completion, text: tokenizer.decode(completion?.ids ?? [], { skipSpecialTokens: true }) };
  });
}

it("says greedily what generate() says, whole and streamed, whatever else is asked at the time", async () => {
  const questions = Array.from({ length: 8 }, (_, i) => question(i + 2, 7 - (i % 5)));
  const noise = questions.map((content, i) =>
    client.json("/v1/chat/completions", { messages: chat(content), temperature: 1 + i / 8, max_tokens: 20 + i }),
  );
  const answers = await Promise.all(
    questions.map((content) =>
      client.json("/v1/chat/completions", { messages: chat(content), temperature: 0, logprobs: true, max_tokens: 64 }),
    ),
  );
  await Promise.all(noise);
  for (const [i, content] of questions.entries()) {
    const expected = await own(content, { maxNewTokens: 64 });
    const { message, logprobs, finish_reason } = answers[i].choices[0];
    expect(message.content).toBe(expected.text);
    expect(finish_reason).toBe(expected.finishReason === "length" ? "length" : "stop");
    expect(logprobs.content).toHaveLength(expected.ids?.length ?? 0);
    expect(logprobs.content.map(({ logprob }: { logprob: number }) => logprob)).toEqual([...(expected.logprobs ?? [])]);
    expect(answers[i].usage.completion_tokens).toBe(expected.ids?.length);
  }
  const body = { messages: chat(question(2, 7)), temperature: 0, max_tokens: 64, stream: true };
  const events = await client.events("/v1/chat/completions", body);
  const streamed = events.slice(0, -1).map(({ choices: [choice] }) => choice.delta.content ?? "");
  expect(streamed.length).toBeGreaterThan(10);
  expect(streamed.join("")).toBe(answers[0].choices[0].message.content);
});

it("draws the same for the same seed, with others beside it and after another server's start; else something else", async () => {
  const body = {
    messages: chat(question(3, 4)),
    temperature: 1.5,
    seed: 11,
    max_tokens: 24,
    return_token_ids: true,
    n: 3,
  };
  const draw = async (fields: object) => {
    const { choices } = await client.json("/v1/chat/completions", { ...body, ...fields });
    return choices.map(({ token_ids: ids }: { token_ids: number[] }) => ids);
  };
  const alone = await draw({});
  const options = { temperature: 1.5, seed: 11, maxNewTokens: 24, numReturnSequences: 3 };
  const expected = await model.generate([promptOf(question(3, 4))], { ...options, adapter: null });
  expect(alone).toEqual(expected.map(({ ids }) => ids));
  const [beside] = await Promise.all([draw({}), draw({ seed: 12 }), draw({ messages: chat("x") })]);
  expect(beside).toEqual(alone);
  const fresh = await CausalLM.fromPretrained(tinyModel, { device: DEVICE, dtype: "float32" });
  const again = await serveModel(fresh, tokenizer);
  const { choices } = await new Client(again.baseURL).json("/v1/chat/completions", body);
  expect(choices.map(({ token_ids: ids }: { token_ids: number[] }) => ids)).toEqual(alone);
  await again.close();
  fresh.dispose();
  expect(await draw({ seed: undefined })).not.toEqual(await draw({ seed: undefined }));
  expect(await draw({ seed: 12 })).not.toEqual(alone);
});

it("has each adapter under its name, and the model without one under its own, also at the same time", async () => {
  const ids = promptOf(question(3, 4));
  const scored = { prompt: ids, echo: true, logprobs: 0, max_tokens: 0 };
  const scores = Promise.all(
    ["tiny", "default", "tiny", "default"].map(async (name) => {
      const { choices } = await client.json("/v1/completions", { ...scored, model: name });
      return choices[0].logprobs.token_logprobs.slice(1);
    }),
  );
  const body = { messages: chat(question(3, 4)), temperature: 0, max_tokens: 16, return_token_ids: true };
  const [base, tuned] = await Promise.all(
    ["tiny", "default"].map(async (name) => {
      return (await client.json("/v1/chat/completions", { ...body, model: name })).choices[0].token_ids;
    }),
  );
  expect(base).toEqual((await own(question(3, 4), { maxNewTokens: 16 })).ids);
  const [expected] = await model.generate([promptOf(question(3, 4))], { maxNewTokens: 16 });
  expect(tuned).toEqual(expected?.ids);
  expect(tuned).not.toEqual(base);
  const [plain] = await model.disableAdapter(() => model.logprobs([ids]));
  const [adapted] = await model.logprobs([ids]);
  expect(await scores).toEqual([plain, adapted, plain, adapted].map((values) => Array.from(values ?? [])));
});

it("never tokenizes a turn again: each prompt of a conversation begins with the ids that were sampled before it", async () => {
  const conversations = Array.from({ length: 8 }, async (_, i) => {
    const messages: object[] = [];
    let held: number[] = [];
    for (let turn = 0; turn < 5; turn++) {
      messages.push({ role: "user", content: question(i, turn) });
      // Hot, so that texts would tokenize otherwise; short, so that some turns are cut off.
      const body = { messages, temperature: 1.8, max_tokens: 24, return_token_ids: true, seed: 100 * i + turn };
      const answer = await client.json("/v1/chat/completions", body);
      expect(answer.prompt_token_ids.slice(0, held.length)).toEqual(held);
      const [{ message, token_ids: ids }] = answer.choices;
      held = [...answer.prompt_token_ids, ...ids];
      messages.push({ role: "assistant", content: message.content === "" ? null : message.content });
    }
    const rendered = tokenizer.applyChatTemplate(messages as never, { addGenerationPrompt: false, tokenize: true });
    return rendered.join() === held.join();
  });
  // Rendered anew, hardly one would have had its ids.
  expect((await Promise.all(conversations)).filter(Boolean).length).toBeLessThan(4);
});

describe("log-probabilities", () => {
  it("of a scored prompt are the model's, and the greatest is exactly that of a likeliest token", async () => {
    const prompts = [promptOf(question(2, 3)), promptOf(question(9, 9)).slice(0, 12)];
    const body = { prompt: prompts, echo: true, logprobs: 2, max_tokens: 1, temperature: 0 };
    const { choices } = await client.json("/v1/completions", body);
    const expected = await model.disableAdapter(() => model.logprobs(prompts));
    for (const [i, ids] of prompts.entries()) {
      const { token_logprobs: found, top_logprobs: top, tokens } = choices[i].logprobs;
      expect([tokens.length, found[0], top[0]]).toEqual([ids.length + 1, null, null]);
      // forward() and logprobs() sum in other orders.
      for (const [j, value] of Array.from(expected[i] ?? []).entries()) expect(found[j + 1]).toBeCloseTo(value, 4);
      for (const [j, likeliest] of top.slice(1, -1).entries()) {
        const most = Math.max(...(Object.values(likeliest) as number[]));
        expect(most).toBeGreaterThanOrEqual(found[j + 1]);
        expect(Object.values(likeliest)).toContain(found[j + 1]);
      }
    }
  });

  it("without alternatives are those of logprobs()", async () => {
    const ids = promptOf(question(2, 3));
    const { choices } = await client.json("/v1/completions", { prompt: ids, echo: true, logprobs: 0, max_tokens: 0 });
    const [expected] = await model.disableAdapter(() => model.logprobs([ids]));
    expect(choices[0].logprobs.token_logprobs).toEqual([null, ...Array.from(expected ?? [])]);
  });

  it("are the unmasked policy's: of the temperature, whatever top-p, top-k, min-p and penalties leave", async () => {
    const ids = promptOf(question(2, 3));
    const sampling = { temperature: 1.4, top_p: 0.6, top_k: 5, min_p: 0.05, repetition_penalty: 1.3, seed: 5 };
    const body = { prompt: ids, ...sampling, max_tokens: 24, logprobs: 3, return_token_ids: true };
    const { choices } = await client.json("/v1/completions", body);
    const drawn: number[] = choices[0].token_ids;
    const batch = { promptIds: [ids], completionIds: [drawn] };
    const [expected] = await model.disableAdapter(() => model.logprobs(batch, { temperature: 1.4 }));
    const { token_logprobs: found, top_logprobs: top } = choices[0].logprobs;
    for (const [j, value] of Array.from(expected ?? []).entries()) {
      expect(found[j]).toBeCloseTo(value, 4);
      expect(Object.keys(top[j]).length).toBeGreaterThanOrEqual(3);
      const sum = (Object.values(top[j]) as number[]).reduce((total, logprob) => total + Math.exp(logprob), 0);
      expect(sum).toBeLessThanOrEqual(1.0001);
    }
  });
});

it("ends at a stop string with the token that completes it, and leaves it out of the text", async () => {
  const whole = (await own(question(5, 3), { maxNewTokens: 64 })).text;
  const [before = ""] = whole.split("</answer>");
  const body = { messages: chat(question(5, 3)), temperature: 0, stop: ["</answer>"], max_tokens: 64 };
  const { choices, usage } = await client.json("/v1/chat/completions", body);
  expect(choices[0]).toMatchObject({ message: { content: before }, finish_reason: "stop" });
  expect(usage.completion_tokens).toBeLessThan(tokenizer.encode(whole).length + 1);
});

it("ends the work of a batch when all of its clients have gone, and goes on with the next", async () => {
  const abort = new AbortController();
  const body = { messages: chat("x"), temperature: 2, max_tokens: 990, min_tokens: 990, n: 64 };
  const gone = client.post("/v1/chat/completions", body, { signal: abort.signal });
  setTimeout(() => abort.abort(), 100);
  await expect(gone).rejects.toThrow();
  const began = model.busySeconds;
  await client.json("/v1/chat/completions", { messages: chat("hi"), temperature: 0, max_tokens: 4 });
  // 64 rows of 990 tokens would have taken seconds.
  expect(model.busySeconds - began).toBeLessThan(2);
});

it.each([
  [{ adapters: ["other"] }, /has no adapter "other"[\s\S]*default/],
  [{ name: "default", adapters: ["default"] }, /two models are called "default"/],
  [{ name: "" }, /name must be a text/],
  [{ nme: "x" }, /unknown option nme/],
])("refuses the options %j", async (options, message) => {
  await expect(serveModel(model, tokenizer, options as ServeModelOptions)).rejects.toThrow(message);
});

it("is called after the folder that the model is from, or its last part", async () => {
  const other = await serveModel(model, tokenizer);
  const own = new Client(other.baseURL);
  expect(other.model).toBe(tinyModel);
  expect((await own.json("/v1/models")).data).toHaveLength(1);
  for (const name of [tinyModel, "tiny-qwen2"]) {
    await own.json("/v1/completions", { model: name, prompt: "a", max_tokens: 1 });
  }
  await other.close();
});

it("says how much of a prompt was known, turn after turn, in every protocol", async () => {
  const messages: object[] = [
    { role: "user", content: "What is known of this conversation, and what is new in its next turn?" },
  ];
  const ask = (path: string, body: object) => client.json(path, { ...body, temperature: 0 });
  const first = await ask("/v1/chat/completions", { messages, max_tokens: 12 });
  messages.push(first.choices[0].message, { role: "user", content: "And now?" });
  const second = await ask("/v1/chat/completions", { messages, max_tokens: 12 });
  const { prompt_tokens: before, completion_tokens: said } = first.usage;
  expect(second.usage.prompt_tokens_details.cached_tokens).toBeGreaterThanOrEqual(before + said - 1);
  expect(second.usage.prompt_tokens_details.cached_tokens).toBeLessThan(second.usage.prompt_tokens);
  const text = await ask("/v1/completions", { prompt: ["known words", "known words"], max_tokens: 1, n: 2 });
  const again = await ask("/v1/completions", { prompt: "known words", max_tokens: 1 });
  expect(again.usage.prompt_tokens_details.cached_tokens).toBe(again.usage.prompt_tokens - 1);
  expect(text.usage.prompt_tokens).toBe(2 * again.usage.prompt_tokens);
  const input = [{ role: "user", content: "What is known of this conversation, and what is new in its next turn?" }];
  const response = await ask("/v1/responses", { input, max_output_tokens: 12 });
  expect(response.usage.input_tokens_details.cached_tokens).toBe(response.usage.input_tokens - 1);
});
