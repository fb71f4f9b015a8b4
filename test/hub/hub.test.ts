// Fetching from and uploading to a Hub on this machine: what lands in the cache, what is asked of the network, and how every
// refusal reads.

import { mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { GrpoError } from "../../lib/errors.js";
import { matching, pushFolder, resolveModelFiles } from "../../lib/hub/hub.js";
import { findToken } from "../../lib/hub/hub-client.js";
import { HubServer } from "../support/hub-server.js";

const ID = "org/tiny";
const WEIGHTS = Buffer.from(Array.from({ length: 200_000 }, (_, i) => (i * 7919) % 251));
const FILES = {
  "config.json": '{"model_type":"qwen2"}',
  "model.safetensors": WEIGHTS,
  "consolidated.safetensors": WEIGHTS,
  "tokenizer.json": "{}",
  "tokenizer_config.json": "{}",
  "chat_template.jinja": "{{ messages }}",
  "additional_chat_templates/tool_use.jinja": "{{ tools }}",
  "README.md": "# tiny",
  "onnx/model.onnx": "no",
  "pytorch_model.bin": "no",
};
const WANTED = [
  "additional_chat_templates/tool_use.jinja",
  "chat_template.jinja",
  "config.json",
  "model.safetensors",
  "tokenizer.json",
  "tokenizer_config.json",
];

let hub: HubServer;
let home: string;

beforeEach(async () => {
  home = await mkdtemp(path.join(tmpdir(), "grpo-hub-"));
  hub = new HubServer();
  await hub.start();
  hub.add(ID, { files: FILES, large: ["model.safetensors", "consolidated.safetensors"], branches: ["dev"] });
  vi.stubEnv("HF_ENDPOINT", `${hub.url}/`);
  vi.stubEnv("HF_HOME", home);
  for (const name of ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]) {
    vi.stubEnv(name, "");
  }
  for (const name of ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN_PATH"]) vi.stubEnv(name, "");
});

afterEach(async () => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
  await hub.stop();
  await rm(home, { recursive: true, force: true });
});

describe("fetching a model", () => {
  it("brings the files of the patterns, and no other, into Python's cache layout", async () => {
    const { folder, files } = await resolveModelFiles(ID);
    const commit = hub.commitOf(ID);
    const root = path.join(home, "hub", "models--org--tiny");
    expect(files).toEqual(WANTED);
    expect(folder).toBe(path.join(root, "snapshots", commit));
    expect(WEIGHTS.equals(await readFile(path.join(folder, "model.safetensors")))).toBe(true);
    expect(await readFile(path.join(folder, "additional_chat_templates/tool_use.jinja"), "utf8")).toBe("{{ tools }}");
    expect(await readFile(path.join(root, "refs", "main"), "utf8")).toBe(commit);
    const link = await readlink(path.join(folder, "model.safetensors"));
    expect(link).toMatch(/^\.\.\/\.\.\/blobs\/[0-9a-f]{64}$/);
    expect(await readdir(path.join(root, "blobs"))).toHaveLength(new Set(WANTED.map((name) => contentOf(name))).size);
    expect(await readdir(folder)).not.toContain("onnx");
  });

  it("asks for no file the second time", async () => {
    await resolveModelFiles(ID);
    hub.requests.length = 0;
    const { files } = await resolveModelFiles(ID);
    expect(files).toEqual(WANTED);
    expect(hub.fileRequests()).toEqual([]);
  });

  it("asks for the commit once, whatever the number of files", async () => {
    await resolveModelFiles(ID, { revision: "dev" });
    expect(hub.requests.filter((line) => line.includes("/revision/"))).toHaveLength(1);
    expect(
      hub.requests.filter((line) => line.includes("/resolve/")).every((line) => line.includes(hub.commitOf(ID))),
    ).toBe(true);
    expect(await readFile(path.join(home, "hub/models--org--tiny/refs/dev"), "utf8")).toBe(hub.commitOf(ID));
  });

  it("works without the network from the cache, and says what is missing when it is not there", async () => {
    await resolveModelFiles(ID);
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    hub.requests.length = 0;
    const { files } = await resolveModelFiles(ID);
    expect(files).toEqual(WANTED);
    expect(hub.requests).toEqual([]);
    await expect(resolveModelFiles("org/other")).rejects.toMatchObject({
      code: "HUB_ERROR",
      message: expect.stringContaining('"org/other" (revision main) is not in the cache'),
    });
  });

  it("falls back to the cache when the Hub cannot be reached, with a warning", async () => {
    await resolveModelFiles(ID);
    const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    vi.stubEnv("HF_ENDPOINT", "http://127.0.0.1:9");
    const { files } = await resolveModelFiles(ID);
    expect(files).toEqual(WANTED);
    expect(warn.mock.calls[0]?.[0]).toContain("using the cached copy");
    await expect(resolveModelFiles("org/other")).rejects.toMatchObject({ code: "HUB_ERROR" });
  });

  it("reads a cache moved by HF_HUB_CACHE or by the cacheDir option", async () => {
    vi.stubEnv("HF_HUB_CACHE", path.join(home, "moved"));
    expect((await resolveModelFiles(ID)).folder).toContain(path.join(home, "moved"));
    const cacheDir = path.join(home, "own");
    expect((await resolveModelFiles(ID, { cacheDir })).folder).toContain(cacheDir);
  });

  it("writes nothing to stdout, and nothing to a stderr that is not a terminal", async () => {
    const out = [vi.spyOn(process.stdout, "write"), vi.spyOn(process.stderr, "write"), vi.spyOn(console, "debug")];
    await resolveModelFiles(ID);
    for (const spy of out) expect(spy).not.toHaveBeenCalled();
  });
});

