// Attempts side by side: the first that fails stops the others and is what is thrown, once all have ended.

import { setTimeout as sleep } from "node:timers/promises";
import { expect, it } from "vitest";
import { type AttemptPlace, runAttempts } from "../../lib/agents/attempts.js";
import type { SampledRollout } from "../../lib/rollout/sample.js";

const nothing: SampledRollout = { samples: [], completion: "" };
const asked = { groupSize: 2, maxNewTokens: 8, seed: 3, step: 1, promptKeys: [7, 9] };

/** Waits, or until it is aborted and then a little longer, as what holds something does. */
async function work(ms: number, signal: AbortSignal, ended: () => void): Promise<SampledRollout> {
  try {
    await sleep(ms, undefined, { signal });
    return nothing;
  } finally {
    await sleep(20);
    ended();
  }
}

it.each([
  ["of the same group", [0, 0]],
  ["of another group", [1, 1]],
])("throws what failed first in time, stops those %s, and waits for them", async (_, [prompt, attempt]) => {
  let running = 0;
  const run = (place: AttemptPlace): Promise<SampledRollout> => {
    running++;
    if (place.prompt === 0 && place.attempt === 1) {
      return sleep(10).then(() => {
        running--;
        throw new Error("first in time");
      });
    }
    const fails = place.prompt === prompt && place.attempt === attempt;
    const result = work(60_000, place.signal, () => running--);
    return fails ? result.catch(() => Promise.reject(new Error("first by place"))) : result;
  };
  const groups: number[] = [];
  const options = { ...asked, onGroup: (group: { readonly prompt: number }) => groups.push(group.prompt) };
  await expect(runAttempts(2, options, run)).rejects.toThrow("first in time");
  expect([running, groups]).toEqual([0, []]);
});

it("hands over a group as it is complete, and stops where that throws", async () => {
  const seen: number[] = [];
  const onGroup = ({ prompt }: { readonly prompt: number }) => {
    seen.push(prompt);
    if (prompt === 0) throw new Error("no more");
  };
  let stopped = 0;
  const run = ({ prompt, signal }: AttemptPlace) =>
    work(prompt === 1 ? 0 : prompt === 0 ? 50 : 60_000, signal, () => stopped++);
  await expect(runAttempts(3, { ...asked, promptKeys: [1, 2, 3], onGroup }, run)).rejects.toThrow("no more");
  expect([seen, stopped]).toEqual([[1, 0], 6]);
});

it("stops all where the sampling is stopped", async () => {
  const stop = new AbortController();
  const run = ({ signal }: AttemptPlace) => work(60_000, signal, () => {});
  const sampling = runAttempts(2, { ...asked, signal: stop.signal }, run);
  stop.abort(new Error("stop"));
  await expect(sampling).rejects.toThrow(/abort/i);
});

it("gives every attempt a seed of its own, which is the same again and depends on seed, step, key and attempt", async () => {
  const seeds = async (own: object) => {
    const found: number[] = [];
    await runAttempts(2, { ...asked, ...own }, async ({ seed }) => {
      found.push(seed);
      return nothing;
    });
    return found;
  };
  const first = await seeds({});
  expect(new Set(first).size).toBe(4);
  expect(await seeds({})).toEqual(first);
  for (const own of [{ seed: 4 }, { step: 2 }])
    expect((await seeds(own)).some((seed) => first.includes(seed))).toBe(false);
  expect((await seeds({ promptKeys: [9, 7] })).toSorted()).toEqual(first.toSorted());
});
