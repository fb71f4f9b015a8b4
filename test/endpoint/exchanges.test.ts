// What real clients were recorded to send is accepted, and answered in the form in which they were recorded to accept an answer:
// openai 6 and 7, ai 6 and 7 with both providers, @openai/agents, openai in Python, lm-eval, renderers and verifiers. The scripted server of
// the recording said nothing of a model, so that the answers are compared by their form.

import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { dataOf, fakeEndpoint } from "./fake-generator.js";

interface Recorded {
  readonly client: string;
  readonly case: string;
  readonly method: string;
  readonly path: string;
  readonly body?: Record<string, unknown>;
}

const file = new URL("../fixtures/endpoint/exchanges.json", import.meta.url);
const { requests, answers }: { requests: Recorded[]; answers: Record<string, unknown> } = JSON.parse(
  readFileSync(file, "utf8"),
);

const CALLS =
  "<think>I should call the tool.</think>Let me look.\n" +
  '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris", "days": 2.0}}\n</tool_call>\n' +
  '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome", "days": 3}}\n</tool_call>';

/** A turn that calls where tools are told of and nothing was called yet. */
const say = (_: unknown, prompt: string) =>
  prompt.includes('"name": "weather"') && !/<\|im_start\|>tool/.test(prompt) ? CALLS : "It is sunny.";

let running: Awaited<ReturnType<typeof fakeEndpoint>>;
beforeAll(async () => {
  running = await fakeEndpoint(say);
});
afterAll(() => running.endpoint.close());

/** The field that a request is refused for, or nothing. */
function refusedFor(body: Record<string, unknown> = {}): string | undefined {
  return ["frequency_penalty", "presence_penalty", "logit_bias"].find((name) => name in body);
}

/** A request as it would be after an answer of this server: what was stored here has other ids. */
async function withOwnIds(body: Record<string, unknown> | undefined): Promise<typeof body> {
  const input = body?.input;
  const previous = body?.previous_response_id;
  if (previous === undefined && !JSON.stringify(input ?? null).includes("item_reference")) return body;
  const tools = [{ type: "function", name: "weather", parameters: {} }];
  const first = await running.client.json("/v1/responses", { model: "tiny", input: "hi", tools });
  const idOf = (prefix: string) => first.output.find((item: { id: string }) => item.id.startsWith(prefix)).id;
  const items = (input as { type?: string; id?: string }[]).map((item) =>
    item.type === "item_reference" ? { ...item, id: idOf(String(item.id).split("_")[0] ?? "") } : item,
  );
  return { ...body, input: items, ...(previous === undefined ? {} : { previous_response_id: first.id }) };
}

describe("requests of recorded clients", () => {
  it.each(requests.map((request, i) => [`${i} ${request.client}/${request.case}`, request] as const))(
    "%s",
    async (_, request) => {
      const body = await withOwnIds(request.body);
      const { client } = running;
      const response = await (request.method === "GET" ? client.fetch(request.path) : client.post(request.path, body));
      const text = await response.text();
      const refused = refusedFor(body);
      if (refused !== undefined) {
        expect([response.status, JSON.parse(text).error]).toEqual([
          400,
          {
            message: expect.stringContaining(refused),
            type: "invalid_request_error",
            code: "unsupported_parameter",
            param: refused,
          },
        ]);
        return;
      }
      expect([response.status, text]).toEqual([200, expect.any(String)]);
      const streamed = body?.stream === true;
      expect(response.headers.get("content-type")).toMatch(streamed ? /^text\/event-stream/ : /^application\/json/);
      const form = formOf(request.path, streamed, body?.logprobs === true, text);
      if (form !== undefined && form in answers) expectForm(streamed ? dataOf(text) : JSON.parse(text), answers[form]);
    },
  );
});

/** The recorded answer whose form an answer has to have. */
function formOf(path: string, streamed: boolean, logprobs: boolean, text: string): string | undefined {
  const asked = logprobs ? " with logprobs" : "";
  const calls = text.includes('"tool_calls"') || text.includes('"function_call"') ? " with calls" : asked;
  const stream = streamed ? " stream" : "";
  const names: Record<string, string> = {
    "/v1/chat/completions": `chat${stream}${calls}`,
    "/v1/responses": `response${stream}${calls}`,
    "/v1/completions": `completion${stream}`,
    "/v1/models": "models",
    "/tokenizer_info": "tokenizer info",
    "/tokenize": "tokenize",
    "/inference/v1/generate": "generate",
  };
  return names[path];
}

/** Every field that the recorded answer has is there, of the same kind. */
function expectForm(found: unknown, recorded: unknown): void {
  if (Array.isArray(recorded) && typeof recorded[0] === "string" && recorded[0].includes("data:")) {
    const [own, theirs] = [fieldsOfEvents(found as unknown[]), fieldsOfEvents(dataOf(recorded.join("")))];
    expect([...theirs].filter((field) => !own.has(field))).toEqual([]);
    return;
  }
  const own = fieldsOf(found);
  expect([...fieldsOf(recorded)].filter((field) => !own.has(field))).toEqual([]);
}

/** "choices[].message.content" and the like. Lists count by their members. */
function fieldsOf(value: unknown, at = "", fields = new Set<string>()): Set<string> {
  if (Array.isArray(value)) for (const part of value) fieldsOf(part, `${at}[]`, fields);
  else if (typeof value === "object" && value !== null) {
    for (const [key, part] of Object.entries(value)) {
      // Facts of a request and of a tool, not of an answer's form; and what a model has only by chance.
      if (/^(tools|metadata|usage|reasoning_content|arguments|parameters)$/.test(key)) continue;
      fields.add(`${at}.${key}`);
      fieldsOf(part, `${at}.${key}`, fields);
    }
  }
  return fields;
}

function fieldsOfEvents(events: readonly unknown[]): Set<string> {
  const fields = new Set<string>();
  for (const event of events) {
    const type = typeof event === "object" && event !== null && "type" in event ? String(event.type) : "chunk";
    for (const field of fieldsOf(event)) fields.add(`${type}: ${field}`);
    if (event === "[DONE]") fields.add("[DONE]");
  }
  return fields;
}
