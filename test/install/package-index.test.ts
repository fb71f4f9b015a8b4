// Wheels without pip, from an index on this machine: which wheel is taken, and what happens to transfers that break.
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { sharedLibraryName } from "../../lib/native/libtorch.js";
import { packageIndex } from "../../lib/setup/package-index.js";
import { setupLibtorch } from "../../lib/setup/setup.js";
import { temporaryFolder, versionPy, zipOf } from "./fake-libtorch.js";

const wheelName = "torch-2.13.0+cpu-cp312-cp312-manylinux_2_28_x86_64.whl";
const wheel = zipOf({
  [`torch/lib/${sharedLibraryName("torch")}`]: "the library ".repeat(10_000),
  "torch/version.py": versionPy("2.13.0+cpu"),
  "torch-2.13.0.dist-info/METADATA": "Name: torch\nRequires-Dist: filelock\n",
});
const sha256 = createHash("sha256").update(wheel).digest("hex");
const host = { platform: "linux", arch: "x64", glibc: "2.36" };

async function serve(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  const server = createServer(answer);
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  onTestFinished(() => void server.close());
  const address = server.address();
  return `http://127.0.0.1:${typeof address === "object" ? address?.port : ""}`;
}

/** The page of torch with these files, all of which have the digest of the wheel above. */
function page(names: readonly string[], digest = sha256): string {
  const links = names.map(
    (name) => `<a href="../../files/${encodeURIComponent(name)}#sha256=${digest}">${name}</a><br>`,
  );
  return `<!DOCTYPE html><html><body>${links.join("\n")}</body></html>`;
}

/** Sends the wheel; the first `cuts` answers break off in the middle. Honours ranges. */
function sender(cuts: number) {
  const ranges: (string | undefined)[] = [];
  const send = (request: IncomingMessage, response: ServerResponse) => {
    const { range } = request.headers;
    const from = Number(/bytes=(\d+)-/.exec(range ?? "")?.[1] ?? 0);
    ranges.push(range);
    const rest = wheel.subarray(from);
    response.writeHead(range ? 206 : 200, { "content-length": rest.length });
    if (ranges.length > cuts) response.end(rest);
    else response.write(rest.subarray(0, rest.length / 2), () => setTimeout(() => response.destroy(), 50));
  };
  return { send, ranges };
}

async function indexWith(cuts: number, digest = sha256) {
  const { send, ranges } = sender(cuts);
  const url = await serve((request, response) =>
    request.url === "/simple/torch/" ? response.end(page([wheelName], digest)) : send(request, response),
  );
  return { index: `${url}/simple`, ranges };
}

const nowhere = { bytes: () => {} };

test("without Python, setup takes the wheel from the index and checks its digest", async () => {
  const { index } = await indexWith(0);
  const cache = temporaryFolder();
  const lines: string[] = [];
  const libtorch = await setupLibtorch({
    indexUrl: index,
    env: { GRPO_CACHE: cache, PATH: "" },
    onProgress: (line) => lines.push(line),
  });
  expect(libtorch).toMatchObject({ version: "2.13.0", flavour: "cpu", dir: join(cache, "libtorch/2.13.0+cpu") });
  expect(lines[0]).toContain("through the package index");
  expect(readdirSync(join(cache, "downloads"))).toEqual([]);
});

test("PIP_INDEX_URL is the index where none is named", async () => {
  const { index } = await indexWith(0);
  const source = packageIndex({ PIP_INDEX_URL: index }, nowhere, host);
  const file = await source.fetch({ requirement: "torch==2.13.0+cpu" }, temporaryFolder());
  expect(readFileSync(file).equals(wheel)).toBe(true);
});

test("a transfer that breaks goes on where it stopped", async () => {
  const { index, ranges } = await indexWith(2);
  const seen: number[] = [];
  const source = packageIndex({}, { bytes: (_name, done, total) => seen.push(done / (total ?? 0)) }, host);
  const file = await source.fetch({ requirement: "torch==2.13.0", index }, temporaryFolder());
  expect(readFileSync(file).equals(wheel)).toBe(true);
  expect(ranges[0]).toBeUndefined();
  expect(ranges[1]).toMatch(/^bytes=\d+-$/);
  expect(seen.at(-1)).toBe(1);
  expect([...seen].sort((a, b) => a - b)).toEqual(seen);
});

test("a transfer that keeps breaking is an error that says it can go on, and it does in a later process", async () => {
  let refuse = false;
  const { send, ranges } = sender(1);
  const url = await serve((request, response) => {
    if (request.url === "/simple/torch/") response.end(page([wheelName]));
    else if (refuse) response.writeHead(403).end();
    else send(request, response);
    refuse = request.url !== "/simple/torch/" && ranges.length === 1;
  });
  const folder = temporaryFolder();
  const request = { requirement: "torch==2.13.0", index: `${url}/simple` };
  await expect(packageIndex({}, nowhere, host).fetch(request, folder)).rejects.toMatchObject({
    code: "DOWNLOAD_FAILED",
    hint: expect.stringContaining("continues where it stopped"),
  });
  expect(readdirSync(folder)).toEqual([`${wheelName}.part`]);
  refuse = false;
  await packageIndex({}, nowhere, host).fetch(request, folder);
  expect(readdirSync(folder)).toEqual([wheelName]);
  expect(ranges.at(-1)).toMatch(/^bytes=[1-9]\d*-$/);
});

