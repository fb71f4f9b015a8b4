// `grpo build`: builds the stub and the core from the sources in this package, for platforms without a prebuilt core.
import { spawnSync } from "node:child_process";
import path from "node:path";
import { packageRoot } from "../package-files.js";
import type { Command } from "./command.js";

export const buildCommand: Command = {
  usage: `[--libtorch <folder>] [--jobs <n>] [--config Release|Debug]

  --libtorch   the libtorch to build for (default: the one that \`grpo doctor\` finds)
  --jobs       compilers at the same time (default: one for each processor)`,

  async run(args) {
    const script = path.join(packageRoot, "scripts/build.mjs");
    return spawnSync(process.execPath, [script, ...args], { stdio: "inherit" }).status ?? 1;
  },
};
