// Ids and texts: completions as lm-evaluation-harness scores with them, the tokenizer at a distance, and ids in, ids out.

import { expect, it } from "vitest";
import { LOGPROB, startEndpoint } from "./fake-generator.js";

const PATH = "/v1/completions";

it("continues texts and ids, one or several, each n times, in the order of the prompts", async () => {
  const { client, tokenizer } = await startEndpoint((_, prompt) => [`${prompt}!`, `${prompt}?`]);
  const texts = async (prompt: unknown) => {
    const { choices } = await client.json(PATH, { model: "tiny", prompt, n: 2 });
    expect(choices.map(({ index }: { index: number }) => index)).toEqual(choices.map((_: unknown, i: number) => i));
    return choices.map(({ text }: { text: string }) => text);
  };
  const ids = (text: string) => tokenizer.encode(text);
  expect(await texts("ab")).toEqual(["ab!", "ab?"]);
  expect(await texts(ids("ab"))).toEqual(["ab!", "ab?"]);
  expect(await texts(["ab", "cd"])).toEqual(["ab!", "ab?", "cd!", "cd?"]);
  expect(await texts([ids("ab"), ids("cd")])).toEqual(["ab!", "ab?", "cd!", "cd?"]);
});

it("streams several prompts together", async () => {
  const { client } = await startEndpoint((_, prompt) => `${prompt}${prompt}`);
  const body = { prompt: ["ab", "cd"], stream: true, stream_options: { include_usage: true } };
  const events = await client.events(PATH, body);
  expect(events.at(-1)).toBe("[DONE]");
  expect(events.at(-2)).toMatchObject({ object: "text_completion", choices: [], usage: { completion_tokens: 10 } });
  for (const [index, text] of ["abab", "cdcd"].entries()) {
    const own = events.slice(0, -2).filter(({ choices: [choice] }) => choice.index === index);
    expect(own.map(({ choices: [choice] }) => choice.text).join("")).toBe(text);
    expect(own.map(({ choices: [choice] }) => choice.finish_reason).filter(Boolean)).toEqual(["stop"]);
  }
});

it("scores an echoed prompt: an entry for each of its tokens, and for exactly one new one", async () => {
  const { client, generator } = await startEndpoint(() => "a…");
  const prompt = [[10, 11, 12]];
  const body = { model: "tiny", prompt, temperature: 0, max_tokens: 1, logprobs: 1, seed: 1234, echo: true };
  const { choices } = await client.json(PATH, body);
  const { tokens, token_logprobs, top_logprobs, text_offset } = choices[0].logprobs;
  expect([tokens.length, token_logprobs, text_offset.length]).toEqual([4, [null, LOGPROB, LOGPROB, LOGPROB], 4]);
  expect(top_logprobs[0]).toBe(null);
  for (const [i, top] of top_logprobs.slice(1).entries()) {
    expect(Math.max(...(Object.values(top) as number[]))).toBe(token_logprobs[i + 1]);
  }
  expect(generator.requests[0]).toMatchObject({ maxNewTokens: 1, sampling: { temperature: 0 } });
});

it("echoes without a new token where none is asked for", async () => {
  const { client, generator } = await startEndpoint(() => "a");
  const { choices, usage } = await client.json(PATH, { prompt: "abc", max_tokens: 0, echo: true, logprobs: 0 });
  expect(choices[0].text).toBe("abc");
  expect(choices[0].logprobs.token_logprobs).toEqual([null, LOGPROB, LOGPROB]);
  expect([generator.requests, usage.completion_tokens]).toEqual([[], 0]);
});

