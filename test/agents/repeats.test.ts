// A request that comes again is no second turn: which of its answers a client went on from, and which it never used.

import { setTimeout as sleep } from "node:timers/promises";
import { Tokenizer, tinyModel } from "grpo";
import { afterAll, beforeAll, expect, it } from "vitest";
import { RolloutRecorder } from "../../lib/agents/recorder.js";
import { Endpoint } from "../../lib/endpoint/endpoint.js";
import type { GenerationRequest } from "../../lib/endpoint/generator.js";
import { Client, TOOL_TEMPLATE } from "../endpoint/fake-generator.js";
import { LoggingGenerator } from "./logging-generator.js";

const PLAIN = { temperature: 1, topP: 1, topK: 0, minP: 0, repetitionPenalty: 1, minNewTokens: undefined };
const CHAT = "/v1/chat/completions";

let endpoint: Endpoint;
let generator: LoggingGenerator;
let tokenizer: Tokenizer;
/** What is said next. */
let script: string[];

beforeAll(async () => {
  tokenizer = await Tokenizer.fromPretrained(tinyModel);
  tokenizer.chatTemplate = TOOL_TEMPLATE;
  generator = new LoggingGenerator(tokenizer, () => script.shift() ?? "over");
  const models = [{ name: "tiny", adapter: undefined }];
  const defaults = { ...PLAIN, maxNewTokens: undefined };
  endpoint = await Endpoint.start({ generator, tokenizer, models, defaults }, { apiKey: "nobody" });
});
afterAll(() => endpoint.close());

interface Asking {
  readonly client: Client;
  /** Asks, with a conversation of the user and the assistant in turns. */
  readonly ask: (...texts: string[]) => Promise<string>;
}

/** Holds a conversation; what is trained on, and what is not. */
async function record(said: string[], talk: (asking: Asking) => Promise<unknown>) {
  script = said;
  const recorder = new RolloutRecorder({
    sampling: PLAIN,
    maxNewTokens: 99,
    stopIds: [],
    seed: 1,
    untrainedModel: "other",
  });
  const session = endpoint.openSession({ recorder });
  const client = new Client(endpoint.baseURL, session.apiKey);
  const ask = async (...texts: string[]) => {
    const response = await client.post(CHAT, bodyOf(texts));
    return ((await response.json()) as { choices: [{ message: { content: string } }] }).choices[0].message.content;
  };
  await talk({ client, ask });
  const { tree, dropped, repeated } = recorder.finish();
  session.end();
  const trained = [...tree].map(({ ids }) => tokenizer.decode(ids, { skipSpecialTokens: true })).sort();
  return { trained, dropped: dropped.repeated, repeated };
}

function bodyOf(texts: readonly string[]) {
  const messages = texts.map((content, i) => ({ role: i % 2 === 0 ? "user" : "assistant", content }));
  return { model: "tiny", messages };
}

it("drops the first of two answers where nothing goes on from either, and counts its tokens", async () => {
  const { trained, dropped, repeated } = await record(["first", "second"], async ({ ask }) => {
    expect([await ask("Hi"), await ask("Hi")]).toEqual(["first", "second"]);
  });
  expect([trained, repeated]).toEqual([["second"], 1]);
  expect(dropped).toBeGreaterThan(1);
});

it.each([
  ["first", ["first", "over"]],
  ["second", ["over", "second"]],
])("keeps of two answers the %s where the client goes on from it", async (used, expected) => {
  const { trained, repeated } = await record(["first", "second"], async ({ ask }) => {
    await ask("Hi");
    await ask("Hi");
    await ask("Hi", used, "And?");
  });
  expect([trained, repeated]).toEqual([expected, 1]);
});

it("keeps both answers of requests that are sent at the same time", async () => {
  generator.beforeToken = () => new Promise((resolve) => setTimeout(resolve, 20));
  const { trained, dropped, repeated } = await record(["first", "second"], ({ ask }) => {
    return Promise.all([ask("Hi"), ask("Hi")]);
  });
  generator.beforeToken = () => {};
  expect([trained, dropped, repeated]).toEqual([["first", "second"], 0, 0]);
});

