// Wrong calls of GRPOTrainer and its methods, as programs make them that were ported from TRL or are not type-checked: each is refused
// with the name of what is wrong and what to write, before anything is trained or loaded.

import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, expectTypeOf, it } from "vitest";
import { Dataset } from "../../lib/dataset/dataset.js";
import { IterableDataset } from "../../lib/dataset/iterable-dataset.js";
import { GrpoError, type GrpoErrorCode } from "../../lib/errors.js";
import { GRPOConfig } from "../../lib/grpo/config.js";
import type { GRPOTrainerOptions, PolicyModel } from "../../lib/grpo/setup.js";
import { GRPOTrainer } from "../../lib/grpo/trainer.js";
import { LoraConfig } from "../../lib/model/lora/lora.js";
import { rewards } from "../../lib/rewards/index.js";
import { FakePolicy, type FakeRow, FakeTokenizer, fakeRows } from "./fake-policy.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "grpo-arguments-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const lengths = ({ completionIds }: { completionIds: number[][] }) => completionIds.map((ids) => ids.length);
const rows = fakeRows(4);

/** A trainer, with what a test is about in place of what is right. */
function trainer(changes: Record<string, unknown> = {}): GRPOTrainer<FakeRow> {
  const sizes = { perDeviceTrainBatchSize: 4, numGenerations: 4, maxSteps: 1, maxCompletionLength: 8 };
  const options = {
    model: new FakePolicy(),
    processingClass: new FakeTokenizer(),
    args: new GRPOConfig({ ...sizes, outputDir: folder, logTo: [] }),
    rewardFuncs: lengths,
    trainDataset: rows,
    evalDataset: rows,
    output: { write: () => {} },
  };
  return new GRPOTrainer<FakeRow>({ ...options, ...changes });
}

async function refusal(call: () => unknown): Promise<GrpoError> {
  try {
    await call();
  } catch (thrown) {
    if (thrown instanceof GrpoError) return thrown;
    throw thrown;
  }
  throw new Error("it was accepted");
}

async function expectRefusal(call: () => unknown, code: GrpoErrorCode, text: RegExp): Promise<void> {
  const error = await refusal(call);
  expect(error.code).toBe(code);
  expect(error.message).toMatch(text);
}

class EpochCallback {
  onLog(): void {}
  onEpochEnd(): void {}
}

