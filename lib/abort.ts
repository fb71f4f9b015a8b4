// Waiting for what others promise, and no longer than until a signal: what never settles must not keep a run from being stopped.

import { GrpoError } from "./errors.js";

/** For what begins after the stop, such as a callback that uploads the last checkpoint. */
const GRACE_MS = 10_000;

/**
 * What `promised` becomes; rejects with CANCELLED, naming `what`, when the signal is aborted meanwhile. Where it is aborted already the
 * stop does not come from waiting here, and `promised` is waited for: some seconds, for it too may never settle.
 */
export async function unlessAborted<T>(
  promised: T | Promise<T>,
  signal: AbortSignal | undefined,
  what: string,
): Promise<T> {
  if (signal === undefined) return promised;
  let onAbort = () => {};
  let timer: NodeJS.Timeout | undefined;
  const stopped = new Promise<never>((_, reject) => {
    onAbort = () => reject(new GrpoError("CANCELLED", `stopped while ${what} was at work`));
    if (signal.aborted) timer = setTimeout(onAbort, GRACE_MS);
    else signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    return await Promise.race([promised, stopped]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
  }
}

/** Keeps the process alive, which ends in silence where nothing is left but promises; the result ends it. */
export function stayAlive(): () => void {
  const timer = setInterval(() => {}, 2 ** 30);
  return () => clearInterval(timer);
}
