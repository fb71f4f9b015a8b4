// What goes wrong with servers: each fault ends in completions of the right weights, or in an error that says what to do.

import { afterEach, describe, expect, it } from "vitest";
import { type Fault, InferenceServer } from "../support/inference-server.js";
import { codes, codesOf, connect, OPTIONS, PROMPTS, sampleNow, TextPolicy } from "./policies.js";

let servers: InferenceServer[] = [];
afterEach(async () => {
  await Promise.all(servers.map((server) => server.stop()));
  servers = [];
});

async function start(kind: "vllm" | "sglang"): Promise<InferenceServer> {
  const server = await new InferenceServer(kind).start();
  servers.push(server);
  return server;
}

const completions = { vllm: "/v1/completions", sglang: "/generate" } as const;

it("a server that is down at the start is waited for", async () => {
  const server = await start("vllm");
  await server.stop();
  const connecting = connect([server]);
  await new Promise((done) => setTimeout(done, 700));
  await server.start();
  expect((await connecting).servers).toHaveLength(1);
});

it("and no longer than the timeout", async () => {
  const server = await start("vllm");
  await server.stop();
  await expect(connect([server], { timeout: 0.3 })).rejects.toMatchObject({
    code: "SERVER_ERROR",
    message: expect.stringMatching(/was not up within 0.3 s.*ECONNREFUSED/s),
    hint: expect.stringContaining("vllmServerTimeout"),
  });
});

describe.each(["vllm", "sglang"] as const)("while %s samples", (kind) => {
  const busy: Fault = { status: 503, message: "the engine is overloaded" };
  it.each<[string, Fault]>([
    ["a connection that drops", "drop"],
    ["an answer that is cut off", "truncate"],
    ["a server that fails", busy],
  ])("%s is asked again", async (_name, fault) => {
    const server = await start(kind);
    const sampler = await connect([server]);
    const policy = new TextPolicy();
    await sampleNow(sampler, policy);
    server.plant(completions[kind], fault, fault);
    const groups = await sampleNow(sampler, policy);
    expect(groups).toHaveLength(PROMPTS.length);
    expect(codesOf(groups)).toEqual(codes(policy));
  });

  it.each<Fault>(["hang", "drip"])("an answer that does not come (%s) is asked for elsewhere", async (fault) => {
    const [stuck, other] = [await start(kind), await start(kind)];
    const sampler = await connect([stuck, other], { requestTimeout: 0.4 });
    const policy = new TextPolicy();
    await sampleNow(sampler, policy);
    stuck.plant(completions[kind], fault);
    expect(codesOf(await sampleNow(sampler, policy))).toEqual(codes(policy));
  });

  it("answers that are never whole end the call", async () => {
    const server = await start(kind);
    const sampler = await connect([server]);
    const policy = new TextPolicy();
    await sampleNow(sampler, policy);
    server.plant(completions[kind], ...new Array<Fault>(40).fill("truncate"));
    await expect(sampleNow(sampler, policy)).rejects.toMatchObject({
      code: "SERVER_ERROR",
      message: expect.stringContaining("the answer is not JSON"),
    });
  });

  it("a request that no server takes ends the call at once", async () => {
    const server = await start(kind);
    const sampler = await connect([server]);
    const policy = new TextPolicy();
    await sampleNow(sampler, policy);
    server.plant(completions[kind], { status: 400, message: "the prompt is too long" });
    await expect(sampleNow(sampler, policy)).rejects.toMatchObject({
      code: "SERVER_ERROR",
      message: expect.stringContaining("answers 400: the prompt is too long"),
    });
  });

  it("no server at all ends it after the timeout", async () => {
    const server = await start(kind);
    const sampler = await connect([server], { timeout: 0.5 });
    const policy = new TextPolicy();
    await sampleNow(sampler, policy);
    await server.stop();
    await expect(sampleNow(sampler, policy)).rejects.toMatchObject({
      code: "SERVER_ERROR",
      message: expect.stringContaining("no server has answered for 0.5 s"),
    });
  });

  it("stopping it ends the requests", async () => {
    const server = await start(kind);
    const sampler = await connect([server]);
    const policy = new TextPolicy();
    await sampleNow(sampler, policy);
    server.plant(completions[kind], "hang", "hang", "hang", "hang");
    const stop = new AbortController();
    const sampling = sampler.sample(PROMPTS, { ...OPTIONS, signal: stop.signal });
    setTimeout(() => stop.abort(), 50);
    await expect(sampling).rejects.toMatchObject({ code: "CANCELLED" });
  });

  it.each([true, false])("a server that was started anew gets the weights again, adapter %s", async (isAdapter) => {
    const server = await start(kind);
    const sampler = await connect([server]);
    const policy = new TextPolicy(isAdapter);
    await sampleNow(sampler, policy);
    await server.restart();
    expect(codesOf(await sampleNow(sampler, policy))).toEqual(codes(policy));
  });

  it.each([true, false])(
    "nothing is taken from one that restarts between two prompts, adapter %s",
    async (isAdapter) => {
      const server = await start(kind);
      const sampler = await connect([server]);
      const policy = new TextPolicy(isAdapter);
      await sampleNow(sampler, policy);
      // Its own weights answer from here on, in the form of any other answer.
      const forget = () => {
        server.adapters.clear();
        server.weights = { name: "default", text: "start" };
      };
      server.plant(completions[kind], { first: () => {} }, { first: forget });
      const groups = await sampleNow(sampler, policy);
      expect(groups).toHaveLength(PROMPTS.length);
      expect(codesOf(groups)).toEqual(codes(policy));
    },
  );

  it.each([true, false])("a replica that missed a version gives none of its own, adapter %s", async (isAdapter) => {
    const [missing, other] = [await start(kind), await start(kind)];
    const sampler = await connect([missing, other]);
    const policy = new TextPolicy(isAdapter);
    await sampleNow(sampler, policy);
    const load = {
      vllm: ["/v1/load_lora_adapter", "/collective_rpc"],
      sglang: ["/load_lora_adapter", "/update_weights_from_disk"],
    };
    for (const at of load[kind]) missing.plant(at, "drop", "drop", "drop");
    policy.version++;
    expect(codesOf(await sampleNow(sampler, policy))).toEqual(codes(policy));
    // It comes back with the version of the moment.
    policy.version++;
    for (const server of servers) server.faults.clear();
    expect(codesOf(await sampleNow(sampler, policy))).toEqual(codes(policy));
    expect(missing.requests.at(-1)).not.toBe("/health");
  });
});

