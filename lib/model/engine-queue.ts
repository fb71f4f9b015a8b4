// One model's jobs on its native engine, strictly one after another, so that an AbortSignal ends its own job and no other.
// The only place where native errors become GrpoErrors.

import { GrpoError, type GrpoErrorCode, reasonOf } from "../errors.js";
import type { NativeEngine } from "../native/native.js";

const NATIVE_CODES: readonly GrpoErrorCode[] = [
  "BAD_ADAPTER",
  "BAD_CHECKPOINT",
  "BAD_INPUT",
  "BAD_OPTION",
  "CANCELLED",
  "DEVICE_UNAVAILABLE",
  "DISPOSED",
  "DISK_FULL",
  "FILE_NOT_FOUND",
  "NON_FINITE",
  "OUT_OF_MEMORY",
  "RANK_FAILED",
  "UNSUPPORTED_ARCHITECTURE",
];

export class EngineQueue {
  readonly #engine: NativeEngine;
  #tail: Promise<void> = Promise.resolve();
  #failure: { readonly error: unknown } | undefined;
  #disposed = false;
  #busyMilliseconds = 0;
  #runningSince: number | undefined;
  /** Jobs that were asked for and have not begun. */
  #waiting = 0;
  #onWaiting: (() => void) | undefined;

  constructor(engine: NativeEngine) {
    this.#engine = engine;
  }

  /**
   * Runs a job after those before it. Aborting the signal ends it, waiting or running, with CANCELLED. `onWaiting` is called once while
   * it runs and another job waits for its end.
   */
  run<T>(job: (engine: NativeEngine) => Promise<T>, signal?: AbortSignal, onWaiting?: () => void): Promise<T> {
    this.#waiting++;
    this.#tellWaiting();
    const result = this.#tail.then(() => {
      this.#waiting--;
      return this.#start(job, signal, onWaiting);
    });
    this.#tail = result.then(ignore, ignore);
    return result;
  }

  /** Runs a job that nobody waits for. If it fails, the next job throws its error in place of running. */
  defer(job: (engine: NativeEngine) => Promise<void>, onFailure: () => void): void {
    this.run(job).catch((error: unknown) => {
      this.#failure ??= { error };
      onFailure();
    });
  }

  /** Seconds in which a job was running, so far. */
  get busySeconds(): number {
    const running = this.#runningSince === undefined ? 0 : performance.now() - this.#runningSince;
    return (this.#busyMilliseconds + running) / 1000;
  }

  checkAlive(): void {
    if (!this.#disposed) return;
    throw new GrpoError("DISPOSED", "this model was disposed", { hint: "load it again, or dispose it later" });
  }

  /** Ends the running job and lets go of the weights. May be called twice. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#engine.dispose();
  }

  #tellWaiting(): void {
    const tell = this.#onWaiting;
    this.#onWaiting = undefined;
    tell?.();
  }

  async #start<T>(
    job: (engine: NativeEngine) => Promise<T>,
    signal: AbortSignal | undefined,
    onWaiting: (() => void) | undefined,
  ): Promise<T> {
    this.checkAlive();
    if (this.#failure) {
      const { error } = this.#failure;
      this.#failure = undefined;
      throw error;
    }
    if (signal?.aborted) throw cancelled(signal);
    const abort = () => {
      if (!this.#disposed) this.#engine.cancel();
    };
    signal?.addEventListener("abort", abort, { once: true });
    this.#runningSince = performance.now();
    try {
      const running = job(this.#engine);
      this.#onWaiting = onWaiting;
      if (this.#waiting > 0) this.#tellWaiting();
      return await running;
    } catch (thrown) {
      const error = toGrpoError(thrown);
      throw error.code === "CANCELLED" && signal?.aborted ? cancelled(signal) : error;
    } finally {
      this.#busyMilliseconds += performance.now() - (this.#runningSince ?? 0);
      this.#runningSince = undefined;
      this.#onWaiting = undefined;
      signal?.removeEventListener("abort", abort);
    }
  }
}

/** A native error (message, code, hint) as a GrpoError; anything unexpected is INTERNAL. */
export function toGrpoError(thrown: unknown): GrpoError {
  if (thrown instanceof GrpoError) return thrown;
  const fields: { code?: unknown; hint?: unknown } = typeof thrown === "object" && thrown !== null ? thrown : {};
  const code = NATIVE_CODES.find((known) => known === fields.code) ?? "INTERNAL";
  const hint = typeof fields.hint === "string" && fields.hint !== "" ? { hint: fields.hint } : {};
  return new GrpoError(code, reasonOf(thrown), { cause: thrown, ...hint });
}

function cancelled(signal: AbortSignal): GrpoError {
  return new GrpoError("CANCELLED", "cancelled by the given signal", { cause: signal.reason });
}

function ignore(): void {}