describe("broken transfers", () => {
  it("goes on where a connection broke", async () => {
    hub.breakAfter.set("model.safetensors", [50_000]);
    const { folder } = await resolveModelFiles(ID);
    expect(hub.resumed).toEqual(["model.safetensors 50000"]);
    expect(WEIGHTS.equals(await readFile(path.join(folder, "model.safetensors")))).toBe(true);
  });

  it("gives up after three breaks and leaves no half of a file", async () => {
    hub.breakAfter.set("model.safetensors", [10_000, 10_000, 10_000]);
    await expect(resolveModelFiles(ID)).rejects.toMatchObject({
      code: "HUB_ERROR",
      message: expect.stringContaining("Download of model.safetensors"),
    });
    const blobs = await readdir(path.join(home, "hub/models--org--tiny/blobs"));
    expect(blobs.filter((name) => name.includes("incomplete"))).toEqual([]);
    const { folder } = await resolveModelFiles(ID);
    expect((await stat(path.join(folder, "model.safetensors"))).size).toBe(WEIGHTS.length);
  });

  it("refuses a file that is shorter than the list says", async () => {
    hub.damaged.set("config.json", Buffer.from("{"));
    await expect(resolveModelFiles(ID)).rejects.toThrow('config.json of "org/tiny" has 1 bytes');
  });

  it("refuses a file of the right size with other bytes", async () => {
    hub.damaged.set("model.safetensors", Buffer.alloc(WEIGHTS.length));
    await expect(resolveModelFiles(ID)).rejects.toThrow("SHA-256");
  });

  it("fetches again what a crash left truncated in the cache", async () => {
    const { folder } = await resolveModelFiles(ID);
    await writeFile(path.join(folder, "model.safetensors"), "cut");
    await resolveModelFiles(ID);
    expect(WEIGHTS.equals(await readFile(path.join(folder, "model.safetensors")))).toBe(true);
  });

  it("tries again when the server is busy", async () => {
    hub.failures.push(503, 429);
    await expect(resolveModelFiles(ID)).resolves.toMatchObject({ files: WANTED });
    hub.failures.push(500, 500, 500);
    await expect(resolveModelFiles(ID)).rejects.toThrow("HTTP 500");
  });
});

describe("access", () => {
  it("names a repository that is not there", async () => {
    await expect(resolveModelFiles("org/missing")).rejects.toMatchObject({
      code: "HUB_ERROR",
      message: expect.stringMatching(/"org\/missing" \(HTTP 401\).*does not exist[\s\S]*grpo login/),
    });
    await expect(resolveModelFiles("org/missing", { token: hub.token })).rejects.toThrow(
      'The Hub has no model "org/missing" (HTTP 404)',
    );
  });

  it("names a revision that is not there", async () => {
    await expect(resolveModelFiles(ID, { revision: "v9" })).rejects.toThrow("not the revision asked for");
  });

  it("says how to get into a gated repository", async () => {
    hub.add("org/gated", { files: FILES, gated: true });
    await expect(resolveModelFiles("org/gated")).rejects.toMatchObject({
      code: "HUB_ERROR",
      message: expect.stringMatching(/gated[\s\S]*Accept its licence on .*org\/gated[\s\S]*grpo login/),
    });
  });

  it("uses HF_TOKEN, then the saved token, and never sends or shows one where it does not belong", async () => {
    hub.add("org/private", { files: FILES, private: true, large: ["model.safetensors"] });
    await writeFile(path.join(home, "token"), `${hub.token}\n`);
    expect(findToken()).toBe(hub.token);
    await expect(resolveModelFiles("org/private")).resolves.toMatchObject({ files: WANTED });
    expect(hub.leakedTokens).toEqual([]);
    vi.stubEnv("HF_TOKEN", "wrong-token-value");
    const failure = await resolveModelFiles("org/private").catch((thrown: unknown) => thrown);
    expect(failure).toBeInstanceOf(GrpoError);
    expect(`${String(failure)}${JSON.stringify(failure)}`).not.toContain("wrong-token-value");
  });
});

