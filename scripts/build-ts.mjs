// Makes dist/ from lib/: JavaScript by esbuild, declarations by tsc. Bundled, because to find and open two hundred modules
// takes longer than anything that they do; split, so that each is there once, whichever entry point asks for it.
import { spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const require = createRequire(import.meta.url);

/** What users import, what starts a process of its own, and what the scripts and tests here take from dist/. */
const entryPoints = [
  "index",
  "rewards/math/index",
  "cli",
  "rewards/worker-entry",
  "native/libtorch",
  "setup/setup",
  "rewards/index",
  "rewards/runtime",
];

export async function buildTypeScript() {
  rmSync(join(root, "dist"), { recursive: true, force: true });
  await bundle();
  writeDeclarations();
}

async function bundle() {
  await build({
    absWorkingDir: root,
    entryPoints: entryPoints.map((name) => `lib/${name}.ts`),
    outdir: "dist",
    outbase: "lib",
    tsconfig: "tsconfig.build.json",
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node20.19",
    sourcemap: true,
    // Reward functions are known by their names, which a bundle may change.
    keepNames: true,
    packages: "external",
    logLevel: "warning",
  });
}

function writeDeclarations() {
  const tsc = join(dirname(require.resolve("typescript/package.json")), "bin", "tsc");
  const { status } = spawnSync(process.execPath, [tsc, "-p", "tsconfig.build.json"], { cwd: root, stdio: "inherit" });
  if (status !== 0) throw new Error("the TypeScript of lib/ does not compile");
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  buildTypeScript().catch((error) => {
    console.error(error.message);
    process.exitCode = 1;
  });
}
