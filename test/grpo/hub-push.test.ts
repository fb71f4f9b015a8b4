// What a run uploads, by hubStrategy, and that nothing about the Hub can end or leak from a run.

import { readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { beforeEach, expect, test, vi } from "vitest";
import { GRPOConfig, type GRPOConfigOptions } from "../../lib/grpo/config.js";
import { GRPOTrainer } from "../../lib/grpo/trainer.js";
import type { CheckpointWriter } from "../../lib/model/learner.js";
import type { RewardBatch } from "../../lib/types.js";
import { useHub } from "../support/use-hub.js";
import { FakePolicy, type FakeRow, FakeTokenizer, fakeRows } from "./fake-policy.js";

// Pauses between attempts take a hundredth of their time.
vi.mock("node:timers/promises", async (load) => {
  const timers = await load<typeof import("node:timers/promises")>();
  return { ...timers, setTimeout: (ms: number, ...rest: []) => timers.setTimeout(ms / 100, ...rest) };
});

const at = useHub();
const printed: string[] = [];

beforeEach(() => {
  printed.length = 0;
});

class FakeAdapter extends FakePolicy {
  override async savePretrained(directory: string): Promise<void> {
    await super.savePretrained(directory);
    await this.#addConfig(directory);
  }

  override async takeCheckpoint(): Promise<CheckpointWriter> {
    const write = await super.takeCheckpoint();
    return async (directory) => {
      await write(directory);
      await this.#addConfig(directory);
    };
  }

  async #addConfig(directory: string): Promise<void> {
    await writeFile(path.join(directory, "adapter_config.json"), '{"base_model_name_or_path":"org/base"}');
  }
}

function trainer(args: GRPOConfigOptions): GRPOTrainer<FakeRow> {
  return new GRPOTrainer<FakeRow>({
    model: new FakeAdapter(),
    processingClass: new FakeTokenizer(),
    args: new GRPOConfig({
      perDeviceTrainBatchSize: 4,
      numGenerations: 4,
      maxSteps: 4,
      maxCompletionLength: 8,
      loggingSteps: 1,
      saveSteps: 2,
      outputDir: path.join(at.home, "run"),
      hubToken: at.hub.token,
      ...args,
    }),
    rewardFuncs: [
      function long({ completionIds }: RewardBatch<FakeRow>) {
        return completionIds.map((ids) => ids.length);
      },
    ],
    trainDataset: fakeRows(10),
    output: { write: (text: string) => printed.push(text) },
  });
}

const model = [
  "README.md",
  "adapter_config.json",
  "adapter_model.json",
  "metrics.jsonl",
  "reward-curve.svg",
  "tokenizer.json",
];
const names = (id: string) => [...at.hub.filesOf(id).keys()].filter((name) => name !== ".gitattributes").sort();

test("each save goes to a repository named like outputDir", async () => {
  await trainer({ pushToHub: true, hubAlwaysPush: true, hubPrivateRepo: true }).train();
  expect(at.hub.created).toEqual(["ada/run private"]);
  expect(at.hub.commits.map(({ summary }) => summary)).toEqual(
    [2, 4].map((step) => `Training in progress, step ${step}`),
  );
  expect(names("ada/run")).toEqual(model);
  expect(at.hub.filesOf("ada/run").get("README.md")?.toString()).toContain("base_model: org/base");
  expect((await readdir(path.join(at.home, "run"))).filter((name) => name.startsWith(".push"))).toEqual([]);
});

test.each([
  ["checkpoint", ["last-checkpoint"]],
  ["all_checkpoints", ["checkpoint-2", "checkpoint-4"]],
] as const)("with hubStrategy %s checkpoints go along, whole", async (hubStrategy, folders) => {
  await trainer({
    pushToHub: true,
    hubAlwaysPush: true,
    hubStrategy,
    hubModelId: "ada/mine",
    hubRevision: "dev",
  }).train();
  const files = [...at.hub.filesOf("ada/mine", "model", "dev").keys()];
  for (const folder of folders) {
    const inside = files.filter((name) => name.startsWith(`${folder}/`)).map((name) => name.slice(folder.length + 1));
    expect(inside).toEqual(expect.arrayContaining(["adapter_model.json", "optimizer.json", "trainer_state.json"]));
  }
  expect(at.hub.commits).toHaveLength(2);
  expect(names("ada/mine")).toEqual([]);
});

