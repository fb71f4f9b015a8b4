// Sampling on stand-ins of vLLM and SGLang: what they are asked, what is taken from their answers, and which weights draw.

import { readdirSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { GenerationEvent } from "../../lib/endpoint/generator.js";
import { ServerSampler } from "../../lib/servers/server-sampler.js";
import { InferenceServer, OWN_LOGPROB, STOP_ID } from "../support/inference-server.js";
import { codes, codesOf, connect, OPTIONS, PROMPTS, sampleNow, TextPolicy } from "./policies.js";

let folder: string;
let servers: InferenceServer[] = [];
beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), "grpo-servers-"));
});
afterEach(async () => {
  await Promise.all(servers.map((server) => server.stop()));
  servers = [];
  await rm(folder, { recursive: true, force: true });
});

async function start(kind: "vllm" | "sglang"): Promise<InferenceServer> {
  const server = await new InferenceServer(kind).start();
  servers.push(server);
  return server;
}

describe.each(["vllm", "sglang"] as const)("a server of %s", (kind) => {
  it("is known by what it lists", async () => {
    const server = await start(kind);
    const sampler = await connect([server]);
    const version = kind === "vllm" ? "0.32.0" : "0.5.10";
    expect(sampler.servers).toEqual([{ kind, version, url: server.url, model: "tiny", maxPositions: 256 }]);
    expect(sampler).toMatchObject({ maxPositions: 256, elsewhere: true });
  });

  it("gives ids with their log-probabilities, and how completions ended", async () => {
    const server = await start(kind);
    const groups = await sampleNow(await connect([server]), new TextPolicy(), { maxNewTokens: 4 });
    expect(groups).toHaveLength(PROMPTS.length);
    for (const { completions } of groups) {
      expect(completions).toHaveLength(3);
      for (const attempt of completions) {
        if (!("ids" in attempt)) throw new Error("not a plain completion");
        expect(attempt.logprobs).toEqual(new Float32Array(attempt.ids.length).fill(OWN_LOGPROB));
        expect(attempt.finishReason).toBe(attempt.ids.at(-1) === STOP_ID ? "eos" : "length");
        expect(attempt.ids.length).toBeLessThanOrEqual(4);
      }
    }
    const ends = groups.flatMap(({ completions }) =>
      completions.map((attempt) => "ids" in attempt && attempt.finishReason),
    );
    expect(new Set(ends)).toEqual(new Set(["eos", "length"]));
  });

  it("is not asked for what it cannot be told", async () => {
    const sampler = await connect([await start(kind)]);
    const constraint = () => ({ fill: () => false, accept: () => {}, isComplete: true });
    const sampled = sampleNow(sampler, new TextPolicy(), { constraint });
    await expect(sampled).rejects.toMatchObject({ code: "BAD_OPTION", message: expect.stringContaining("constraint") });
  });

  it("is told every option, as its own defaults may come from the model's files", async () => {
    const server = await start(kind);
    await sampleNow(await connect([server]), new TextPolicy(), {
      temperature: 0.5,
      topP: 0.75,
      topK: 7,
      minP: 0.125,
      step: 2,
    });
    const at = kind === "vllm" ? "/v1/completions" : "/generate";
    const asked = server.bodies.filter((_, i) => server.requests[i] === at).at(-1);
    const options = {
      temperature: 0.5,
      top_p: 0.75,
      top_k: 7,
      min_p: 0.125,
      repetition_penalty: 1,
      n: 3,
      stop_token_ids: [STOP_ID],
    };
    expect(kind === "vllm" ? asked : asked?.sampling_params).toMatchObject(options);
    expect(PROMPTS).toContainEqual(kind === "vllm" ? asked?.prompt : asked?.input_ids);
    await sampleNow(await connect([server]), new TextPolicy());
    const plain = server.bodies.filter((_, i) => server.requests[i] === at).at(-1);
    const off = { temperature: 1, top_p: 1, top_k: -1, min_p: 0, repetition_penalty: 1 };
    expect(kind === "vllm" ? plain : plain?.sampling_params).toMatchObject(off);
  });

  it("draws greedily once for the whole group", async () => {
    const server = await start(kind);
    const groups = await sampleNow(await connect([server]), new TextPolicy(), { doSample: false });
    const [first] = groups;
    expect(first?.completions).toHaveLength(3);
    expect(first?.completions[1]).toEqual(first?.completions[0]);
  });

  it.each([true, false])("draws from the newest version, adapter %s, and forgets the one before", async (isAdapter) => {
    const server = await start(kind);
    const sampler = await connect([server], { sharedFolder: folder });
    const policy = new TextPolicy(isAdapter);
    for (policy.version = 0; policy.version < 3; policy.version++) {
      expect(codesOf(await sampleNow(sampler, policy))).toEqual(codes(policy));
      expect(server.adapters.size).toBe(isAdapter ? 1 : 0);
      expect(readdirSync(folder)).toHaveLength(1);
    }
    expect(policy.saved).toBe(3);
    const names = server.bodies.flatMap(({ lora_name }) => lora_name ?? []);
    expect(server.bodies.filter((body) => "load_inplace" in body)).toEqual([]);
    if (isAdapter) expect(new Set(names).size).toBe(3);
    await sampler.dispose();
    expect([...server.adapters.keys(), ...readdirSync(folder)]).toEqual([]);
  });

  it("is not given weights again that it has", async () => {
    const server = await start(kind);
    const sampler = await connect([server]);
    const policy = new TextPolicy();
    await sampleNow(sampler, policy);
    const before = server.bodies.filter(({ lora_name }) => lora_name).length;
    await sampleNow(sampler, policy);
    expect(server.bodies.filter(({ lora_name }) => lora_name)).toHaveLength(before);
    expect(policy.saved).toBe(1);
  });

  it("is refused where its log-probabilities leave the temperature out", async () => {
    const server = await start(kind);
    server.followsTemperature = false;
    const sampler = await connect([server]);
    await sampleNow(sampler, new TextPolicy());
    const mend = kind === "vllm" ? "--logprobs-mode processed_logprobs" : "SGLANG_RETURN_ORIGINAL_LOGPROB";
    await expect(sampleNow(sampler, new TextPolicy(), { temperature: 0.7 })).rejects.toMatchObject({
      code: "SERVER_ERROR",
      message: expect.stringContaining("of another distribution"),
      hint: expect.stringContaining(mend),
    });
    // Nothing of log-probabilities is used there.
    await sampleNow(sampler, new TextPolicy(), { doSample: false });
  });

  it("is refused where it serves another model", async () => {
    const server = await start(kind);
    server.offset = -2;
    await expect(sampleNow(await connect([server]), new TextPolicy())).rejects.toMatchObject({
      code: "SERVER_ERROR",
      message: expect.stringContaining("2.00 nats a token from those of the policy"),
    });
  });

  it("is refused where whole weights have arrived in part", async () => {
    const server = await start(kind);
    const sampler = await connect([server]);
    const policy = new TextPolicy(false);
    server.offset = 1e-5;
    await sampleNow(sampler, policy);
    server.onReload = () => {
      server.offset = 2e-4;
    };
    policy.version++;
    await expect(sampleNow(sampler, policy)).rejects.toMatchObject({
      code: "SERVER_ERROR",
      message: expect.stringContaining("has not taken over all weights"),
      hint: expect.stringContaining(kind === "vllm" ? "--worker-extension-cls grpo_vllm.Reload" : "newer SGLang"),
    });
  });
});

