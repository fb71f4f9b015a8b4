// Downloads that go wrong on the way: broken, slow, damaged, killed, or done twice at once; and the ways through a proxy.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, readdir, readFile, readlink, stat, writeFile } from "node:fs/promises";
import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { hostname } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { resolveModelFiles } from "../../lib/hub/hub.js";
import { pauseAskedFor, proxyFor } from "../../lib/hub/hub-fetch.js";
import { pushFolder } from "../../lib/hub/push.js";
import { openRemoteFile } from "../../lib/hub/remote-file.js";
import { useHub } from "../support/use-hub.js";

// Pauses between attempts take a hundredth of their time.
vi.mock("node:timers/promises", async (load) => {
  const timers = await load<typeof import("node:timers/promises")>();
  return { ...timers, setTimeout: (ms: number, ...rest: []) => timers.setTimeout(ms / 100, ...rest) };
});

const ID = "org/tiny";
const WEIGHTS = Buffer.from(Array.from({ length: 200_000 }, (_, i) => (i * 7919) % 251));
const FILES = { "config.json": '{"model_type":"qwen2"}', "model.safetensors": WEIGHTS, "tokenizer.json": "{}" };
const at = useHub();

beforeEach(() => at.hub.add(ID, { files: FILES, large: ["model.safetensors"] }));

async function weights(folder: string): Promise<boolean> {
  return WEIGHTS.equals(await readFile(path.join(folder, "model.safetensors")));
}

async function blobs(id = ID): Promise<string[]> {
  return readdir(path.join(at.home, "hub", `models--${id.replace("/", "--")}`, "blobs"));
}

describe("a connection that breaks", () => {
  beforeEach(() => {
    at.hub.arrived = (size) => vi.waitUntil(async () => (await partialSize()) >= size, { timeout: 20_000 });
  });

  it.each([0, 1, 4095, 65_536, 199_999])("is taken up after %i bytes", async (cut) => {
    at.hub.breakAfter.set("model.safetensors", [cut]);
    const { folder } = await resolveModelFiles(ID);
    expect(at.hub.resumed).toEqual(cut === 0 ? [] : [`model.safetensors ${cut}`]);
    expect(await weights(folder)).toBe(true);
  });

  it("is taken up again and again while something arrives", async () => {
    at.hub.breakAfter.set(
      "model.safetensors",
      Array.from({ length: 12 }, () => 9000),
    );
    expect(await weights((await resolveModelFiles(ID)).folder)).toBe(true);
    expect(at.hub.resumed).toHaveLength(12);
  });

  it("is given up after five attempts that bring nothing, and the next run goes on from there", async () => {
    at.hub.breakAfter.set("model.safetensors", [70_000, 0, 0, 0, 0]);
    await expect(resolveModelFiles(ID)).rejects.toMatchObject({
      code: "HUB_ERROR",
      message: expect.stringMatching(/download of model\.safetensors .*failed[\s\S]*continues where it stopped/),
    });
    expect((await blobs()).filter((name) => name.endsWith(".grpo.incomplete"))).toHaveLength(1);
    at.hub.resumed.length = 0;
    expect(await weights((await resolveModelFiles(ID)).folder)).toBe(true);
    expect(at.hub.resumed).toEqual(["model.safetensors 70000"]);
    expect((await blobs()).filter((name) => name.endsWith(".incomplete"))).toEqual([]);
  });

  it("counts as broken when nothing comes for too long", async () => {
    vi.stubEnv("HF_HUB_DOWNLOAD_TIMEOUT", "0.2");
    at.hub.slow.set("model.safetensors", 600);
    let asked = 0;
    at.hub.fault = (line) => {
      if (line.includes(" storage/")) asked++;
      if (asked > 1) at.hub.slow.clear();
      return undefined;
    };
    expect(await weights((await resolveModelFiles(ID)).folder)).toBe(true);
    expect(at.hub.resumed).toEqual(["model.safetensors 50000"]);
  });

  it("is waited for while bytes come, however slowly", async () => {
    vi.stubEnv("HF_HUB_DOWNLOAD_TIMEOUT", "0.6");
    at.hub.slow.set("model.safetensors", 200);
    expect(await weights((await resolveModelFiles(ID)).folder)).toBe(true);
    expect(at.hub.resumed).toEqual([]);
  });
});

