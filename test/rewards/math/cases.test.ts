// Cases labelled by Python's math_verify 0.9.0 in TRL's setting (scripts/accuracy/label.py). Where this project knowingly
// differs, differences.json says why; in each of them this project's verdict is the one that is right.

import { readFileSync } from "node:fs";
import { rewards } from "grpo";
import { describe, expect, it } from "vitest";

interface Case {
  readonly kind: string;
  readonly gold: string;
  readonly completion: string;
  readonly label: number | null;
}

const fixture = (name: string) => readFileSync(new URL(`../../fixtures/accuracy/${name}`, import.meta.url), "utf8");
const cases = fixture("cases.jsonl")
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line) as Case);
const differences = JSON.parse(fixture("differences.json")) as (Omit<Case, "kind" | "label"> & { why: string })[];
const key = ({ gold, completion }: { gold: string; completion: string }) => `${gold} ⟵ ${completion}`;
const different = new Set(differences.map(key));

const verdict = ({ gold, completion }: Case) => rewards.accuracy({ solution: [gold], completions: [completion] })[0];

describe("verdicts against math_verify's", () => {
  for (const kind of new Set(cases.map((one) => one.kind))) {
    const own = cases.filter((one) => one.kind === kind);
    it(`agree on ${own.length} cases of ${kind}, but for the listed differences`, () => {
      const disagreeing = own.filter((one) => verdict(one) !== one.label).map(key);
      expect(disagreeing).toEqual(own.map(key).filter((name) => different.has(name)));
    });
  }

  it("differ in less than 1 % of all cases, and every listed difference is a case", () => {
    expect(cases.length).toBeGreaterThan(1500);
    expect(differences.length).toBeLessThan(cases.length / 100);
    const known = new Set(cases.map(key));
    expect(differences.filter((one) => !known.has(key(one)))).toEqual([]);
  });
});