it("two servers of different kinds share the prompts by their load", async () => {
  const [quick, slow] = [await start("vllm"), await start("sglang")];
  const sampler = await connect([quick, slow]);
  const policy = new TextPolicy();
  await sampleNow(sampler, policy);
  const asked = ({ requests }: InferenceServer) =>
    requests.filter((at) => at === "/v1/completions" || at === "/generate").length;
  const before = [asked(quick), asked(slow)];
  const { groups } = await sampler.sample([...PROMPTS, ...PROMPTS, ...PROMPTS, ...PROMPTS], {
    groupSize: 3,
    maxNewTokens: 8,
  });
  expect(groups).toHaveLength(16);
  expect([asked(quick) - (before[0] ?? 0), asked(slow) - (before[1] ?? 0)]).toEqual([8, 8]);
});

it("a server that is slower gets fewer of many prompts", async () => {
  const [quick, slow] = [await start("vllm"), await start("vllm")];
  const sampler = await connect([quick, slow]);
  await sampleNow(sampler, new TextPolicy());
  const asked = ({ requests }: InferenceServer) => requests.filter((at) => at === "/v1/completions").length;
  const before = [asked(quick), asked(slow)];
  const count = (server: InferenceServer, i: number) => asked(server) - (before[i] ?? 0);
  // The slow one answers when the quick one has answered all that it can get.
  slow.hold = new Promise<void>((done) => {
    quick.onAnswer = () => count(quick, 0) >= 36 && done();
  });
  await sampler.sample(
    Array.from({ length: 40 }, () => [1, 2]),
    { groupSize: 64, maxNewTokens: 4 },
  );
  // Four groups of 64 at a time.
  expect([count(quick, 0), count(slow, 1)]).toEqual([36, 4]);
  expect(slow.mostInFlight).toBe(256);
});

