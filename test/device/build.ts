// Builds the library of the make-believe accelerator for the libtorch that the engine runs on, as far as its sources are newer. By the compiler itself: it is a handful of files, and CMake would configure for longer than they compile.

import { execFile, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, renameSync, statSync } from "node:fs";
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
  const folder = path.join(root, "build", "device", `torch${version}`);
  const library = path.join(folder, "fake-device.node");
  const files = readdirSync(sources).map((name) => path.join(sources, name));
  const headers = files.filter((file) => file.endsWith(".h"));
  const units = files.filter((file) => file.endsWith(".cc"));
  if (isNewer(library, files)) return library;
  mkdirSync(folder, { recursive: true });
  const compiler = findCompiler();
  const object = (file: string) => path.join(folder, `${path.basename(file)}.o`);
  const waiting = units.filter((file) => !isNewer(object(file), [file, ...headers]));
  const work = async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift())
      await make(compiler, [...compilerFlags(libtorch), "-c", file], object(file));
  };
  await Promise.all(Array.from({ length: availableParallelism() }, work));
  await make(compiler, [...units.map(object), ...linkerFlags(libtorch)], library);
  return library;
}

function isNewer(made: string, sources: readonly string[]): boolean {
  return existsSync(made) && sources.every((file) => statSync(file).mtimeMs < statSync(made).mtimeMs);
}

/** Runs the compiler. Another process may be building too: the last one wins, and none sees half a file. */
async function make(compiler: string, flags: readonly string[], output: string): Promise<void> {
  const unfinished = `${output}.${process.pid}`;
  await run(compiler, [...flags, "-o", unfinished]);
  renameSync(unfinished, output);
}

function compilerFlags(libtorch: string): string[] {
  const includes = [
    path.join(libtorch, "include"),
    path.join(libtorch, "include", "torch", "csrc", "api", "include"),
    path.join(root, "node_modules", "node-api-headers", "include"),
    path.join(root, "node_modules", "node-addon-api"),
  ];
  const flags = ["-std=c++20", "-O1", "-fPIC", "-fvisibility=hidden", "-DNAPI_VERSION=8", "-DNAPI_CPP_EXCEPTIONS"];
  return [...flags, ...includes.flatMap((folder) => ["-isystem", folder])];
}

function linkerFlags(libtorch: string): string[] {
  const flags = ["-shared", `-L${path.join(libtorch, "lib")}`, "-ltorch", "-ltorch_cpu", "-lc10"];
  // Node's own symbols are found when it opens the library, which only Apple's linker must be told.
  return process.platform === "darwin" ? [...flags, "-undefined", "dynamic_lookup"] : flags;
}

function findCompiler(): string {
  const names = process.env.CXX ? [process.env.CXX] : ["g++", "clang++", "c++"];
  const found = names.find((name) => spawnSync(name, ["--version"], { stdio: "ignore" }).status === 0);
  if (found !== undefined) return found;
  throw new Error(
    `the device of the tests is built by a C++ compiler, as the engine is; found none of ${names.join(", ")}`,
  );
}
