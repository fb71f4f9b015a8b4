// Recordings of a real vLLM 0.32 with the bundled model in float32, given again: what scripts/check-vllm.ts asked it, request by
// request, with its completions held against the engine token by token; and single answers, of errors too, as they are taken.

import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { tinyModel } from "../../lib/package-files.js";
import { connect } from "../../lib/servers/connect.js";
import type { CompletionRequest, EngineServer } from "../../lib/servers/engine-server.js";
import { ServerSampler } from "../../lib/servers/server-sampler.js";
import { type Exchange, replayServer } from "../support/recorded-servers.js";
import { policyWithAdapter, twoVersions } from "../support/server-scenario.js";

const fixture = (name: string): unknown =>
  JSON.parse(readFileSync(new URL(`../fixtures/servers/${name}.json`, import.meta.url), "utf8"));
const exchanges = fixture("vllm") as Exchange[];
interface Answer {
  readonly path: string;
  readonly body: { readonly prompt: number[]; readonly n?: number; readonly max_tokens: number };
  readonly status: number;
  readonly answer: unknown;
}
const answers = fixture("vllm-answers") as Record<string, Answer>;

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), "grpo-recorded-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

it("two versions of an adapter: every request is the recorded one, every token has the engine's log-probability", async () => {
  await using server = await replayServer(exchanges);
  await using policy = await policyWithAdapter(tinyModel);
  const sampler = await ServerSampler.connect({ urls: server.url, sharedFolder: folder, timeout: 2 });
  const checks = await twoVersions(policy, sampler);
  expect(checks.map(({ version, temperature, tokens }) => ({ version, temperature, tokens }))).toEqual([
    { version: 0, temperature: 1, tokens: 150 },
    { version: 1, temperature: 0.7, tokens: 141 },
  ]);
  // vLLM's kernels for the CPU sum float32 in another order; it was 6e-6 where it was recorded.
  for (const { largest } of checks) expect(largest).toBeLessThan(1e-4);
  await sampler.dispose();
  expect(server.exchanges).toHaveLength(exchanges.length);
});

const SIGNAL = new AbortController().signal;
const MODELS = { path: "/v1/models", body: null, status: 200, answer: answers["models with an adapter"]?.answer };

/** A server that gives one recorded answer, whatever it is asked. */
async function answering(name: string, use: (server: EngineServer, recorded: Answer) => Promise<void>): Promise<void> {
  const recorded = answers[name];
  if (recorded === undefined) throw new Error(`no recording of ${name}`);
  const { createServer } = await import("node:http");
  const http = createServer((request, response) => {
    const { status, answer } = request.url === "/v1/models" ? MODELS : recorded;
    const isText = typeof answer === "string";
    response.writeHead(status, isText ? {} : { "content-type": "application/json" });
    response.end(isText ? answer : JSON.stringify(answer));
  });
  await new Promise<void>((done) => http.listen(0, "127.0.0.1", done));
  try {
    const port = (http.address() as { readonly port: number }).port;
    const server = await connect({ address: `http://127.0.0.1:${port}/v1`, requestSeconds: 5 }, SIGNAL);
    await use(server, recorded);
  } finally {
    http.closeAllConnections();
    http.close();
  }
}

const request = ({ body }: Answer): CompletionRequest => ({
  promptIds: body.prompt,
  count: body.n ?? 1,
  maxNewTokens: body.max_tokens,
  temperature: 1,
  topP: 1,
  topK: 0,
  minP: 0,
  repetitionPenalty: 1,
  stopIds: [],
  stopStrings: [],
});

describe("an answer of vLLM's", () => {
  it("with an adapter among its models names the model that it was started with", async () => {
    await answering("completion", async ({ facts }) => {
      expect(facts).toMatchObject({ kind: "vllm", model: "tiny", maxPositions: 1024 });
    });
  });

  it.each([
    ["completion", 1, "length"],
    ["completions of one prompt", 8, "eos"],
    ["completion that ended", 1, "eos"],
  ] as const)("%s: ids, log-probabilities, and how it ended", async (name, count, reason) => {
    await answering(name, async (server, recorded) => {
      const { completions } = await server.complete(request(recorded), SIGNAL);
      expect(completions).toHaveLength(count);
      for (const { ids, logprobs, finishReason } of completions) {
        expect(ids.length).toBeGreaterThan(0);
        expect(logprobs).toHaveLength(ids.length);
        expect(Math.max(...logprobs)).toBeLessThanOrEqual(0);
        expect(finishReason).toBe(reason);
      }
    });
  });

  it.each([
    ["model that is not there", "absent", "does not exist"],
    ["prompt that is too long", "refused", "maximum context length is 1024"],
    ["token out of the vocabulary", "refused", "out of vocabulary"],
  ] as const)("%s, asked for completions, is a fault: %s", async (name, kind, says) => {
    await answering(name, async (server, recorded) => {
      const call = server.complete({ ...request(recorded), promptIds: [1] }, SIGNAL);
      await expect(call).rejects.toMatchObject({ kind, message: expect.stringContaining(says) });
    });
  });

  it.each(["adapter loaded", "adapter loaded already"])("%s: it is there", async (name) => {
    await answering(name, (server) => server.loadAdapter("a", "/a", SIGNAL));
  });

  it.each([
    ["adapter of a large rank", "--max-lora-rank 32"],
    ["adapter without files", "vllmSharedFolder"],
  ])("%s is refused with what to change", async (name, says) => {
    await answering(name, async (server) => {
      const call = server.loadAdapter("a", "/a", SIGNAL);
      await expect(call).rejects.toMatchObject({ kind: "refused", hint: expect.stringContaining(says) });
    });
  });

  it.each(["adapter unloaded", "adapter that is not there"])("%s: it is gone", async (name) => {
    await answering(name, (server) => server.unloadAdapter("a", SIGNAL));
  });

  it("says that nobody has named its weights", async () => {
    await answering("weights without a name", async (server) => expect(await server.weights(SIGNAL)).toBeUndefined());
  });
});
