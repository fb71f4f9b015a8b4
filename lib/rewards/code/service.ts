// Requests to a service that runs programs, and what becomes of a program that it could not run: an outage says nothing about
// what the model wrote, so such a program has no reward; if that holds for all of a call, the call has failed.

import { setTimeout as sleep } from "node:timers/promises";
import { GrpoError, reasonOf } from "../../errors.js";
import type { RewardBatch } from "../../types.js";

/** The service did not answer, or not with a result. */
export class ServiceError extends Error {
  /** Whether the same request may succeed later. */
  readonly passing: boolean;

  constructor(message: string, passing: boolean, cause?: unknown) {
    super(message, { cause });
    this.passing = passing;
  }
}

export interface Retries {
  /** Default 6, as open-r1 has for Piston. */
  readonly attempts?: number;
  /** Milliseconds; doubles from attempt to attempt, up to ten seconds. Default 1000. */
  readonly firstPause?: number;
}

/** Again, with growing pauses, while that may help. */
export async function patiently<T>(
  work: () => Promise<T>,
  signal: AbortSignal | undefined,
  { attempts = 6, firstPause = 1000 }: Retries = {},
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof ServiceError) || !error.passing || attempt >= attempts) throw error;
    }
    const pause = Math.min(firstPause * 2 ** (attempt - 1), 10_000) * (1 + Math.random() / 4);
    await sleep(pause, undefined, signal ? { signal } : {});
  }
}

/** The answer to one POST. Throws ServiceError. */
export async function postJson(
  url: string,
  body: unknown,
  seconds: number,
  signal: AbortSignal | undefined,
): Promise<unknown> {
  const limit = AbortSignal.timeout(Math.ceil(seconds * 1000));
  try {
    const response = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
    const text = await response.text();
    if (response.ok) return JSON.parse(text) as unknown;
    const passing = response.status >= 500 || response.status === 408 || response.status === 429;
    throw new ServiceError(`${url} answered ${response.status}: ${text.slice(0, 200)}`, passing);
  } catch (error) {
    if (error instanceof ServiceError) throw error;
    const why = error instanceof Error && error.cause ? reasonOf(error.cause) : reasonOf(error);
    throw new ServiceError(`${url}: ${why}`, true, error);
  }
}

/** What the rewards of this folder read beside columns. All but the completions may be left out in a call of one's own. */
export type CodeBatch = Pick<RewardBatch, "completions"> & Partial<Pick<RewardBatch, "logMetric" | "signal">>;

/** One reward for each; null for what the service could not run, unless that is all that it was asked: what is no promise. */
export async function settle(
  tasks: readonly (number | null | Promise<number | null>)[],
  { logMetric }: CodeBatch,
): Promise<(number | null)[]> {
  const asked = tasks.filter((task) => task instanceof Promise).length;
  const results = await Promise.allSettled(tasks);
  const errors = results.flatMap((result) => (result.status === "rejected" ? [result.reason as unknown] : []));
  const own = errors.find((error) => !(error instanceof ServiceError));
  if (own !== undefined) throw own;
  if (errors.length > 0 && errors.length === asked) throw errors[0];
  if (errors.length > 0) logMetric?.("programs_not_executed", errors.length / asked);
  return results.map((result) => (result.status === "fulfilled" ? result.value : null));
}

/** One completion's row. Throws for a required column without a value; another one is null then. */
export function rowOf<Row>(
  reward: string,
  batch: object,
  i: number,
  { required, optional }: { readonly required: readonly string[]; readonly optional: readonly string[] },
): Row {
  const entries = [...required, ...optional].map((column) => {
    const values = Reflect.get(batch, column) as unknown;
    return [column, Array.isArray(values) ? ((values[i] as unknown) ?? null) : null] as const;
  });
  const missing = entries.find(([column, value]) => value === null && required.includes(column));
  if (missing === undefined) return Object.fromEntries(entries) as Row;
  throw new GrpoError("BAD_DATASET", `${reward} needs the column ${missing[0]}`, {
    hint: `the columns that it reads are ${[...required, ...optional].join(", ")}: docs/code-rewards.md`,
  });
}

/** Lists of so many; one list where the size is below 1. */
export function batched<T>(items: readonly T[], size: number): (readonly T[])[] {
  if (size < 1) return [items];
  const starts = Array.from({ length: Math.ceil(items.length / size) }, (_, i) => i * size);
  return starts.map((start) => items.slice(start, start + size));
}
