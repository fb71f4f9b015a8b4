import { expect, test, vi } from "vitest";
import { GrpoError } from "../../lib/errors.js";
import { GRPOConfig, type GRPOConfigOptions } from "../../lib/grpo/config.js";
import { epochAfter, partsOfStep, planTraining, trainsOnOldSamples } from "../../lib/grpo/plan.js";

function refusal(options: object): GrpoError {
  try {
    new GRPOConfig(options as GRPOConfigOptions);
  } catch (error) {
    if (error instanceof GrpoError) return error;
    throw error;
  }
  throw new Error("the options were accepted");
}

test("the defaults are TRL's", () => {
  const config = new GRPOConfig();
  expect(config).toMatchObject({
    learningRate: 1e-6,
    beta: 0,
    epsilon: 0.2,
    epsilonHigh: null,
    lossType: "dapo",
    scaleRewards: "group",
    numGenerations: 8,
    perDeviceTrainBatchSize: 8,
    gradientAccumulationSteps: 1,
    maxCompletionLength: 512,
    temperature: 1,
    topP: 1,
    topK: 0,
    minP: null,
    repetitionPenalty: 1,
    numTrainEpochs: 3,
    maxSteps: -1,
    loggingSteps: 10,
    saveSteps: 500,
    saveTotalLimit: null,
    maxGradNorm: 1,
    weightDecay: 0,
    seed: 42,
    useBiasCorrectionKl: true,
    adamBeta1: 0.9,
    adamBeta2: 0.999,
    adamEpsilon: 1e-8,
    warmupSteps: 0,
    lrSchedulerType: "linear",
  });
  expect(config.notes).toEqual([]);
});

test("the guide's options are accepted, 2 completions of 64 prompts a step", () => {
  const config = new GRPOConfig({
    outputDir: "out",
    learningRate: 1e-5,
    removeUnusedColumns: false,
    gradientAccumulationSteps: 16,
    numTrainEpochs: 1,
    bf16: true,
    maxCompletionLength: 64,
    numGenerations: 2,
    maxPromptLength: 512,
    temperature: 1.0,
    topP: 0.95,
    rewardWeights: [0.5, 0.5],
    reportTo: "none",
    pushToHub: false,
  });
  const plan = planTraining(config, 3622);
  expect(plan).toMatchObject({ completionsPerStep: 128, promptsPerGeneration: 64, stepsPerEpoch: 56, totalSteps: 56 });
  expect(plan.droppedRows).toBe(3622 - 56 * 64);
});

test("an unknown option is refused with the nearest name", () => {
  const error = refusal({ learningRat: 1 });
  expect(error.code).toBe("UNKNOWN_OPTION");
  expect(error.message).toContain('"learningRat"');
  expect(error.hint).toBe("did you mean learningRate?");
});

test("a name of an older version is refused with the new one", () => {
  expect(refusal({ warmupRatio: 0.1 }).hint).toContain("warmupSteps");
});

test("an option of TRL that comes later is refused by name, unless it has TRL's default", () => {
  expect(refusal({ disableDropout: true })).toMatchObject({ code: "BAD_OPTION" });
  expect(refusal({ disableDropout: true }).message).toContain("disableDropout true is not supported yet");
  expect(new GRPOConfig({ disableDropout: false, dataSeed: null } as GRPOConfigOptions).notes).toEqual([]);
});

test("a value of TRL that comes later is told from a wrong one", () => {
  expect(refusal({ lrSchedulerType: "reduce_lr_on_plateau" }).message).toContain("is not supported yet");
  const wrong = refusal({ lossType: "dapoo" });
  expect(wrong.message).toContain("must be one of dapo, grpo");
  expect(wrong.hint).toBe('did you mean "dapo"?');
});

test("an option without effect is accepted and noted", () => {
  const { notes } = new GRPOConfig({ gradientCheckpointingKwargs: {} } as GRPOConfigOptions);
  expect(notes).toEqual([expect.stringContaining("gradientCheckpointingKwargs has no effect")]);
  for (const options of [{ activationCheckpointingKwargs: { every_n_layers: 2 } }, { padToMultipleOf: "auto" }]) {
    expect(new GRPOConfig(options as GRPOConfigOptions).notes).toHaveLength(1);
  }
});