async function eventsOf(generated: AsyncIterable<GenerationEvent>): Promise<GenerationEvent[]> {
  const events: GenerationEvent[] = [];
  for await (const event of generated) events.push(event);
  return events;
}

describe.each(["vllm", "sglang"] as const)("while %s is drawing", (kind) => {
  it("an update lets requests in flight end on their adapter, and others begin on the new one", async () => {
    const server = await start(kind);
    const sampler = await connect([server]);
    const policy = new TextPolicy();
    await sampleNow(sampler, policy);
    let release = () => {};
    server.hold = new Promise<void>((done) => {
      release = done;
    });
    const [old] = codes(policy);
    const before = sampler.sample(PROMPTS, { ...OPTIONS });
    await vi.waitFor(() => expect(server.inFlight).toBe(PROMPTS.length * OPTIONS.groupSize));
    server.hold = undefined;
    policy.version++;
    const after = await sampleNow(sampler, policy);
    expect(codesOf(after)).toEqual(codes(policy));
    expect(server.adapters.size).toBe(2);
    release();
    const { groups } = await before;
    expect(codesOf(groups)).toEqual([old]);
    const steps = (list: typeof groups) =>
      list.flatMap(({ completions }) => completions.map((one) => "ids" in one && one.policyStep));
    expect(new Set(steps(groups))).toEqual(new Set([0]));
    expect(new Set(steps(after))).toEqual(new Set([1]));
    // It goes when nothing is drawn from it any more.
    await vi.waitFor(() => expect(server.adapters.size).toBe(1));
  });

  it("whole weights wait for what is in flight", async () => {
    const server = await start(kind);
    const sampler = await connect([server]);
    const policy = new TextPolicy(false);
    await sampleNow(sampler, policy);
    const [old] = codes(policy);
    let release = () => {};
    server.hold = new Promise<void>((done) => {
      release = done;
    });
    const before = sampler.sample(PROMPTS, { ...OPTIONS });
    await vi.waitFor(() => expect(server.inFlight).toBeGreaterThan(0));
    server.hold = undefined;
    policy.version++;
    const after = sampleNow(sampler, policy);
    setTimeout(release, 50);
    expect(codesOf((await before).groups)).toEqual([old]);
    expect(codesOf(await after)).toEqual(codes(policy));
  });

  it("single turns are drawn too, each token with its log-probability and its weights", async () => {
    const server = await start(kind);
    const sampler = await connect([server]);
    const policy = new TextPolicy();
    policy.version = 3;
    await sampler.follow(policy);
    const request = {
      ids: [5, 6, 7],
      count: 2,
      maxNewTokens: 20,
      sampling: { temperature: 1, topP: 1, topK: 0, minP: 0, repetitionPenalty: 1, minNewTokens: undefined },
      stopIds: [STOP_ID],
      stopStrings: ["END"],
      seed: 4,
      logprobs: true,
      topLogprobs: 0,
      adapter: undefined,
      signal: new AbortController().signal,
    };
    const events = await eventsOf(sampler.generate(request));
    const tokens = events.flatMap((event) => (event.type === "token" && event.index === 1 ? [event.token] : []));
    expect(tokens[0]).toEqual({ id: codes(policy)[0], logprob: OWN_LOGPROB, top: [], policyStep: 3 });
    expect(events.filter(({ type }) => type === "end")).toEqual([
      { type: "end", index: 0, finishReason: "eos" },
      { type: "end", index: 1, finishReason: "eos" },
    ]);
    const asked = server.bodies.at(-1);
    expect(kind === "vllm" ? asked : asked?.sampling_params).toMatchObject({ n: 2, stop: ["END"] });
    const refused = eventsOf(sampler.generate({ ...request, topLogprobs: 3 }));
    await expect(refused).rejects.toMatchObject({
      code: "BAD_OPTION",
      message: expect.stringContaining("top_logprobs"),
    });
  });

  it("the form of completions is sent along", async () => {
    const server = await start(kind);
    const sampler = await connect([server], { structuredOutputsRegex: "[0-9]{2}" });
    await sampleNow(sampler, new TextPolicy());
    const asked = server.bodies.at(-1);
    const form =
      kind === "vllm" ? { structured_outputs: { regex: "[0-9]{2}" } } : { sampling_params: { regex: "[0-9]{2}" } };
    expect(asked).toMatchObject(form);
  });
});

