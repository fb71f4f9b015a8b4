// One archive with everything that the check on a machine with a GPU needs there beside a compiler and Python's torch: a Node
// without debug symbols, the npm packages, the sources of the engine, and the check itself. For machines that have no Node and
// no network, and to which only a little can be carried. See docs/gpu.md.
//
//   npm run gpu:kit -- [--output build/gpu-kit.tar.gz] [--node PATH]
//
// Without --node it fetches Node 24 for this platform from npm, and takes the running one where that fails.

import { spawnSync } from "node:child_process";
import { chmodSync, copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, statSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const LARGEST = 60 * 2 ** 20; // bytes

/** Of the repository, at the same places. */
const FILES = [
  "package.json",
  "tsconfig.json",
  "CMakeLists.txt",
  "LICENSE",
  "native",
  "lib",
  "dist",
  "scripts/build.mjs",
  "scripts/bench.ts",
  "scripts/bench",
  "scripts/baselines/bench_trl.py",
  "scripts/gpu-check.ts",
  "scripts/gpu",
  "scripts/process-memory.ts",
  "scripts/assets/tiny-qwen2",
];

const root = fileURLToPath(new URL("..", import.meta.url));

function main(): void {
  const { values: flags } = parseArgs({
    options: { output: { type: "string", default: "build/gpu-kit.tar.gz" }, node: { type: "string" } },
  });
  const archive = path.resolve(flags.output);
  const stage = path.join(root, "build/gpu-kit");
  rmSync(stage, { recursive: true, force: true });
  for (const file of FILES) copy(file, stage);
  for (const folder of packages()) copy(folder, stage);
  copyFileSync(path.join(root, "scripts/gpu/run.sh"), path.join(stage, "run.sh"));
  const version = addNode(flags.node ?? fetchedNode() ?? process.execPath, path.join(stage, "bin/node"));
  pack(stage, archive);
  const bytes = statSync(archive).size;
  console.log(`${archive}: ${(bytes / 2 ** 20).toFixed(1)} MiB, with Node ${version}`);
  if (bytes > LARGEST) throw new Error(`the archive is larger than ${LARGEST / 2 ** 20} MiB`);
}

/** Neither declarations nor source maps, which nothing there reads. */
function copy(file: string, stage: string): void {
  const filter = (name: string) => !/\.(map|d\.[cm]?ts|md)$|\/\.stamp$/.test(name);
  cpSync(path.join(root, file), path.join(stage, file), { recursive: true, filter });
}

interface Locked {
  readonly dev?: boolean;
  readonly optional?: boolean;
  readonly dependencies?: Readonly<Record<string, string>>;
}

/** Folders of what the package itself needs, and of tsx, which runs the scripts. */
function packages(): string[] {
  const { packages: all } = JSON.parse(readFileSync(path.join(root, "package-lock.json"), "utf8")) as {
    packages: Record<string, Locked>;
  };
  const own = Object.keys(all).filter((folder) => folder !== "" && !all[folder]?.dev && !all[folder]?.optional);
  const runner = ["tsx", "esbuild", `@esbuild/${process.platform}-${process.arch}`];
  return [...own, ...runner.map((name) => `node_modules/${name}`)];
}

/** Node 24 as npm has it; undefined without a registry. */
function fetchedNode(): string | undefined {
  const folder = path.join(root, "build/gpu-kit-node");
  const file = path.join(folder, "package/bin/node");
  if (existsSync(file)) return file;
  mkdirSync(folder, { recursive: true });
  const name = `node-${process.platform}-${process.arch}@24`;
  const packed = spawnSync("npm", ["pack", name, "--silent"], { cwd: folder, encoding: "utf8" });
  const tarball = packed.stdout?.trim().split("\n").at(-1);
  if (packed.status !== 0 || !tarball) return undefined;
  run("tar", ["-xzf", tarball, "package/bin/node"], folder);
  rmSync(path.join(folder, tarball));
  return file;
}

function addNode(from: string, to: string): string {
  mkdirSync(path.dirname(to), { recursive: true });
  copyFileSync(from, to);
  chmodSync(to, 0o755);
  run("strip", [to]);
  const { status, stdout } = spawnSync(to, ["--version"], { encoding: "utf8" });
  if (status !== 0) throw new Error(`${from} does not run once it is stripped`);
  return stdout.trim();
}

function pack(stage: string, archive: string): void {
  mkdirSync(path.dirname(archive), { recursive: true });
  const order = ["--sort=name", "--owner=0", "--group=0", "--numeric-owner"];
  run("tar", ["-czf", archive, ...order, "-C", path.dirname(stage), path.basename(stage)]);
}

function run(program: string, args: readonly string[], cwd = root): void {
  const { status, error } = spawnSync(program, args, { cwd, stdio: ["ignore", "inherit", "inherit"] });
  if (error) throw error;
  if (status !== 0) throw new Error(`${program} ended with status ${status}`);
}

main();