test.each<[GRPOConfigOptions, boolean]>([
  [{}, false],
  [{ gradientCheckpointing: true }, true],
  [{ activationCheckpointing: true }, true],
  [{ activationCheckpointing: null, gradientCheckpointing: true }, true],
  [{ activationCheckpointing: false, gradientCheckpointing: true }, false],
  [{ gradientCheckpointing: false, activationCheckpointing: true }, true],
])("of the two names of checkpointing the newer one decides: %j", (options, expected) => {
  expect(new GRPOConfig(options)).toMatchObject({ gradientCheckpointing: expected, notes: [] });
});

test("no coefficient of a router's loss is the default, as in TRL", () => {
  expect(new GRPOConfig({ routerAuxLossCoef: null } as GRPOConfigOptions).notes).toEqual([]);
  expect(refusal({ routerAuxLossCoef: 0.001 }).hint).toContain("TRL's default, null");
});

test.each([
  [{ learningRate: "1e-5" }, "learningRate"],
  [{ temperature: 0 }, "temperature"],
  [{ topP: 1.5 }, "topP"],
  [{ numGenerations: 2.5 }, "numGenerations"],
  [{ seed: -1 }, "seed"],
  [{ rewardWeights: [0.5, "x"] }, "rewardWeights.1"],
  [{ rewardFuncs: [3] }, "rewardFuncs.0"],
  [{ onRewardError: "ignore" }, "onRewardError"],
  [{ learningRate: Number.NaN }, "learningRate"],
])("a wrong value is refused with the option's name and the value: %j", (options, name) => {
  const error = refusal(options);
  expect(error.code).toBe("BAD_OPTION");
  expect(error.message).toContain(name);
});

test("a batch that groups do not fill is refused with sizes that work", () => {
  const error = refusal({ numGenerations: 3 });
  expect(error.code).toBe("BAD_OPTION");
  expect(error.message).toContain(
    "8 × gradientAccumulationSteps 1 = 8 completions a generation, which numGenerations 3",
  );
  expect(error.hint).toBe("nearest that work: numGenerations 2 or 4, or gradientAccumulationSteps 3");
});

test("a group of one is refused", () => {
  expect(refusal({ numGenerations: 1 }).message).toContain("numGenerations 1");
});

test("the two names of the generation batch exclude each other", () => {
  expect(refusal({ generationBatchSize: 16, stepsPerGeneration: 2 }).message).toContain("both set");
  expect(refusal({ generationBatchSize: 12 }).hint).toBe("nearest that work: 8 or 16");
  for (const options of [{ generationBatchSize: 32 }, { stepsPerGeneration: 4 }]) {
    expect(new GRPOConfig(options)).toMatchObject({ completionsPerStep: 8, completionsPerGeneration: 32 });
  }
});

test("groups must fill a generation, not a step", () => {
  const half = { perDeviceTrainBatchSize: 4, numGenerations: 8 };
  expect(new GRPOConfig({ ...half, stepsPerGeneration: 2 }).completionsPerStep).toBe(4);
  expect(refusal({ ...half, stepsPerGeneration: 3 })).toMatchObject({
    message: expect.stringContaining("4 × stepsPerGeneration 3 = 12 completions a generation, which numGenerations 8"),
    hint: "nearest that work: numGenerations 4 or 6, or stepsPerGeneration 4",
  });
});

