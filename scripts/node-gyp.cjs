#!/usr/bin/env node
// What prebuildify calls instead of node-gyp: `node-gyp rebuild --target=… --devdir=… --arch=… --release`. cmake-js would
// read --target as a CMake target, and this package needs no Node headers, so only the build type is kept.
const { spawnSync } = require("node:child_process");
const { join } = require("node:path");

const config = process.argv.includes("--debug") ? "Debug" : "Release";
const result = spawnSync(process.execPath, [join(__dirname, "build.mjs"), "--config", config], { stdio: "inherit" });
process.exitCode = result.status ?? 1;
