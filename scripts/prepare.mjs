// Does what a checkout still needs before a script or the tests can run: compile the TypeScript, get a libtorch, build the
// native engine. Says nothing when there is nothing to do. `--only ts` stops after the first step.
import { existsSync, mkdirSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { buildNative } from "./build.mjs";
import { buildTypeScript } from "./build-ts.mjs";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");

/** Modification time of the newest of these files and folders, in ms; 0 if there is none. */
function newest(...paths) {
  return Math.max(0, ...paths.filter(existsSync).map((path) => newestBelow(path, statSync(path))));
}

function newestBelow(path, stat) {
  // A folder's own time counts too: it changes when a file is removed.
  return stat.isDirectory()
    ? Math.max(stat.mtimeMs, newest(...readdirSync(path).map((name) => join(path, name))))
    : stat.mtimeMs;
}

/** Runs `step` if its stamp is older than its sources, says what and how long, and renews the stamp if it succeeds. */
async function unlessFresh(stamp, sources, what, step) {
  if (newest(stamp) > newest(...sources.map((source) => join(root, source)))) return;
  const started = Date.now();
  console.error(`grpo: ${what} …`);
  await step();
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, "");
  // The time when the work began: a source saved meanwhile makes it stale again.
  utimesSync(stamp, started / 1000, started / 1000);
  console.error(`grpo: ${what}: done in ${((Date.now() - started) / 1000).toFixed(1)} s`);
}

async function haveLibtorch() {
  const { findLibtorch } = await import("../dist/native/libtorch.js");
  try {
    return findLibtorch();
  } catch (error) {
    // An explicit setting is the user's to mend.
    if (process.env.LIBTORCH || !String(error.code).startsWith("LIBTORCH_")) throw error;
  }
  const { setupLibtorch } = await import("../dist/setup/setup.js");
  const libtorch = await setupLibtorch({ onProgress: (line) => console.error(`grpo: ${line}`) });
  console.error(`grpo: libtorch ${libtorch.version}+${libtorch.flavour} is in ${libtorch.dir}`);
  return libtorch;
}

/** Builds the core for a libtorch, and the stub, unless they are newer than their sources. */
export async function haveCore(libtorch) {
  const { coreFileName } = await import("../dist/native/libtorch.js");
  const core = join(root, "build", "Release", coreFileName(libtorch.minor));
  const stamp = `${core}.stamp`;
  if (![core, join(dirname(core), "grpo.node")].every(existsSync)) rmSync(stamp, { force: true });
  const what = `building the native engine for torch ${libtorch.minor} (a few minutes the first time)`;
  await unlessFresh(stamp, ["native", "CMakeLists.txt"], what, () =>
    buildNative({ libtorch: libtorch.dir, verbose: Boolean(process.env.VERBOSE) }),
  );
}

export function haveTypeScript() {
  const lib = ["lib", "tsconfig.json", "tsconfig.build.json", "package.json", "scripts/build-ts.mjs"];
  return unlessFresh(join(root, "dist", ".stamp"), lib, "compiling TypeScript", buildTypeScript);
}

async function main() {
  const { values } = parseArgs({ options: { only: { type: "string" } } });
  await haveTypeScript();
  if (values.only !== "ts") await haveCore(await haveLibtorch());
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  main().catch((error) => {
    console.error(`grpo: ${error.message}`);
    process.exitCode = 1;
  });
}
