// What a run that goes on must have in common with the one that wrote the checkpoint, what may change, and which checkpoint is the newest.

import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { IterableDataset } from "../../lib/dataset/iterable-dataset.js";
import { GRPOConfig, type GRPOConfigOptions } from "../../lib/grpo/config.js";
import { schema } from "../../lib/grpo/config-fields.js";
import type { GRPOTrainerOptions, TrainerEvent } from "../../lib/grpo/setup.js";
import { GRPOTrainer } from "../../lib/grpo/trainer.js";
import { findCheckpoint } from "../../lib/run/checkpoint.js";
import { FakePolicy, type FakeRow, FakeTokenizer, fakeRows } from "./fake-policy.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "grpo-settings-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function bench(args: GRPOConfigOptions = {}, options: Partial<GRPOTrainerOptions<FakeRow>> = {}) {
  const policy = new FakePolicy();
  const printed: string[] = [];
  const trainer = new GRPOTrainer<FakeRow>({
    model: policy,
    processingClass: new FakeTokenizer(),
    args: new GRPOConfig({
      outputDir: folder,
      perDeviceTrainBatchSize: 4,
      numGenerations: 4,
      maxSteps: 4,
      saveSteps: 1,
      maxCompletionLength: 4,
      learningRate: 0.01,
      lrSchedulerType: "constant",
      ...args,
    }),
    rewardFuncs: [({ completionIds }) => completionIds.map((ids) => ids.length)],
    trainDataset: fakeRows(6),
    output: { write: (text: string) => printed.push(text) },
    ...options,
  });
  return { trainer, policy, printed };
}

const resume = (args: GRPOConfigOptions, options: Partial<GRPOTrainerOptions<FakeRow>> = {}) =>
  bench(args, options).trainer.train({ resumeFromCheckpoint: true });

