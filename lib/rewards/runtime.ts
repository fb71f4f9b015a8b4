// Calls reward functions and checks what they return. Each call gets one batch (a finished group, or the whole step),
// runs under a limit of calls in flight, a timeout and the run's abort signal, and ends in one of two ways: a checked
// list of numbers and nulls, or the error policy. Knows nothing of models, tokens or advantages.

import { GrpoError, reasonOf } from "../errors.js";
import type { AnyRewardFn } from "../trainer/config.js";
import type { Completion, FinishReason, Prompt, TrainerState } from "../types.js";

export interface RewardRuntimeOptions {
  readonly functions: readonly AnyRewardFn[];
  /** Calls in flight at once. */
  readonly concurrency?: number;
  /** Seconds one call may take; null: any time. */
  readonly timeout?: number | null;
  /** What a failed call counts as. */
  readonly onError?: "fail" | "null" | number;
}

/** One call's worth of completions; every list has one entry per completion. */
export interface RewardInput {
  readonly prompts: readonly Prompt[];
  readonly completions: readonly Completion[];
  readonly completionIds: readonly (readonly number[])[];
  readonly finishReasons: readonly FinishReason[];
  readonly columns: Readonly<Record<string, readonly unknown[]>>;
  readonly trainerState: TrainerState;
}

export interface RewardOutput {
  /** [functions][completions] */
  readonly rewards: (number | null)[][];
  /** Values sent with logMetric, in order. */
  readonly metrics: { readonly name: string; readonly value: number }[];
  /** Columns sent with logExtra, one value per completion. */
  readonly extras: Record<string, unknown[]>;
  /** Failed calls per function. */
  readonly errors: number[];
  /** Wall seconds from the first call to the last result. */
  readonly seconds: number;
}

type Rewards = (number | null)[];

export class RewardRuntime {
  /** One name per function, unique: the function's own, or reward_<index>. */
  readonly names: readonly string[];
  readonly #functions: readonly AnyRewardFn[];
  readonly #timeout: number | null;
  readonly #onError: "fail" | "null" | number;
  readonly #slots: Semaphore;

  constructor(options: RewardRuntimeOptions) {
    this.#functions = options.functions;
    this.names = uniqueNames(options.functions);
    this.#timeout = options.timeout ?? null;
    this.#onError = options.onError ?? "fail";
    this.#slots = new Semaphore(options.concurrency ?? 16);
  }

  /** Runs every function on the batch. Rejects with REWARD_FAILED, BAD_REWARD or CANCELLED. */
  async score(input: RewardInput, signal: AbortSignal): Promise<RewardOutput> {
    const started = performance.now();
    const output: RewardOutput = { rewards: [], metrics: [], extras: {}, errors: [], seconds: 0 };
    const calls = this.#functions.map((_, k) => this.#slots.run(() => this.#scoreOne(k, input, output, signal)));
    output.rewards.push(...(await Promise.all(calls)));
    return { ...output, seconds: (performance.now() - started) / 1000 };
  }

  async #scoreOne(k: number, input: RewardInput, output: RewardOutput, signal: AbortSignal): Promise<Rewards> {
    const name = this.names[k] ?? "";
    const size = input.completions.length;
    output.errors[k] = 0;
    try {
      const result = await this.#call(k, name, input, output, signal);
      return checkRewards(name, result, size);
    } catch (error) {
      const failed = error instanceof GrpoError ? error : rewardFailed(name, size, input.trainerState, error);
      if (this.#onError === "fail" || failed.code === "CANCELLED") throw failed;
      output.errors[k] = 1;
      return new Array<number | null>(size).fill(this.#onError === "null" ? null : this.#onError);
    }
  }

  async #call(
    k: number,
    name: string,
    input: RewardInput,
    output: RewardOutput,
    signal: AbortSignal,
  ): Promise<unknown> {
    if (signal.aborted) throw cancelled(name);
    const fn = this.#functions[k] as (batch: unknown) => unknown;
    const limit = new AbortController();
    const batch = callArguments(name, input, output, AbortSignal.any([signal, limit.signal]));
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
      }, this.#timeout * 1000);
    });
    try {
      return await Promise.race([fn(batch), interrupted]);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
    }
  }
}

/** TRL's named arguments. Lists are copied, so that a function that changes its own cannot disturb another's. */
function callArguments(name: string, input: RewardInput, output: RewardOutput, signal: AbortSignal): object {
  return {
    ...Object.fromEntries(Object.entries(input.columns).map(([column, values]) => [column, [...values]])),
    prompts: [...input.prompts],
    completions: [...input.completions],
    completionIds: input.completionIds.map((ids) => [...ids]),
    finishReasons: [...input.finishReasons],
    trainerState: input.trainerState,
    signal,
    logMetric(metric: string, value: number): void {
      if (typeof value !== "number")
        throw new TypeError(`logMetric("${metric}") takes a number, found ${typeof value}`);
      output.metrics.push({ name: metric, value });
    },
    logExtra(column: string, values: readonly unknown[]): void {
      const size = input.completions.length;
      if (values.length !== size) {
        throw new GrpoError(
          "BAD_REWARD",
          `reward function "${name}": logExtra("${column}") got ${values.length} values for ${size} completions`,
        );
      }
      output.extras[column] = [...values];
    },
  };
}

function checkRewards(name: string, result: unknown, size: number): Rewards {
  if (!Array.isArray(result)) {
    throw badReward(name, `returned ${describe(result)}, expected an array of ${size} numbers or nulls`);
  }
  if (result.length !== size) {
    throw badReward(name, `returned ${result.length} rewards for ${size} completions`);
  }
  return Array.from(result, (value: unknown, i) => {
    if (value === null) return null;
    if (typeof value === "number" && Number.isFinite(value)) return value;
    throw badReward(
      name,
      `returned ${describe(value)} for completion ${i} of ${size}, expected a finite number or null`,
    );
  });
}

function badReward(name: string, what: string): GrpoError {
  return new GrpoError("BAD_REWARD", `reward function "${name}" ${what}`, {
    hint: "return exactly one finite number per completion, or null to abstain",
  });
}

function rewardFailed(name: string, size: number, state: TrainerState, cause: unknown): GrpoError {
  const where = `on ${size} completions after step ${state.globalStep}`;
  return new GrpoError("REWARD_FAILED", `reward function "${name}" threw ${where}: ${reasonOf(cause)}`, {
    cause,
    hint: 'to go on after such failures, set onRewardError to "null" or to a number',
  });
}

function timedOut(name: string, seconds: number, size: number): GrpoError {
  return new GrpoError(
    "REWARD_FAILED",
    `reward function "${name}" took longer than ${seconds} s for ${size} completions`,
    {
      hint: 'raise rewardTimeout, or set onRewardError to "null" or to a number',
    },
  );
}

function cancelled(name: string): GrpoError {
  return new GrpoError("CANCELLED", `stopped while reward function "${name}" was at work`);
}

function describe(value: unknown): string {
  if (value === undefined) return "undefined";
  return typeof value === "number"
    ? String(value)
    : `${typeof value} ${JSON.stringify(value)?.slice(0, 40) ?? ""}`.trim();
}

function uniqueNames(functions: readonly AnyRewardFn[]): string[] {
  const seen = new Map<string, number>();
  return functions.map((fn, index) => {
    const name = fn.name || `reward_${index}`;
    const times = (seen.get(name) ?? 0) + 1;
    seen.set(name, times);
    return times === 1 ? name : `${name}_${times}`;
  });
}

class Semaphore {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(size: number) {
    this.#free = size;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free++;
    }
  }
}
