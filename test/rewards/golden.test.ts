// Every reward of the library that TRL or open-r1 has, on fixed texts, against what theirs give.

import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { rewards } from "../../lib/rewards/index.js";
import { goldenPath } from "../addon/golden.js";

interface Case {
  readonly name: string;
  /** null: the function takes no options. */
  readonly options: Record<string, unknown> | null;
  readonly solution: string | null;
  readonly rewards: readonly number[];
}

const fixture: { readonly texts: string[]; readonly ids: number[][]; readonly cases: Case[] } = JSON.parse(
  readFileSync(goldenPath("rewards.json"), "utf8"),
);

it.each(fixture.cases)("$name with $options and solution $solution", (golden) => {
  const { texts, ids } = fixture;
  const byIds = golden.rewards.length === ids.length;
  const batch = {
    completions: byIds ? ids.map(() => "") : texts.map((content) => [{ role: "assistant", content }]),
    completionIds: byIds ? ids : texts.map(() => []),
    solution: texts.map(() => golden.solution),
  };
  // biome-ignore lint/suspicious/noExplicitAny: functions by name, of several types.
  const named = (rewards as any)[golden.name];
  const given: number[] = (golden.options === null ? named : named(golden.options))(batch);
  expect(given).toHaveLength(golden.rewards.length);
  given.forEach((reward, i) => {
    expect(reward, JSON.stringify(byIds ? ids[i] : texts[i])).toBeCloseTo(golden.rewards[i] ?? Number.NaN, 12);
  });
});
