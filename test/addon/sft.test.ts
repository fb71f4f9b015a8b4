// Supervised fine-tuning on the real engine: what its loss is, that packing changes how rows are counted and nothing else, and that a run
// that was stopped goes on as if it had not been. That its numbers are TRL's is in sft-runs.test.ts.

import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { LoraConfig } from "../../lib/model/lora/lora.js";
import { CausalLM } from "../../lib/model/model.js";
import { loadCore } from "../../lib/native/native-loader.js";
import { sftLossSchema, toNativeSftLoss } from "../../lib/options/sft-loss.js";
import { SFTConfig, type SFTConfigOptions } from "../../lib/sft/config.js";
import type { SFTTrainerOptions } from "../../lib/sft/setup.js";
import { SFTTrainer } from "../../lib/sft/trainer.js";
import { Tokenizer } from "../../lib/tokenizer/tokenizer.js";
import { temporaryFolder } from "../model/folders.js";
import { DEVICE } from "../support/device.js";
import { tinyQwen2 } from "./golden.js";
import { adapterWeights } from "./training-fixtures.js";

async function tiny(lora: Partial<ConstructorParameters<typeof LoraConfig>[0]> = {}): Promise<CausalLM> {
  const model = await CausalLM.fromPretrained(tinyQwen2, { dtype: "float32", device: DEVICE, threads: 1 });
  return model.applyLora(new LoraConfig({ r: 4, ...lora }), { seed: 3 });
}

const tokenizer = await Tokenizer.fromPretrained(tinyQwen2);

const batch = {
  promptIds: [[5, 6, 7], [8], [9, 10]],
  completionIds: [[11, 12, 13, 14], [15], [16, 17, 18]],
  lossMask: [[1, 0, 1, 1], [1], [0, 1, 0]],
};

describe("the loss", () => {
  it("is the sum of what logprobs says of the tokens that count, and dft weighs it by their probability", async () => {
    await using model = await tiny();
    const logprobs = await model.logprobs(batch);
    const kept = logprobs.map((row, i) => Array.from(row).filter((_, t) => batch.lossMask[i]?.[t] === 1));
    const sumOf = (weight: (l: number) => number) =>
      kept.map((row) => row.reduce((sum, l) => sum - weight(l) * l, 0) / 5);
    const nll = await model.sftEvaluate(batch);
    sumOf(() => 1).forEach((value, i) => {
      expect(nll.loss[i]).toBeCloseTo(value, 5);
    });
    const dft = await model.sftEvaluate(batch, { lossType: "dft" });
    sumOf(Math.exp).forEach((value, i) => {
      expect(dft.loss[i]).toBeCloseTo(value, 6);
    });
    const whole = await model.sftEvaluate(batch, { lossTokens: 1 });
    nll.loss.forEach((value, i) => {
      expect(whole.loss[i]).toBeCloseTo(5 * value, 4);
    });
  });

  it("counts the tokens that are the likeliest", async () => {
    await using model = await tiny();
    const [logits = new Float32Array()] = await model.forward([[5, 6, 7, 11]]);
    const last = Array.from(logits.slice(-model.vocabSize));
    const likeliest = last.indexOf(Math.max(...last));
    const completionIds = [
      [11, likeliest],
      [11, (likeliest + 1) % model.vocabSize],
    ];
    const promptIds = [
      [5, 6, 7],
      [5, 6, 7],
    ];
    const { correct } = await model.sftEvaluate({
      promptIds,
      completionIds,
      lossMask: [
        [0, 1],
        [0, 1],
      ],
    });
    expect([...correct]).toEqual([1, 0]);
  });

  it("has the same numbers in training as in an evaluation, however the batch is cut", async () => {
    await using model = await tiny();
    const evaluated = await model.sftEvaluate(batch);
    for (const options of [{}, { maxTokensPerMicroBatch: 4 }, { gradientCheckpointing: true }]) {
      const { loss, entropy, correct } = await model.sftForwardBackward(batch, options);
      loss.forEach((value, i) => {
        expect(value).toBeCloseTo(evaluated.loss[i] ?? Number.NaN, 5);
      });
      entropy.forEach((value, i) => {
        expect(value).toBeCloseTo(evaluated.entropy[i] ?? Number.NaN, 4);
      });
      expect([...correct]).toEqual([...evaluated.correct]);
    }
  });

  it("is evaluated without dropout, and needs nothing that is trained for it", async () => {
    await using dropping = await tiny({ loraDropout: 0.5, initLoraWeights: "gaussian" });
    const [one, two] = [await dropping.sftEvaluate(batch), await dropping.sftEvaluate(batch, { dropoutSeed: 1 })];
    expect(one).toEqual(two);
    await using bare = await CausalLM.fromPretrained(tinyQwen2, { dtype: "float32", device: DEVICE });
    expect((await bare.sftEvaluate(batch)).loss).toHaveLength(3);
    await expect(bare.sftForwardBackward(batch)).rejects.toMatchObject({ code: "BAD_INPUT" });
  });

  it("of nothing is nothing, and its step is one without a gradient", async () => {
    await using model = await tiny();
    const empty = await model.sftForwardBackward({ promptIds: [], completionIds: [] });
    expect(empty.loss).toHaveLength(0);
    expect(await model.optimizerStep({ learningRate: 1 })).toMatchObject({ gradNorm: 0, applied: true });
  });

  it("refuses what is no batch, by the name of the field", async () => {
    await using model = await tiny();
    await expect(model.sftEvaluate({ ...batch, lossMask: [[1], [1], [1]] })).rejects.toMatchObject({
      message: expect.stringContaining("lossMask[0]"),
    });
    await expect(model.sftEvaluate({ ...batch, advantages: [1] } as never)).rejects.toMatchObject({
      code: "UNKNOWN_OPTION",
    });
    await expect(model.sftForwardBackward(batch, { lossType: "mse" } as never)).rejects.toMatchObject({
      code: "BAD_OPTION",
    });
  });
});

