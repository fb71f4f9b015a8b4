// Builds the library of the make-believe accelerator for the libtorch that the engine runs on, unless it is newer than its
// sources. By the compiler itself: it is a handful of files, and CMake would configure for longer than they compile.

import { execFile, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { findLibtorch } from "../../lib/native/libtorch.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const sources = fileURLToPath(new URL("fake", import.meta.url));
const run = promisify(execFile);

/** The file of the library, for Node to open. Throws with the compiler's words, or where there is no compiler. */
export async function buildFakeDevice(): Promise<string> {
  const { dir: libtorch, version } = findLibtorch();
  const folder = path.join(root, "build", "device");
  const library = path.join(folder, `fake-device-torch${version}.node`);
  const files = readdirSync(sources).map((name) => path.join(sources, name));
  const changed = Math.max(...files.map((file) => statSync(file).mtimeMs));
  if (existsSync(library) && statSync(library).mtimeMs > changed) return library;
  mkdirSync(folder, { recursive: true });
  const objects = mkdtempSync(path.join(folder, "objects-"));
  try {
    await compile(
      files.filter((file) => file.endsWith(".cc")),
      libtorch,
      objects,
    );
    // Another process may be building, too: the last one wins, and none sees half a file.
    renameSync(path.join(objects, "library"), library);
  } finally {
    rmSync(objects, { recursive: true });
  }
  return library;
}

async function compile(files: readonly string[], libtorch: string, objects: string): Promise<void> {
  const compiler = findCompiler();
  const includes = ["include", "include/torch/csrc/api/include"].map((name) => path.join(libtorch, name));
  const napi = ["node-api-headers/include", "node-addon-api"].map((name) => path.join(root, "node_modules", name));
  const flags = [
    ...["-std=c++20", "-O1", "-fPIC", "-fvisibility=hidden", "-DNAPI_VERSION=8", "-DNAPI_CPP_EXCEPTIONS"],
    ...[...includes, ...napi].flatMap((folder) => ["-isystem", folder]),
  ];
  const object = (file: string) => path.join(objects, `${path.basename(file)}.o`);
  const waiting = [...files];
  const work = async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift())
      await run(compiler, [...flags, "-c", file, "-o", object(file)]);
  };
  await Promise.all(Array.from({ length: availableParallelism() }, work));
  const libraries = ["torch", "torch_cpu", "c10"].map((name) => `-l${name}`);
  const undefinedLater = process.platform === "darwin" ? ["-undefined", "dynamic_lookup"] : [];
  await run(compiler, [
    ...["-shared", ...files.map(object), "-o", path.join(objects, "library")],
    ...[`-L${path.join(libtorch, "lib")}`, ...libraries, ...undefinedLater],
  ]);
}

function findCompiler(): string {
  const names = process.env.CXX ? [process.env.CXX] : ["g++", "clang++", "c++"];
  const found = names.find((name) => spawnSync(name, ["--version"], { stdio: "ignore" }).status === 0);
  if (found !== undefined) return found;
  throw new Error(`the device of the tests is built by a C++ compiler, as the engine is; found none of ${names.join(", ")}`);
}