it.each([
  [{ prompt: [] }, "prompt"],
  [{ prompt: "" }, "prompt"],
  [{ prompt: [[1], []] }, "prompt"],
  [{ prompt: [5, 100_000] }, "prompt"],
  [{ prompt: ["a", 5] }, "prompt.0"],
  [{ prompt: "a", max_tokens: 0 }, "max_tokens"],
  [{ prompt: "a", suffix: "b" }, "suffix"],
  [{ prompt: "a", best_of: 4 }, "best_of"],
  [{ prompt: "a", logprobs: 50 }, "logprobs"],
  [{ prompt: "a", echo: true, logprobs: 1, stream: true }, "stream"],
  [{ prompt: Array.from({ length: 300 }, () => "a") }, "n"],
])("says which field is wrong: %#", async (body, param) => {
  const { client } = await startEndpoint(() => "a");
  expect((await client.json(PATH, body, 400)).error.param).toBe(param);
});

it("lends its tokenizer: texts, lists of messages, and back", async () => {
  const { client, tokenizer } = await startEndpoint(() => "a");
  const messages = [{ role: "user", content: "hi" }];
  const chat = tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true, tokenize: true });
  const tokens = tokenizer.encode("2+2=");
  expect(await client.json("/tokenize", { prompt: "2+2=", add_special_tokens: false })).toEqual({
    count: tokens.length,
    max_model_len: 4096,
    tokens,
    token_strs: null,
  });
  expect((await client.json("/tokenize", { prompt: messages, add_special_tokens: false })).tokens).toEqual(chat);
  expect((await client.json("/tokenize", { messages })).tokens).toEqual(chat);
  expect((await client.json("/tokenize", { prompt: "ab", return_token_strs: true })).token_strs.join("")).toBe("ab");
  expect(await client.json("/detokenize", { tokens: chat })).toEqual({ prompt: tokenizer.decode(chat) });
  expect(await client.json("/tokenizer_info")).toMatchObject({
    eos_token: "<|im_end|>",
    pad_token: "<|endoftext|>",
    bos_token: null,
    chat_template: tokenizer.chatTemplate,
  });
  expect((await client.json("/tokenize", {}, 400)).error.param).toBe("prompt");
});

it("takes ids and gives ids, with a log-probability for each under the name of its id", async () => {
  const { client, generator, tokenizer } = await startEndpoint(() => "Hi.");
  const params = { temperature: 1, max_tokens: 5, stop_token_ids: [467], logprobs: 1, skip_special_tokens: false };
  const answer = await client.json("/inference/v1/generate", {
    model: "tiny-qwen2",
    token_ids: [466, 287, 198],
    sampling_params: params,
  });
  const ids = [...tokenizer.encode("Hi."), 467];
  expect(answer.choices).toEqual([
    {
      index: 0,
      token_ids: ids,
      finish_reason: "stop",
      logprobs: {
        content: ids.map((id) => ({ token: `token_id:${id}`, logprob: LOGPROB, bytes: null, top_logprobs: [] })),
      },
    },
  ]);
  expect(answer.usage).toMatchObject({ prompt_tokens: 3, completion_tokens: ids.length });
  expect(generator.requests[0]).toMatchObject({ ids: [466, 287, 198], maxNewTokens: 5, stopIds: [467] });
  const { error } = await client.json("/inference/v1/generate", { token_ids: [1], stream: true }, 400);
  expect(error.param).toBe("stream");
});

it("draws as the model's own file says where a request does not, but from the policy's own distribution for trainers", async () => {
  const { client, generator } = await startEndpoint(() => "a");
  await client.json(PATH, { prompt: "ab" });
  await client.json("/inference/v1/generate", { token_ids: [10, 11] });
  expect(generator.requests.map(({ sampling }) => [sampling.temperature, sampling.topP, sampling.topK])).toEqual([
    [0.7, 0.8, 20],
    [1, 1, 0],
  ]);
});

it("lists the model and its adapters", async () => {
  const { client } = await startEndpoint(() => "a");
  const { data } = await client.json("/v1/models");
  expect(data).toMatchObject([
    { id: "tiny", object: "model", parent: null, max_model_len: 4096 },
    { id: "tuned", parent: "tiny" },
  ]);
  expect(await client.json("/v1/models/tuned")).toEqual(data[1]);
  expect((await client.json("/v1/models/other", undefined, 404)).error.code).toBe("model_not_found");
});
