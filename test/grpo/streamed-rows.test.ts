// Training on streams and on lazy data sets: which rows a run reads, and that it can be resumed.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { Dataset } from "../../lib/dataset/dataset.js";
import { IterableDataset } from "../../lib/dataset/iterable-dataset.js";
import { GRPOConfig, type GRPOConfigOptions } from "../../lib/grpo/config.js";
import type { GRPOTrainerOptions } from "../../lib/grpo/setup.js";
import { GRPOTrainer } from "../../lib/grpo/trainer.js";
import type { RewardBatch } from "../../lib/types.js";
import { FakePolicy, type FakeRow, FakeTokenizer } from "./fake-policy.js";

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "grpo-streamed-"));
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

const row = (answer: number): FakeRow => ({ prompt: `question ${answer}`, answer });

/** Endless, and says how far it was read. */
function counted(): { stream: IterableDataset<FakeRow>; read: () => number } {
  let read = 0;
  const stream = IterableDataset.from(function* () {
    for (let n = 0; ; n++) {
      read = Math.max(read, n + 1);
      yield row(n);
    }
  });
  return { stream, read: () => read };
}

function bench(
  trainDataset: GRPOTrainerOptions<FakeRow>["trainDataset"],
  args: GRPOConfigOptions = {},
  evalDataset?: GRPOTrainerOptions<FakeRow>["evalDataset"],
) {
  const answers: number[] = [];
  const reward = ({ completionIds, answer }: RewardBatch<FakeRow>) => {
    answers.push(...new Set(answer));
    return completionIds.map((ids, i) => ids.length + i);
  };
  const trainer = new GRPOTrainer<FakeRow>({
    model: new FakePolicy(),
    processingClass: new FakeTokenizer(),
    rewardFuncs: [reward],
    trainDataset,
    ...(evalDataset && { evalDataset }),
    args: new GRPOConfig({
      outputDir: folder,
      perDeviceTrainBatchSize: 4,
      gradientAccumulationSteps: 2,
      numGenerations: 4,
      maxSteps: 3,
      maxCompletionLength: 8,
      saveSteps: 1,
      rewardBatching: "batch",
      ...args,
    }),
    output: { write: () => {} },
  });
  return { trainer, answers };
}

it("reads as many rows of a stream as the steps need", async () => {
  const { stream, read } = counted();
  const { trainer, answers } = bench(stream, { shuffleDataset: false });
  await trainer.train();
  expect(answers).toEqual([0, 1, 2, 3, 4, 5]);
  expect(read()).toBe(6);
});

it("draws rows from a buffer when they are to be shuffled, the same ones again when a run is resumed", async () => {
  const whole = bench(counted().stream);
  await whole.trainer.train();
  expect([...whole.answers].sort((a, b) => a - b)).not.toEqual([0, 1, 2, 3, 4, 5]);
  const resumed = bench(counted().stream);
  await resumed.trainer.train({ resumeFromCheckpoint: path.join(folder, "checkpoint-1") });
  expect(resumed.answers).toEqual(whole.answers.slice(2));
});

it("goes through a short stream again", async () => {
  const { trainer, answers } = bench(counted().stream.take(2), { shuffleDataset: false });
  await trainer.train();
  expect(answers).toEqual([0, 1, 0, 1, 0, 1]);
});

it("evaluates on all rows of a stream", async () => {
  const { trainer } = bench(counted().stream, {}, counted().stream.take(3));
  const { completions } = await trainer.evaluate({ numGenerations: 1 });
  expect(completions).toHaveLength(3);
});

it("needs maxSteps for a stream", () => {
  expect(() => bench(counted().stream, { maxSteps: -1 })).toThrow("set maxSteps");
});

it("maps and filters a table only where a step needs it", async () => {
  const mapped: number[] = [];
  const rows = Dataset.from(Array.from({ length: 100 }, (_, n) => ({ n })));
  const lazy = rows.map(({ n }) => {
    mapped.push(n);
    return row(n);
  });
  await bench(lazy.removeColumns("n"), { shuffleDataset: false }).trainer.train();
  expect(mapped).toEqual([0, 1, 2, 3, 4, 5]);
});

it.each([
  // Two steps a generation: three steps take two of them, of four prompts each.
  [{ stepsPerGeneration: 4, maxSteps: 3 }, 8],
  [{ stepsPerGeneration: 4, maxSteps: 1 }, 4],
  [{ stepsPerGeneration: 4, numIterations: 2, maxSteps: 4 }, 4],
  [{ numIterations: 3, maxSteps: 4 }, 4],
])("reads whole generations with %j: %i rows", async (args, rows) => {
  const { stream, read } = counted();
  const { trainer, answers } = bench(stream, { shuffleDataset: false, ...args });
  await trainer.train();
  expect(read()).toBe(rows);
  expect(answers).toEqual(Array.from({ length: rows }, (_, n) => n));
});
