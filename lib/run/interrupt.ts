// Ctrl-C during training. The first one asks the run to stop, which saves; the second ends the process at once. Our
// handlers are there only while training runs.

const signals = ["SIGINT", "SIGTERM"] as const;

export interface InterruptWatch {
  /** Aborted by the caller's signal or by the first Ctrl-C. */
  readonly signal: AbortSignal;
  /** Removes the handlers. */
  dispose(): void;
  /** After dispose(): ends the process as Ctrl-C would have, unless the program has a handler of its own. */
  passOn(): void;
}

export function watchInterrupts(outer: AbortSignal | undefined, onFirst: () => void): InterruptWatch {
  const stop = new AbortController();
  let received: NodeJS.Signals | undefined;
  const handler = (signal: NodeJS.Signals): void => {
    // 128 + the signal's number is what a shell reports for a process that a signal ended.
    if (received) process.exit(signal === "SIGINT" ? 130 : 143);
    received = signal;
    onFirst();
    stop.abort();
  };
  for (const signal of signals) process.on(signal, handler);
  return {
    signal: outer ? AbortSignal.any([outer, stop.signal]) : stop.signal,
    dispose() {
      for (const signal of signals) process.off(signal, handler);
    },
    passOn() {
      if (received && process.listenerCount(received) === 0) process.kill(process.pid, received);
    },
  };
}