describe("a changed setting that decides the numbers", () => {
  const changes: readonly GRPOConfigOptions[] = [
    { seed: 7 },
    { beta: 0.1 },
    { temperature: 0.7 },
    { topK: 5 },
    { minP: 0.1 },
    { repetitionPenalty: 1.1 },
    { maxCompletionLength: 3 },
    { lossType: "bnpo" },
    { epsilonHigh: 0.3 },
    { importanceSamplingLevel: "sequence" },
    { scaleRewards: "none" },
    { rewardWeights: [2] },
    { maskTruncatedCompletions: true },
    { shuffleDataset: false },
    { chatTemplateKwargs: { enable_thinking: false } },
    { weightDecay: 0.1 },
    { adamBeta2: 0.95 },
    { maxGradNorm: 0.5 },
    { optim: "sgd" },
    { numIterations: 2 },
    { stepsPerGeneration: 2 },
    { gradientAccumulationSteps: 2 },
    { numGenerations: 2 },
  ];

  it.each(changes)("%o is refused by its name, with both values, before a step", async (change) => {
    await bench({ maxSteps: 1 }).trainer.train();
    const { trainer, policy } = bench(change);
    const [name = "", value] = Object.entries(change)[0] ?? [];
    const old = Reflect.get(bench().trainer.args, name);
    await expect(trainer.train({ resumeFromCheckpoint: true })).rejects.toMatchObject({
      code: "BAD_CHECKPOINT",
      message: expect.stringContaining(`checkpoint-1 was written with ${name} ${name === "optim" ? '"adamw"' : ""}`),
    });
    const { message } = (await trainer.train({ resumeFromCheckpoint: true }).catch((error: Error) => error)) as Error;
    expect(message).toMatch(/, this run has /);
    expect(message).toContain(JSON.stringify(value));
    if (old !== null && name !== "optim") expect(message).toContain(JSON.stringify(old));
    expect(policy.samples).toEqual([]);
  });

  it("is named together with all others", async () => {
    await bench({ maxSteps: 1 }).trainer.train();
    await expect(resume({ beta: 0.1, temperature: 0.5 })).rejects.toThrow(
      "was written with temperature 1, this run has 0.5; with beta 0, this run has 0.1",
    );
  });

  it("is none where two spellings mean the same", async () => {
    await bench({ maxSteps: 1, stepsPerGeneration: 2, optimArgs: {} }).trainer.train();
    await resume({ generationBatchSize: 8, rewardWeights: [1], optim: "adamw_torch", scaleRewards: true });
  });

  it("may be one of the learning rate's or of the length, and is told", async () => {
    await bench({ maxSteps: 2 }).trainer.train();
    const { trainer, printed } = bench({ learningRate: 0.5, lrSchedulerType: "linear", warmupSteps: 1, maxSteps: 3 });
    await trainer.train({ resumeFromCheckpoint: true });
    expect(trainer.state.globalStep).toBe(3);
    const notes = printed.filter((line) => line.includes("from here on"));
    expect(notes.join("")).toBe(
      [
        "maxSteps is 3 from here on; the checkpoint was written with 2",
        "learningRate is 0.5 from here on; the checkpoint was written with 0.01",
        'lrSchedulerType is "linear" from here on; the checkpoint was written with "constant"',
        "warmupSteps is 1 from here on; the checkpoint was written with 0",
      ]
        .map((note) => `note     ${note}\n`)
        .join(""),
    );
  });

  it("is told, and not refused, where it is the type of the weights", async () => {
    await bench({ maxSteps: 1 }).trainer.train();
    const model = Object.assign(new FakePolicy(), { dtype: "bfloat16" });
    const { trainer, printed } = bench({}, { model });
    await trainer.train({ resumeFromCheckpoint: true });
    expect(printed.join("")).toContain('dtype is "bfloat16" from here on; the checkpoint was written with "float32"');
  });

  it("is not one that decides only where it writes, logs, saves, evaluates or waits", async () => {
    await bench().trainer.train();
    const { trainer, printed } = bench(
      {
        loggingSteps: 1,
        saveSteps: 2,
        saveTotalLimit: 3,
        evalStrategy: "steps",
        evalSteps: 2,
        maxTokensPerMicroBatch: 100,
        gradientCheckpointing: true,
        rewardTimeout: 9,
        onRewardError: "null",
        rewardConcurrency: 1,
        rolloutConcurrency: 1,
        rolloutTimeout: 9,
        logCompletions: true,
        maxBadSteps: 9,
        runName: "again",
      },
      { evalDataset: fakeRows(2) },
    );
    await trainer.train({ resumeFromCheckpoint: path.join(folder, "checkpoint-2") });
    expect(printed.join("")).not.toContain("from here on");
  });

  it("is found in a checkpoint of an earlier version too, under the names that it had", async () => {
    await bench({ maxSteps: 1 }).trainer.train();
    const file = path.join(folder, "checkpoint-1", "trainer_state.json");
    const { settings: _, rows: __, ...state } = JSON.parse(readFileSync(file, "utf8"));
    const sizes = { prompts_per_generation: 1, slices_per_generation: 1, slices_per_step: 1, num_iterations: 1 };
    const same = { num_generations: 4, shuffle_dataset: true, dynamic_sampling: false, optimizer: "adamw" };
    writeFileSync(file, JSON.stringify({ ...state, order: { seed: 42, rows: 6, ...sizes, ...same } }));
    await expect(resume({}, { trainDataset: fakeRows(5) })).rejects.toThrow("was written with rows 6, this run has 5");
    await expect(resume({ numIterations: 2 })).rejects.toThrow("was written with num_iterations 1, this run has 2");
    await expect(resume({ beta: 0.1 })).resolves.toMatchObject({ globalStep: 4 });
  });

  it("is stored for every option of sampling and loss", async () => {
    await bench({ maxSteps: 1 }).trainer.train();
    const state = JSON.parse(readFileSync(path.join(folder, "checkpoint-1", "trainer_state.json"), "utf8"));
    const stored = Object.keys(state.settings);
    const free = Object.keys(schema().shape).filter((name) => !stored.includes(name));
    // A new option is here or decides the numbers.
    expect(free.sort()).toMatchInlineSnapshot(`
      [
        "activationCheckpointing",
        "bf16",
        "ddpTimeout",
        "earlierRun",
        "earlyStoppingPatience",
        "earlyStoppingThreshold",
        "evalDoSample",
        "evalOnStart",
        "evalPassAt",
        "evalPassThreshold",
        "evalSteps",
        "evalStrategy",
        "evalTemperature",
        "evalTopK",
        "evalTopP",
        "generationBatchSize",
        "gradientCheckpointing",
        "graphCapture",
        "greaterIsBetter",
        "hubAlwaysPush",
        "hubModelId",
        "hubPrivateRepo",
        "hubRevision",
        "hubStrategy",
        "hubToken",
        "loadBestModelAtEnd",
        "logCompletions",
        "logCompletionsHubRepo",
        "logTo",
        "loggingFirstStep",
        "loggingSteps",
        "maxBadSteps",
        "maxTokensPerMicroBatch",
        "memoryCheck",
        "metricForBestModel",
        "modelInitKwargs",
        "numCompletionsToPrint",
        "numGenerationsEval",
        "numTrainEpochs",
        "onRewardError",
        "outputDir",
        "project",
        "pushToHub",
        "removeUnusedColumns",
        "rewardBatching",
        "rewardConcurrency",
        "rewardFuncs",
        "rewardFuncsWeights",
        "rewardTimeout",
        "rolloutConcurrency",
        "rolloutTimeout",
        "runName",
        "saveSteps",
        "saveStrategy",
        "saveTotalLimit",
        "toolTimeout",
        "useVllm",
        "vllmImportanceSamplingCap",
        "vllmMode",
        "vllmRequestTimeout",
        "vllmServerBaseUrl",
        "vllmServerHost",
        "vllmServerPort",
        "vllmServerTimeout",
        "vllmSharedFolder",
        "vllmSharedFolderOnServer",
      ]
    `);
  });
});

