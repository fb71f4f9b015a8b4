// Sharing jobs among replicas: each job goes to the replica with the fewest sequences in flight; what fails in passing is done
// elsewhere, and its replica is prepared again before it gets another. Jobs of several calls, some of which outlast a change of weights,
// share the replicas. Knows nothing of protocols and weights.

import { setTimeout as sleep } from "node:timers/promises";
import { GrpoError } from "../errors.js";
import { isPassing, ServerFault } from "./fault.js";

/** Sequences in flight at one replica: what vLLM computes together at most, by default. */
const MOST_IN_FLIGHT = 256;
/** How often one job may fail, wherever it is done; a server that cannot be reached does not count. */
const ATTEMPTS = 4;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 10_000;

export interface DispatcherOptions<Replica> {
  readonly replicas: readonly Replica[];
  /** Seconds after which all jobs fail while no replica is ready. */
  readonly patience: number;
  /**
   * Makes a replica ready for jobs: when there is work again, after every fault, and where it is out of date. `idle`: resolves when
   * nothing is in flight at it.
   */
  prepare(replica: Replica, idle: () => Promise<void>, signal: AbortSignal): Promise<void>;
  /** Whether a replica that is ready need not be prepared for what has changed since. */
  isUpToDate(replica: Replica): boolean;
  /** A replica has failed in passing. */
  failed(replica: Replica): void;
}

interface Job<Replica> {
  readonly weight: number;
  readonly run: (replica: Replica) => Promise<void>;
  /** Takes the job out, done or failed; the first call counts. */
  readonly end: (error?: unknown) => void;
  failures: number;
}

interface Seat<Replica> {
  readonly replica: Replica;
  inFlight: number;
  ready: boolean;
  /** Told when nothing is in flight any more. */
  onIdle: (() => void)[];
}

/** From the first job until none is left. */
interface Work {
  readonly stop: AbortController;
  noneReadySince: number;
}

export class Dispatcher<Replica> {
  readonly #options: DispatcherOptions<Replica>;
  readonly #seats: readonly Seat<Replica>[];
  readonly #jobs = new Set<Job<Replica>>();
  readonly #waiting: Job<Replica>[] = [];
  #work: Work | undefined;

  constructor(options: DispatcherOptions<Replica>) {
    this.#options = options;
    this.#seats = options.replicas.map((replica) => ({ replica, inFlight: 0, ready: false, onIdle: [] }));
  }