it("equal seeds ask for equal draws, other steps and prompts for others", async () => {
  const server = await start("vllm");
  const sampler = await connect([server]);
  const seeds = async (step: number) => {
    const before = server.bodies.length;
    await sampleNow(sampler, new TextPolicy(), { step });
    return server.bodies.slice(before).flatMap((body) => ("seed" in body ? [body.seed] : []));
  };
  await seeds(0);
  const [first, again, other] = [await seeds(1), await seeds(1), await seeds(2)];
  expect(first.toSorted()).toEqual(again.toSorted());
  expect(new Set([...first, ...other]).size).toBe(2 * PROMPTS.length);
});

it("what is no server of vLLM or SGLang is refused by its name", async () => {
  const server = await start("vllm");
  server.owner = "llamacpp";
  await expect(connect([server])).rejects.toMatchObject({
    code: "SERVER_ERROR",
    message: expect.stringContaining('expected a server of vLLM or SGLang, found a model of "llamacpp"'),
  });
  await expect(ServerSampler.connect({ urls: "localhost:8000" })).rejects.toMatchObject({
    code: "BAD_OPTION",
    hint: 'write "http://host:8000"',
  });
  await expect(ServerSampler.connect({ urls: [] })).rejects.toMatchObject({ code: "BAD_OPTION" });
  await expect(ServerSampler.connect({ url: "http://127.0.0.1:1" } as never)).rejects.toMatchObject({
    code: "UNKNOWN_OPTION",
  });
});

it("a sampler that was shown no weights says so", async () => {
  const sampler = await connect([await start("vllm")]);
  await expect(sampler.sample(PROMPTS, { groupSize: 1, maxNewTokens: 1 })).rejects.toMatchObject({ code: "BAD_INPUT" });
});