test("a file with another digest is refused and not kept", async () => {
  const { index } = await indexWith(0, "0".repeat(64));
  const folder = temporaryFolder();
  const attempt = packageIndex({}, nowhere, host).fetch({ requirement: "torch==2.13.0", index }, folder);
  await expect(attempt).rejects.toMatchObject({ code: "DOWNLOAD_FAILED", message: expect.stringContaining("SHA-256") });
  expect(readdirSync(folder)).toEqual([]);
});

test("the JSON form of an index is read too, and the newest wheel that fits this machine is taken", async () => {
  const names = [
    "torch-2.13.0-cp312-cp312-manylinux_2_28_aarch64.whl",
    "torch-2.13.0-cp312-none-macosx_11_0_arm64.whl",
    "torch-2.13.0-cp312-cp312-win_amd64.whl",
    "torch-2.13.9-cp312-cp312-manylinux_2_99_x86_64.whl",
    "torch-2.13.1rc1-cp312-cp312-manylinux_2_28_x86_64.whl",
    "torch-2.13.0-cp312-cp312-manylinux_2_28_x86_64.whl",
    "torch-2.13.2-cp313-cp313t-manylinux_2_28_x86_64.whl",
    "torch-2.13.10-cp39-cp39-manylinux_2_28_x86_64.whl",
    "torch-2.13.0.tar.gz",
    "torchvision-2.13.99-cp312-cp312-manylinux_2_28_x86_64.whl",
  ];
  const files = names.map((filename) => ({ filename, url: `../../files/${filename}`, hashes: { sha256 } }));
  const url = await serve((request, response) => {
    if (request.url?.startsWith("/files/")) return void response.end(wheel);
    response.setHeader("content-type", "application/vnd.pypi.simple.v1+json").end(JSON.stringify({ files }));
  });
  const fetched = async (requirement: string) => {
    const file = await packageIndex({}, nowhere, host).fetch(
      { requirement, index: `${url}/simple/` },
      temporaryFolder(),
    );
    return file.split("/").at(-1);
  };
  expect(await fetched("torch==2.13.*")).toBe("torch-2.13.10-cp39-cp39-manylinux_2_28_x86_64.whl");
  expect(await fetched("torch<2.13.5")).toBe("torch-2.13.0-cp312-cp312-manylinux_2_28_x86_64.whl");
  await expect(fetched("torch==2.99.0")).rejects.toMatchObject({
    code: "DOWNLOAD_FAILED",
    message: expect.stringContaining("no wheel of torch==2.99.0 for Linux x86_64, glibc 2.36"),
  });
});

test("name and password of an index are sent to it and shown to nobody", async () => {
  let authorization: string | undefined;
  const url = await serve((request, response) => {
    authorization = request.headers.authorization;
    response.writeHead(404).end();
  });
  const index = `${url.replace("http://", "http://me:secret@")}/simple`;
  const attempt = packageIndex({}, nowhere, host).fetch({ requirement: "torch==2.13.0", index }, temporaryFolder());
  await expect(attempt).rejects.toThrow(/^(?!.*secret)/s);
  expect(authorization).toBe(`Basic ${Buffer.from("me:secret").toString("base64")}`);
});

test("an index that cannot be reached is an error with the settings to look at", async () => {
  const folder = temporaryFolder();
  const request = { requirement: "torch==2.13.0", index: "http://127.0.0.1:9/simple" };
  await expect(packageIndex({}, nowhere, host).fetch(request, folder)).rejects.toMatchObject({
    code: "DOWNLOAD_FAILED",
    hint: expect.stringMatching(/HTTPS_PROXY.*--from/s),
  });
  expect(existsSync(join(folder, wheelName))).toBe(false);
});

test("a wheel's name leads nowhere else, and a page of broken links costs no time", async () => {
  const away = `torch-2.13.0+cpu-cp312-cp312-any./../../../${wheelName}`;
  const { send } = sender(0);
  const url = await serve((request, response) =>
    request.url === "/simple/torch/" ? response.end(page([away]) + "<a\t".repeat(200_000)) : send(request, response),
  );
  const cache = temporaryFolder();
  await setupLibtorch({ indexUrl: `${url}/simple`, env: { GRPO_CACHE: cache, PATH: "" }, onProgress: () => {} });
  expect(existsSync(join(cache, "..", wheelName))).toBe(false);
  expect(readdirSync(join(cache, "..")).filter((name) => name.endsWith(".whl"))).toEqual([]);
});