function stream(count: number): IterableDataset<FakeRow> {
  return IterableDataset.from(async function* () {
    yield* fakeRows(count);
  });
}

describe("a streamed run", () => {
  const rowsOf = (policy: FakePolicy) => policy.samples.map(({ options }) => options.promptKeys);

  it.each([
    ["a stream that goes on", 50, {}],
    ["a stream that ends within the first run", 5, {}],
    ["a stream that ends within the second run", 14, {}],
    ["steps that cut generations", 50, { stepsPerGeneration: 3, gradientAccumulationSteps: 2 }],
    ["generations that are used again", 50, { stepsPerGeneration: 2, numIterations: 3 }],
    ["rows in the order of the stream", 12, { shuffleDataset: false }],
  ])("resumed with more steps equals one that had them from the beginning, with %s", async (_, count, args) => {
    const whole = bench(
      { ...args, maxSteps: 9, outputDir: path.join(folder, "whole") },
      { trainDataset: stream(count) },
    );
    await whole.trainer.train();
    for (const maxSteps of [4, 7]) {
      const first = { ...args, maxSteps, outputDir: path.join(folder, String(maxSteps)) };
      const begun = bench(first, { trainDataset: stream(count) });
      await begun.trainer.train();
      const more = bench({ ...first, maxSteps: 9 }, { trainDataset: stream(count) });
      await more.trainer.train({ resumeFromCheckpoint: true });
      expect(more.policy.weights).toEqual(whole.policy.weights);
      expect([...rowsOf(begun.policy), ...rowsOf(more.policy)]).toEqual(rowsOf(whole.policy));
    }
  });

  it("resumes with fewer steps, in the middle and behind their end", async () => {
    const args = { stepsPerGeneration: 3, gradientAccumulationSteps: 2 };
    const { trainer } = bench({ ...args, maxSteps: 9 }, { trainDataset: stream(50) });
    await trainer.train();
    const from = (step: number) => path.join(folder, `checkpoint-${step}`);
    const fewer = bench({ ...args, maxSteps: 6 }, { trainDataset: stream(50) });
    await fewer.trainer.train({ resumeFromCheckpoint: from(4) });
    expect(fewer.trainer.state.globalStep).toBe(6);
    const behind = bench({ ...args, maxSteps: 2 }, { trainDataset: stream(50) });
    await behind.trainer.train({ resumeFromCheckpoint: from(5) });
    expect([behind.trainer.state.globalStep, behind.policy.samples.length]).toEqual([5, 0]);
  });

  it("is refused with other data: a table, a stream that is shorter, or another of those that end", async () => {
    await bench({ maxSteps: 4 }, { trainDataset: stream(8) }).trainer.train();
    await expect(resume({ maxSteps: 6 })).rejects.toThrow(
      'was written with trainDataset "a stream", this run has "a table"',
    );
    await expect(resume({ maxSteps: 6 }, { trainDataset: stream(3) })).rejects.toThrow(
      "was written with 4 rows of a stream, this run has 3 rows",
    );
    await bench({ maxSteps: 6 }, { trainDataset: stream(5) }).trainer.train();
    await expect(resume({ maxSteps: 8 }, { trainDataset: stream(6) })).rejects.toThrow(
      "was written with 5 rows, this run has 6 rows",
    );
    await expect(resume({ maxSteps: 8 }, { trainDataset: stream(60) })).rejects.toThrow("has 8 rows of a stream");
  });

  it("of an earlier version, whose rows came in another order, is refused", async () => {
    await bench({}, { trainDataset: stream(8) }).trainer.train();
    const file = path.join(folder, "checkpoint-4", "trainer_state.json");
    const { settings: _, ...state } = JSON.parse(readFileSync(file, "utf8"));
    writeFileSync(file, JSON.stringify({ ...state, order: { seed: 42, rows: 4 } }));
    const another = "drew the rows of a stream in another order";
    await expect(resume({}, { trainDataset: stream(8) })).rejects.toThrow(another);
    const shuffled = { trainDataset: stream(8).shuffle({ seed: 3 }) };
    await expect(resume({ shuffleDataset: false }, shuffled)).rejects.toThrow(another);
  });
});

