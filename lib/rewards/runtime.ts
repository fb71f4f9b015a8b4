// Calls reward functions and checks what they return. Each call gets one batch (a finished group, or the whole step),
// runs under a limit of calls in flight, a timeout and the run's abort signal, and ends in one of two ways: a checked
// list of numbers and nulls, or the error policy. Knows nothing of models, tokens or advantages.

import { at } from "../at.js";
import { show } from "../checks.js";
import { GrpoError, reasonOf } from "../errors.js";
import type { AnyRewardFn, Completion, FinishReason, Prompt, TrainerState } from "../types.js";
import { copyOf, lazyObject } from "./copies.js";
import { checkJson, checkRewards, type FailureKind, milliseconds, RewardError } from "./failure.js";
import { Semaphore } from "./semaphore.js";

export interface RewardRuntimeOptions {
  readonly functions: readonly AnyRewardFn[];
  /** Calls in flight at once. */
  readonly concurrency?: number;
  /** Seconds one call may take; null: any time. */
  readonly timeout?: number | null;
  /** What a failed call counts as. */
  readonly onError?: "fail" | "null" | number;
  /** Whether a metric is the run's own, so that no function may send one of its name. Default: none is. */
  readonly reserved?: (metric: string) => boolean;
  /** Told of every failed call that does not end the run. */
  readonly onFailure?: (name: string, kind: FailureKind, error: GrpoError) => void;
}

/** One call's worth of completions; every list has one entry per completion. */
export interface RewardInput {
  readonly prompts: readonly Prompt[];
  readonly completions: readonly Completion[];
  readonly completionIds: readonly (readonly number[])[];
  readonly finishReasons: readonly FinishReason[];
  /** What rollouts of one's own returned. Absent: there are none. */
  readonly rolloutResults?: readonly unknown[] | undefined;
  readonly columns: Readonly<Record<string, readonly unknown[]>>;
  /** What the rollouts acted upon. Absent: there are no environments. */
  readonly environments?: readonly object[];
  readonly trainerState: TrainerState;
}

export interface RewardOutput {
  /** [functions][completions] */
  readonly rewards: readonly (readonly (number | null)[])[];
  /** Values sent with logMetric, in the order of the functions. */
  readonly metrics: readonly SentMetric[];
  /** Columns sent with logExtra, one value per completion. */
  readonly extras: Readonly<Record<string, unknown[]>>;
  /** [functions] how the call failed; undefined: it did not. */
  readonly failures: readonly (FailureKind | undefined)[];
}

interface SentMetric {
  readonly name: string;
  readonly value: number;
}

/** What a function sends beside its rewards. Only that of a call that ends well is taken over. */
interface Sent {
  readonly metrics: SentMetric[];
  readonly extras: Map<string, unknown[]>;
}

interface CallResult extends Sent {
  readonly rewards: (number | null)[];
  readonly failure?: FailureKind;
}

export class RewardRuntime {
  /** One name per function, unique: the function's own, or reward_<index>. */
  readonly names: readonly string[];
  readonly #functions: readonly AnyRewardFn[];
  readonly #timeout: number | null;
  readonly #onError: "fail" | "null" | number;
  readonly #reserved: (metric: string) => boolean;
  readonly #onFailure: NonNullable<RewardRuntimeOptions["onFailure"]>;
  readonly #slots: Semaphore;

  constructor(options: RewardRuntimeOptions) {
    this.#functions = options.functions;
    this.names = uniqueNames(options.functions);
    this.#timeout = options.timeout ?? null;
    this.#onError = options.onError ?? "fail";
    this.#reserved = options.reserved ?? (() => false);
    this.#onFailure = options.onFailure ?? (() => {});
    this.#slots = new Semaphore(options.concurrency ?? 16);
  }

  /** Runs every function on the batch. Rejects with REWARD_FAILED, BAD_REWARD or CANCELLED. */
  async score(input: RewardInput, signal: AbortSignal): Promise<RewardOutput> {
    const calls = this.#functions.map((_, k) => this.#slots.run(() => this.#scoreOne(k, input, signal)));
    const results = await Promise.all(calls);
    return {
      rewards: results.map(({ rewards }) => rewards),
      metrics: results.flatMap(({ metrics }) => metrics),
      extras: Object.fromEntries(results.flatMap(({ extras }) => [...extras])),
      failures: results.map(({ failure }) => failure),
    };
  }

