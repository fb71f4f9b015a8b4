// `grpo serve` in a process of its own, with the bundled model.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { CausalLM, LoraConfig, tinyModel } from "grpo";
import { afterEach, describe, expect, it } from "vitest";
import { Client } from "../endpoint/fake-generator.js";
import { DEVICE } from "../support/device.js";

const cli = fileURLToPath(new URL("../../dist/cli.js", import.meta.url));
const running: ChildProcess[] = [];
afterEach(() => {
  for (const child of running.splice(0)) child.kill("SIGKILL");
});

interface Served {
  readonly child: ChildProcess;
  /** Resolves with the first line of stdout. */
  readonly baseURL: Promise<string>;
  /** Resolves with the exit status, stdout and stderr. */
  readonly ended: Promise<{ status: number | null; stdout: string; stderr: string }>;
}

function serve(args: readonly string[], env: NodeJS.ProcessEnv = {}): Served {
  const all = [cli, "serve", "--model", tinyModel, "--device", "cpu", ...args];
  const child = spawn(process.execPath, all, { env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] });
  running.push(child);
  let [stdout, stderr] = ["", ""];
  const baseURL = new Promise<string>((resolve) => {
    child.stdout?.on("data", (part) => {
      stdout += part;
      if (stdout.includes("\n")) resolve(stdout.split("\n")[0] ?? "");
    });
  });
  child.stderr?.on("data", (part) => {
    stderr += part;
  });
  const ended = once(child, "close").then(([status]) => ({ status, stdout, stderr }));
  return { child, baseURL, ended };
}

const messages = [{ role: "user", content: "Ada has 5 cards and gets 3 more. How many cards does Ada have now?" }];
const PATH = "/v1/chat/completions";

describe("grpo serve", () => {
  it("prints its base URL on a line of its own, answers, and ends with the requests that run at SIGTERM", async () => {
    const { child, baseURL, ended } = serve([]);
    const url = await baseURL;
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/v1$/);
    const client = new Client(url);
    const answer = await client.json(PATH, { model: "tiny-qwen2", messages, temperature: 0 });
    expect(answer.choices[0].message.content).toBe("<think>5 + 3 = 8</think><answer>8</answer>");
    const long = client.json(PATH, { messages, max_tokens: 900, min_tokens: 900, n: 16 });
    await sleep(100);
    child.kill("SIGTERM");
    expect((await long).usage.completion_tokens).toBe(16 * 900);
    const { status, stdout, stderr } = await ended;
    expect([status, stdout]).toEqual([0, `${url}\n`]);
    expect(stderr).toBe("grpo serve: requests are let end: 1; a second signal cuts them off\n");
  });

  it("is ended at once by a second signal", async () => {
    const { child, baseURL, ended } = serve(["--quiet"]);
    const client = new Client(await baseURL);
    const long = client.post(PATH, { messages, max_tokens: 990, min_tokens: 990, n: 200 });
    long.catch(() => {});
    await sleep(100);
    child.kill("SIGTERM");
    await sleep(100);
    child.kill("SIGINT");
    await expect(long).rejects.toThrow();
    expect(await ended).toMatchObject({ status: 0, stderr: "" });
  });

  it("asks for the key that it was given, by the command line or the environment, and listens anywhere with one", async () => {
    const { baseURL } = serve(["--host", "0.0.0.0", "--api-key", "k1", "--quiet"]);
    const { port } = new URL(await baseURL);
    const url = `http://127.0.0.1:${port}/v1`;
    expect((await new Client(url).fetch("/v1/models")).status).toBe(401);
    expect((await new Client(url, "k1").fetch("/v1/models")).status).toBe(200);
    const other = serve(["--quiet"], { GRPO_API_KEY: "k2" });
    expect((await new Client(await other.baseURL, "k2").fetch("/v1/models")).status).toBe(200);
  });

  it("serves adapters under their names, the model under its own, within the limits given", async () => {
    const folder = await mkdtemp(path.join(tmpdir(), "grpo-serve-"));
    const model = await CausalLM.fromPretrained(tinyModel, { device: DEVICE });
    model.applyLora(new LoraConfig({ r: 2, targetModules: "all-linear", initLoraWeights: false }));
    await model.savePretrained(folder);
    model.dispose();
    const { baseURL } = serve(["--adapter", `tuned=${folder}`, "--name", "policy", "--max-tokens", "7"]);
    const client = new Client(await baseURL);
    const { data } = await client.json("/v1/models");
    expect(data.map(({ id, parent }: { id: string; parent: string | null }) => [id, parent])).toEqual([
      ["policy", null],
      ["tuned", "policy"],
    ]);
    const answer = await client.json(PATH, { model: "tuned", messages, temperature: 0 });
    expect(answer.usage.completion_tokens).toBeLessThanOrEqual(7);
    expect((await client.json(PATH, { model: "policy", messages, max_tokens: 8 }, 400)).error.param).toBe("max_tokens");
    await rm(folder, { recursive: true });
  });

  it.each([
    [["--adapter", "./folder"], /--adapter must be NAME=<id or folder>, found "\.\/folder"/],
    [["--host", "0.0.0.0"], /can be reached from elsewhere, and there is no apiKey/],
    [["--port", "many"], /--port must be a number, found "many"/],
    [["--max-rows", "0"], /maxRows must be a whole number at least 1, found 0/],
  ])("refuses %j with a message", async (args, message) => {
    const { status, stdout, stderr } = await serve(args).ended;
    expect([status, stdout]).toEqual([1, ""]);
    expect(stderr).toMatch(message);
    expect(stderr).not.toContain("    at ");
  });
});
