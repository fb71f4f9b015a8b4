// Optimizer steps of the real engine against TRL's, from the same weights on the same batches: adapters on several families, and
// models that are trained in full.

import path from "node:path";
import { describe, expect, it } from "vitest";
import { readTensors } from "../../lib/model/files/safetensors.js";
import { CausalLM } from "../../lib/model/model.js";
import { temporaryFolder } from "../model/folders.js";
import { DEVICE } from "../support/device.js";
import { goldenPath, numbers, type Tensors } from "./golden.js";
import {
  adapterWeights,
  expectMetrics,
  modelWithAdapter,
  readFixture,
  relativeDifference,
  trainingBatch,
} from "./training-fixtures.js";

interface Step {
  readonly batch: number;
  readonly loss: number;
  readonly gradNorm: number;
  readonly learningRate: number;
  readonly metrics: Readonly<Record<string, number>>;
  readonly mixReference?: number;
}
interface StepsFixture {
  readonly targetModules?: readonly string[];
  readonly lossType: "dapo" | "grpo";
  readonly beta: number;
  readonly useBiasCorrectionKl: boolean;
  readonly epsilon: number;
  readonly temperature: number;
  readonly maxGradNorm: number;
  readonly optimizer: { readonly weightDecay: number };
  readonly steps: readonly Step[];
}

const ADAPTERS = ["qwen2-qv", "llama-all", "qwen3-all", "llama32-all", "gemma3-all"] as const;
const FULL = ["full-llama32", "full-qwen2"] as const;

// Float32: a single step's noise is 4e-6 of a gradient (loss.test.ts), and AdamW's normalization keeps it from growing.
const TOLERANCE = 1e-5;

describe.each(ADAPTERS)("optimizer steps of %s", async (set) => {
  const { json, tensors } = await readFixture<StepsFixture>(`steps-${set}`);

  it("follow TRL in loss, metrics, gradient norm and weights", async () => {
    await using model = await modelWithAdapter(json, tensors);
    for (const [i, step] of json.steps.entries()) {
      await expectStep(model, step, json, tensors);
      if (i === 0) expectWeights(await adapterWeights(model), "after1", tensors, step.learningRate);
    }
    const rate = json.steps.at(-1)?.learningRate ?? 0;
    expectWeights(await adapterWeights(model), `after${json.steps.length}`, tensors, rate);
  });
});

describe.each(FULL)("optimizer steps of %s", async (set) => {
  const { json, tensors } = await readFixture<StepsFixture>(`steps-${set}`);

  it.each([false, true])("follow TRL in all weights, with layers computed again: %s", async (checkpointing) => {
    const options = { dtype: "float32", device: DEVICE } as const;
    await using model = await CausalLM.fromPretrained(goldenPath(`models/${json.model}`), options);
    await model.beginTraining({ reference: json.beta > 0, mixed: true });
    if (json.beta > 0) await expectReference(model, tensors, "batch0.", "reference");
    for (const [i, step] of json.steps.entries()) {
      await expectStep(model, step, json, tensors, checkpointing);
      if (i === 0) expectWeights(await modelWeights(model), "after1", tensors);
      if (step.mixReference !== undefined) await model.mixReference(step.mixReference);
    }
    expectWeights(await modelWeights(model), `after${json.steps.length}`, tensors);
    if (!tensors.has("batch0.mixedReference")) return;
    for (const batch of ["batch0.", "batch1."]) await expectReference(model, tensors, batch, "mixedReference");
  });
});

async function expectStep(
  model: CausalLM,
  step: Step,
  fixture: StepsFixture,
  tensors: Tensors,
  gradientCheckpointing = false,
): Promise<void> {
  const prefix = `batch${step.batch}.`;
  const batch = trainingBatch(tensors, prefix, fixture.beta > 0 ? { old: "old", reference: "reference" } : {});
  const { lossType, beta, useBiasCorrectionKl, epsilon, temperature, maxGradNorm } = fixture;
  // One group has advantage 0; TRL's entropy includes it.
  const options = {
    lossType,
    beta,
    useBiasCorrectionKl,
    epsilon,
    temperature,
    gradientCheckpointing,
    skipIdleRows: false,
  };
  const { promptIds, completionIds } = batch;
  const own = fixture.targetModules === undefined && fixture.beta > 0;
  const reference = own ? await model.logprobs({ promptIds, completionIds }, { reference: true }) : undefined;
  const result = await model.forwardBackward(reference ? { ...batch, referenceLogprobs: reference } : batch, options);
  // Without a KL term the loss is zero by construction; then only its rounding is left to compare.
  const lossTolerance = beta === 0 ? 1e-6 : TOLERANCE * Math.abs(step.loss) + 1e-7;
  expect(Math.abs(result.loss - step.loss)).toBeLessThan(lossTolerance);
  expectMetrics(result, step.metrics);
  const { learningRate } = step;
  const { weightDecay } = fixture.optimizer;
  const { gradNorm, applied } = await model.optimizerStep({ learningRate, maxGradNorm, weightDecay });
  expect(applied).toBe(true);
  expect(Math.abs(gradNorm - step.gradNorm) / step.gradNorm).toBeLessThan(TOLERANCE);
}

async function expectReference(model: CausalLM, tensors: Tensors, prefix: string, name: string): Promise<void> {
  const { promptIds, completionIds } = trainingBatch(tensors, prefix, {});
  const logprobs = await model.logprobs({ promptIds, completionIds }, { reference: true });
  const flat = logprobs.flatMap((values) => Array.from(values));
  expect(relativeDifference(flat, numbers(tensors, prefix + name))).toBeLessThan(TOLERANCE);
}

async function modelWeights(model: CausalLM): Promise<Tensors> {
  const folder = await temporaryFolder();
  await model.savePretrained(folder);
  return readTensors(path.join(folder, "model.safetensors"));
}

/** Without its largest element, which is returned. */
function withoutLargest(values: readonly number[]): [number[], number] {
  const largest = values.reduce((best, value, i) => (value > (values[best] ?? 0) ? i : best), 0);
  return [values.filter((_, i) => i !== largest), values[largest] ?? 0];
}

/**
 * AdamW moves a weight by lr · g / (|g| + ε) in its first step, also where g is nearly zero and consists of rounding noise.
 * One such weight of a tensor may be off by a hundredth of lr.
 */
function expectWeights(weights: Tensors, when: string, tensors: Tensors, learningRate = 0): void {
  const prefix = `${when}.`;
  const names = [...tensors.keys()].filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length));
  expect([...weights.keys()].sort()).toEqual(names.sort());
  for (const name of names) {
    const theirs = numbers(tensors, prefix + name);
    const apart = numbers(weights, name).map((value, i) => Math.abs(value - (theirs[i] ?? Number.NaN)));
    const [rest, largest] = withoutLargest(apart);
    const scale = theirs.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    expect(Math.max(0, ...rest), `${when} ${name}`).toBeLessThan(TOLERANCE * scale);
    expect(largest, `${when} ${name}`).toBeLessThan(Math.max(TOLERANCE * scale, learningRate / 100));
  }
}