test("terms of the loss that contradict each other are refused, and unusual ones are noted as in TRL", () => {
  expect(refusal({ syncRefModel: true }).message).toContain("syncRefModel true with beta 0");
  expect(new GRPOConfig({ syncRefModel: true, beta: 0.04 }).refModelSyncSteps).toBe(512);
  const bounds = { useAdaptiveEntropy: true, entropyCoefMin: 0.2, entropyCoefMax: 0.1 };
  expect(refusal(bounds).message).toContain("entropyCoefMin 0.2 is above entropyCoefMax 0.1");
  const notes = (options: GRPOConfigOptions) => new GRPOConfig(options).notes;
  expect(notes({ lossType: "luspo" })).toEqual([expect.stringContaining('importanceSamplingLevel "sequence"')]);
  expect(notes({ lossType: "vespo", importanceSamplingLevel: "sequence" })).toHaveLength(1);
  expect(notes({ importanceSamplingLevel: "sequence" })).toEqual([expect.stringContaining('lossType "grpo"')]);
  expect(notes({ lossType: "grpo", importanceSamplingLevel: "sequence" })).toEqual([]);
  expect(notes({ topP: 0.9, topK: 5 })).toEqual([expect.stringMatching(/^topP 0.9, topK 5: training takes/)]);
});

test("steps take slices in turn, over iterations, generations and epochs", () => {
  const options = { perDeviceTrainBatchSize: 4, numGenerations: 4, gradientAccumulationSteps: 2 };
  const parts = (more: GRPOConfigOptions, steps: number, rows = 6) => {
    const plan = planTraining(new GRPOConfig({ ...options, ...more }), rows);
    return Array.from({ length: steps }, (_, step) =>
      partsOfStep(plan, step)
        .map(({ generation, slices }) => `${generation}:${slices.join("")}`)
        .join(" "),
    );
  };
  expect(parts({}, 4)).toEqual(["0:01", "1:01", "2:01", "3:01"]);
  expect(parts({ numIterations: 2 }, 4)).toEqual(["0:01", "0:01", "1:01", "1:01"]);
  expect(parts({ stepsPerGeneration: 4 }, 4)).toEqual(["0:01", "0:23", "1:01", "1:23"]);
  expect(parts({ stepsPerGeneration: 1 }, 3)).toEqual(["0:0 1:0", "2:0 3:0", "4:0 5:0"]);
  expect(parts({ stepsPerGeneration: 3 }, 3)).toEqual(["0:01", "0:2 1:0", "1:12"]);
  // Three slices an epoch: the second step of each is short.
  expect(parts({ stepsPerGeneration: 3 }, 4, 3)).toEqual(["0:01", "0:2", "1:01", "1:2"]);
  expect(parts({ stepsPerGeneration: 1, numIterations: 2 }, 2)).toEqual(["0:00", "1:00"]);
});

test("old log-probabilities are kept exactly where a generation outlives a step", () => {
  const keeps = (more: GRPOConfigOptions) =>
    trainsOnOldSamples(planTraining(new GRPOConfig({ numGenerations: 2, ...more }), 100));
  expect([{}, { gradientAccumulationSteps: 4, stepsPerGeneration: 2 }].map(keeps)).toEqual([false, false]);
  expect([{ numIterations: 2 }, { stepsPerGeneration: 2 }].map(keeps)).toEqual([true, true]);
  expect(keeps({ gradientAccumulationSteps: 2, stepsPerGeneration: 1, numIterations: 2 })).toBe(false);
  expect(keeps({ gradientAccumulationSteps: 2, stepsPerGeneration: 3 })).toBe(true);
});

test("the epoch counts slices, so that a short last step ends it", () => {
  const plan = planTraining(
    new GRPOConfig({
      perDeviceTrainBatchSize: 4,
      numGenerations: 4,
      gradientAccumulationSteps: 2,
      stepsPerGeneration: 3,
    }),
    3,
  );
  expect([1, 2, 3, 4].map((steps) => epochAfter(plan, steps))).toEqual([2 / 3, 1, 1 + 2 / 3, 2]);
});

test("scaleRewards takes booleans and rewardFuncsWeights is another name of rewardWeights", () => {
  expect(new GRPOConfig({ scaleRewards: false }).scaleRewards).toBe("none");
  expect(new GRPOConfig({ scaleRewards: true }).scaleRewards).toBe("group");
  expect(refusal({ rewardWeights: [1], rewardFuncsWeights: [2] }).message).toContain("differ");
});

test("a data set smaller than a step is refused", () => {
  const plan = () => planTraining(new GRPOConfig({ gradientAccumulationSteps: 4 }), 3);
  expect(plan).toThrow("one step takes 4 prompts");
});