describe("what crosses to the engine", () => {
  const { echo } = loadCore();

  it("arrives, every option of it", () => {
    const given = {
      lossType: "dft",
      lossTokens: 7,
      dropoutSeed: 3,
      maxTokensPerMicroBatch: 99,
      gradientCheckpointing: true,
    } as const;
    expect(Object.keys(given).sort()).toEqual(Object.keys(sftLossSchema().shape).sort());
    const native = toNativeSftLoss("call", given);
    expect(echo.sftOptions(native)).toEqual(native);
    const ids = Int32Array.of(1);
    const sent = {
      promptIds: ids,
      promptOffsets: ids,
      completionIds: ids,
      completionOffsets: ids,
      promptOf: ids,
      contextLength: 4,
      lossMask: Uint8Array.of(1),
    };
    expect(echo.sftBatch(sent)).toEqual(sent);
  });
});

const ROWS = Array.from({ length: 13 }, (_, i) => ({
  prompt: `${i} + ${2 * i} =`,
  completion: ` ${3 * i}${".".repeat(i % 5)}`,
}));

async function trainer(
  model: CausalLM,
  args: SFTConfigOptions,
  options: Partial<SFTTrainerOptions<(typeof ROWS)[number]>> = {},
) {
  return new SFTTrainer({
    model,
    processingClass: tokenizer,
    args: new SFTConfig({ outputDir: await temporaryFolder(), logTo: ["jsonl"], learningRate: 0.01, ...args }),
    trainDataset: ROWS,
    ...options,
  });
}

it("a packed batch has the loss and the gradient of its rows, one by one: nothing sees across them", async () => {
  const run = async (args: SFTConfigOptions) => {
    await using model = await tiny();
    const sft = await trainer(model, {
      maxSteps: 1,
      perDeviceTrainBatchSize: 16,
      saveStrategy: "no",
      loggingSteps: 1,
      ...args,
    });
    await sft.train();
    const [line = {}] = sft.state.logHistory;
    return { loss: line.loss, norm: line.grad_norm, tokens: line.num_tokens };
  };
  const apart = await run({});
  const packed = await run({ packing: true, maxLength: 64 });
  expect(packed.tokens).toBe(apart.tokens);
  expect(packed.loss).toBeCloseTo(apart.loss ?? Number.NaN, 5);
  expect(Math.abs((packed.norm ?? 0) / (apart.norm ?? 0) - 1)).toBeLessThan(1e-5);
});

