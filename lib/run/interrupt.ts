// Ctrl-C during training, and a terminal that is closed. The first signal asks the run to stop, which saves; a second Ctrl-C ends the
// process at once. Our handlers are there only while training runs, and so long the process stays alive, whatever the run waits for.

import { constants } from "node:os";
import { stayAlive } from "../abort.js";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export interface InterruptWatch {
  /** Aborted by the caller's signal or by the first of the process's. */
  readonly signal: AbortSignal;
  /** Removes the handlers. */
  dispose(): void;
  /** After dispose(): ends the process as the signal would have, unless the program has a handler of its own. */
  passOn(): void;
}

export function watchInterrupts(outer: AbortSignal | undefined, onFirst: () => void): InterruptWatch {
  const stop = new AbortController();
  const letGo = stayAlive();
  let received: NodeJS.Signals | undefined;
  let asked = false;
  const handler = (signal: NodeJS.Signals): void => {
    // A terminal that goes away may say so more than once, and that is no second wish.
    const asks = signal !== "SIGHUP";
    // 128 + the signal's number is what a shell reports for a process that a signal ended.
    if (asks && asked) process.exit(128 + constants.signals[signal]);
    asked ||= asks;
    if (received) return;
    received = signal;
    onFirst();
    stop.abort();
  };
  for (const signal of SIGNALS) process.on(signal, handler);
  return {
    signal: outer ? AbortSignal.any([outer, stop.signal]) : stop.signal,
    dispose() {
      for (const signal of SIGNALS) process.off(signal, handler);
      letGo();
    },
    passOn() {
      if (received && process.listenerCount(received) === 0) process.kill(process.pid, received);
    },
  };
}
