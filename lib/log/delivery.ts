// What a run has to say to a server, one thing after the other and beside the training: the run never waits for it. While the server
// cannot be reached everything waits in memory, up to a bound, and is tried again; the end of the run waits for a bounded time.

import { setTimeout as sleep } from "node:timers/promises";
import { GrpoError, reasonOf } from "../errors.js";
import { fetchOnce } from "../hub/hub-fetch.js";

/** One thing to say. May throw; what is ServerDown is tried again. */
type Job = (signal: AbortSignal) => Promise<void>;

export interface DeliveryLimits {
  /** Milliseconds that one request may take. */
  readonly request: number;
  /** Milliseconds that the end of a run waits for what is left. */
  readonly end: number;
  /** Milliseconds before the first try again; each pause is twice the one before. */
  readonly firstPause: number;
  readonly longestPause: number;
  /** Jobs that wait at most: of more, the oldest after the first is dropped. */
  readonly jobs: number;
}

const LIMITS: DeliveryLimits = { request: 30_000, end: 10_000, firstPause: 1000, longestPause: 60_000, jobs: 10_000 };

/** No answer, or one that says to come again. */
class ServerDown extends Error {}

export class Delivery {
  readonly #name: string;
  readonly #note: (text: string) => void;
  readonly #limits: DeliveryLimits;
  readonly #told = new Set<string>();
  #jobs: Job[] = [];
  #working: Promise<void> | undefined;
  #lost = 0;
  /** Ends pauses; a server that is down now will not be waited for. */
  #closing = new AbortController();
  /** Ends requests. */
  #deadline = new AbortController();

  /** `name` of the tracker, and where to tell what goes wrong, each kind once. */
  constructor(name: string, note: (text: string) => void, limits: Partial<DeliveryLimits> = {}) {
    this.#name = name;
    this.#note = note;
    this.#limits = { ...LIMITS, ...limits };
  }

  /** Returns at once. */
  add(job: Job): void {
    // The first may be under way, and is what the others need.
    if (this.#jobs.length >= this.#limits.jobs) this.#lost += this.#jobs.splice(1, 1).length;
    this.#jobs.push(job);
    this.#working ??= this.#work();
  }

  /** Sends what is left and returns within the limit `end`; what could not be sent is told and dropped. */
  async close(): Promise<void> {
    this.#closing.abort();
    const timer = setTimeout(() => this.#deadline.abort(), this.#limits.end);
    try {
      await this.#working;
    } finally {
      clearTimeout(timer);
    }
    this.#lost += this.#jobs.length;
    if (this.#lost > 0) this.#note(`${this.#name} did not get ${this.#lost} of the entries of this run`);
    this.#jobs = [];
    this.#lost = 0;
    this.#closing = new AbortController();
    this.#deadline = new AbortController();
  }

  async #work(): Promise<void> {
    let pause = this.#limits.firstPause;
    for (let job = this.#jobs[0]; job !== undefined; job = this.#jobs[0]) {
      try {
        await job(AbortSignal.any([AbortSignal.timeout(this.#limits.request), this.#deadline.signal]));
        pause = this.#limits.firstPause;
      } catch (error) {
        if (error instanceof ServerDown) {
          this.#tellOnce("down", `${this.#name} cannot be reached, its entries wait: ${error.message}`);
          if (this.#closing.signal.aborted) break;
          await sleep(pause, undefined, { signal: this.#closing.signal, ref: false }).catch(() => {});
          pause = Math.min(2 * pause, this.#limits.longestPause);
          continue;
        }
        this.#lost++;
        this.#tellOnce("refused", `${this.#name} refused an entry: ${reasonOf(error)}`);
      }
      this.#jobs.shift();
    }
    this.#working = undefined;
  }

  #tellOnce(kind: string, text: string): void {
    if (!this.#told.has(kind)) this.#note(text);
    this.#told.add(kind);
  }
}

export interface Answer {
  readonly ok: boolean;
  readonly status: number;
  readonly body: string;
}

/** A request by a job. Throws what makes the job be tried again where the server is down or busy. */
export async function request(address: string, init: RequestInit): Promise<Answer> {
  const host = new URL(address).origin;
  let answer: Answer;
  try {
    const response = await fetchOnce(address, init);
    answer = { ok: response.ok, status: response.status, body: await response.text() };
  } catch (cause) {
    throw new ServerDown(`no answer from ${host}: ${reasonOf(cause)}`);
  }
  if (answer.status >= 500 || answer.status === 408 || answer.status === 429) {
    throw new ServerDown(`${host} answered ${answer.status}`);
  }
  return answer;
}

/** What an answer other than a success becomes. */
export function refusal({ status, body }: Answer, what: string): GrpoError {
  return new GrpoError("BAD_INPUT", `${what}: status ${status}, ${body.slice(0, 300)}`);
}
