// The rewards for programs against what open-r1's give for the same completions and the same answers of services.

import { readFileSync } from "node:fs";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import type { ScoringMode } from "../../../lib/rewards/code/codeforces.js";
import { extractCode, patchCode, withIoiIncludes } from "../../../lib/rewards/code/programs.js";
import { rewards } from "../../../lib/rewards/index.js";
import { goldenPath } from "../../addon/golden.js";
import { type FakePiston, fakePiston, hasPython, needs, said } from "../../support/code-services.js";

interface IoiRow {
  readonly id: string;
  readonly year: number;
  readonly test_names: readonly string[];
  readonly grader_files: readonly (readonly [string, string | null])[];
  readonly time_limit: number;
  readonly memory_limit: number;
  readonly score_precision: number;
  readonly test_cases: readonly (readonly [string, string])[];
}

interface CfRow {
  readonly id: string;
  readonly time_limit: number;
  readonly memory_limit: number;
  readonly input_mode: string;
  readonly generated_checker: string | null;
  readonly official_tests: readonly { readonly input: string; readonly output: string }[];
}

interface Judged<Row> {
  readonly row: Row;
  readonly batch_size: number;
  readonly texts: readonly string[];
  readonly rewards: readonly (number | null)[];
}

interface Fixture {
  readonly extracted: readonly (readonly [text: string, language: string, code: string])[];
  readonly included: readonly (readonly [code: string, whole: string])[];
  readonly patched: readonly (readonly [code: string, language: string, whole: string])[];
  readonly graded: readonly {
    readonly texts: readonly string[];
    readonly verification_info: { readonly test_cases: readonly { readonly input: string; readonly output: string }[] };
    readonly code: readonly number[];
    readonly binary: readonly number[];
  }[];
  readonly ioi: readonly (Judged<IoiRow> & { readonly requests: readonly unknown[] })[];
  readonly codeforces: readonly (Judged<CfRow> & {
    readonly languages: readonly string[];
    readonly mode: ScoringMode;
    readonly requests: number;
    readonly first: readonly unknown[];
  })[];
}

const fixture = JSON.parse(readFileSync(goldenPath("code-rewards.json"), "utf8")) as Fixture;

describe("programs in completions", () => {
  it("are taken out of the same blocks", () => {
    // Without a language open-r1 takes nothing; here such a row is not read at all.
    for (const [text, language, code] of fixture.extracted.filter(([, name]) => name !== "")) {
      expect(extractCode(text, language), JSON.stringify([text, language])).toBe(code);
    }
  });

  it("get the same includes and patches", () => {
    for (const [code, whole] of fixture.included) expect(withIoiIncludes(code, "plants")).toBe(whole);
    for (const [code, language, whole] of fixture.patched) expect(patchCode(code, language)).toBe(whole);
  });

  it("keep importlib, which open-r1 takes for imp", () => {
    expect(patchCode("import importlib\nimport sys\nsys.set_int_max_str_digits(0)", "python")).not.toContain(
      "importlibortlib",
    );
  });
});

describe("code and binaryCode on this machine", () => {
  beforeEach(() => {
    vi.stubEnv("HF_ALLOW_CODE_EVAL", "1");
    return () => vi.unstubAllEnvs();
  });

  it.skipIf(!hasPython)(
    `give every program its reward${needs(hasPython, "python3")}`,
    { timeout: 120_000 },
    async () => {
      const code = rewards.code({ provider: "local", numParallel: 4 });
      for (const golden of fixture.graded) {
        const batch = {
          completions: said(golden.texts),
          verification_info: golden.texts.map(() => golden.verification_info),
        };
        const given = await code(batch);
        for (const [i, reward] of given.entries()) {
          expect(reward, golden.texts[i]).toBeCloseTo(golden.code[i] ?? Number.NaN, 12);
        }
        expect(given.map((reward) => (reward === 1 ? 1 : 0))).toEqual(golden.binary);
      }
    },
  );
});

describe("over Piston", () => {
  let piston: FakePiston;
  beforeAll(async () => {
    piston = await fakePiston();
  });
  afterAll(() => void piston.server.close());
  beforeEach(() => {
    piston.requests.length = 0;
  });

  const sorted = (requests: readonly unknown[]): string[] =>
    requests.map((request) => JSON.stringify(sort(request))).sort();

  it.each(fixture.ioi)("ioiCode: $row.test_names, $batch_size at once", async (golden) => {
    const { row, texts } = golden;
    const ioi = rewards.ioiCode({ endpoints: [piston.url], testBatchSize: golden.batch_size });
    const columns = Object.fromEntries(Object.entries(row).map(([key, value]) => [key, texts.map(() => value)]));
    const given = await ioi({ completions: said(texts), ...columns } as unknown as Parameters<typeof ioi>[0]);
    expect(given).toEqual(golden.rewards);
    expect(sorted(piston.requests)).toEqual(sorted(golden.requests));
  });

  it.each(fixture.codeforces)("cfCode: $mode, $batch_size at once, $rewards", async (golden) => {
    const { row, texts, languages } = golden;
    const cf = rewards.cfCode({ endpoints: [piston.url], testBatchSize: golden.batch_size, scoringMode: golden.mode });
    const columns = Object.fromEntries(Object.entries(row).map(([key, value]) => [key, texts.map(() => value)]));
    const batch = { completions: said(texts), ...columns, language: languages };
    const given = await cf(batch as unknown as Parameters<typeof cf>[0]);
    expect(given).toHaveLength(golden.rewards.length);
    given.forEach((reward, i) => {
      const expected = golden.rewards[i] ?? null;
      if (expected === null) expect(reward).toBeNull();
      else expect(reward).toBeCloseTo(expected, 12);
    });
    expect(piston.requests).toHaveLength(golden.requests);
    for (const request of sorted(golden.first)) expect(sorted(piston.requests)).toContain(request);
  });
});

/** With its keys in one order. */
function sort(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sort);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, item]) => [key, sort(item)]));
}