describe("a part of a file", () => {
  const repo = { type: "model", id: ID } as const;
  const open = () => openRemoteFile(repo, "model.safetensors", { revision: at.hub.commitOf(ID) });

  it("is asked for again when the connection breaks before or after its first byte", async () => {
    at.hub.breakAfter.set("model.safetensors", [0, 10, 0, 0, 100]);
    const file = await open();
    expect(file.byteLength).toBe(WEIGHTS.length);
    expect(WEIGHTS.subarray(10, 5000).equals(await file.slice(10, 5000))).toBe(true);
    expect(at.hub.breakAfter.get("model.safetensors")).toEqual([]);
  });

  it("is asked for again when nothing comes for too long, and given up in the end", async () => {
    vi.stubEnv("HF_HUB_DOWNLOAD_TIMEOUT", "0.1");
    const file = await open();
    at.hub.slow.set("model.safetensors", 400);
    // A quarter comes at once, each time.
    expect(WEIGHTS.subarray(100, 120).equals(await file.slice(100, 120))).toBe(true);
    at.hub.slow.clear();
    at.hub.breakAfter.set("model.safetensors", Array(30).fill(0));
    await expect(file.slice(100, 1000)).rejects.toMatchObject({
      code: "HUB_ERROR",
      message: expect.stringMatching(/closed again and again|cannot reach/),
    });
  });
});

describe("a file that is not what the Hub states", () => {
  it("is refused when it is shorter", async () => {
    at.hub.damaged.set("config.json", Buffer.from("{"));
    await expect(resolveModelFiles(ID)).rejects.toThrow('config.json of "org/tiny" has 1 bytes');
  });

  it.each([
    ["model.safetensors", "SHA-256"],
    ["config.json", "git object id"],
  ] as const)("is refused when %s has other bytes", async (name, digest) => {
    at.hub.damaged.set(name, Buffer.alloc(FILES[name].length));
    await expect(resolveModelFiles(ID)).rejects.toThrow(`arrived damaged: its ${digest} is not the one`);
    const size = FILES[name].length;
    const sizes = await Promise.all((await blobs()).map(async (blob) => (await stat(blobPath(blob))).size));
    expect(sizes).not.toContain(size);
    at.hub.damaged.clear();
    await expect(resolveModelFiles(ID)).resolves.toBeDefined();
  });

  it("stops the other transfers, and nothing is written any more once it is reported", async () => {
    at.hub.damaged.set("config.json", Buffer.alloc(FILES["config.json"].length));
    at.hub.slow.set("model.safetensors", 300);
    await expect(resolveModelFiles(ID)).rejects.toThrow("arrived damaged");
    const state = async () =>
      Promise.all((await blobs()).map(async (blob) => [blob, (await stat(blobPath(blob))).size]));
    const reported = await state();
    await new Promise((done) => setTimeout(done, 700));
    expect(await state()).toEqual(reported);
    expect(reported.map(([, size]) => size)).not.toContain(FILES["model.safetensors"].length);
    at.hub.damaged.clear();
    at.hub.slow.clear();
    expect(await weights((await resolveModelFiles(ID)).folder)).toBe(true);
  });

  it("is fetched again from the start when what an earlier run left is the damaged part", async () => {
    at.hub.breakAfter.set("model.safetensors", [70_000, 0, 0, 0, 0]);
    await resolveModelFiles(ID).catch(() => {});
    const left = (await blobs()).find((name) => name.endsWith(".incomplete")) ?? "";
    await writeFile(blobPath(left), Buffer.alloc(70_000));
    expect(await weights((await resolveModelFiles(ID)).folder)).toBe(true);
  });

  it("is fetched again when a crash left it truncated", async () => {
    const { folder } = await resolveModelFiles(ID);
    await writeFile(path.join(folder, "model.safetensors"), "cut");
    await resolveModelFiles(ID);
    expect(await weights(folder)).toBe(true);
  });
});

