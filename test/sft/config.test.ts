// SFTConfig: TRL's names and defaults, its earlier names, and what contradicts each other; and the order of the rows.

import { describe, expect, test } from "vitest";
import { SFTConfig, type SFTConfigOptions } from "../../lib/sft/config.js";
import { epochAfter, planTraining, RowOrder } from "../../lib/sft/plan.js";
import { SFTTrainer } from "../../lib/sft/trainer.js";

const thrown = (run: () => unknown): unknown => {
  try {
    return run();
  } catch (error) {
    return error;
  }
};
const refusal = (options: object) => thrown(() => new SFTConfig(options as SFTConfigOptions));

describe("SFTConfig", () => {
  test("has TRL's defaults", () => {
    expect(new SFTConfig()).toMatchObject({
      learningRate: 2e-5,
      maxLength: 1024,
      truncationMode: "keep_start",
      packing: false,
      packingStrategy: "bfd",
      evalPacking: null,
      completionOnlyLoss: null,
      assistantOnlyLoss: false,
      lossType: "nll",
      datasetTextField: "text",
      shuffleDataset: false,
      perDeviceTrainBatchSize: 8,
      perDeviceEvalBatchSize: 8,
      numTrainEpochs: 3,
      loggingSteps: 10,
      seed: 42,
    });
  });

  test("takes TRL's earlier names of values, and what means nothing here with a note", () => {
    const { lossType, packingStrategy, notes } = new SFTConfig({
      lossType: "chunked_nll",
      packingStrategy: "bfd-requeue",
      paddingFree: true,
      datasetNumProc: 4,
    });
    expect({ lossType, packingStrategy }).toEqual({ lossType: "nll", packingStrategy: "bfd_split" });
    expect(notes).toEqual([
      "paddingFree has no effect: nothing is padded",
      "datasetNumProc has no effect: rows are tokenized before the first step",
    ]);
  });

  test("refuses what it cannot do, and what contradicts itself", () => {
    expect(refusal({ packing: true, maxLength: null })).toMatchObject({
      code: "BAD_OPTION",
      message: expect.stringContaining("maxLength"),
    });
    expect(refusal({ labelSmoothingFactor: 0.1 })).toMatchObject({ code: "BAD_OPTION" });
    expect(refusal({ trainSamplingStrategy: "group_by_length" })).toMatchObject({
      message: expect.stringContaining("not supported yet"),
    });
    expect(refusal({ maxSeqLength: 8 })).toMatchObject({ code: "UNKNOWN_OPTION", hint: "write maxLength" });
    expect(refusal({ maxLength: 0 })).toMatchObject({ code: "BAD_OPTION" });
    expect(refusal({ lossType: "mse" })).toMatchObject({ code: "BAD_OPTION" });
    expect(refusal({ loadBestModelAtEnd: true })).toMatchObject({ message: expect.stringContaining("evalStrategy") });
  });
});

describe("SFTTrainer", () => {
  test("says what to write in place of arguments that it has not", () => {
    const make = (options: object) => thrown(() => new SFTTrainer(options as never));
    const model = "some/model";
    const trainDataset = [{ text: "1" }];
    expect(make({ model })).toMatchObject({ code: "BAD_OPTION", message: expect.stringContaining("trainDataset") });
    expect(make({ model, trainDataset, tokenizer: {} })).toMatchObject({ hint: "write processingClass" });
    expect(make({ model, trainDataset, packing: true })).toMatchObject({
      hint: "write args: new SFTConfig({ packing: … })",
    });
    expect(make({ model, trainDataset, dataCollator: {} })).toMatchObject({
      hint: expect.stringContaining("nothing is padded"),
    });
    const formattingFunc = () => "";
    const args = new SFTConfig({ completionOnlyLoss: true });
    expect(make({ model, trainDataset, formattingFunc, args })).toMatchObject({ code: "BAD_OPTION" });
    expect(make({ model, trainDataset, args: new SFTConfig({ evalStrategy: "steps" }) })).toMatchObject({
      code: "BAD_INPUT",
      message: expect.stringContaining("evalDataset"),
    });
  });
});

describe("the rows of steps", () => {
  const config = new SFTConfig({ perDeviceTrainBatchSize: 2, gradientAccumulationSteps: 2, numTrainEpochs: 2 });
  const plan = planTraining(config, 7);

  test("are all of an epoch, the last step taking what is left", () => {
    expect(plan).toMatchObject({ rowsPerStep: 4, slicesPerEpoch: 4, stepsPerEpoch: 2, totalSteps: 4 });
    const order = new RowOrder(plan, config, false);
    const epochs = [0, 1].map((epoch) => [...order.rowsOf(2 * epoch), ...order.rowsOf(2 * epoch + 1)]);
    for (const rows of epochs) expect([...rows].sort()).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect(epochs[0]).not.toEqual(epochs[1]);
    expect([1, 2, 3].map((steps) => epochAfter(plan, steps))).toEqual([0.5, 1, 1.5]);
  });

  test("are those of torch.randperm for seed and epoch, whichever step is asked for first", () => {
    const order = new RowOrder(plan, config, false);
    // torch.randperm(7, generator=torch.Generator().manual_seed(43))
    expect([...order.rowsOf(2), ...order.rowsOf(3)]).toEqual(EPOCH_43);
    expect(new RowOrder(plan, new SFTConfig({ dataSeed: 43 }), false).rowsOf(0)).toEqual(EPOCH_43.slice(0, 4));
  });

  test("are in order where that is asked for, and of a stream", () => {
    expect(new RowOrder(plan, config, true).rowsOf(1)).toEqual([4, 5, 6]);
    const sequential = new SFTConfig({ trainSamplingStrategy: "sequential" });
    expect(new RowOrder(plan, sequential, false).rowsOf(3)).toEqual([4, 5, 6]);
  });
});

const EPOCH_43 = [3, 1, 2, 4, 5, 0, 6];
