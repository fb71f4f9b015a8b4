// Conversations as real clients were recorded to hold them (openai, AI SDK 6 and 7, Agents SDK, in chat and in responses): what they send
// back of an answer goes on from the ids that were drawn. The recorded server's answers are said by the engine here; its ids are those of
// this server.

import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { RolloutRecorder } from "../../lib/agents/recorder.js";
import { samplesOf } from "../../lib/agents/samples.js";
import { Endpoint } from "../../lib/endpoint/endpoint.js";
import { countTokens } from "../../lib/rollout/sample.js";
import { Client, dataOf } from "../endpoint/fake-generator.js";
import { LoggingGenerator } from "./logging-generator.js";
import { toolTokenizer } from "./rollout-bench.js";

interface Said {
  readonly content: string;
  readonly reasoning: string;
  readonly calls: readonly { readonly id: string; readonly name: string; readonly arguments: string }[];
  /** Of the Responses API: types and ids. */
  readonly items?: readonly (readonly [type: string, id: string])[];
  readonly response?: string;
}

interface History {
  readonly name: string;
  readonly turns: readonly { readonly path: string; readonly body: Record<string, unknown>; readonly said: Said }[];
}

const histories: History[] = JSON.parse(
  readFileSync(new URL("../fixtures/agents/histories.json", import.meta.url), "utf8"),
);

const PLAIN = { temperature: 1, topP: 1, topK: 0, minP: 0, repetitionPenalty: 1, minNewTokens: undefined };

let endpoint: Endpoint;
let next: Said;
beforeAll(async () => {
  const tokenizer = await toolTokenizer();
  const generator = new LoggingGenerator(tokenizer, () => textOf(next));
  const defaults = { ...PLAIN, maxNewTokens: undefined };
  const parts = { generator, tokenizer, models: [{ name: "tiny", adapter: undefined }], defaults };
  endpoint = await Endpoint.start(parts, { apiKey: "nobody" });
});
afterAll(() => endpoint.close());

function textOf({ content, reasoning, calls }: Said): string {
  const written = calls.map(({ name, arguments: values }) => {
    return `\n<tool_call>\n{"name": ${JSON.stringify(name)}, "arguments": ${values || "{}"}}\n</tool_call>`;
  });
  return `${reasoning && `<think>${reasoning}</think>`}${content}${written.join("")}`;
}

/** Who cuts what came before, or leaves out the tools that the model was told of, goes on in a new sample. */
const REWRITES = /prepareStep|stream_helper/;

describe("what a client sends back goes on from what was drawn", () => {
  it.each(histories.map((history) => [history.name, history] as const))("%s", async (name, { turns }) => {
    const sampling = { sampling: PLAIN, maxNewTokens: 4096, stopIds: [], seed: 3, untrainedModel: "other" };
    const recorder = new RolloutRecorder(sampling);
    const session = endpoint.openSession({ recorder });
    const client = new Client(endpoint.baseURL, session.apiKey);
    const ours = new Map<string, string>();
    for (const { path, body, said } of turns) {
      next = said;
      const response = await client.post(path, withIds(body, ours));
      const text = await response.text();
      expect([response.status, text]).toEqual([200, expect.any(String)]);
      for (const [theirs, id] of idsOf(said, path, body.stream === true ? dataOf(text) : [JSON.parse(text)])) {
        ours.set(theirs, id);
      }
    }
    const { tree, dropped, repeated } = recorder.finish();
    session.end();
    const { samples, counts } = samplesOf(tree, () => "");
    expect([dropped, repeated]).toEqual([{ cancelled: 0, repeated: 0, untrained_model: 0 }, 0]);
    const drawn = [...tree].reduce((sum, { ids }) => sum + ids.length, 0);
    expect(samples.reduce((sum, sample) => sum + countTokens(sample), 0)).toBe(drawn);
    const { "rollout/continued": same = 0, "rollout/realigned": changed = 0, "rollout/forked": forked = 0 } = counts;
    if (REWRITES.test(name)) expect(forked).toBeGreaterThan(0);
    else expect([samples.length, same + changed, forked]).toEqual([1, turns.length - 1, 0]);
  });
});

/** The request with the ids of this server. */
function withIds(value: unknown, ours: ReadonlyMap<string, string>): unknown {
  if (typeof value === "string") return ours.get(value) ?? value;
  if (Array.isArray(value)) return value.map((part) => withIds(part, ours));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, withIds(part, ours)]));
}

/** Ids of the recorded answer, and those of this one in their places. */
// biome-ignore lint/suspicious/noExplicitAny: answers of all shapes.
function idsOf(said: Said, path: string, answers: readonly any[]): (readonly [string, string])[] {
  if (!path.endsWith("responses")) {
    const calls = answers.flatMap(({ choices }) => {
      const [choice] = choices ?? [];
      return (choice?.message ?? choice?.delta)?.tool_calls?.flatMap(({ id }: { id?: string }) => id ?? []) ?? [];
    });
    return said.calls.map(({ id }, i) => [id, calls[i]]);
  }
  const whole = answers.find((event) => event.type === "response.completed")?.response ?? answers[0];
  const { output } = whole as { output: { type: string; id: string; call_id?: string }[] };
  const place = (type: string, nth: number) => output.filter((item) => item.type === type)[nth]?.id ?? "";
  const items = (said.items ?? []).map(([type, id], i, all) => {
    return [id, place(type, all.slice(0, i).filter(([other]) => other === type).length)] as const;
  });
  const calls = output.flatMap(({ call_id: id }) => id ?? []);
  const response = said.response === undefined ? [] : [[said.response, whole.id] as const];
  return [...items, ...said.calls.map(({ id }, i) => [id, calls[i] ?? ""] as const), ...response];
}