describe("a busy Hub", () => {
  it("is asked again, and the error names the status when it stays busy", async () => {
    at.hub.failures.push(503, 429, 500, 502);
    await expect(resolveModelFiles(ID)).resolves.toBeDefined();
    at.hub.failures.push(500, 500, 500, 500, 500);
    await expect(resolveModelFiles("org/other")).rejects.toThrow("HTTP 500");
  });

  it("is left alone for as long as it asks", async () => {
    at.hub.refusalHeaders.set("retry-after", "15");
    at.hub.failures.push(429);
    const began = performance.now();
    await resolveModelFiles(ID);
    expect(performance.now() - began).toBeGreaterThan(140);
  });

  it.each([
    [429, { ratelimit: '"api";r=0;t=299', "retry-after": "1" }, 300_000],
    [429, { ratelimit: '"api";r=12;t=299', "retry-after": "1" }, 1000],
    [503, { ratelimit: '"api";r=0;t=299' }, undefined],
    [503, { "retry-after": "7" }, 7000],
    [429, { "retry-after": "86400" }, 310_000],
    [429, {}, undefined],
  ] as const)("asks for a pause by HTTP %i with %j: %s ms", (status, headers, expected) => {
    expect(pauseAskedFor(new Response(null, { status, headers }))).toBe(expected);
  });
});

describe("several processes", () => {
  it("share one download of the same model", async () => {
    at.hub.slow.set("model.safetensors", 300);
    const folders = await Promise.all([download().folder, download().folder, download().folder]);
    expect(new Set(folders).size).toBe(1);
    expect(await weights(folders[0] ?? "")).toBe(true);
    expect(at.hub.requests.filter((line) => line.endsWith("/model.safetensors"))).toHaveLength(1);
    expect(await blobs()).toHaveLength(3);
  });

  it("go on with what a killed one left, and do not wait for it", async () => {
    at.hub.slow.set("model.safetensors", 1500);
    const first = download();
    first.folder.catch(() => {});
    await vi.waitFor(async () => expect(await partialSize()).toBeGreaterThan(0), { timeout: 60_000, interval: 20 });
    first.process.kill("SIGKILL");
    await first.folder.catch(() => {});
    const left = await partialSize();
    at.hub.slow.clear();
    expect(left).toBeLessThan(WEIGHTS.length);
    expect(await weights(await download().folder)).toBe(true);
    expect(at.hub.resumed).toEqual([`model.safetensors ${left}`]);
  });

  it("take over a lock whose holder is gone, and leave none behind", async () => {
    const locks = path.join(at.home, "hub", ".locks", "models--org--tiny");
    await mkdir(locks, { recursive: true });
    const { folder } = await resolveModelFiles(ID);
    expect(await readdir(locks)).toEqual([]);
    const dead = JSON.stringify({ id: "x", pid: 2 ** 22 + 7, host: hostname() });
    const blob = path.basename(await readlink(path.join(folder, "config.json")));
    await writeFile(path.join(locks, `${blob}.grpo-lock`), dead);
    await writeFile(path.join(folder, "config.json"), "");
    await resolveModelFiles(ID);
    expect(await readFile(path.join(folder, "config.json"), "utf8")).toBe(FILES["config.json"]);
    expect(await readdir(locks)).toEqual([]);
  });
});

describe("chunked storage (Xet)", () => {
  const LARGE = Buffer.from(Array.from({ length: 700_000 }, (_, i) => (i * i * 31 + i * 7) % 253));

  beforeEach(async () => {
    const folder = path.join(at.home, "out");
    await mkdir(folder);
    await writeFile(path.join(folder, "model.safetensors"), LARGE);
    await pushFolder("ada/chunks", folder, { token: at.hub.token });
  });

  it("gives back what was uploaded to it, whole or by plain HTTP", async () => {
    const { folder } = await resolveModelFiles("ada/chunks");
    expect(at.hub.requests.some((line) => line.includes("/v2/reconstructions/"))).toBe(true);
    expect(LARGE.equals(await readFile(path.join(folder, "model.safetensors")))).toBe(true);
    at.hub.requests.length = 0;
    vi.stubEnv("HF_HUB_DISABLE_XET", "1");
    const plain = await resolveModelFiles("ada/chunks", { cacheDir: path.join(at.home, "plain") });
    expect(at.hub.requests.some((line) => line.includes("reconstructions"))).toBe(false);
    expect(LARGE.equals(await readFile(path.join(plain.folder, "model.safetensors")))).toBe(true);
    expect(at.hub.leakedTokens).toEqual([]);
  });

  it("is read on from where an earlier run stopped", async () => {
    let fetched = 0;
    at.hub.fault = (line) => (line.includes("xorb-data") && fetched++ < 9 ? "cut" : undefined);
    expect(
      LARGE.equals(await readFile(path.join((await resolveModelFiles("ada/chunks")).folder, "model.safetensors"))),
    ).toBe(true);
    const blob = (await blobs("ada/chunks"))[0] ?? "";
    const file = path.join(at.home, "hub", "models--ada--chunks", "blobs", blob);
    await writeFile(`${file}.grpo.incomplete`, LARGE.subarray(0, 333_333));
    await writeFile(file, "");
    const { folder } = await resolveModelFiles("ada/chunks");
    expect(LARGE.equals(await readFile(path.join(folder, "model.safetensors")))).toBe(true);
  });
});

