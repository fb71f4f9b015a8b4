// `grpo doctor`: what was found and whether it loads. The engine is loaded in a child process, so that a libtorch that crashes
// ends the child and is reported here. The last line is the one thing to do next.
import { spawnSync } from "node:child_process";
import { freemem, totalmem } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { GrpoError } from "../errors.js";
import { findLibtorch, type LibtorchCandidate, libtorchCandidates } from "../native/libtorch.js";
import { findCore, loadCore } from "../native/native-loader.js";
import type { Command } from "./command.js";

export const doctorCommand: Command = {
  usage: "",

  async run(args) {
    const { values } = parseArgs({ args: [...args], options: { probe: { type: "boolean" } } });
    if (values.probe) {
      const core = loadCore();
      console.log(JSON.stringify({ torch: core.torchVersion(), devices: core.devices() }));
      return 0;
    }
    row("node", `${process.version} ${process.platform}-${process.arch}`);
    row("memory", `${gigabytes(freemem())} of ${gigabytes(totalmem())} GB free`);
    for (const candidate of libtorchCandidates()) row(candidate.source, describe(candidate));
    const problem = check();
    console.log(
      problem ? `\n${problem}` : '\nEverything is there: `npm run quickstart` in a checkout, or `import "grpo"`.',
    );
    return problem ? 1 : 0;
  },
};

/** Prints the rest of the rows; returns the first problem. */
function check(): string | undefined {
  try {
    const libtorch = findLibtorch();
    row("libtorch", `${libtorch.version}+${libtorch.flavour} in ${libtorch.dir}`);
    row("core", findCore(libtorch));
  } catch (error) {
    if (error instanceof GrpoError) return error.message;
    throw error;
  }
  const cli = fileURLToPath(new URL("../cli.js", import.meta.url));
  const child = spawnSync(process.execPath, [cli, "doctor", "--probe"], { encoding: "utf8" });
  if (child.status !== 0) return child.stderr.trim() || `loading the engine ended with ${child.signal ?? child.status}`;
  row("engine", child.stdout.trim());
  return undefined;
}

function describe({ dir, found, problem }: LibtorchCandidate): string {
  return found ? `${dir}: torch ${found.version}+${found.flavour}` : `${dir}: ${problem}`;
}

function row(name: string, value: string): void {
  console.log(`${name.padEnd(12)} ${value}`);
}

function gigabytes(bytes: number): string {
  return (bytes / 1e9).toFixed(1);
}
