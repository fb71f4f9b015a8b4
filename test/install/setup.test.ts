// `grpo setup`: good files are installed whole, bad ones leave nothing behind; CUDA builds with what their METADATA names.
// The wheels are small made-up ones; pip is a script that copies them, or fails as pip does.
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { librariesToOpen } from "../../lib/native/libraries.js";
import { findLibtorch, sharedLibraryName } from "../../lib/native/libtorch.js";
import { setupLibtorch } from "../../lib/setup/setup.js";
import { torchRequests } from "../../lib/setup/torch-wheels.js";
import { temporaryFolder, versionPy, writeFiles, zipOf } from "./fake-libtorch.js";

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
function place(bytes: Buffer): { cache: string; env: Record<string, string>; from: string[] } {
  const root = temporaryFolder();
  const from = join(root, "torch.whl");
  writeFileSync(from, bytes);
  return { cache: join(root, "cache/libtorch"), env: { GRPO_CACHE: join(root, "cache") }, from: [from] };
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
  await expect(attempt).rejects.toThrow(from[0]);
  expect(readdirSync(cache)).toEqual([]);
});

test("a file that is not there is named", async () => {
  const { env } = place(Buffer.alloc(0));
  await expect(setupLibtorch({ from: ["/no/torch.whl"], env })).rejects.toThrow("/no/torch.whl: no such file");
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

test("what a killed setup left behind is removed by the next one", async () => {
  const { cache, env, from } = place(good);
  const dead = join(cache, ".partial-99999999-a");
  mkdirSync(dead, { recursive: true });
  await setupLibtorch({ from, env });
  expect(readdirSync(cache)).toEqual(["2.13.0+cpu"]);
});

// --- through pip --------------------------------------------------------------------------------------------------------

const cudaWheels: Readonly<Record<string, Record<string, string>>> = {
  "torch-2.14.1-cp311-cp311-manylinux_2_28_x86_64.whl": {
    [`torch/${library}`]: "torch",
    "torch/lib/libtorch_python.so": "only Python needs it",
    "torch/version.py": versionPy("2.14.1+cu130", "13.0"),
    "torch-2.14.1.dist-info/METADATA": `Name: torch
Requires-Dist: sympy>=1.13.3
Requires-Dist: cuda-toolkit[cublas,cudart]==13.0.3; platform_system == "Linux"
Requires-Dist: nvidia-nothing==1; platform_system == "Darwin"
Requires-Dist: triton~=3.8.0; platform_system == "Linux" and python_version < "3.15"
`,
  },
  "cuda_toolkit-13.0.3-py3-none-any.whl": {
    "cuda_toolkit-13.0.3.dist-info/METADATA": `Name: cuda-toolkit
Requires-Dist: nvidia-cublas==13.1.1.3.*; (sys_platform == 'linux') and extra == 'cublas'
Requires-Dist: nvidia-cuda-runtime==13.0.96.*; (sys_platform == 'linux') and extra == 'cudart'
Requires-Dist: nvidia-npp==13.0.1.2.*; (sys_platform == 'linux') and extra == 'npp'
`,
  },
  "nvidia_cublas-13.1.1.3-py3-none-manylinux_2_27_x86_64.whl": {
    "nvidia/cu13/lib/libcublasLt.so.13": "lt",
    "nvidia/cu13/lib/libcublas.so.13": "cublas",
    "nvidia/cu13/include/cublas.h": "not needed",
    "nvidia_cublas-13.1.1.3.dist-info/METADATA": "Name: nvidia-cublas\nRequires-Dist: nvidia-cuda-runtime\n",
  },
  "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.whl": {
    "nvidia/cu13/lib/libcudart.so.13": "cudart",
    "nvidia/cu13/lib/libcudart_static.a": "not needed",
    "nvidia_cuda_runtime-13.0.96.dist-info/METADATA": "Name: nvidia-cuda-runtime\n",
  },
};

/** A folder with wheels, and one to put on PATH with a python3 whose pip takes wheels from there and writes down its calls. */
function fakePip(wheels = cudaWheels): {
  env: Record<string, string>;
  cache: string;
  wheels: string;
  calls(): string[];
} {
  const root = temporaryFolder();
  const folder = join(root, "wheels");
  mkdirSync(folder);
  for (const [name, files] of Object.entries(wheels)) writeFileSync(join(folder, name), zipOf(files));
  writeFiles(root, {
    "bin/python3": `#!/bin/sh
if [ "$3" = --version ]; then echo "pip 25.2 from somewhere"; exit 0; fi
echo "$@" >> ${root}/calls
while [ $# -gt 1 ]; do if [ "$1" = --dest ]; then dest=$2; fi; shift; done
name=$(echo "$1" | sed 's/[<>=!~].*//; s/-/_/g')
if [ -e ${root}/fail-$name ]; then cat ${root}/fail-$name; exit 1; fi
file=$(ls ${folder} | grep "^$name-") || { echo "ERROR: No matching distribution found for $1"; exit 1; }
cp "${folder}/$file" "$dest" && echo "Saved ./somewhere/$file"
`,
  });
  chmodSync(join(root, "bin/python3"), 0o755);
  const env = { GRPO_CACHE: join(root, "cache"), PATH: `${join(root, "bin")}:${process.env.PATH}` };
  const calls = () => readFileSync(join(root, "calls"), "utf8").trim().split("\n");
  return { env, cache: join(root, "cache"), wheels: folder, calls };
}

const linux = test.runIf(process.platform === "linux");

linux(
  "a CUDA build comes with the wheels that its METADATA names, and theirs, and lies as in site-packages",
  async () => {
    const { env, cache, calls } = fakePip();
    const libtorch = await setupLibtorch({ torch: "2.14.1", flavour: "cuda", env });
    const dir = join(cache, "libtorch/2.14.1+cu130");
    expect(libtorch).toMatchObject({ dir: join(dir, "torch"), version: "2.14.1", flavour: "cu130" });
    expect(readdirSync(join(dir, "nvidia/cu13/lib")).sort()).toEqual([
      "libcublas.so.13",
      "libcublasLt.so.13",
      "libcudart.so.13",
    ]);
    expect(existsSync(join(dir, "nvidia/cu13/include"))).toBe(false);
    expect(existsSync(join(dir, "torch/lib/libtorch_python.so"))).toBe(false);
    expect(calls().map((call) => call.split(" ").at(-1))).toEqual([
      "torch==2.14.1",
      "cuda-toolkit==13.0.3",
      "nvidia-cublas==13.1.1.3.*",
      "nvidia-cuda-runtime==13.0.96.*",
    ]);
    for (const call of calls()) expect(call).toMatch(/--no-deps --retries 0 --resume-retries 5/);
    // What was downloaded is gone, what was installed is found and not fetched again.
    expect(readdirSync(join(cache, "downloads"))).toEqual([]);
    expect(findLibtorch({ GRPO_CACHE: cache })).toEqual(libtorch);
    expect(await setupLibtorch({ torch: "2.14.1", flavour: "cuda", env })).toEqual(libtorch);
    expect(calls()).toHaveLength(4);
  },
);

linux("NVIDIA's libraries are opened before libtorch, libcublasLt before libcublas, by absolute path", async () => {
  const { env, cache } = fakePip();
  const libtorch = await setupLibtorch({ torch: "2.14.1", flavour: "cuda", env });
  const opened = librariesToOpen(libtorch, "/no/core.so");
  const lib = join(cache, "libtorch/2.14.1+cu130/nvidia/cu13/lib");
  expect(opened.map(({ path }) => path)).toEqual([
    join(lib, "libcublasLt.so.13"),
    join(lib, "libcublas.so.13"),
    join(lib, "libcudart.so.13"),
    join(libtorch.dir, library),
  ]);
  expect(opened.map(({ optional = false }) => optional)).toEqual([true, true, true, false]);
});

linux("a broken download says so, keeps what is complete, and the next setup goes on", async () => {
  const { env, cache, wheels, calls } = fakePip();
  const failure = join(wheels, "../fail-nvidia_cublas");
  writeFileSync(failure, "ERROR: IncompleteRead(1000 bytes read, 999 more expected)\n");
  const attempt = setupLibtorch({ torch: "2.14.1", flavour: "cuda", env });
  await expect(attempt).rejects.toMatchObject({
    code: "DOWNLOAD_FAILED",
    message: expect.stringContaining("IncompleteRead"),
    hint: expect.stringContaining("run it again"),
  });
  expect(readdirSync(join(cache, "libtorch"))).toEqual([]);
  expect(readdirSync(join(cache, "downloads/torch-2.14.1-cuda"))).toHaveLength(2);
  rmSync(failure);
  await setupLibtorch({ torch: "2.14.1", flavour: "cuda", env });
  expect(calls()).toHaveLength(3 + 4);
});

linux("a disk without room is named before anything is fetched, or when pip meets it", async () => {
  const { env, wheels } = fakePip();
  const options = { torch: "2.14.1", flavour: "cuda", env } as const;
  await expect(setupLibtorch({ ...options, freeBytes: () => 3e9 })).rejects.toMatchObject({
    code: "DISK_FULL",
    message: expect.stringContaining("8.0 GB are needed, 3.0 GB are free"),
    hint: expect.stringContaining("GRPO_CACHE"),
  });
  expect(existsSync(join(wheels, "../calls"))).toBe(false);
  writeFileSync(join(wheels, "../fail-torch"), "ERROR: Could not install: [Errno 28] No space left on device\n");
  await expect(setupLibtorch(options)).rejects.toMatchObject({ code: "DISK_FULL" });
});

linux("a CPU wheel from an index of one's own is not taken for the CUDA build that was asked for", async () => {
  const files = { [`torch/${library}`]: "x", "torch/version.py": versionPy("2.14.1+cpu") };
  const { env } = fakePip({ "torch-2.14.1+cpu-cp311-cp311-linux_x86_64.whl": files });
  await expect(setupLibtorch({ torch: "2.14.1", flavour: "cuda", env })).rejects.toMatchObject({
    code: "DOWNLOAD_FAILED",
    message: expect.stringContaining("gave a CPU build"),
    hint: expect.stringContaining("--flavour cu130"),
  });
});

linux("a folder of wheels is installed without pip, and names a wheel that it lacks", async () => {
  const { wheels, env } = fakePip();
  writeFileSync(join(wheels, "sympy-1.14-py3-none-any.whl"), "not looked at");
  const offline = { GRPO_CACHE: env.GRPO_CACHE ?? "", PATH: "" };
  expect((await setupLibtorch({ from: [wheels], env: offline })).flavour).toBe("cu130");
  rmSync(join(wheels, "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.whl"));
  await expect(setupLibtorch({ from: [wheels], env: offline })).rejects.toMatchObject({
    code: "SETUP_FAILED",
    message: expect.stringContaining("needs nvidia-cuda-runtime==13.0.96.*"),
  });
});

test("the CPU build is asked for first in the user's own index, on macOS the plain one; CUDA builds by their name", () => {
  const [own, official] = torchRequests("2.13.0", "cpu", undefined, "linux");
  expect(own).toEqual({ requirement: "torch==2.13.0+cpu" });
  expect(official).toMatchObject({ index: "https://download.pytorch.org/whl/cpu", anyPython: true });
  expect(torchRequests("2.13.0", "cpu", undefined, "darwin")[0]).toEqual({ requirement: "torch==2.13.0" });
  expect(torchRequests("2.13.0", "cuda", undefined, "linux")[0]).toEqual({ requirement: "torch==2.13.0" });
  expect(torchRequests("2.13.0", "cu126", undefined, "linux")[1]).toMatchObject({
    requirement: "torch==2.13.0+cu126",
    index: "https://download.pytorch.org/whl/cu126",
  });
  const mirror = torchRequests("2.13.0", "cpu", "https://mirror.example/simple", "linux");
  expect(mirror.every(({ index }) => index === "https://mirror.example/simple")).toBe(true);
});