describe("proxies", () => {
  it("are the way to the Hub when the environment names one", async () => {
    const seen: string[] = [];
    const proxy = createServer((incoming, outgoing) => {
      seen.push(incoming.url ?? "");
      const onward = request(incoming.url ?? "", { method: incoming.method, headers: incoming.headers }, (answer) => {
        outgoing.writeHead(answer.statusCode ?? 0, answer.headers);
        answer.pipe(outgoing);
      });
      incoming.pipe(onward);
    });
    await new Promise<void>((done) => proxy.listen(0, "127.0.0.1", done));
    vi.stubEnv("HTTP_PROXY", `127.0.0.1:${(proxy.address() as AddressInfo).port}`);
    expect(await weights((await resolveModelFiles(ID)).folder)).toBe(true);
    expect(seen.length).toBe(at.hub.requests.length);
    expect(seen[0]).toContain(at.hub.url);
    proxy.closeAllConnections();
    proxy.close();
  });

  it.each([
    ["https://huggingface.co/x", { HTTPS_PROXY: "http://p:1" }, "http://p:1"],
    ["https://huggingface.co/x", { HTTP_PROXY: "http://p:1" }, undefined],
    ["https://huggingface.co/x", { ALL_PROXY: "p:1" }, "http://p:1"],
    ["http://hub.example.com/x", { http_proxy: "http://p:1", HTTP_PROXY: "http://q:1" }, "http://p:1"],
    ["https://hub.example.com", { HTTPS_PROXY: "http://p:1", NO_PROXY: "localhost, example.com" }, undefined],
    ["https://example.com", { HTTPS_PROXY: "http://p:1", NO_PROXY: ".example.com" }, "http://p:1"],
    ["https://notexample.com", { HTTPS_PROXY: "http://p:1", NO_PROXY: "example.com" }, "http://p:1"],
    ["https://hub.example.com:8443", { HTTPS_PROXY: "http://p:1", NO_PROXY: "example.com:8443" }, undefined],
    ["https://10.0.0.1", { HTTPS_PROXY: "http://p:1", NO_PROXY: "10.0.0.1" }, undefined],
    ["https://[::1]:3", { HTTPS_PROXY: "http://p:1", NO_PROXY: "::1" }, undefined],
    ["https://huggingface.co", { HTTPS_PROXY: "http://p:1", NO_PROXY: "x, *" }, undefined],
  ])("for %s with %j", (address, variables, expected) => {
    for (const [name, value] of Object.entries(variables)) vi.stubEnv(name, value);
    expect(proxyFor(address)).toBe(expected);
  });
});

function blobPath(name: string): string {
  return path.join(at.home, "hub", "models--org--tiny", "blobs", name);
}

/** Bytes of the weights, the only file named by a SHA-256, that a broken download has left. */
async function partialSize(): Promise<number> {
  const name = (await blobs().catch(() => [])).find((blob) => /^[0-9a-f]{64}\.grpo\.incomplete$/.test(blob));
  return name === undefined ? 0 : (await stat(blobPath(name))).size;
}

/** A process of its own that fetches the model. */
function download(): { process: ChildProcess; folder: Promise<string> } {
  const script = fileURLToPath(new URL("../support/download.ts", import.meta.url));
  const child = spawn(process.execPath, ["--import", "tsx", script, ID], { stdio: ["ignore", "pipe", "pipe"] });
  const folder = new Promise<string>((resolve, reject) => {
    const output = { stdout: "", stderr: "" };
    child.stdout.on("data", (text) => (output.stdout += text));
    child.stderr.on("data", (text) => (output.stderr += text));
    child.on("exit", (code) => (code === 0 ? resolve(output.stdout.trim()) : reject(new Error(output.stderr))));
  });
  return { process: child, folder };
}
