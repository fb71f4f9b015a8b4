// `grpo doctor --server URL`: what a server can do, and what to start it with.

import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { doctorCommand } from "../../lib/commands/doctor.js";
import { InferenceServer } from "../support/inference-server.js";

let servers: InferenceServer[] = [];
let printed: string[] = [];
beforeEach(() => {
  printed = [];
  vi.spyOn(console, "log").mockImplementation((text: string) => void printed.push(text));
});
afterEach(async () => {
  vi.restoreAllMocks();
  await Promise.all(servers.map((server) => server.stop()));
  servers = [];
});

async function start(kind: "vllm" | "sglang"): Promise<InferenceServer> {
  const server = await new InferenceServer(kind).start();
  servers.push(server);
  return server;
}

it("tells version, model, sizes and what can be replaced", async () => {
  const [vllm, sglang] = [await start("vllm"), await start("sglang")];
  expect(await doctorCommand.run(["--server", vllm.url, "--server", sglang.url])).toBe(0);
  const text = printed.join("\n");
  expect(text).toContain(`vllm 0.32.0 at ${vllm.url}`);
  expect(text).toContain(`sglang 0.5.10 at ${sglang.url}`);
  expect(text).toContain("tiny, 256 positions");
  expect(text).toContain("at run time, of rank 16 at most, 2 together");
  expect(text).toContain("at run time, of rank 64 at most, 8 together");
  expect(text.match(/→ it can sample for a trainer/g)).toHaveLength(2);
});

it("says what to start it with", async () => {
  const server = await start("vllm");
  server.followsTemperature = false;
  server.developer = false;
  server.plant("/v1/unload_lora_adapter", { status: 404, message: "Not Found" });
  expect(await doctorCommand.run(["--server", server.url, "--json"])).toBe(1);
  const [found] = JSON.parse(printed.join("")) as [object];
  expect(found).toMatchObject({ ok: false, followsTemperature: false, adapters: false, wholeWeights: false });
  expect(found).toMatchObject({
    advice: [
      expect.stringContaining("--logprobs-mode processed_logprobs"),
      expect.stringContaining("VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"),
      expect.stringContaining("VLLM_SERVER_DEV_MODE=1"),
    ],
  });
});

it("a server that is not there is an error", async () => {
  await expect(doctorCommand.run(["--server", "http://127.0.0.1:9"])).rejects.toMatchObject({ code: "SERVER_ERROR" });
});
