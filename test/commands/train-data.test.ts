// The rows of a configuration: mixtures take those that Python's take (scripts/golden/mixtures.py), prompts are made as in open-r1.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Dataset } from "../../lib/dataset/dataset.js";
import { loadTrainData, type PromptRows } from "../../lib/recipes/data.js";
import { type ScriptSettings, scriptSchema } from "../../lib/recipes/keys.js";

interface Mixtures {
  readonly sizes: Readonly<Record<string, number>>;
  readonly trl: readonly {
    readonly fractions: Readonly<Record<string, number | null>>;
    readonly ids: readonly string[];
  }[];
  readonly openR1: readonly {
    readonly weights: Readonly<Record<string, number>>;
    readonly seed: number;
    readonly test_split_size: number | null;
    readonly train: readonly string[];
    readonly test?: readonly string[];
  }[];
}

const golden = fileURLToPath(new URL("../fixtures/golden/mixtures.json", import.meta.url));
const mixtures = JSON.parse(readFileSync(golden, "utf8")) as Mixtures;

let folder = "";
const file = (name: string) => join(folder, `${name}.jsonl`);

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "grpo-mixture-"));
  for (const [name, size] of Object.entries(mixtures.sizes)) {
    const rows = Array.from({ length: size }, (_, i) => ({ id: `${name}${i}`, prompt: `${name} ${i}` }));
    writeFileSync(file(name), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  }
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

const script = (keys: object): ScriptSettings => scriptSchema.parse({ model_name_or_path: "m", ...keys });

async function rowsOf(rows: PromptRows | undefined): Promise<Record<string, unknown>[]> {
  const all: Record<string, unknown>[] = [];
  for await (const row of rows ?? []) all.push(row as unknown as Record<string, unknown>);
  return all;
}

const idsOf = async (rows: PromptRows | undefined) => (await rowsOf(rows)).map(({ id }) => id);

describe("mixtures", () => {
  it.each(mixtures.trl.map(({ fractions, ids }) => [fractions, ids] as const))("of TRL: %j", async (fractions, ids) => {
    const datasets = Object.entries(fractions).map(([name, fraction]) => ({ path: file(name), fraction }));
    expect(await idsOf((await loadTrainData(script({ datasets }), false, 0)).train)).toEqual(ids);
  });

  it.each(mixtures.openR1.map((one) => [one.weights, one] as const))("of open-r1: %j", async (weights, one) => {
    const datasets = Object.entries(weights).map(([name, weight]) => ({ id: file(name), weight }));
    const { seed, test_split_size } = one;
    const data = await loadTrainData(script({ dataset_mixture: { datasets, seed, test_split_size } }), false, 7);
    expect(await idsOf(data.train)).toEqual(one.train);
    expect(await idsOf(data.test)).toEqual(one.test ?? []);
  });

  it("as streams and with a test part", async () => {
    const datasets = [{ path: file("a") }, { path: file("b"), columns: ["prompt"] }];
    const { train } = await loadTrainData(script({ datasets, streaming: true }), false, 0);
    expect(train).not.toBeInstanceOf(Dataset);
    expect(await rowsOf(train)).toHaveLength(17);
    const split = await loadTrainData(script({ datasets, test_split_size: 5 }), true, 3);
    expect((await rowsOf(split.test)).length).toBe(5);
    expect((await rowsOf(split.train)).length).toBe(12);
    const both = script({ datasets, streaming: true, test_split_size: 5 });
    await expect(loadTrainData(both, false, 0)).rejects.toThrow("a stream has no end");
    const uneven = script({ datasets: [{ path: file("a"), fraction: 1 }, { path: file("b") }] });
    await expect(loadTrainData(uneven, false, 0)).rejects.toThrow("found fractions [1,null]");
  });
});

describe("prompts", () => {
  const first = async (keys: object) => (await rowsOf((await loadTrainData(script(keys), false, 0)).train))[0];

  it("are the column prompt as it is, unless a key asks for conversations", async () => {
    expect(await first({ dataset_name: file("a") })).toEqual({ id: "a0", prompt: "a 0" });
    const user = { role: "user", content: "a 0" };
    const system = { role: "system", content: "Think." };
    expect(await first({ dataset_name: file("a"), system_prompt: "Think." })).toEqual({
      id: "a0",
      prompt: [system, user],
    });
    expect(await first({ dataset_name: file("a"), dataset_prompt_column: "prompt" })).toEqual({
      id: "a0",
      prompt: [user],
    });
    const streamed = { dataset_name: file("a"), dataset_prompt_column: "id", dataset_streaming: true };
    expect(await first(streamed)).toEqual({ id: "a0", prompt: [{ role: "user", content: "a0" }] });
  });

  it("leave out messages, which nothing reads", async () => {
    const name = join(folder, "chat.jsonl");
    writeFileSync(name, `${JSON.stringify({ problem: "1 + 1?", messages: [{ role: "user", content: "x" }] })}\n`);
    expect(await first({ dataset_name: name, dataset_prompt_column: "problem" })).toEqual({
      problem: "1 + 1?",
      prompt: [{ role: "user", content: "1 + 1?" }],
    });
    await expect(first({ dataset_name: name })).rejects.toThrow(
      'there is no column "prompt"; the columns are: problem, messages',
    );
  });

  it("to evaluate with are read only where something is evaluated", async () => {
    const one = script({ dataset_name: file("a"), dataset_test_split: "train[:3]" });
    expect((await loadTrainData(one, false, 0)).test).toBeUndefined();
    expect(await rowsOf((await loadTrainData(one, true, 0)).test)).toHaveLength(3);
    const mixture = script({ datasets: [{ path: file("a") }] });
    await expect(loadTrainData(mixture, true, 0)).rejects.toThrow("there are no rows to evaluate with");
    await expect(loadTrainData(script({}), false, 0)).rejects.toThrow("which data?");
  });
});