describe("local folders and mistaken ids", () => {
  it("takes a local folder as it is", async () => {
    const folder = path.join(home, "model");
    await mkdir(path.join(folder, "additional_chat_templates"), { recursive: true });
    await writeFile(path.join(folder, "config.json"), "{}");
    await writeFile(path.join(folder, "notes.txt"), "");
    await writeFile(path.join(folder, "additional_chat_templates", "x.jinja"), "");
    expect(await resolveModelFiles(folder)).toEqual({
      folder,
      files: ["additional_chat_templates/x.jinja", "config.json"],
    });
    expect(hub.requests).toEqual([]);
  });

  it.each(["./nowhere", "/no/such/folder", "../no-such-folder-anywhere", "models/", "a/b/c", "~/model"])(
    "reports %s as a path",
    async (id) => {
      await expect(resolveModelFiles(id)).rejects.toMatchObject({
        code: "FILE_NOT_FOUND",
        message: expect.stringContaining(id),
      });
      expect(hub.requests).toEqual([]);
    },
  );

  it.each(["gpt2", "", "org/na me", "org/a--b", "org/.x", "org/x.git", "x".repeat(200)])(
    "refuses %j as an id",
    async (id) => {
      await expect(resolveModelFiles(id)).rejects.toMatchObject({ code: "BAD_INPUT" });
      expect(hub.requests).toEqual([]);
    },
  );

  it("refuses a file where a folder belongs", async () => {
    const file = path.join(home, "model.safetensors");
    await writeFile(file, "");
    await expect(resolveModelFiles(file)).rejects.toThrow("is a file");
  });

  it("never writes outside the cache, whatever a repository calls its files", async () => {
    hub.add("org/evil", { files: { "../../../../evil.json": "{}", "config.json": "{}" } });
    const { files } = await resolveModelFiles("org/evil", { patterns: ["**"] });
    expect(files).toEqual(["config.json"]);
  });
});

describe("uploading", () => {
  it("makes the repository and commits every file of the folder", async () => {
    const folder = path.join(home, "out");
    await mkdir(folder);
    await writeFile(path.join(folder, "adapter_config.json"), "{}");
    await writeFile(path.join(folder, "adapter_model.safetensors"), WEIGHTS);
    const url = await pushFolder("ada/new", folder, {
      token: hub.token,
      private: true,
      commitMessage: "Upload adapter",
    });
    expect(url).toBe(`${hub.url}/ada/new/commit/${"c".repeat(40)}`);
    expect(hub.created).toEqual(["ada/new private"]);
    expect(hub.commits).toHaveLength(1);
    expect(hub.commits[0]?.summary).toBe("Upload adapter");
    expect(WEIGHTS.equals(hub.commits[0]?.files["adapter_model.safetensors"] ?? Buffer.alloc(0))).toBe(true);
    expect(hub.commits[0]?.files["adapter_config.json"]?.toString()).toBe("{}");
    expect(hub.leakedTokens).toEqual([]);
  });

  it("commits to a repository that exists already", async () => {
    await writeFile(path.join(home, "token"), hub.token);
    await mkdir(path.join(home, "out"));
    await writeFile(path.join(home, "out", "tokenizer.json"), "{}");
    await pushFolder(ID, path.join(home, "out"));
    expect(hub.created).toEqual([]);
    expect(hub.commits[0]?.repo).toBe(ID);
  });

  it("needs a token and a file", async () => {
    await expect(pushFolder(ID, home)).rejects.toThrow("needs a token with write access");
    const empty = path.join(home, "empty");
    await mkdir(empty);
    await expect(pushFolder(ID, empty, { token: hub.token })).rejects.toThrow("has no files");
  });
});

describe("patterns", () => {
  it("keeps * within a folder and lets ** cross folders", () => {
    const files = ["a.json", "x/a.json", "x/y/a.json", "a.jsonl"];
    expect(matching(files, ["*.json"])).toEqual(["a.json"]);
    expect(matching(files, ["**/*.json"])).toEqual(["a.json", "x/a.json", "x/y/a.json"]);
    expect(matching(files, ["x/**"])).toEqual(["x/a.json", "x/y/a.json"]);
    expect(matching(files, ["?.json"])).toEqual(["a.json"]);
  });
});

function contentOf(name: string): string {
  return String(FILES[name as keyof typeof FILES]);
}