describe("an argument of the trainer", () => {
  it.each<[string, Record<string, unknown>, GrpoErrorCode, RegExp]>([
    ["in snake_case", { reward_weights: [1] }, "UNKNOWN_OPTION", /reward_weights\n.*GRPOConfig\(\{ rewardWeights/],
    ["of TRL in snake_case", { eval_dataset: rows }, "UNKNOWN_OPTION", /eval_dataset\n.*evalDataset/],
    ["misspelt", { callback: [] }, "UNKNOWN_OPTION", /callback\n.*callbacks/],
    ["of an older TRL", { tokenizer: new FakeTokenizer() }, "UNKNOWN_OPTION", /tokenizer\n.*write processingClass/],
    ["of TRL's that is not here", { rollout_func: () => {} }, "UNKNOWN_OPTION", /sampler/],
    ["of the config", { learningRate: 1e-6 }, "UNKNOWN_OPTION", /args: new GRPOConfig\(\{ learningRate: …/],
    ["not awaited: rows", { trainDataset: Promise.resolve(rows) }, "BAD_OPTION", /trainDataset .*\n.*await it/],
    ["not awaited: model", { model: Promise.resolve(new FakePolicy()) }, "BAD_OPTION", /model .*\n.*await it/],
    ["not awaited: tokenizer", { processingClass: Promise.resolve() }, "BAD_OPTION", /processingClass .*\n.*await/],
    ["not awaited: reward", { rewardFuncs: [Promise.resolve()] }, "BAD_OPTION", /rewardFuncs\[0\] .*\n.*await it/],
    ["null: model", { model: null }, "BAD_OPTION", /model .*found null/],
    ["empty: model", { model: "" }, "BAD_OPTION", /model .*found ""/],
    ["another object: model", { model: new FakeTokenizer() }, "BAD_OPTION", /model .*instance of FakeTokenizer/],
    ["missing: rows", { trainDataset: undefined }, "BAD_OPTION", /trainDataset .*\n.*loadDataset/],
    ["an id: rows", { trainDataset: "org/data" }, "BAD_OPTION", /\n.*loadDataset\("org\/data", \{ split/],
    ["splits: rows", { trainDataset: { a: Dataset.from(rows), b: rows } }, "BAD_OPTION", /\n.*splits: a, b/],
    [
      "splits: evaluation",
      { evalDataset: { x: IterableDataset.from(() => rows) } },
      "BAD_OPTION",
      /evalDataset.*\n.*: x/,
    ],
    ["columns: rows", { trainDataset: { prompt: ["a", "b"] } }, "BAD_OPTION", /\n.*rows in place of columns/],
    ["a set: rows", { trainDataset: new Set(rows) }, "BAD_OPTION", /\n.*IterableDataset\.from/],
    ["a plain object: args", { args: { maxSteps: 2 } }, "BAD_OPTION", /args .*\n.*new GRPOConfig/],
    ["a folder: args", { args: "out" }, "BAD_OPTION", /args .*"out"\n.*new GRPOConfig/],
    ["an id: tokenizer", { processingClass: "org/m" }, "BAD_OPTION", /\n.*Tokenizer\.fromPretrained\("org\/m"\)/],
    ["a plain object: adapter", { peftConfig: { r: 2 } }, "BAD_OPTION", /peftConfig .*\n.*new LoraConfig/],
    ["a name here: reward", { rewardFuncs: "think_format_reward" }, "BAD_OPTION", /\n.*write rewards\.thinkFormat$/],
    ["an id: reward", { rewardFuncs: ["org/judge"] }, "BAD_OPTION", /\n.*await rewards\.model\("org\/judge"\)/],
    ["an object: reward", { rewardFuncs: { lengths } }, "BAD_OPTION", /rewardFuncs\[0\] must be a function/],
    ["a single one: callback", { callbacks: { onLog() {} } }, "BAD_OPTION", /callbacks .*\n.*callbacks: \[/],
    ["a class: callback", { callbacks: [EpochCallback] }, "BAD_OPTION", /callbacks\[0\].*\n.*new EpochCallback\(\)/],
    ["of another name: hook", { callbacks: [new EpochCallback()] }, "BAD_OPTION", /callbacks\[0\] has onEpochEnd/],
    ["in snake_case: hook", { callbacks: [{ on_train_end() {} }] }, "BAD_OPTION", /on_train_end.*\n.*onTrainEnd/],
    [
      "functions without a hook",
      { callbacks: [{}, { log() {} }] },
      "BAD_OPTION",
      /callbacks\[1\] has no hook, found log/,
    ],
    ["a name: logger", { loggers: ["wandb"] }, "BAD_OPTION", /loggers .*\n.*log\(step, metrics\)/],
    ["an object of another kind: output", { output: new Map() }, "BAD_OPTION", /output .*instance of Map\n.*stdout/],
    ["a function: sampler", { sampler: () => {} }, "BAD_OPTION", /sampler .*sample and maxPositions/],
    ["half of one: sampler", { sampler: { sample() {} } }, "BAD_OPTION", /sampler .*sample and maxPositions/],
    ["a text: what to say on resuming", { resumeHint: "again" }, "BAD_OPTION", /resumeHint must be a function/],
  ])("is refused: %s", async (_, changes, code, text) => expectRefusal(() => trainer(changes), code, text));

  it.each([[[new FakePolicy(), lengths]], [["org/model"]], [[]], [[null]], [[[]]]])(
    "by position is refused: %#",
    async (given) => {
      const create = GRPOTrainer as unknown as new (...given: unknown[]) => unknown;
      await expectRefusal(
        () => new create(...given),
        "BAD_OPTION",
        /expected an options object.*\n.*new GRPOTrainer\(\{ model/,
      );
    },
  );

  it("may be null where Python has None", async () => {
    const options = { evalDataset: null, callbacks: null, loggers: null, peftConfig: null, sampler: null };
    expect((await trainer(options).train()).globalStep).toBe(1);
  });

  it("stays a callback without hooks, and one with state and helpers of its own", async () => {
    class Counting {
      steps = 0;
      onStepEnd(): void {
        this.#count();
      }
      helper(): void {}
      #count(): void {
        this.steps++;
      }
    }
    const counting = new Counting();
    await trainer({ callbacks: [{}, counting] }).train();
    expect(counting.steps).toBe(1);
  });

  it("is missing: the tokenizer of a model that does not say where it is from", async () => {
    await expectRefusal(() => trainer({ processingClass: undefined }), "BAD_OPTION", /processingClass.*\n.*Tokenizer/);
  });

  it("does not go with the model: an adapter for one that is no CausalLM", async () => {
    await expectRefusal(() => trainer({ peftConfig: new LoraConfig() }), "BAD_OPTION", /a CausalLM where peftConfig/);
  });

  it("has a type", () => {
    type Options = GRPOTrainerOptions<FakeRow>;
    expectTypeOf<Options["model"]>().toEqualTypeOf<PolicyModel | string>();
    expectTypeOf<Options["peftConfig"]>().toEqualTypeOf<LoraConfig | undefined>();
    expectTypeOf<{ maxSteps: number }>().not.toExtend<Options["args"]>();
    expectTypeOf<{ train: FakeRow[]; test: FakeRow[] }>().not.toExtend<Options["trainDataset"]>();
    expectTypeOf<string>().not.toExtend<Options["rewardFuncs"]>();
    expectTypeOf<GRPOTrainer<FakeRow>["train"]>().parameter(0).not.toExtend<string | boolean>();
  });
});

describe("a call of the trainer", () => {
  type Call = (of: GRPOTrainer<FakeRow>) => Promise<unknown>;
  /** As a program without types calls it. */
  const call =
    (method: "train" | "evaluate" | "saveModel" | "pushToHub", ...given: unknown[]): Call =>
    (of) =>
      (of[method] as (...given: unknown[]) => Promise<unknown>)(...given);

  it.each<[string, Call, GrpoErrorCode, RegExp]>([
    ["a checkpoint by position", call("train", "run/checkpoint-8"), "BAD_OPTION", /\n.*resumeFromCheckpoint: …/],
    ["true by position", call("train", true), "BAD_OPTION", /found true\n.*resumeFromCheckpoint/],
    ["false by position", call("train", false), "BAD_OPTION", /found false\n.*resumeFromCheckpoint/],
    ["a list", call("train", ["checkpoint-1"]), "BAD_OPTION", /expected an options object/],
    ["a signal by position", call("train", AbortSignal.abort()), "BAD_OPTION", /instance of AbortSignal/],
    ["a config", call("train", new GRPOConfig()), "BAD_OPTION", /instance of GRPOConfig/],
    ["snake_case", call("train", { resume_from_checkpoint: "x" }), "UNKNOWN_OPTION", /\n.*resumeFromCheckpoint\?/],
    ["a misspelt name", call("train", { resumeFromCheckpont: "x" }), "UNKNOWN_OPTION", /\n.*resumeFromCheckpoint\?/],
    ["a step as the checkpoint", call("train", { resumeFromCheckpoint: 8 }), "BAD_OPTION", /found 8/],
    ["an empty checkpoint", call("train", { resumeFromCheckpoint: "" }), "BAD_OPTION", /found ""/],
    ["a controller", call("train", { signal: new AbortController() }), "BAD_OPTION", /signal .*\n.*controller\.signal/],
    ["rows by position", call("evaluate", rows), "BAD_OPTION", /\n.*GRPOTrainer as evalDataset/],
    [
      "a data set by position",
      call("evaluate", Dataset.from(rows)),
      "BAD_OPTION",
      /instance of Dataset\n.*evalDataset/,
    ],
    ["rows by name", call("evaluate", { eval_dataset: rows }), "UNKNOWN_OPTION", /\n.*GRPOTrainer as evalDataset/],
    ["a prefix", call("evaluate", { metric_key_prefix: "test" }), "UNKNOWN_OPTION", /\n.*begin with eval_/],
    ["a number as a text", call("evaluate", { numGenerations: "2" }), "BAD_OPTION", /numGenerations .*found "2"/],
    ["a word for a boolean", call("evaluate", { doSample: "no" }), "BAD_OPTION", /doSample .*found "no"/],
    ["an object as the folder", call("saveModel", { outputDir: "x" }), "BAD_OPTION", /directory .*found \{"outputDir"/],
    ["an empty folder", call("saveModel", ""), "BAD_OPTION", /directory .*found ""/],
    ["a commit message by position", call("pushToHub", "End"), "BAD_OPTION", /\n.*commitMessage: …/],
    ["transformers' revision", call("pushToHub", { revision: "v2" }), "UNKNOWN_OPTION", /\n.*write branch/],
    [
      "a commit message that is no text",
      call("pushToHub", { commitMessage: 1 }),
      "BAD_OPTION",
      /commitMessage .*found 1/,
    ],
  ])("is refused: %s", async (_, wrong, code, text) => {
    const policy = new FakePolicy();
    await expectRefusal(() => wrong(trainer({ model: policy })), code, text);
    expect(policy.calls).toEqual([]);
  });

  it("may have null for the folder, as save_model(None)", async () => {
    await expect(trainer().saveModel(null)).resolves.toBeUndefined();
  });
});

it("names of functions that come with the library are recognized in rewardFuncs", async () => {
  for (const name of Object.keys(rewards)) {
    const { hint } = await refusal(() => trainer({ rewardFuncs: [name] }));
    expect(hint).toBe(`write rewards.${name}`);
  }
});

describe("a column that a reward function needs", () => {
  const answers = rows.map((row) => ({ ...row, answer: "#### 4" }));
  const solved = rows.map((row) => ({ ...row, solution: "4" }));
  const own = Object.assign(lengths.bind(null), { columns: ["hint"] });

  it.each<[string, Record<string, unknown>, RegExp]>([
    [
      "under another name",
      { rewardFuncs: rewards.accuracy, trainDataset: answers },
      /"accuracy" needs .*"solution"; found .*answer\n.*renameColumn/,
    ],
    [
      "in the rows of evaluations",
      { rewardFuncs: rewards.lengthPenalty, trainDataset: solved },
      /"lengthPenalty" needs .*"solution"/,
    ],
    [
      "of a function that was made",
      { rewardFuncs: rewards.cosineScaled({ maxLength: 9 }) },
      /"cosineScaled" needs .*"solution"/,
    ],
    ["of a function of one's own", { rewardFuncs: own }, /lengths" needs .*"hint"/],
    [
      "of a stream, once it is read",
      { rewardFuncs: rewards.accuracy, trainDataset: IterableDataset.from(() => answers) },
      /"accuracy" needs .*"solution"; found .*answer/,
    ],
  ])("is missed before anything is sampled: %s", async (_, changes, text) => {
    await expectRefusal(() => trainer(changes).train(), "BAD_DATASET", text);
  });

  it("is missed where a function is given in the config", async () => {
    const args = new GRPOConfig({ outputDir: folder, logTo: [], rewardFuncs: [rewards.reasoningAccuracy] });
    await expectRefusal(() => trainer({ args, rewardFuncs: undefined }), "BAD_DATASET", /"reasoningAccuracy" needs/);
  });

  it("is missed where no column is passed on", async () => {
    const args = new GRPOConfig({ outputDir: folder, logTo: [], removeUnusedColumns: true });
    const given = { args, rewardFuncs: rewards.accuracy, trainDataset: solved, evalDataset: solved };
    await expectRefusal(() => trainer(given), "BAD_DATASET", /found no columns\n.*removeUnusedColumns/);
  });

  it("is there: the run begins", async () => {
    const given = { rewardFuncs: rewards.accuracy, trainDataset: solved, evalDataset: solved };
    expect((await trainer(given).train()).globalStep).toBe(1);
  });
});
