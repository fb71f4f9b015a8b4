// The attempts of a generation, side by side. The first that fails stops the others, and is what is thrown when all have ended: none goes on
// in the background, in environments or programs that are used again.

import { setMaxListeners } from "node:events";
import type { SampledGroup, SampleOptions } from "../model/sampled.js";
import { mixSeed } from "../rollout/prompt-sampler.js";
import type { SampledRollout } from "../rollout/sample.js";
import type { SampledAttempt } from "../rollout/sampler.js";

/** Which attempt it is. */
export interface AttemptPlace {
  readonly prompt: number;
  /** Of those at the prompt, from 0. */
  readonly attempt: number;
  /** The prompt's key. */
  readonly key: number;
  /** From 0 to 2^32 − 1: the same when the attempt is made again. */
  readonly seed: number;
  /** Aborted when another attempt has failed, or the sampling is stopped. */
  readonly signal: AbortSignal;
}

/** Makes `groupSize` attempts at each of `prompts` prompts, and hands every group to onGroup as it is complete. */
export async function runAttempts(
  prompts: number,
  options: SampleOptions<SampledAttempt>,
  run: (place: AttemptPlace) => Promise<SampledRollout>,
): Promise<{ readonly groups: readonly SampledGroup<SampledRollout>[] }> {
  const { groupSize, promptKeys, seed = 0, step = 0, onGroup } = options;
  const stop = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
  // One listener for each turn and each call in flight.
  setMaxListeners(0, signal);
  let failure: { readonly error: unknown } | undefined;
  const guarded = async <T>(work: () => T | Promise<T>): Promise<T | undefined> => {
    try {
      return await work();
    } catch (error) {
      failure ??= { error };
      stop.abort(error);
      return undefined;
    }
  };
  const group = async (prompt: number): Promise<SampledGroup<SampledRollout> | undefined> => {
    const key = promptKeys?.[prompt] ?? prompt;
    const attempts = Array.from({ length: groupSize }, (_, attempt) => {
      const own = mixSeed(mixSeed(mixSeed(seed, step), key), attempt);
      return guarded(() => run({ prompt, attempt, key, seed: own, signal }));
    });
    const completions = (await Promise.all(attempts)).filter((one) => one !== undefined);
    if (completions.length < groupSize) return undefined;
    return guarded(() => {
      onGroup?.({ prompt, completions });
      return { prompt, completions };
    });
  };
  const groups = await Promise.all(Array.from({ length: prompts }, (_, prompt) => group(prompt)));
  if (failure) throw failure.error;
  return { groups: groups.filter((one) => one !== undefined) };
}