test("with hubStrategy end nothing goes before saveModel", async () => {
  const run = trainer({ pushToHub: true, hubStrategy: "end" });
  await run.train();
  expect(at.hub.commits).toEqual([]);
  await run.saveModel();
  expect(at.hub.commits.map(({ summary }) => summary)).toEqual(["Model save"]);
});

test("trainer.pushToHub uploads the model with a card about the run", async () => {
  const run = trainer({});
  await run.train();
  expect(at.hub.requests).toEqual([]);
  const url = await run.pushToHub({ repo: "ada/last", datasetName: "org/data", commitMessage: "Done" });
  expect(url).toContain("/ada/last/commit/");
  expect(at.hub.commits[0]?.summary).toBe("Done");
  expect(names("ada/last")).toEqual(model);
  const card = at.hub.filesOf("ada/last").get("README.md")?.toString() ?? "";
  expect(card).toMatch(/datasets:\n {2}- org\/data/);
  expect(card).toContain("`long`");
  expect(card).toContain("| steps | 4 |");
  await expect(run.pushToHub({ dataset: "x" } as object)).rejects.toThrow("unknown option dataset");
});

test("completions go to a data set of their own", async () => {
  at.hub.add("ada/logs", { type: "dataset", files: { "README.md": "mine" } });
  await trainer({ logCompletionsHubRepo: "ada/logs", hubAlwaysPush: true }).train();
  const files = at.hub.filesOf("ada/logs", "dataset");
  const lines = files.get("completions.jsonl")?.toString().trim().split("\n") ?? [];
  expect(lines).toHaveLength(16);
  expect(JSON.parse(lines[0] ?? "")).toMatchObject({ step: 1, rewards: { long: expect.any(Number) } });
  expect(files.get("README.md")?.toString()).toBe("mine");
  expect(() => trainer({ logCompletionsHubRepo: "ada/logs", logTo: ["console"] })).toThrow("logCompletionsHubRepo");
});

test("a save that comes while another is under way replaces those that wait", async () => {
  at.hub.fault = (line) => (line.includes("/preupload/") ? { wait: 1500 } : undefined);
  await trainer({ pushToHub: true, saveSteps: 1 }).train();
  const steps = at.hub.commits.map(({ summary }) => Number(summary.split(" ").at(-1)));
  expect(steps.length).toBeLessThan(4);
  expect(steps.at(-1)).toBe(4);
});

test("an upload that fails is noted and does not end the run; the next one has everything", async () => {
  let commits = 0;
  at.hub.fault = (line) => (line.includes("/commit/") && commits++ < 4 ? 500 : undefined);
  const result = await trainer({ pushToHub: true, hubAlwaysPush: true }).train();
  expect(result.globalStep).toBe(4);
  expect(printed.join("")).toMatch(/upload to ada\/run failed, training continues: .*HTTP 500.*none of the files/);
  expect(names("ada/run")).toEqual(model);
});

test("a missing right is found before the first step", async () => {
  const run = trainer({ pushToHub: true, hubToken: "hf_not_this_one" });
  const failure = await run.train().catch(String);
  expect(failure).toContain("did not accept the token");
  expect(failure).not.toContain("hf_not_this_one");
  expect(run.state.globalStep).toBe(0);
});

test("the token is in no file, no line and no print of the config", async () => {
  const run = trainer({ pushToHub: true, hubStrategy: "all_checkpoints" });
  await run.train();
  await run.pushToHub();
  const { inspect } = await import("node:util");
  const seen = [printed.join(""), inspect(run.args, { depth: 9 }), JSON.stringify(run.args)];
  for (const entry of await readdir(path.join(at.home, "run"), { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) seen.push(await readFile(path.join(entry.parentPath, entry.name), "utf8"));
  }
  for (const content of at.hub.filesOf("ada/run").values()) seen.push(content.toString("latin1"));
  expect(seen.length).toBeGreaterThan(20);
  for (const text of seen) expect(text).not.toContain(at.hub.token);
  expect(run.args.hubToken).toBe(at.hub.token);
});
