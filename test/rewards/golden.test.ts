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
  readonly rewards: readonly (number | null)[];
}

interface Fixture {
  readonly texts: string[];
  /** Tokens of each text. */
  readonly lengths: number[];
  readonly ids: number[][];
  readonly cases: Case[];
}

const fixture: Fixture = JSON.parse(readFileSync(goldenPath("rewards.json"), "utf8"));

it.each(fixture.cases)("$name with $options and solution $solution", (golden) => {
  const { texts, lengths, ids } = fixture;
  const byIds = golden.rewards.length === ids.length;
  const batch = {
    completions: byIds ? ids.map(() => "") : texts.map((content) => [{ role: "assistant", content }]),
    completionIds: byIds ? ids : lengths.map((length) => new Array<number>(length).fill(1)),
    solution: texts.map(() => golden.solution),
  };
  // biome-ignore lint/suspicious/noExplicitAny: functions by name, of several types.
  const named = (rewards as any)[golden.name];
  const given: (number | null)[] = (golden.options === null ? named : named(golden.options))(batch);
  expect(given).toHaveLength(golden.rewards.length);
  given.forEach((reward, i) => {
    const expected = golden.rewards[i] ?? null;
    expect(reward, JSON.stringify(byIds ? ids[i] : texts[i])).toEqual(
      expected === null ? null : expect.closeTo(expected, 12),
    );
  });
});
