// Builds the stub and the core for one libtorch: node scripts/build.mjs [--libtorch DIR] [--jobs N] [--config Debug] [--stub]
// Plain JavaScript, because it runs before the TypeScript of this package is compiled when a user builds from source.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const require = createRequire(import.meta.url);

/** Configures and builds; throws with the tool's output already printed. `libtorch` undefined: the stub only. */
export function buildNative({ libtorch, jobs = availableParallelism(), config = "Release", verbose = true }) {
  const started = Date.now();
  requireTool("cmake", "apt-get install cmake, brew install cmake, or pip install cmake");
  const cmakeJs = join(dirname(require.resolve("cmake-js/package.json")), "bin", "cmake-js");
  const common = [
    "--directory",
    root,
    "--out",
    join(root, "build", "cmake"),
    "--config",
    config,
    "--log-level",
    verbose ? "info" : "warn",
  ];
  const definitions = [`--CDLIBTORCH=${libtorch ?? ""}`];
  // Not cmake-js's `compile`, which answers a compile error with a second build from zero; and `configure` each time,
  // because `build` alone would not notice another libtorch.
  run([cmakeJs, "configure", ...common, ...definitions], verbose);
  run([cmakeJs, "build", ...common, "--parallel", String(jobs)], verbose);
  return (Date.now() - started) / 1000;
}

function run(args, verbose) {
  const result = spawnSync(process.execPath, args, {
    cwd: root,
    stdio: verbose ? "inherit" : "pipe",
    encoding: "utf8",
  });
  if (result.error) throw result.error;
  if (result.status !== 0) {
    if (!verbose) process.stderr.write(`${result.stdout}${result.stderr}`);
    throw new Error(`the native build failed (${args[1]}, exit status ${result.status ?? result.signal})`);
  }
}

function requireTool(name, how) {
  if (spawnSync(name, ["--version"], { stdio: "ignore" }).error) {
    throw new Error(`${name} is needed to build the native engine and was not found\n  → ${how}`);
  }
}

async function main() {
  const { values } = parseArgs({
    options: {
      libtorch: { type: "string" },
      jobs: { type: "string" },
      config: { type: "string" },
      stub: { type: "boolean", default: false },
    },
  });
  const found = values.stub ? undefined : await chooseLibtorch(values.libtorch);
  if (found) console.log(`building for torch ${found.version}+${found.flavour} in ${found.dir}`);
  const jobs = values.jobs ? Number(values.jobs) : undefined;
  const seconds = buildNative({ libtorch: found?.dir, jobs, config: values.config });
  console.log(`built in ${seconds.toFixed(1)} s`);
}

async function chooseLibtorch(dir) {
  // The package has dist/; a checkout may not have it yet, and has the script that makes it.
  const prepare = new URL("prepare.mjs", import.meta.url);
  if (existsSync(prepare)) await (await import(prepare.href)).haveTypeScript();
  const { findLibtorch } = await import("../dist/native/libtorch.js");
  return findLibtorch(dir ? { ...process.env, LIBTORCH: dir } : process.env);
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  main().catch((error) => {
    console.error(error.message);
    process.exitCode = 1;
  });
}