test("a data set without rows, or whose rows were dropped, is refused with that as the reason", () => {
  const config = new GRPOConfig({ gradientAccumulationSteps: 4 });
  expect(() => planTraining(config, 0)).toThrow("trainDataset has no rows");
  const why = "7 were dropped, as their prompts have more than 9 tokens (maxPromptLength)";
  for (const rows of [0, 2]) {
    expect(() => planTraining(config, rows, why)).toThrow(`trainDataset has ${rows} usable rows; ${why}`);
    expect(() => planTraining(config, rows, why)).toThrow('set promptOverflow to "truncate"');
  }
});

test("intervals below 1 are shares of all steps, epochs count in steps", () => {
  const shares = new GRPOConfig({ maxSteps: 50, loggingSteps: 0.1, saveSteps: 0.5, evalStrategy: "epoch" });
  expect(planTraining(shares, 10)).toMatchObject({ logEvery: 5, saveEvery: 25, evalEvery: 10, totalSteps: 50 });
  expect(planTraining(new GRPOConfig({ saveStrategy: "no" }), 10)).toMatchObject({ saveEvery: 0, evalEvery: 0 });
});

test("reportTo says where metrics go, as in transformers", () => {
  const logTo = (reportTo: GRPOConfigOptions["reportTo"]) => new GRPOConfig({ reportTo }).logTo;
  const own = ["console", "jsonl"];
  for (const none of ["none", null, []] as const) expect(logTo(none)).toEqual(own);
  for (const some of ["tensorboard", ["tensorboard"], ["none", "tensorboard"]] as const)
    expect(logTo(some)).toEqual([...own, "tensorboard"]);
  expect(logTo(["wandb", "mlflow"])).toEqual([...own, "wandb", "mlflow"]);
  expect(new GRPOConfig({ logTo: ["jsonl"], reportTo: ["tensorboard"] }).logTo).toEqual(["jsonl", "tensorboard"]);
  expect(() => new GRPOConfig({ reportTo: 3 as never })).toThrow("reportTo");
});

test("reportTo all are the trackers that a variable of theirs sets up, and TensorBoard", () => {
  for (const name of Object.keys(process.env)) if (/^(MLFLOW|TRACKIO|WANDB)_/.test(name)) vi.stubEnv(name, undefined);
  const logTo = () => new GRPOConfig({ reportTo: "all", logTo: [] }).logTo;
  expect(logTo()).toEqual(["tensorboard"]);
  vi.stubEnv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000");
  vi.stubEnv("WANDB_PROJECT", "maths");
  expect(logTo()).toEqual(["tensorboard", "mlflow", "wandb"]);
  vi.unstubAllEnvs();
});

test.each([
  ["wandbb", "did you mean wandb?"],
  ["ml_flow", "did you mean mlflow?"],
  ["clearml", "use one of tensorboard, mlflow, trackio, wandb, all or none, and give the trainer loggers for others"],
])("reportTo %j is refused with the names that there are", (name, hint) => {
  expect(() => new GRPOConfig({ reportTo: name as never })).toThrow(
    expect.objectContaining({ code: "BAD_OPTION", hint }),
  );
});

test('a warm-up that lrSchedulerType "constant" has not is named in the plan', () => {
  const notes = (options: GRPOConfigOptions) => new GRPOConfig({ lrSchedulerType: "constant", ...options }).notes;
  expect(notes({ warmupSteps: 3 })).toEqual([expect.stringMatching(/warmupSteps 3.*constant_with_warmup/)]);
  expect(notes({})).toEqual([]);
  expect(notes({ lrSchedulerType: "constant_with_warmup", warmupSteps: 3 })).toEqual([]);
});

test("a pattern for completions that no grammar follows is refused before anything is loaded", () => {
  expect(new GRPOConfig({ vllmStructuredOutputsRegex: "<a>[^<]*</a>" }).notes).toEqual([]);
  expect(() => new GRPOConfig({ vllmStructuredOutputsRegex: "(?=a)b" })).toThrow("the regular expression (?=a)b");
});
