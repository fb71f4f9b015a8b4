// `grpo launch`: one script as several ranks on this host.

import os from "node:os";
import { launch } from "../distributed/launch.js";
import { GrpoError } from "../errors.js";
import type { Command } from "./command.js";

export const launchCommand: Command = {
  usage: `--nproc N [--max-restarts 0] script.ts [arguments]

  Starts the script N times, as ranks that train one model together, each on its part of the batch. Lines of the output begin
  with the rank. The first rank that fails ends all; with --max-restarts they are started again so often.
  On several hosts: torchrun, srun or Kubernetes (docs/scaling.md).`,

  async run(args) {
    const { nproc, restarts, script, rest } = readArguments(args);
    const stop = new AbortController();
    const abort = () => stop.abort();
    process.on("SIGINT", abort).on("SIGTERM", abort);
    try {
      return await launch({
        ranks: nproc,
        script,
        args: rest,
        maxRestarts: restarts,
        onLine: (rank, line, stream) => process[stream].write(`[${rank}] ${line}${os.EOL}`),
        note: (text) => process.stderr.write(`grpo launch: ${text}${os.EOL}`),
        signal: stop.signal,
      });
    } finally {
      process.off("SIGINT", abort).off("SIGTERM", abort);
    }
  },
};

/** What comes after the script is the script's own. Throws BAD_OPTION. */
function readArguments(args: readonly string[]) {
  const values = new Map<string, number>();
  let next = 0;
  for (; args[next]?.startsWith("--"); next++) {
    const [name = "", given] = (args[next] ?? "").split("=");
    const text = given ?? args[++next];
    const value = Number(text);
    if (name !== "--nproc" && name !== "--max-restarts") {
      throw new GrpoError("UNKNOWN_OPTION", `launch has no option ${name}`, { hint: "use --nproc and --max-restarts" });
    }
    if (!Number.isSafeInteger(value) || value < (name === "--nproc" ? 1 : 0)) {
      throw new GrpoError("BAD_OPTION", `launch: expected a whole number after ${name}, found ${text ?? "nothing"}`);
    }
    values.set(name, value);
  }
  const script = args[next];
  const nproc = values.get("--nproc");
  if (nproc === undefined || script === undefined) {
    throw new GrpoError("BAD_OPTION", "launch: expected --nproc and a script", {
      hint: "write: grpo launch --nproc 2 train.ts",
    });
  }
  return { nproc, restarts: values.get("--max-restarts") ?? 0, script, rest: args.slice(next + 1) };
}