it("a server that goes down while it loads weights is waited for", async () => {
  const server = await start("vllm");
  const sampler = await connect([server]);
  const policy = new TextPolicy(false);
  await sampleNow(sampler, policy);
  server.plant("/collective_rpc", "drop");
  policy.version++;
  expect(codesOf(await sampleNow(sampler, policy))).toEqual(codes(policy));
  expect(server.requests.filter((at) => at === "/resume").length).toBeGreaterThanOrEqual(2);
});

it("completions under another model's name are not taken", async () => {
  const server = await start("vllm");
  const sampler = await connect([server]);
  const policy = new TextPolicy();
  await sampleNow(sampler, policy);
  const [name = ""] = server.adapters.keys();
  server.adapters.set("other", "other weights");
  // A proxy that sends the request to another deployment.
  const misroute = () => {
    const body = server.bodies.at(-1) as { model?: string };
    if (body.model === name) body.model = "other";
  };
  server.plant("/v1/completions", { first: misroute });
  expect(codesOf(await sampleNow(sampler, policy))).toEqual(codes(policy));
});

it.each<[string, Fault, string]>([
  [
    "a rank that is too large",
    { status: 500, message: "LoRA rank 32 is greater than max_lora_rank 16." },
    "--max-lora-rank 32",
  ],
  [
    "a folder that it cannot read",
    { status: 404, message: "Loading lora a failed: No adapter found for /a" },
    "vllmSharedFolder",
  ],
  ["no adapters at all", { status: 404, message: "Not Found" }, "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"],
])("vLLM that refuses an adapter for %s says what to start it with", async (_name, fault, says) => {
  const server = await start("vllm");
  server.plant("/v1/load_lora_adapter", fault);
  await expect(sampleNow(await connect([server]), new TextPolicy())).rejects.toMatchObject({
    code: "SERVER_ERROR",
    hint: expect.stringContaining(says),
  });
});

it("vLLM without its calls for developers says so where whole weights are trained", async () => {
  const server = await start("vllm");
  server.plant("/pause", { status: 404, message: "Not Found" });
  server.plant("/resume", { status: 404, message: "Not Found" });
  await expect(sampleNow(await connect([server]), new TextPolicy(false))).rejects.toMatchObject({
    code: "SERVER_ERROR",
    hint: expect.stringContaining("VLLM_SERVER_DEV_MODE=1"),
  });
});
