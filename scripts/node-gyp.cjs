#!/usr/bin/env node
// What prebuildify calls instead of node-gyp: `node-gyp rebuild --target=… --devdir=… --arch=… --release`. cmake-js would
// read --target as a CMake target, and this package needs no Node headers, so only the build type is kept. With
// GRPO_PREBUILD_LIBTORCH (folders, separated by ":"), as scripts/prebuilds.mjs sets it, a core is built for each of them.
const { spawnSync } = require("node:child_process");
const { join } = require("node:path");

const config = process.argv.includes("--debug") ? "Debug" : "Release";
const folders = process.env.GRPO_PREBUILD_LIBTORCH;
const targets = folders ? folders.split(":").map((folder) => ["--libtorch", folder]) : [[]];
for (const target of targets) {
  const build = [join(__dirname, "build.mjs"), "--config", config, ...target];
  const { status } = spawnSync(process.execPath, build, { stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
}
