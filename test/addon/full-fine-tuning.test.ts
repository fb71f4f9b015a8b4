// A model that is trained in full: masters in float32, the reference, checkpoints, and weights in several files. That its steps
// are TRL's is in steps.test.ts.

import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { GRPOConfig, type GRPOConfigOptions } from "../../lib/grpo/config.js";
import { GRPOTrainer } from "../../lib/grpo/trainer.js";
import { readTensors } from "../../lib/model/files/safetensors.js";
import { LoraConfig } from "../../lib/model/lora/lora.js";
import { CausalLM } from "../../lib/model/model.js";
import type { NativeDtype } from "../../lib/native/native.js";
import { Tokenizer } from "../../lib/tokenizer/tokenizer.js";
import { temporaryFolder } from "../model/folders.js";
import { DEVICE } from "../support/device.js";
import { goldenPath, largestDifference, tinyQwen2 } from "./golden.js";

const IDS = [
  [5, 6, 7, 8, 9, 10],
  [11, 3, 4],
];
const BATCH = {
  promptIds: [[5, 6], [7]],
  completionIds: [
    [8, 9, 10],
    [11, 12],
  ],
  advantages: [1, -1],
};

const open = (dtype: NativeDtype = "float32", name = "llama-random-tied") =>
  CausalLM.fromPretrained(goldenPath(`models/${name}`), { dtype, device: DEVICE });

async function train(model: CausalLM, steps: number, learningRate = 0.01): Promise<void> {
  for (let step = 0; step < steps; step++) {
    await model.forwardBackward(BATCH);
    await model.optimizerStep({ learningRate });
  }
}

const changed = async (model: CausalLM, before: readonly Float32Array[]): Promise<number> =>
  largestDifference((await model.logprobs(IDS))[0] ?? [], before[0] ?? []);

describe("beginTraining", () => {
  it("trains everything of a model without adapter, under the checkpoint's names", async () => {
    await using model = await open();
    expect(model.trainableParameters().trainable).toBe(0);
    await expect(model.forwardBackward(BATCH)).rejects.toThrow(/no trainable parameters/);
    await model.beginTraining();
    const { trainable, all } = model.trainableParameters();
    expect(trainable).toBe(all);
    await model.forwardBackward(BATCH);
    const gradients = await model.gradients();
    const stored = await readTensors(goldenPath("models/llama-random-tied/model.safetensors"));
    expect(Object.keys(gradients).sort()).toEqual([...stored.keys()].sort());
    for (const [name, values] of Object.entries(gradients)) expect(values.some(Number), name).toBe(true);
  });

  it("changes nothing by itself, bit for bit", async () => {
    await using plain = await open("bfloat16");
    await using model = await open("bfloat16");
    await model.beginTraining({ reference: true });
    expect(await model.forward(IDS)).toEqual(await plain.forward(IDS));
    expect(await model.logprobs(IDS, { reference: true })).toEqual(await plain.logprobs(IDS));
  });

  it("fixes the reference only where it is asked to", async () => {
    await using model = await open();
    await model.beginTraining();
    await expect(model.logprobs(IDS, { reference: true })).rejects.toThrow(/no reference yet/);
    const before = await model.logprobs(IDS);
    await model.beginTraining({ reference: true });
    await train(model, 2);
    expect(await model.logprobs(IDS, { reference: true })).toEqual(before);
    expect(await changed(model, before)).toBeGreaterThan(0.01);
  });

  it("leaves no place for an adapter", async () => {
    await using model = await open();
    await model.beginTraining();
    expect(() => model.applyLora(new LoraConfig())).toThrow(/trained in full/);
  });
});

describe("in bfloat16", () => {
  it("steps too small for the weights' type add up in the masters", async () => {
    await using model = await open("bfloat16");
    await model.beginTraining();
    const before = await model.logprobs(IDS);
    // A weight of 0.25 has neighbours 0.001 away; Adam's step is the rate.
    await train(model, 1, 2e-5);
    const once = await changed(model, before);
    await train(model, 100, 2e-5);
    expect(await changed(model, before)).toBeGreaterThan(10 * once);
  });

  it("the policy that samples is the policy that is trained", async () => {
    await using model = await open("bfloat16");
    await model.beginTraining();
    await train(model, 3);
    const { groups } = await model.sample([[5, 6]], { groupSize: 4, maxNewTokens: 6, seed: 1 });
    const completions = groups[0]?.completions ?? [];
    const oldLogprobs = completions.map(({ logprobs }) => logprobs);
    const completionIds = completions.map(({ ids }) => ids);
    const batch = { promptIds: completionIds.map(() => [5, 6]), completionIds, advantages: completionIds.map(() => 1) };
    const { logpDifferenceMean } = await model.forwardBackward({ ...batch, oldLogprobs });
    // The rounding of bfloat16 in sums of another order; a policy of unrounded masters would be as far off everywhere.
    expect(logpDifferenceMean).toBeLessThan(0.02);
  });
});

