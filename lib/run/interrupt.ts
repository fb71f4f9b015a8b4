// Ctrl-C during training, and a terminal that is closed. The first signal asks the run to stop, which saves; a second Ctrl-C ends the
// process at once, but not a notebook's kernel: it outlives its cells, and what else it holds is not the run's. Our handlers are there only
// while training runs, and so long the process stays alive, whatever the run waits for.

import { constants } from "node:os";
import { stayAlive } from "../abort.js";
import { isNotebook } from "../output.js";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export interface InterruptWatch {
  /** Aborted by the caller's signal or by the first of the process's. */
  readonly signal: AbortSignal;
  /** Removes the handlers. */
  dispose(): void;
  /** After dispose(): ends the process as the signal would have, unless the program has a handler of its own. */
  passOn(): void;
}

/** `onFirst` is told whether a second Ctrl-C would end the process. */
export function watchInterrupts(
  outer: AbortSignal | undefined,
  onFirst: (endsAtSecond: boolean) => void,
): InterruptWatch {
  const isKernel = isNotebook();
  const outlives = (signal: NodeJS.Signals): boolean => isKernel && signal === "SIGINT";
  const stop = new AbortController();
  const letGo = stayAlive();
  let received: NodeJS.Signals | undefined;
  let asked = false;
  let isOver = false;
  const handler = (signal: NodeJS.Signals): void => {
    // A terminal that goes away may say so more than once, and that is no second wish.
    const asks = signal !== "SIGHUP";
    // 128 + the signal's number is what a shell reports for a process that a signal ended.
    if (asks && asked && !outlives(signal)) process.exit(128 + constants.signals[signal]);
    asked ||= asks;
    if (received) return;
    received = signal;
    onFirst(!outlives(signal));
    stop.abort();
  };
  // A moment later: tslab and Node's REPL run the beginning of their input by vm's breakOnSigint, which would undo it.
  queueMicrotask(() => {
    for (const signal of isOver ? [] : SIGNALS) process.on(signal, handler);
  });
  return {
    signal: outer ? AbortSignal.any([outer, stop.signal]) : stop.signal,
    dispose() {
      isOver = true;
      for (const signal of SIGNALS) process.off(signal, handler);
      letGo();
    },
    passOn() {
      if (received === undefined || outlives(received) || process.listenerCount(received) > 0) return;
      process.kill(process.pid, received);
    },
  };
}
