// Runs a program on this machine with limits: time, memory, output, file size, processes, in a folder of its own and with an
// environment that holds nothing of the user's. Where Linux lets it, also without network and in a process namespace of its own.
// Not a jail: the program has the user's rights to files. docs/code-rewards.md says what holds and what does not.

import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process";
import { constants } from "node:fs";
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { GrpoError, reasonOf } from "../../errors.js";
import { warn } from "../../output.js";

const run = promisify(execFile);

/** The variable by which Hugging Face's `evaluate` asks for the same consent. */
export const CONSENT_VARIABLE = "HF_ALLOW_CODE_EVAL";

export function mayExecuteHere(): boolean {
  return process.env[CONSENT_VARIABLE] === "1";
}

export interface Limits {
  readonly seconds: number;
  /** Address space of one process. */
  readonly megabytes: number;
  /** Processes and threads at once, where the program has a namespace of its own. Default 64. */
  readonly processes?: number;
}

export interface Run extends Limits {
  readonly command: readonly [program: string, ...args: string[]];
  /** Where it runs. */
  readonly folder: string;
  readonly stdin?: string | Uint8Array;
  readonly signal?: AbortSignal | undefined;
}

export type Outcome =
  | { readonly ended: "exit"; readonly code: number; readonly stdout: Uint8Array }
  | { readonly ended: "timeout" | "output" };

const MAX_OUTPUT_BYTES = 64 * 2 ** 20;
const MAX_FILE_BLOCKS = 2 ** 18;
/** Without a namespace the count is of all processes of the user: high enough for them, low enough to stop a fork bomb. */
const SHARED_PROCESSES = 4096;

const CLOSING_MS = 500;

// dash calls the limit on processes -p. The last line is no exec: a program that is process 1 ignores its own signals.
const LIMITED = `ulimit -c 0; ulimit -f ${MAX_FILE_BLOCKS}; ulimit -t "$1"; ulimit -v "$2" 2>/dev/null
ulimit -s unlimited 2>/dev/null; ulimit -u "$3" 2>/dev/null || ulimit -p "$3" 2>/dev/null
shift 3; "$@"; exit $?`;

const ISOLATING = ["--user", "--map-current-user", "--net", "--pid", "--fork", "--kill-child", "--"];
let isolated: boolean | undefined;

/** Whether programs run without network and die with all that they started. */
export function isIsolated(): boolean {
  isolated ??= process.platform === "linux" && spawnSync("unshare", [...ISOLATING, "true"]).status === 0;
  return isolated;
}

/** Where programs run, for people. */
export function describeSandbox(): string {
  return isIsolated()
    ? "this machine, with limits and without network, but with your rights to files"
    : "this machine, with limits, but with your rights to files and network";
}

/** Rejects only where the machine cannot start it, or the signal aborts. Whatever the program started ends with it. */
export async function runProgram(run: Run): Promise<Outcome> {
  run.signal?.throwIfAborted();
  const processes = isIsolated() ? (run.processes ?? 64) : SHARED_PROCESSES;
  const numbers = [Math.ceil(run.seconds) + 1, run.megabytes * 1024, processes].map((n) => String(Math.round(n)));
  const shell = ["sh", "-c", LIMITED, "sh", ...numbers, ...run.command];
  const [program = "sh", ...args] = isIsolated() ? ["unshare", ...ISOLATING, ...shell] : shell;
  const child = spawn(program, args, {
    cwd: run.folder,
    env: environment(run.folder),
    stdio: ["pipe", "pipe", "ignore"],
    // A process group of its own, which can be killed as one.
    detached: true,
  });
  return watch(child, run);
}

function watch(child: ChildProcess, { seconds, stdin = "", signal }: Run): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const chunks: Uint8Array[] = [];
    let size = 0;
    let stopped: Outcome | undefined;
    let closing: NodeJS.Timeout | undefined;
    const stop = (outcome?: Outcome): void => {
      stopped ??= outcome;
      killGroup(child);
    };
    const abort = (): void => stop();
    const timer = setTimeout(() => stop({ ended: "timeout" }), seconds * 1000);
    signal?.addEventListener("abort", abort, { once: true });
    child.stdout?.on("data", (chunk: Uint8Array) => {
      size += chunk.length;
      if (size > MAX_OUTPUT_BYTES) stop({ ended: "output" });
      else chunks.push(chunk);
    });
    // A program may end without reading what it is given.
    child.stdin?.on("error", () => {});
    child.stdin?.end(stdin);
    const settle = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    };
    child.once("error", (cause) => {
      settle();
      reject(new GrpoError("INTERNAL", `cannot start programs on this machine: ${cause.message}`, { cause }));
    });
    child.once("exit", () => {
      killGroup(child);
      // What has left the group would hold the output open.
      closing = setTimeout(() => child.stdout?.destroy(), CLOSING_MS);
    });
    child.once("close", (code) => {
      clearTimeout(closing);
      settle();
      if (signal?.aborted) reject(signal.reason);
      else resolve(stopped ?? { ended: "exit", code: code ?? -1, stdout: Buffer.concat(chunks) });
    });
  });
}

function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // It has ended, and all of its group.
  }
}

function environment(folder: string): NodeJS.ProcessEnv {
  return {
    PATH: process.env.PATH,
    HOME: folder,
    TMPDIR: folder,
    LANG: "C.UTF-8",
    // Numeric libraries would reserve memory for a thread of each core.
    OMP_NUM_THREADS: "1",
    OPENBLAS_NUM_THREADS: "1",
  };
}

/** Lends an empty folder. Whatever a program leaves in it, removing it fails nobody: what has to stay is said in a warning. */
export async function withFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(path.join(tmpdir(), "grpo-code-"));
  try {
    return await use(folder);
  } finally {
    await removeFolder(folder).catch((thrown: unknown) => {
      warn(`the folder ${folder} of a program could not be removed: ${reasonOf(thrown)}`);
    });
  }
}

const REMOVING_MS = 60_000;
/** Gives rights back, and removes paths that are longer than Node may name. */
const REMOVE = 'chmod -R u+rwx "$1" 2>/dev/null; exec rm -rf "$1"';

async function removeFolder(folder: string): Promise<void> {
  try {
    await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  } catch {
    await run("sh", ["-c", REMOVE, "sh", folder], { timeout: REMOVING_MS, killSignal: "SIGKILL" });
  }
}

/**
 * What a program wrote into a file; nothing where there is no file, or one that is longer than a program's output may be. A link or
 * a pipe in its place, which might never end, is none.
 */
export async function readWritten(file: string): Promise<Uint8Array> {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  const handle = await open(file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK).catch(() => undefined);
  try {
    const info = await handle?.stat();
    return handle && info?.isFile() && info.size <= MAX_OUTPUT_BYTES ? await handle.readFile() : new Uint8Array();
  } finally {
    await handle?.close();
  }
}

let python: string | undefined;

/** The interpreter itself: what PATH has may be a script that needs the user's environment. */
export function findPython(): string {
  if (python !== undefined) return python;
  const { stdout } = spawnSync("python3", ["-c", "import sys; print(sys.executable)"], { encoding: "utf8" });
  if (!stdout?.trim()) {
    throw new GrpoError("FILE_NOT_FOUND", "Python programs are to run on this machine, and there is no python3", {
      hint: "install Python 3, or have a service run them: docs/code-rewards.md",
    });
  }
  python = stdout.trim();
  return python;
}

/** Isolated from the user's packages and environment, with UTF-8 everywhere. */
export function pythonCommand(file: string): [string, ...string[]] {
  return [findPython(), "-I", "-X", "utf8", file];
}
