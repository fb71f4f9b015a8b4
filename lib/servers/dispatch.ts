// Sharing jobs among replicas: each job goes to the replica with the fewest sequences in flight; what fails in passing is done
// elsewhere, and its replica is prepared again before it gets another. Knows nothing of protocols and weights.

import { setTimeout as sleep } from "node:timers/promises";
import { GrpoError } from "../errors.js";
import { isPassing, ServerFault } from "./fault.js";

/** Sequences in flight at one replica: what vLLM computes together at most, by default. */
const MOST_IN_FLIGHT = 256;
/** How often one job may fail, wherever it is done; a server that cannot be reached does not count. */
const ATTEMPTS = 4;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 10_000;

export interface Dispatch<Replica> {
  readonly replicas: readonly Replica[];
  /** Sequences of a job. */
  readonly weight: number;
  /** Seconds after which the call fails while no replica is ready. */
  readonly patience: number;
  /** Makes a replica ready for jobs, at the beginning and after every fault. */
  prepare(replica: Replica, signal: AbortSignal): Promise<void>;
  run(replica: Replica, job: number, signal: AbortSignal): Promise<void>;
  /** A replica has failed in passing. */
  failed(replica: Replica): void;
}

/** Does jobs 0 to `jobs`. Rejects with the first error that no other replica can mend, and stops all others. */
export async function dispatch<Replica>(
  options: Dispatch<Replica>,
  jobs: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const stop = new AbortController();
  const all = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
  try {
    await new Jobs(options, jobs, all).done;
  } finally {
    stop.abort(new GrpoError("CANCELLED", "another request has ended the sampling"));
  }
}

interface Seat<Replica> {
  readonly replica: Replica;
  inFlight: number;
  ready: boolean;
  /** Ends the wait of whoever keeps the replica ready. */
  wake: () => void;
}

class Jobs<Replica> {
  readonly done: Promise<void>;
  readonly #options: Dispatch<Replica>;
  readonly #signal: AbortSignal;
  readonly #seats: readonly Seat<Replica>[];
  readonly #waiting: number[];
  readonly #attempts = new Map<number, number>();
  #left: number;
  #noneReadySince = performance.now();
  #finish: (error?: unknown) => void = () => {};

  constructor(options: Dispatch<Replica>, jobs: number, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
    this.#left = jobs;
    this.#waiting = Array.from({ length: jobs }, (_, job) => job);
    this.#seats = options.replicas.map((replica) => ({ replica, inFlight: 0, ready: false, wake: () => {} }));
    this.done = new Promise((resolve, reject) => {
      this.#finish = (error) => (error === undefined ? resolve() : reject(error));
    });
    if (jobs === 0) this.#finish();
    else void this.#open();
  }

  /** The first time, jobs wait for all replicas, so that none takes them all. */
  async #open(): Promise<void> {
    await Promise.all(this.#seats.map((seat) => this.#prepare(seat)));
    this.#share();
    for (const seat of this.#seats) void this.#keep(seat);
  }

  /** Whether the replica is ready. */
  async #prepare(seat: Seat<Replica>): Promise<boolean> {
    try {
      await this.#options.prepare(seat.replica, this.#signal);
      seat.ready = true;
    } catch (thrown) {
      seat.ready = false;
      if (isPassing(thrown)) this.#checkPatience(thrown);
      else this.#finish(thrown);
    }
    return seat.ready;
  }

  /** Makes the replica ready again whenever it has failed, with growing pauses. */
  async #keep(seat: Seat<Replica>): Promise<void> {
    for (let pause = FIRST_PAUSE_MS; this.#left > 0 && !this.#signal.aborted; ) {
      if (seat.ready) {
        await new Promise<void>((resolve) => {
          seat.wake = resolve;
        });
        pause = FIRST_PAUSE_MS;
      }
      await sleep(pause, undefined, { signal: this.#signal }).catch(() => {});
      pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
      if (!this.#signal.aborted && (await this.#prepare(seat))) this.#share();
    }
  }

  #share(): void {
    const { weight } = this.#options;
    for (;;) {
      const free = this.#seats.filter(
        ({ ready, inFlight }) => ready && (inFlight === 0 || inFlight + weight <= MOST_IN_FLIGHT),
      );
      const [seat] = free.sort((a, b) => a.inFlight - b.inFlight);
      const job = seat && this.#waiting.shift();
      if (seat === undefined || job === undefined) return;
      void this.#run(seat, job);
    }
  }

  async #run(seat: Seat<Replica>, job: number): Promise<void> {
    const { weight } = this.#options;
    seat.inFlight += weight;
    try {
      await this.#options.run(seat.replica, job, this.#signal);
      this.#left--;
    } catch (thrown) {
      if (isPassing(thrown)) this.#again(seat, job, thrown);
      else this.#finish(thrown);
    } finally {
      seat.inFlight -= weight;
    }
    if (this.#left === 0) this.#finish();
    else this.#share();
  }

  #again(seat: Seat<Replica>, job: number, fault: ServerFault): void {
    const attempts = (this.#attempts.get(job) ?? 0) + (fault.kind === "unreachable" ? 0 : 1);
    this.#attempts.set(job, attempts);
    if (attempts >= ATTEMPTS) this.#finish(fault);
    this.#waiting.unshift(job);
    this.#options.failed(seat.replica);
    if (!seat.ready) return;
    seat.ready = false;
    if (this.#seats.every(({ ready }) => !ready)) this.#noneReadySince = performance.now();
    seat.wake();
  }

  #checkPatience(fault: ServerFault): void {
    const { patience } = this.#options;
    if (this.#seats.some(({ ready }) => ready)) return;
    if (performance.now() - this.#noneReadySince < patience * 1000) return;
    const [reason] = fault.message.split("\n");
    this.#finish(
      new ServerFault(fault.kind, `no server has answered for ${patience} s: ${reason}`, {
        cause: fault,
        hint: fault.hint ?? "start the servers again, and resume the run from its last checkpoint",
      }),
    );
  }
}
