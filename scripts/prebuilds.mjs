// Makes prebuilds/<platform>-<arch>/: the stub, and a core for each supported torch minor version. prebuildify packs what the
// node-gyp shim builds; a CPU libtorch is enough, for a core serves the CUDA build of its version too.
//
//   npm run prebuilds -- [--libtorch <folder>]… [--fetch] [--allow-missing]
//
// Without --libtorch the managed cache is used; --fetch runs `grpo setup` for what it lacks.
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { haveTypeScript } from "./prepare.mjs";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");

async function main() {
  const { values } = parseArgs({
    options: {
      libtorch: { type: "string", multiple: true, default: [] },
      fetch: { type: "boolean", default: false },
      "allow-missing": { type: "boolean", default: false },
    },
  });
  await haveTypeScript();
  const libtorchs = await chooseLibtorchs(values);
  const release = join(root, "build", "Release");
  // prebuildify takes every library that lies there.
  if (existsSync(release)) {
    for (const name of readdirSync(release)) if (/\.(so|dylib)$/.test(name)) rmSync(join(release, name));
  }
  prebuildify(libtorchs.map(({ dir }) => dir));
  const folder = join(root, "prebuilds", `${process.platform}-${process.arch}`);
  const files = readdirSync(folder);
  // prebuildify moves the stub; a checkout goes on needing it.
  const stub = files.find((name) => name.endsWith(".node"));
  mkdirSync(release, { recursive: true });
  copyFileSync(join(folder, stub), join(release, "grpo.node"));
  for (const name of files) console.log(`${String(statSync(join(folder, name)).size).padStart(9)}  ${name}`);
}

/** One libtorch for each supported minor version. */
async function chooseLibtorchs({ libtorch, fetch, "allow-missing": allowMissing }) {
  const { findLibtorch, libtorchCandidates, SUPPORTED_TORCH_MINORS } = await import("../dist/native/libtorch.js");
  const given = libtorch.map((dir) => findLibtorch({ LIBTORCH: dir }));
  const known = given.length > 0 ? given : [...libtorchCandidates()].flatMap(({ found }) => found ?? []);
  const chosen = [];
  for (const minor of SUPPORTED_TORCH_MINORS) {
    const found = known.find((one) => one.minor === minor) ?? (fetch ? await setup(`${minor}.0`) : undefined);
    if (found) chosen.push(found);
    else if (!allowMissing)
      throw new Error(`there is no libtorch ${minor}: run with --fetch, or \`grpo setup --torch ${minor}.0\``);
  }
  return chosen;
}

async function setup(torch) {
  const { setupLibtorch } = await import("../dist/setup/setup.js");
  return setupLibtorch({ torch, onProgress: (line) => console.error(line) });
}

function prebuildify(folders) {
  rmSync(join(root, "prebuilds", `${process.platform}-${process.arch}`), { recursive: true, force: true });
  const program = createRequire(import.meta.url).resolve("prebuildify/bin.js");
  const options = ["--napi", "--strip", "--tag-libc", "--target", "20.19.0"];
  const shim = join(root, "scripts", "node-gyp.cjs");
  const { status } = spawnSync(process.execPath, [program, ...options, "--node-gyp", shim], {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, GRPO_PREBUILD_LIBTORCH: folders.join(":") },
  });
  if (status !== 0) throw new Error(`prebuildify ended with ${status}`);
}

main().catch((error) => {
  console.error(`prebuilds: ${error.message}`);
  process.exitCode = 1;
});
