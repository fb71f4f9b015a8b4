// Several ranks of one script on this host: a process each, told of the others as torchrun does it. Their output comes line by line with
// the rank before it; the first that fails ends all, and they may be started anew.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import os from "node:os";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { loaderArguments } from "../modules.js";

export interface LaunchOptions {
  readonly ranks: number;
  readonly script: string;
  readonly args: readonly string[];
  /** How often all are started again after a failure. */
  readonly maxRestarts: number;
  /** Milliseconds in which the other ranks end by themselves after one has failed; a third of it before they are asked to. Default 30,000. */
  readonly grace?: number;
  /** A line of a rank. */
  readonly onLine: (rank: number, line: string, stream: "stdout" | "stderr") => void;
  /** Told of failures and restarts. */
  readonly note: (text: string) => void;
  /** Ends all ranks. */
  readonly signal: AbortSignal;
}

const GRACE = 30_000;

/** Runs all ranks to their end. The exit status of the first that failed; 128 + n where signal n ended it; 0: none failed. */
export async function launch(options: LaunchOptions): Promise<number> {
  for (let attempt = 0; ; attempt++) {
    const code = await runAll(options, attempt);
    if (code === 0 || options.signal.aborted || attempt >= options.maxRestarts) return code;
    options.note(`starting all ranks again (restart ${attempt + 1} of ${options.maxRestarts})`);
  }
}

async function runAll(options: LaunchOptions, attempt: number): Promise<number> {
  const port = await freePort();
  const ranks = Array.from({ length: options.ranks }, (_, rank) => start(options, rank, port, attempt));
  const end = (signal: NodeJS.Signals) => {
    for (const child of ranks) if (child.exitCode === null && child.signalCode === null) child.kill(signal);
  };
  const stop = () => end("SIGTERM");
  options.signal.addEventListener("abort", stop, { once: true });
  let first = 0;
  const { grace = GRACE } = options;
  const timers: NodeJS.Timeout[] = [];
  const ended = ranks.map(async (child, rank) => {
    const [code, signal] = (await once(child, "close")) as [number | null, NodeJS.Signals | null];
    const status = code ?? 128 + (signal === null ? 0 : os.constants.signals[signal]);
    if (status === 0 || first !== 0) return;
    first = status;
    options.note(`rank ${rank} ended with ${signal ?? `status ${status}`}; ending the others`);
    // The others see for themselves that one is gone, and say so; who does not is stopped.
    timers.push(setTimeout(end, grace / 3, "SIGTERM"), setTimeout(end, grace, "SIGKILL"));
  });
  await Promise.all(ended);
  for (const timer of timers) clearTimeout(timer);
  options.signal.removeEventListener("abort", stop);
  return first;
}

function start({ ranks, script, args, onLine }: LaunchOptions, rank: number, port: number, attempt: number) {
  // Ranks share the cores; torch's own default would be all of them for each.
  const threads = Math.max(1, Math.floor(os.availableParallelism() / ranks));
  const child = spawn(process.execPath, [...loaderArguments(script), script, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: {
      OMP_NUM_THREADS: String(threads),
      // c10d writes a stack for every connection that ends; the error itself is thrown.
      TORCH_CPP_LOG_LEVEL: "ERROR",
      ...process.env,
      RANK: String(rank),
      LOCAL_RANK: String(rank),
      WORLD_SIZE: String(ranks),
      LOCAL_WORLD_SIZE: String(ranks),
      MASTER_ADDR: "127.0.0.1",
      MASTER_PORT: String(port),
      TORCHELASTIC_RESTART_COUNT: String(attempt),
    },
  });
  const lines = (stream: Readable, name: "stdout" | "stderr") =>
    createInterface({ input: stream }).on("line", (line) => onLine(rank, line, name));
  lines(child.stdout, "stdout");
  lines(child.stderr, "stderr");
  return child;
}

/** A port that nobody listens on. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" && address !== null ? address.port : 29_500;
}
