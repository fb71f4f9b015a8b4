// `grpo setup --from`: good files are installed whole, bad ones leave nothing behind. The wheels are small made-up ones.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { findLibtorch, sharedLibraryName } from "../../lib/native/libtorch.js";
import { pipRequests, setupLibtorch } from "../../lib/native/libtorch-setup.js";
import { temporaryFolder, versionPy, zipOf } from "./fake-libtorch.js";

const library = `lib/${sharedLibraryName("torch")}`;

function wheelFiles(version: string): Record<string, string> {
  return {
    [`torch/${library}`]: "the library ".repeat(1000),
    "torch/include/ATen/ATen.h": "// header",
    "torch/version.py": versionPy(version),
    "torch/nn/functional.py": "not needed",
    "torch-2.13.0.dist-info/METADATA": "not needed",
  };
}

/** A cache folder with its environment, and a file in another folder with the given bytes. */
function place(bytes: Buffer): { cache: string; env: Record<string, string>; from: string } {
  const root = temporaryFolder();
  const from = join(root, "torch.whl");
  writeFileSync(from, bytes);
  return { cache: join(root, "cache/libtorch"), env: { GRPO_CACHE: join(root, "cache") }, from };
}

test("a wheel is unpacked into <version>+<flavour>, only what is needed, and is then found", async () => {
  const { cache, env, from } = place(zipOf(wheelFiles("2.13.0+cpu")));
  const lines: string[] = [];
  const libtorch = await setupLibtorch({ from, env, onProgress: (line) => lines.push(line) });
  expect(libtorch).toMatchObject({ dir: join(cache, "2.13.0+cpu"), version: "2.13.0", flavour: "cpu" });
  expect(readdirSync(cache)).toEqual(["2.13.0+cpu"]);
  expect(readdirSync(libtorch.dir).sort()).toEqual(["include", "lib", "version.py"]);
  expect(readFileSync(join(libtorch.dir, library), "utf8")).toBe("the library ".repeat(1000));
  expect(findLibtorch(env)).toEqual(libtorch);
  expect(lines.join()).toContain("unpacking");
});

test("a libtorch archive is accepted too", async () => {
  const files = { [`libtorch/${library}`]: "x", "libtorch/build-version": "2.14.0+cpu\n", "libtorch/bin/tool": "x" };
  const { cache, env, from } = place(zipOf(files));
  expect((await setupLibtorch({ from, env })).dir).toBe(join(cache, "2.14.0+cpu"));
  expect(existsSync(join(cache, "2.14.0+cpu/bin"))).toBe(false);
});

test("a second setup of the same version replaces the first one", async () => {
  const { cache, env, from } = place(zipOf(wheelFiles("2.13.0+cpu")));
  await setupLibtorch({ from, env });
  writeFileSync(join(cache, "2.13.0+cpu/lib/stale"), "x");
  await setupLibtorch({ from, env });
  expect(readdirSync(join(cache, "2.13.0+cpu/lib"))).toEqual([sharedLibraryName("torch")]);
  expect(readdirSync(cache)).toEqual(["2.13.0+cpu"]);
});

test("a version that is installed is not fetched again", async () => {
  const { env, from } = place(zipOf(wheelFiles("2.13.0+cpu")));
  const first = await setupLibtorch({ from, env });
  // No PATH: were pip to be called, it could not be.
  expect(await setupLibtorch({ env: { ...env, PATH: "" } })).toEqual(first);
});

const flipped = zipOf(wheelFiles("2.13.0+cpu"));
flipped[200] = (flipped[200] ?? 0) ^ 0xff;
const good = zipOf(wheelFiles("2.13.0+cpu"));

test.each([
  ["a changed byte", flipped, "SETUP_FAILED", "checksum"],
  ["a truncated file", good.subarray(0, good.length / 2), "SETUP_FAILED", "not a usable torch wheel"],
  ["something else", Buffer.from("<html>404</html>"), "SETUP_FAILED", "not a usable torch wheel"],
  ["an empty file", Buffer.alloc(0), "SETUP_FAILED", "not a usable torch wheel"],
  ["the wheel of another package", zipOf({ "numpy/version.py": "x" }), "SETUP_FAILED", "holds no torch/lib"],
  ["a path that climbs out", zipOf({ "torch/lib/../../../evil": "x" }), "SETUP_FAILED", "not a usable torch wheel"],
  ["a wheel without the library", zipOf({ "torch/version.py": versionPy("2.13.0") }), "SETUP_FAILED", "is missing"],
  ["an old torch", zipOf(wheelFiles("2.5.1+cpu")), "LIBTORCH_UNSUPPORTED", "2.5.1 is not supported"],
])("%s is refused by name and leaves nothing in the cache", async (_what, bytes, code, reason) => {
  const { cache, env, from } = place(bytes);
  const attempt = setupLibtorch({ from, env });
  await expect(attempt).rejects.toMatchObject({ code, message: expect.stringContaining(reason) });
  await expect(attempt).rejects.toThrow(from);
  expect(readdirSync(cache)).toEqual([]);
});

test("a file that is not there is named", async () => {
  const { env } = place(Buffer.alloc(0));
  await expect(setupLibtorch({ from: "/no/torch.whl", env })).rejects.toThrow("/no/torch.whl: no such file");
});

test("a cache that cannot be written is named, with the variable that moves it", async () => {
  const { env, from } = place(good);
  writeFileSync(String(env.GRPO_CACHE), "a file where the folder should be");
  await expect(setupLibtorch({ from, env })).rejects.toMatchObject({
    code: "SETUP_FAILED",
    hint: expect.stringContaining("GRPO_CACHE"),
  });
});

test.each(["2.13", "1.0.0", "latest"])("--torch %s is refused before anything is fetched", async (torch) => {
  const { env } = place(good);
  await expect(setupLibtorch({ torch, env })).rejects.toMatchObject({ code: "LIBTORCH_UNSUPPORTED" });
});

test("without Python the error says how to go on", async () => {
  const { cache, env } = place(good);
  await expect(setupLibtorch({ env: { ...env, PATH: "" } })).rejects.toMatchObject({
    code: "SETUP_FAILED",
    hint: expect.stringContaining("grpo setup --from"),
  });
  expect(readdirSync(cache)).toEqual([]);
});

test("what a killed setup left behind is removed by the next one, what a running one works on is not", async () => {
  const { cache, env, from } = place(good);
  // The largest process id that Linux allows is 2^22.
  const [dead, alive] = [join(cache, ".partial-99999999-a"), join(cache, `.partial-${process.ppid}-a`)];
  for (const dir of [dead, alive]) mkdirSync(dir, { recursive: true });
  await setupLibtorch({ from, env });
  expect([existsSync(dead), existsSync(alive)]).toEqual([false, true]);
});

test("pip is asked for the CPU build on Linux, first in the user's own index, and for the plain one on macOS", () => {
  const [own, official] = pipRequests("2.13.0", "linux");
  expect(own).toEqual(["torch==2.13.0+cpu"]);
  expect(official).toContain("--index-url");
  expect(pipRequests("2.13.0", "darwin")).toEqual([["torch==2.13.0"]]);
});