  /** Lets functions that hold something between their calls, such as processes, let go of it. They may be called again. */
  async close(): Promise<void> {
    await Promise.all(this.#functions.map((fn) => (fn as { close?: () => unknown }).close?.()));
  }

  async #scoreOne(k: number, input: RewardInput, signal: AbortSignal): Promise<CallResult> {
    const name = at(this.names, k);
    const size = input.completions.length;
    const sent: Sent = { metrics: [], extras: new Map() };
    try {
      const result = await this.#call(k, name, input, sent, signal);
      return {
        rewards: checkRewards(name, result, size),
        metrics: [...sent.metrics],
        extras: new Map(sent.extras),
      };
    } catch (error) {
      if (signal.aborted) throw cancelled(name);
      const failed = error instanceof GrpoError ? error : rewardFailed(name, size, input.trainerState, error);
      if (this.#onError === "fail") throw failed;
      const failure = failed instanceof RewardError ? failed.kind : "exceptions";
      this.#onFailure(name, failure, failed);
      const value = this.#onError === "null" ? null : this.#onError;
      return { rewards: new Array<number | null>(size).fill(value), metrics: [], extras: new Map(), failure };
    }
  }

  async #call(k: number, name: string, input: RewardInput, sent: Sent, signal: AbortSignal): Promise<unknown> {
    if (signal.aborted) throw cancelled(name);
    const fn = this.#functions[k] as (batch: unknown) => unknown;
    const limit = new AbortController();
    const batch = Object.assign(callArguments(input), this.#senders(name, input, sent), {
      signal: AbortSignal.any([signal, limit.signal]),
    });
    let onAbort = () => {};
    let timer: NodeJS.Timeout | undefined;
    const interrupted = new Promise<never>((_, reject) => {
      onAbort = () => reject(cancelled(name));
      signal.addEventListener("abort", onAbort, { once: true });
      if (this.#timeout === null) return;
      timer = setTimeout(() => {
        const error = timedOut(name, this.#timeout ?? 0, input.completions.length);
        reject(error);
        limit.abort(error);
      }, milliseconds(this.#timeout));
    });
    try {
      return await Promise.race([fn(batch), interrupted]);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
    }
  }

  #senders(name: string, { completions: { length: size } }: RewardInput, sent: Sent) {
    const logMetric = (metric: string, value: number): void => {
      if (typeof metric !== "string" || metric === "") {
        throw new TypeError(`logMetric takes a name, found ${show(metric)}`);
      }
      if (typeof value !== "number") throw new TypeError(`logMetric("${metric}") takes a number, found ${show(value)}`);
      if (this.#reserved(metric)) throw reservedMetric(name, metric);
      sent.metrics.push({ name: metric, value });
    };
    const logExtra = (column: string, values: readonly unknown[]): void => {
      if (values.length !== size) {
        throw new RewardError(
          "invalid",
          `reward function "${name}": logExtra("${column}") got ${values.length} values for ${size} completions`,
        );
      }
      const copy = copyOf([...values]);
      checkJson(name, column, copy);
      sent.extras.set(column, copy);
    };
    return { logMetric, logExtra };
  }
}

/** TRL's named arguments. Every completion has values of its own, also where several are of one row; environments are what they are. */
function callArguments({ columns, trainerState, environments, ...lists }: RewardInput): object {
  const copies = Object.entries<readonly unknown[] | undefined>({ ...columns, ...lists }).flatMap(([name, values]) =>
    values === undefined ? [] : [[name, () => values.map((value) => copyOf(value))] as const],
  );
  return lazyObject({
    ...Object.fromEntries(copies),
    ...(environments === undefined ? {} : { environments: () => [...environments] }),
    trainerState: () => copyOf(trainerState),
  });
}

function rewardFailed(name: string, size: number, state: TrainerState, cause: unknown): RewardError {
  const where = `on ${size} completions after step ${state.globalStep}`;
  return new RewardError("exceptions", `reward function "${name}" threw ${where}: ${reasonOf(cause)}`, {
    cause,
    hint: 'to go on after such failures, set onRewardError to "null" or to a number',
  });
}

function timedOut(name: string, seconds: number, size: number): RewardError {
  return new RewardError(
    "timeouts",
    `reward function "${name}" took longer than ${seconds} s for ${size} completions`,
    {
      hint: 'raise rewardTimeout, or set onRewardError to "null" or to a number',
    },
  );
}

function reservedMetric(name: string, metric: string): RewardError {
  const what = `reward function "${name}": logMetric("${metric}") has the name of a number of the run itself`;
  return new RewardError("invalid", what, { hint: `choose another name, such as "${name}/${metric}"` });
}

function cancelled(name: string): GrpoError {
  return new GrpoError("CANCELLED", `stopped while reward function "${name}" was at work`);
}

/** Of several functions with one name the first keeps it; each other gets a number that makes it unlike all. */
function uniqueNames(functions: readonly AnyRewardFn[]): string[] {
  const own = functions.map((fn, index) => fn.name || `reward_${index}`);
  const taken = new Set(own);
  return own.map((name, index) => {
    if (own.indexOf(name) === index) return name;
    let number = 2;
    while (taken.has(`${name}_${number}`)) number++;
    taken.add(`${name}_${number}`);
    return `${name}_${number}`;
  });
}