describe("resumeFromCheckpoint true", () => {
  it("takes what was written last, not the highest number, also after copying", async () => {
    await bench({ maxSteps: 4 }).trainer.train();
    const older = readFileSync(path.join(folder, "checkpoint-4", "trainer_state.json"), "utf8");
    // As a folder that two runs of an earlier version share.
    const second = path.join(folder, "second");
    await bench({ maxSteps: 2, outputDir: second }).trainer.train();
    const mixed = path.join(folder, "mixed");
    mkdirSync(mixed);
    for (const name of ["checkpoint-1", "checkpoint-2"])
      cpSync(path.join(second, name), path.join(mixed, name), { recursive: true });
    cpSync(path.join(folder, "checkpoint-4"), path.join(mixed, "checkpoint-4"), { recursive: true });
    expect(path.basename(await findCheckpoint(true, mixed))).toBe("checkpoint-2");
    // Earlier versions did not write when.
    for (const [step, minutes] of [
      [1, 3],
      [2, 1],
      [4, 2],
    ] as const) {
      const file = path.join(mixed, `checkpoint-${step}`, "trainer_state.json");
      writeFileSync(file, older.replace(/ *"saved_at".*\n/, ""));
      const time = Date.now() / 1000 - 600 + 60 * minutes;
      utimesSync(file, time, time);
    }
    expect(path.basename(await findCheckpoint(true, mixed))).toBe("checkpoint-1");
  });

  it("goes on with a run that itself went on from an earlier step", async () => {
    await bench({ maxSteps: 4 }).trainer.train();
    const crash = { onStepEnd: ({ state }: TrainerEvent) => void (state.globalStep === 3 && process.emit("SIGTERM")) };
    const own = () => {};
    process.on("SIGTERM", own);
    const branch = bench({}, { callbacks: [crash] });
    await branch.trainer.train({ resumeFromCheckpoint: path.join(folder, "checkpoint-1") }).catch(() => {});
    process.off("SIGTERM", own);
    const { trainer, printed } = bench();
    await trainer.train({ resumeFromCheckpoint: true });
    expect(printed.join("")).toContain("continuing after step 3");
  });
});