describe("a run that was stopped", () => {
  const args: SFTConfigOptions = {
    maxSteps: 7,
    perDeviceTrainBatchSize: 2,
    gradientAccumulationSteps: 2,
    saveSteps: 100,
    loggingSteps: 2,
    evalStrategy: "steps",
    evalSteps: 3,
    shuffleDataset: true,
    packing: true,
    packingStrategy: "bfd_split",
    maxLength: 20,
  };
  const numbersOf = (folder: string) =>
    readFileSync(path.join(folder, "metrics.jsonl"), "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter((line) => line.step !== undefined)
      .map(({ step, loss, grad_norm, learning_rate, epoch, num_tokens, eval_loss }) => {
        return { step, loss, grad_norm, learning_rate, epoch, num_tokens, eval_loss };
      });

  it("goes on as if it had not been, bit for bit, with dropout and in the middle of an epoch", async () => {
    const lora = { loraDropout: 0.2 };
    await using whole = await tiny(lora);
    const uncut = await trainer(whole, args, { evalDataset: ROWS.slice(3) });
    await uncut.train();

    const outputDir = await temporaryFolder();
    await using first = await tiny(lora);
    const stopping = {
      onStepEnd: ({ state, control }: { state: { globalStep: number }; control: { shouldTrainingStop: boolean } }) => {
        control.shouldTrainingStop = state.globalStep === 3;
      },
    };
    await (await trainer(first, { ...args, outputDir }, { evalDataset: ROWS.slice(3), callbacks: [stopping] })).train();
    await using second = await tiny(lora);
    const resumed = await trainer(second, { ...args, outputDir }, { evalDataset: ROWS.slice(3) });
    await resumed.train({ resumeFromCheckpoint: true });

    expect(resumed.state.globalStep).toBe(7);
    expect(await adapterWeights(second)).toEqual(await adapterWeights(whole));
    expect(numbersOf(outputDir)).toEqual(numbersOf(uncut.args.outputDir));
  });

  it("refuses to go on with other rows, or another loss", async () => {
    const outputDir = await temporaryFolder();
    await using model = await tiny();
    await (await trainer(model, { maxSteps: 1, outputDir })).train();
    const resume = async (other: SFTConfigOptions, rows = ROWS) => {
      await using again = await tiny();
      const sft = await trainer(again, { maxSteps: 2, outputDir, ...other }, { trainDataset: rows });
      return await sft.train({ resumeFromCheckpoint: true }).then(
        () => "went on",
        (error: Error) => error.message,
      );
    };
    expect(await resume({ lossType: "dft" })).toMatch(/lossType nll|lossType "nll", this run has "dft"/);
    expect(await resume({}, ROWS.slice(1))).toMatch(/13 rows of \d+ tokens, this run has 12 rows/);
    expect(await resume({})).toBe("went on");
  });
});

it("the model learns to say what the rows say, and its loss tells which evaluation was the best", async () => {
  await using model = await CausalLM.fromPretrained(tinyQwen2, { dtype: "float32", device: DEVICE });
  const rows = [{ prompt: "2 + 3 =", completion: " five" }];
  const sft = await trainer(
    model,
    {
      maxSteps: 40,
      perDeviceTrainBatchSize: 1,
      learningRate: 3e-3,
      evalStrategy: "steps",
      evalSteps: 10,
      saveSteps: 10,
      loadBestModelAtEnd: true,
    },
    { trainDataset: rows, evalDataset: rows },
  );
  await sft.train();
  const losses = sft.state.logHistory.flatMap(({ eval_loss: loss }) => (loss === undefined ? [] : [loss]));
  expect(sft.state.bestMetric).toBe(Math.min(...losses));
  const completions = await model.generate([tokenizer.encode("2 + 3 =")], { doSample: false, maxNewTokens: 8 });
  const [first] = completions;
  expect(tokenizer.decode(Array.from(first?.ids ?? []), { skipSpecialTokens: true })).toBe(" five");
});