describe.each(["float32", "bfloat16"] as const)("a checkpoint in %s", (dtype) => {
  it("goes on as if the run had never stopped, mixed reference and all", async () => {
    const begin = async () => {
      const model = await open(dtype);
      await model.beginTraining({ reference: true, mixed: true });
      return model;
    };
    const outcome = async (model: CausalLM) => [
      await model.forward(IDS),
      await model.logprobs(IDS, { reference: true }),
      await model.gradients(),
    ];
    await using whole = await begin();
    await train(whole, 2, 1e-3);
    await whole.mixReference(0.6);
    const folder = await temporaryFolder();
    await whole.saveCheckpoint(folder);
    await train(whole, 2, 1e-3);
    await whole.mixReference(0.3);
    await whole.forwardBackward(BATCH);

    await using resumed = await begin();
    await resumed.loadCheckpoint(folder);
    await train(resumed, 2, 1e-3);
    await resumed.mixReference(0.3);
    await resumed.forwardBackward(BATCH);
    expect(await outcome(resumed)).toEqual(await outcome(whole));
  });
});

describe("weights in several files", () => {
  const limit = 16_000;

  it("stay within the size, are listed in the index, and load as the same model", async () => {
    await using model = await open("float32", "llama-random-bias");
    const folder = await temporaryFolder();
    await model.savePretrained(folder, { maxShardSize: "16KB" });
    const shards = (await readdir(folder)).filter((name) => name.endsWith(".safetensors")).sort();
    expect(shards[0]).toBe(`model-00001-of-${String(shards.length).padStart(5, "0")}.safetensors`);
    const index = JSON.parse(await readFile(path.join(folder, "model.safetensors.index.json"), "utf8"));
    let size = 0;
    for (const shard of shards) {
      const tensors = await readTensors(path.join(folder, shard));
      const bytes = [...tensors.values()].reduce((sum, { data }) => sum + data.byteLength, 0);
      expect(bytes).toBeLessThanOrEqual(limit);
      for (const name of tensors.keys()) expect(index.weight_map[name]).toBe(shard);
      size += bytes;
    }
    const { all } = model.trainableParameters();
    expect(index.metadata).toEqual({ total_parameters: all, total_size: size });
    expect(size).toBe(4 * all);
    await using again = await CausalLM.fromPretrained(folder, { device: DEVICE });
    expect(await again.forward(IDS)).toEqual(await model.forward(IDS));
  });

  it("replace those of an earlier save, whole or in files", async () => {
    await using model = await open();
    await model.beginTraining();
    const folder = await temporaryFolder();
    await writeFile(path.join(folder, "notes.txt"), "mine");
    for (const maxShardSize of ["16KB", "10GB", "24KB"]) {
      await train(model, 1);
      await model.savePretrained(folder, { maxShardSize });
      await using again = await CausalLM.fromPretrained(folder, { device: DEVICE });
      expect(await again.forward(IDS)).toEqual(await model.forward(IDS));
    }
    expect((await stat(path.join(folder, "notes.txt"))).size).toBe(4);
    expect((await readdir(folder)).filter((name) => name.endsWith(".safetensors"))).not.toContain("model.safetensors");
  });

  it.each(["5 parsecs", 0, "-1GB", "1.5"])("of size %o are refused", async (maxShardSize) => {
    await using model = await open();
    await expect(model.savePretrained(await temporaryFolder(), { maxShardSize })).rejects.toThrow(
      expect.objectContaining({ code: "BAD_OPTION" }),
    );
  });
});

describe("GRPOTrainer with a model without an adapter", () => {
  const rows = ["1 + 1", "2 + 2", "3 + 3", "4 + 4"].map((prompt) => ({ prompt }));

  async function run(outputDir: string, options: GRPOConfigOptions) {
    const model = await CausalLM.fromPretrained(tinyQwen2, { dtype: "float32", device: DEVICE });
    const args = new GRPOConfig({
      outputDir,
      numGenerations: 2,
      perDeviceTrainBatchSize: 4,
      gradientAccumulationSteps: 1,
      learningRate: 1e-3,
      maxCompletionLength: 6,
      beta: 0.04,
      syncRefModel: true,
      refModelSyncSteps: 2,
      logTo: [],
      maxSteps: 3,
      ...options,
    });
    const trainer = new GRPOTrainer({
      model,
      args,
      trainDataset: rows,
      processingClass: await Tokenizer.fromPretrained(tinyQwen2),
      rewardFuncs: ({ completionIds }) => completionIds.map((ids) => (ids[0] ?? 0) % 7),
    });
    return { model, trainer };
  }

  it("trains all of it against a moving reference, and resumes bit for bit", async () => {
    const folders = [await temporaryFolder(), await temporaryFolder()] as const;
    const whole = await run(folders[0], {});
    await whole.trainer.train();
    const { trainable, all } = whole.model.trainableParameters();
    expect(trainable).toBe(all);
    const saving = await run(folders[1], { saveSteps: 2 });
    await saving.trainer.train();
    const resumed = await run(folders[1], {});
    await resumed.trainer.train({ resumeFromCheckpoint: path.join(folders[1], "checkpoint-2") });
    const ids = [[5, 6, 7, 8]];
    expect(await resumed.model.forward(ids)).toEqual(await whole.model.forward(ids));
    const reference = { reference: true };
    expect(await resumed.model.logprobs(ids, reference)).toEqual(await whole.model.logprobs(ids, reference));
    expect(await whole.model.logprobs(ids, reference)).not.toEqual(await whole.model.logprobs(ids));
    for (const { model } of [whole, saving, resumed]) model.dispose();
  });
});