  /** Does a job of so many sequences. Rejects with what no other replica can mend, and with CANCELLED where `signal` is aborted. */
  do(weight: number, run: (replica: Replica) => Promise<void>, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.reject(cancelled());
    return new Promise((resolve, reject) => {
      const leave = () => job.end(cancelled());
      const end = (error?: unknown) => {
        if (!this.#jobs.delete(job)) return;
        signal.removeEventListener("abort", leave);
        const place = this.#waiting.indexOf(job);
        if (place >= 0) this.#waiting.splice(place, 1);
        if (error === undefined) resolve();
        else reject(error);
        if (this.#jobs.size === 0) this.#rest();
      };
      const job: Job<Replica> = { weight, run, end, failures: 0 };
      signal.addEventListener("abort", leave, { once: true });
      this.#jobs.add(job);
      this.#waiting.push(job);
      if (this.#work === undefined) void this.#open();
      else this.#share();
    });
  }

  #rest(): void {
    this.#work?.stop.abort(new GrpoError("CANCELLED", "nothing is left to be sampled"));
    this.#work = undefined;
    for (const seat of this.#seats) seat.ready = false;
  }

  /** Jobs wait for all replicas at first, so that none takes them all. */
  async #open(): Promise<void> {
    const work: Work = { stop: new AbortController(), noneReadySince: performance.now() };
    this.#work = work;
    const ready = await Promise.all(this.#seats.map((seat) => this.#prepare(seat, work, false)));
    if (this.#work !== work) return;
    for (const [i, seat] of this.#seats.entries()) {
      if (ready[i]) seat.ready = true;
      else void this.#mend(seat, work);
    }
    this.#share();
  }

  /** Whether the replica can have jobs. */
  async #prepare(seat: Seat<Replica>, work: Work, opens = true): Promise<boolean> {
    const idle = async () => {
      if (seat.inFlight > 0) await new Promise<void>((resolve) => seat.onIdle.push(resolve));
      // It was at work until now.
      work.noneReadySince = performance.now();
    };
    try {
      await this.#options.prepare(seat.replica, idle, work.stop.signal);
      if (this.#work !== work) return false;
      seat.ready = opens;
      return true;
    } catch (thrown) {
      if (this.#work !== work) return false;
      if (isPassing(thrown)) this.#checkPatience(thrown, work);
      else this.#failAll(thrown);
      return false;
    }
  }

  /** Makes a replica ready again that has failed, with growing pauses. */
  async #mend(seat: Seat<Replica>, work: Work): Promise<void> {
    for (let pause = FIRST_PAUSE_MS; this.#work === work; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
      await sleep(pause, undefined, { signal: work.stop.signal }).catch(() => {});
      if (this.#work === work && (await this.#prepare(seat, work))) return this.#share();
    }
  }

  async #renew(seat: Seat<Replica>, work: Work): Promise<void> {
    this.#close(seat, work);
    if (await this.#prepare(seat, work)) this.#share();
    else void this.#mend(seat, work);
  }

  #share(): void {
    const work = this.#work;
    for (;;) {
      const [job] = this.#waiting;
      if (work === undefined || job === undefined) return;
      const free = this.#seats.filter(
        ({ ready, inFlight }) => ready && (inFlight === 0 || inFlight + job.weight <= MOST_IN_FLIGHT),
      );
      const [seat] = free.sort((a, b) => a.inFlight - b.inFlight);
      if (seat === undefined) return;
      if (this.#options.isUpToDate(seat.replica)) {
        this.#waiting.shift();
        void this.#run(seat, job, work);
      } else void this.#renew(seat, work);
    }
  }

  async #run(seat: Seat<Replica>, job: Job<Replica>, work: Work): Promise<void> {
    seat.inFlight += job.weight;
    let thrown: unknown;
    try {
      await job.run(seat.replica);
    } catch (error) {
      thrown = error;
    }
    seat.inFlight -= job.weight;
    if (seat.inFlight === 0) for (const tell of seat.onIdle.splice(0)) tell();
    if (thrown !== undefined && isPassing(thrown)) this.#again(seat, job, thrown, work);
    else job.end(thrown);
    this.#share();
  }

  #again(seat: Seat<Replica>, job: Job<Replica>, fault: ServerFault, work: Work): void {
    job.failures += fault.kind === "unreachable" ? 0 : 1;
    if (job.failures >= ATTEMPTS) job.end(fault);
    else if (this.#jobs.has(job)) this.#waiting.unshift(job);
    this.#options.failed(seat.replica);
    if (!seat.ready || this.#work !== work) return;
    this.#close(seat, work);
    void this.#mend(seat, work);
  }

  #close(seat: Seat<Replica>, work: Work): void {
    seat.ready = false;
    if (this.#seats.every(({ ready }) => !ready)) work.noneReadySince = performance.now();
  }

  #checkPatience(fault: ServerFault, { noneReadySince }: Work): void {
    const { patience } = this.#options;
    if (this.#seats.some(({ ready }) => ready)) return;
    if (performance.now() - noneReadySince < patience * 1000) return;
    const [reason] = fault.message.split("\n");
    this.#failAll(
      new ServerFault(fault.kind, `no server has answered for ${patience} s: ${reason}`, {
        cause: fault,
        hint: fault.hint ?? "start the servers again, and resume the run from its last checkpoint",
      }),
    );
  }

  #failAll(error: unknown): void {
    for (const job of [...this.#jobs]) job.end(error);
  }
}

function cancelled(): GrpoError {
  return new GrpoError("CANCELLED", "stopped while servers were sampling");
}