it("asks anew after an answer was used, unless the client says that it has sent it before", async () => {
  const asked = (headers: Record<string, string>) =>
    record(["first", "more", "again"], async ({ client, ask }) => {
      await ask("Hi");
      await ask("Hi", "first", "And?");
      await (await client.post(CHAT, bodyOf(["Hi"]), { headers })).text();
    });
  expect(await asked({})).toMatchObject({ trained: ["again", "first", "more"], repeated: 0 });
  const marked = await asked({ "x-stainless-retry-count": "1" });
  expect(marked).toMatchObject({ trained: ["first", "more"], repeated: 1 });
  expect(marked.dropped).toBeGreaterThan(0);
});

it("takes an answer for used only where it stands in the conversation, not where the same words were said before", async () => {
  const { trained, repeated } = await record(["yes", "yes", "no", "end"], async ({ ask }) => {
    await ask("Are you there?");
    await ask("Are you there?", "yes", "Is it raining?");
    await ask("Are you there?", "yes", "Is it raining?");
    await ask("Are you there?", "yes", "Is it raining?", "no", "Goodbye");
  });
  expect([trained, repeated]).toEqual([["end", "no", "yes"], 1]);
});

it("takes no answer for used because of an example in the prompt in the same words", async () => {
  const { trained, repeated } = await record(["yes", "no", "end"], async ({ ask }) => {
    const example = ["Is snow white?", "yes"];
    await ask(...example, "Is it raining?");
    await ask(...example, "Is it raining?");
    await ask(...example, "Is it raining?", "no", "Goodbye");
  });
  expect([trained, repeated]).toEqual([["end", "no"], 1]);
});

it("keeps one of two answers in the same words, whether or not they were drawn as the same ids", async () => {
  for (const answers of [
    ["yes", "yes"],
    ["<think>a</think>yes", "<think>b</think>yes"],
  ]) {
    const { trained, repeated } = await record([...answers, "end"], async ({ ask }) => {
      await ask("Hi");
      await ask("Hi");
      await ask("Hi", "yes", "And?");
    });
    expect([trained.length, trained[0], repeated]).toEqual([2, expect.stringMatching(/yes|end/), 1]);
  }
});

/** Asks, and leaves where `left` is called, which waits until the endpoint has heard of it. */
async function leave({ client }: Asking, hold: (left: (request: GenerationRequest) => Promise<void>) => void) {
  const leaving = new AbortController();
  await new Promise<void>((resolve) => {
    hold(async ({ signal }) => {
      leaving.abort();
      if (!signal.aborted) await new Promise((heard) => signal.addEventListener("abort", heard));
      resolve();
    });
    client.post(CHAT, bodyOf(["Hi"]), { signal: leaving.signal }).catch(() => {});
  });
}

it("answers a request that comes again while the one that was left is still open, as if that were closed", async () => {
  const seeds = new Set<number | undefined>();
  const { trained, dropped } = await record(["an answer", "an answer"], async (asking) => {
    let goOn = () => {};
    let drawn = 0;
    await leave(asking, (left) => {
      generator.beforeToken = async (request) => {
        seeds.add(request.seed);
        if (++drawn !== 3) return;
        await left(request);
        await new Promise<void>((resolve) => {
          goOn = resolve;
        });
      };
    });
    await asking.ask("Hi");
    goOn();
    await sleep(20);
  });
  generator.beforeToken = () => {};
  expect([trained, dropped]).toEqual([["an answer"], 0]);
  // It is drawn as it would have been.
  expect(seeds.size).toBe(1);
});

it.each(["before", "after"])(
  "counts no answer that was drawn to its end when its client had left, %s it is asked again",
  async (when) => {
    const generate = generator.generate.bind(generator);
    const recorded = await record(["first", "second"], async (asking) => {
      let goOn = () => {};
      await leave(asking, (left) => {
        // The engine has drawn the last token before it hears of it.
        generator.generate = async function* (request) {
          generator.generate = generate;
          for await (const event of generate({ ...request, signal: new AbortController().signal })) {
            if (event.type === "end") {
              await left(request);
              await new Promise<void>((resolve) => {
                goOn = resolve;
              });
            }
            yield event;
          }
        };
      });
      await sleep(0);
      if (when === "before") goOn();
      const again = asking.ask("Hi");
      await sleep(20);
      goOn();
      await again;
      await sleep(20);
    });
    expect(recorded).toEqual({ trained: ["second"], dropped: 0, repeated: 1 });
  },
);
