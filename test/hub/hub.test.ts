// Fetching from a Hub on this machine: what lands in the cache, what is asked of the network, and how every refusal reads.

import { mkdir, readdir, readFile, readlink, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import path from "node:path";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { GrpoError } from "../../lib/errors.js";
import { forgetListings, matching, openSnapshot, readResolved, resolveModelFiles } from "../../lib/hub/hub.js";
import { findToken, hubCacheDir } from "../../lib/hub/hub-env.js";
import { whoami } from "../../lib/hub/login.js";
import { useHub } from "../support/use-hub.js";

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

const at = useHub();

beforeEach(() => {
  at.hub.add(ID, { files: FILES, large: ["model.safetensors", "consolidated.safetensors"], branches: ["dev"] });
});

describe("fetching a model", () => {
  it("brings the files of the patterns, and no other, into Python's cache layout", async () => {
    const { folder, files } = await resolveModelFiles(ID);
    const commit = at.hub.commitOf(ID);
    const root = path.join(at.home, "hub", "models--org--tiny");
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

  it("stays at one commit for the whole run, and asks for it once", async () => {
    const first = await resolveModelFiles(ID);
    at.hub.requests.length = 0;
    at.hub.add(ID, { files: { "config.json": "changed" } });
    expect(await resolveModelFiles(ID)).toEqual(first);
    expect(at.hub.requests).toEqual([]);
  });

  it("leaves out what the ignore patterns name", async () => {
    const { files } = await resolveModelFiles(ID, {
      patterns: ["**"],
      ignorePatterns: ["*.bin", "onnx/**", "*.safetensors"],
    });
    expect(files).toEqual([...WANTED.filter((name) => !name.endsWith(".safetensors")), "README.md"].sort());
  });

  it("finds what Python fetched", async () => {
    const root = path.join(at.home, "hub", "models--org--tiny");
    const { folder } = await resolveModelFiles(ID);
    // As huggingface_hub leaves them: another snapshot of the same blobs, found by its ref.
    await writeFile(path.join(root, "refs", "other"), path.basename(folder));
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    expect((await resolveModelFiles(ID, { revision: "other" })).folder).toBe(folder);
  });

  it("copies instead of linking where links are switched off", async () => {
    vi.stubEnv("HF_HUB_DISABLE_SYMLINKS", "1");
    const { folder } = await resolveModelFiles(ID);
    await expect(readlink(path.join(folder, "model.safetensors"))).rejects.toThrow("EINVAL");
    expect(WEIGHTS.equals(await readFile(path.join(folder, "model.safetensors")))).toBe(true);
  });

  it("expands ~ and variables in the folders of the environment", () => {
    vi.stubEnv("HF_HUB_CACHE", "~/$SOME_PLACE/hub");
    vi.stubEnv("SOME_PLACE", "there");
    expect(hubCacheDir()).toBe(path.join(homedir(), "there", "hub"));
  });

  it("asks for the commit once, whatever the number of files", async () => {
    await resolveModelFiles(ID, { revision: "dev" });
    expect(at.hub.requests.filter((line) => line.includes("/revision/"))).toHaveLength(1);
    expect(
      at.hub.requests.filter((line) => line.includes("/resolve/")).every((line) => line.includes(at.hub.commitOf(ID))),
    ).toBe(true);
    expect(await readFile(path.join(at.home, "hub/models--org--tiny/refs/dev"), "utf8")).toBe(at.hub.commitOf(ID));
  });

  it("works without the network from the cache, and says what is missing when it is not there", async () => {
    await resolveModelFiles(ID);
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    at.hub.requests.length = 0;
    const { files } = await resolveModelFiles(ID);
    expect(files).toEqual(WANTED);
    expect(at.hub.requests).toEqual([]);
    await expect(resolveModelFiles("org/other")).rejects.toMatchObject({
      code: "HUB_ERROR",
      message: expect.stringContaining('"org/other" (revision main) is not in the cache'),
    });
  });

  describe("from a cache that is not whole", () => {
    const missing = () => Promise.reject(new GrpoError("FILE_NOT_FOUND", "no weights in there", { hint: "none" }));
    beforeEach(async () => {
      await resolveModelFiles(ID, { patterns: ["config.json"] });
    });

    it("says that it is offline, where a file is missing", async () => {
      vi.stubEnv("HF_HUB_OFFLINE", "1");
      const resolved = await resolveModelFiles(ID);
      expect(resolved.files).toEqual(["config.json"]);
      await expect(readResolved(resolved, missing)).rejects.toMatchObject({
        code: "FILE_NOT_FOUND",
        message: expect.stringMatching(
          /^no weights in there: the copy in the cache is incomplete.*HF_HUB_OFFLINE is set/,
        ),
      });
      const wrapped = () =>
        Promise.reject(new GrpoError("BAD_ADAPTER", "no weights", { cause: new GrpoError("FILE_NOT_FOUND", "x") }));
      await expect(readResolved(resolved, wrapped)).rejects.toThrow(/no weights: .*HF_HUB_OFFLINE/);
      const other = () => Promise.reject(new GrpoError("BAD_CONFIG", "wrong"));
      await expect(readResolved(resolved, other)).rejects.toThrow(/^wrong$/);
    });

    it("says that the Hub did not answer, where a file is missing", async () => {
      await at.hub.stop();
      vi.spyOn(process, "emitWarning").mockImplementation(() => {});
      vi.stubEnv("HF_ENDPOINT", "http://localhost:9");
      const resolved = await resolveModelFiles(ID);
      await expect(readResolved(resolved, missing)).rejects.toThrow(/is incomplete, and cannot reach localhost:9/);
    });

    it("has nothing to add where the Hub answered", async () => {
      await expect(readResolved(await resolveModelFiles(ID), missing)).rejects.toThrow(/^no weights in there\n/);
    });
  });

  it("takes a folder of the repository in place of its top", async () => {
    const files = { "config.json": "top", "sub/one/config.json": "one", "sub/one/model.safetensors": WEIGHTS };
    at.hub.add("org/folders", { files, large: ["sub/one/model.safetensors"] });
    for (const subfolder of ["sub/one", "sub/one/", "./sub//one"]) {
      const { folder, files } = await resolveModelFiles("org/folders", { subfolder });
      expect(files).toEqual(["config.json", "model.safetensors"]);
      expect(await readFile(path.join(folder, "config.json"), "utf8")).toBe("one");
    }
    await expect(resolveModelFiles("org/folders", { subfolder: "two" })).rejects.toMatchObject({
      code: "FILE_NOT_FOUND",
      message: expect.stringContaining("org/folders has no folder two"),
    });
    for (const subfolder of ["../other", "/etc", "sub/../..", 3 as never]) {
      await expect(resolveModelFiles("org/folders", { subfolder })).rejects.toMatchObject({ code: "BAD_OPTION" });
    }
  });

  it("falls back to the cache when the Hub cannot be reached, with a warning", async () => {
    await resolveModelFiles(ID);
    await at.hub.stop();
    const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    vi.stubEnv("HF_ENDPOINT", "http://localhost:9");
    const { files } = await resolveModelFiles(ID);
    expect(files).toEqual(WANTED);
    expect(warn.mock.calls[0]?.[0]).toContain("using the cached copy");
    await expect(resolveModelFiles("org/other")).rejects.toMatchObject({ code: "HUB_ERROR" });
  });

  it.each([429, 503])(
    "falls back to the cache when the Hub answers %i and nothing else, with a warning",
    async (status) => {
      await resolveModelFiles(ID, { revision: "dev" });
      forgetListings({ type: "model", id: ID });
      at.hub.refusalHeaders.set("retry-after", "0");
      at.hub.fault = () => status;
      const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
      expect((await resolveModelFiles(ID, { revision: "dev" })).files).toEqual(WANTED);
      expect(warn.mock.calls[0]?.[0]).toMatch(new RegExp(`HTTP ${status}.*using the cached copy`));
      await expect(resolveModelFiles("org/other")).rejects.toThrow(`HTTP ${status}`);
    },
  );

  it("finds a repository by the name alone that it had once", async () => {
    at.hub.renamed.set("tiny", ID);
    const { folder, files } = await resolveModelFiles("tiny");
    expect(files).toEqual(WANTED);
    expect(folder).toContain("models--tiny");
    expect(WEIGHTS.equals(await readFile(path.join(folder, "model.safetensors")))).toBe(true);
  });

  it("keeps data sets from the network with HF_DATASETS_OFFLINE, and nothing else", async () => {
    vi.stubEnv("HF_DATASETS_OFFLINE", "1");
    await expect(openSnapshot("dataset", "org/rows")).rejects.toThrow("HF_DATASETS_OFFLINE is set");
    expect(at.hub.requests).toEqual([]);
    await expect(resolveModelFiles(ID)).resolves.toBeDefined();
  });

  it("reads a cache moved by HF_HUB_CACHE or by the cacheDir option", async () => {
    vi.stubEnv("HF_HUB_CACHE", path.join(at.home, "moved"));
    expect((await resolveModelFiles(ID)).folder).toContain(path.join(at.home, "moved"));
    const cacheDir = path.join(at.home, "own");
    expect((await resolveModelFiles(ID, { cacheDir })).folder).toContain(cacheDir);
  });

  it("writes nothing to stdout, and nothing to a stderr that is not a terminal", async () => {
    const out = [vi.spyOn(process.stdout, "write"), vi.spyOn(process.stderr, "write"), vi.spyOn(console, "debug")];
    await resolveModelFiles(ID);
    for (const spy of out) expect(spy).not.toHaveBeenCalled();
  });
});

describe("access", () => {
  it("names a repository that is not there", async () => {
    await expect(resolveModelFiles("org/missing")).rejects.toMatchObject({
      code: "HUB_ERROR",
      message: expect.stringMatching(/"org\/missing" \(HTTP 401\).*does not exist[\s\S]*grpo login/),
    });
    await expect(resolveModelFiles("org/missing", { token: at.hub.token })).rejects.toThrow(
      'the Hub has no model "org/missing" (HTTP 404)',
    );
  });

  it("says that there is no such folder either, for whoever meant one", async () => {
    const folder = path.resolve("outputs/checkpoint-7");
    const meant = expect.objectContaining({ hint: expect.stringContaining(folder) });
    await expect(resolveModelFiles("outputs/checkpoint-7")).rejects.toEqual(meant);
    await expect(resolveModelFiles("outputs/checkpoint-7", { token: at.hub.token })).rejects.toEqual(meant);
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    await expect(resolveModelFiles("outputs/checkpoint-7")).rejects.toEqual(meant);
    await expect(resolveModelFiles("outputs/run 7")).rejects.toThrow("neither a folder here nor the id of a model");
    await expect(resolveModelFiles("outputs/run/7")).rejects.toThrow("no such folder: outputs/run/7");
  });

  it("names a revision that is not there", async () => {
    await expect(resolveModelFiles(ID, { revision: "v9" })).rejects.toThrow("not the revision asked for");
  });

  it("says how to get into a gated repository", async () => {
    at.hub.add("org/gated", { files: FILES, gated: true });
    await expect(resolveModelFiles("org/gated")).rejects.toMatchObject({
      code: "HUB_ERROR",
      message: expect.stringMatching(/gated[\s\S]*accept its licence on .*org\/gated[\s\S]*grpo login/),
    });
  });

  it("uses HF_TOKEN, then the saved token, and never sends or shows one where it does not belong", async () => {
    at.hub.add("org/private", { files: FILES, private: true, large: ["model.safetensors"] });
    await writeFile(path.join(at.home, "token"), `${at.hub.token}\n`);
    expect(findToken()).toBe(at.hub.token);
    await expect(resolveModelFiles("org/private")).resolves.toMatchObject({ files: WANTED });
    expect(at.hub.leakedTokens).toEqual([]);
    vi.stubEnv("HF_TOKEN", "wrong-token-value");
    const failure = await resolveModelFiles("org/private").catch((thrown: unknown) => thrown);
    expect(failure).toBeInstanceOf(GrpoError);
    expect(`${String(failure)}${JSON.stringify(failure)}`).not.toContain("wrong-token-value");
  });
});

describe("a token", () => {
  it("loses the line breaks of a paste, as in Python", async () => {
    vi.stubEnv("HF_TOKEN", ` ${at.hub.token.slice(0, 8)}\r\n${at.hub.token.slice(8)}\n`);
    expect(findToken()).toBe(at.hub.token);
    vi.stubEnv("HF_TOKEN", "\n");
    expect(findToken()).toBeUndefined();
  });

  it.each(["hf_one hf_two", "hf_tok\u200ben", "hf_tökén"])("is refused without being shown: %j", async (token) => {
    vi.stubEnv("HF_TOKEN", token);
    for (const use of [() => resolveModelFiles(ID), () => resolveModelFiles(ID, { token }), () => whoami()]) {
      const failure: unknown = await use().then(String, (thrown: unknown) => thrown);
      expect(failure).toMatchObject({ code: "BAD_INPUT", message: expect.stringContaining("oken") });
      expect(`${String(failure)}${JSON.stringify(failure)}${(failure as Error).stack}`).not.toContain(
        token.slice(0, 6),
      );
    }
    expect(at.hub.requests).toEqual([]);
  });
});

describe("local folders and mistaken ids", () => {
  it("takes a local folder as it is", async () => {
    const folder = path.join(at.home, "model");
    await mkdir(path.join(folder, "additional_chat_templates"), { recursive: true });
    await writeFile(path.join(folder, "config.json"), "{}");
    await writeFile(path.join(folder, "notes.txt"), "");
    await writeFile(path.join(folder, "additional_chat_templates", "x.jinja"), "");
    expect(await resolveModelFiles(folder)).toEqual({
      folder,
      files: ["additional_chat_templates/x.jinja", "config.json"],
    });
    expect(at.hub.requests).toEqual([]);
  });

  it.each(["./nowhere", "/no/such/folder", "../no-such-folder-anywhere", "models/", "a/b/c", "~/model"])(
    "reports %s as a path",
    async (id) => {
      await expect(resolveModelFiles(id)).rejects.toMatchObject({
        code: "FILE_NOT_FOUND",
        message: expect.stringContaining(id),
      });
      expect(at.hub.requests).toEqual([]);
    },
  );

  it.each(["", "org/na me", "org/a--b", "org/.x", "org/x.git", "x".repeat(200)])("refuses %j as an id", async (id) => {
    await expect(resolveModelFiles(id)).rejects.toMatchObject({ code: "BAD_INPUT" });
    expect(at.hub.requests).toEqual([]);
  });

  it("refuses a file where a folder belongs", async () => {
    const file = path.join(at.home, "model.safetensors");
    await writeFile(file, "");
    await expect(resolveModelFiles(file)).rejects.toThrow("is a file");
  });

  it("never writes outside the cache, whatever a repository calls its files", async () => {
    at.hub.add("org/evil", { files: { "../../../../evil.json": "{}", "config.json": "{}" } });
    const { files } = await resolveModelFiles("org/evil", { patterns: ["**"] });
    expect(files).toEqual(["config.json"]);
  });

  it.each([
    "../../..",
    "../../../../elsewhere",
    "/",
    "main",
    "",
    "0123456789abcdef0123456789abcdef01234567/../..",
    "0123456789ABCDEF0123456789ABCDEF01234567",
    null,
    ["0123456789abcdef0123456789abcdef01234567"],
  ])("takes no commit id like %j, and writes nothing", async (sha) => {
    const entries = async () => (await readdir(at.home, { recursive: true })).sort();
    const before = await entries();
    at.hub.lie = (stated) => (Array.isArray(stated) ? stated : { ...(stated as object), sha });
    await expect(resolveModelFiles(ID)).rejects.toMatchObject({ code: "HUB_ERROR" });
    await expect(resolveModelFiles(ID)).rejects.toThrow("expected 40 hex digits");
    expect(await entries()).toEqual(before);
  });

  it.each([
    ["digest", { oid: "../../../x" }],
    ["digest", { oid: "a".repeat(64) }],
    ["digest", { oid: ["0123456789abcdef0123456789abcdef01234567"] }],
    ["digest", { lfs: { oid: "../x", size: 2, pointerSize: 1 } }],
    ["size", { size: -1 }],
    ["size", { size: "2" }],
  ])("takes no listed %s like %j", async (what, wrong) => {
    at.hub.lie = (stated) => (Array.isArray(stated) ? stated.map((entry: object) => ({ ...entry, ...wrong })) : stated);
    await expect(resolveModelFiles(ID)).rejects.toThrow(`the Hub's list gives no ${what} for`);
    expect(await readdir(path.join(at.home, "hub", "models--org--tiny"))).toEqual(["refs"]);
  });

  it.each([
    "../up.json",
    "a/../../up.json",
    "/up.json",
    "a\\..\\up.json",
    "C:up.json",
    "./up.json",
    "a//up.json",
    "a/",
    "",
    7,
  ])("leaves out a file that is called %j", async (name) => {
    at.hub.lie = (stated) =>
      Array.isArray(stated) && stated.length > 0 ? [{ ...(stated[0] as object), type: "file", path: name }] : stated;
    const snapshot = await openSnapshot("model", ID);
    expect(snapshot.files).toEqual([]);
  });

  it.each(["../../escape", "/escape", "refs/../../escape", ""])("takes no revision like %j", async (revision) => {
    await expect(resolveModelFiles(ID, { revision })).rejects.toThrow("must be a branch, tag or commit");
  });

  it("follows no ref of the cache that is no commit", async () => {
    const root = path.join(at.home, "hub", "models--org--tiny");
    await mkdir(path.join(root, "refs"), { recursive: true });
    await writeFile(path.join(root, "refs", "main"), "../../..");
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    await expect(resolveModelFiles(ID)).rejects.toThrow("is not in the cache");
  });
});

describe("patterns", () => {
  it("keeps * within a folder and lets ** cross folders", () => {
    const files = ["a.json", "x/a.json", "x/y/a.json", "a.jsonl"];
    expect(matching(files, ["*.json"])).toEqual(["a.json"]);
    expect(matching(files, ["**/*.json"])).toEqual(["a.json", "x/a.json", "x/y/a.json"]);
    expect(matching(files, ["x/**"])).toEqual(["x/a.json", "x/y/a.json"]);
    expect(matching(files, ["?.json"])).toEqual(["a.json"]);
    expect(matching(files, ["**/x/**/*.json", "x/**.jsonl"])).toEqual(["x/a.json", "x/y/a.json"]);
    expect(matching(["a1", "b1", "]", "a/", "[", "a-"], ["[a-b][0-9]", "[]]", "a[!b]", "["])).toEqual([
      "a1",
      "b1",
      "]",
      "[",
      "a-",
    ]);
    expect(matching(["xa.json", "x/a.json", "a.json"], ["**/a.json"])).toEqual(["x/a.json", "a.json"]);
    expect(() => matching(["a"], ["[z-a]"])).toThrow('"[z-a]" is not a pattern of file names');
  });
});

function contentOf(name: string): string {
  return String(FILES[name as keyof typeof FILES]);
}
