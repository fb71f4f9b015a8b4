// A training script of one's own in a process of its own, on the same terminal.

import { spawn } from "node:child_process";
import { constants } from "node:os";
import { loaderArguments } from "../modules.js";

/** Runs it to its end; the exit status, 128 + n where signal n ended it. */
export async function runScript(file: string, args: readonly string[]): Promise<number> {
  const child = spawn(process.execPath, [...loaderArguments(file), file, ...args], { stdio: "inherit" });
  // A terminal sends Ctrl-C to both; the script decides what becomes of it, and this process waits for that.
  const wait = (): void => {};
  const pass = (): void => void child.kill("SIGTERM");
  process.on("SIGINT", wait).on("SIGTERM", pass);
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])));
    });
  } finally {
    process.off("SIGINT", wait).off("SIGTERM", pass);
  }
}
