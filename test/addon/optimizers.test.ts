// The optimizers beside AdamW against torch.optim and transformers; AdamW in 8 bits against AdamW; and what they remember in a
// checkpoint. AdamW itself is in steps.test.ts.

import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { GRPOConfig } from "../../lib/grpo/config.js";
import { readTensors } from "../../lib/model/files/safetensors.js";
import { CausalLM } from "../../lib/model/model.js";
import type { OptimizerStepOptions } from "../../lib/options/optimizer.js";
import { optimizerOptions } from "../../lib/run/optimizer.js";
import { temporaryFolder } from "../model/folders.js";
import { DEVICE } from "../support/device.js";
import { goldenPath, largestDifference, numbers, sequences, type Tensors } from "./golden.js";
import { ADAMW, BATCH, LOSS, rawModel, tinyConfig } from "./raw-engine.js";
import { adapterWeights } from "./training-fixtures.js";

interface Case {
  readonly weight_decay?: number;
  readonly [option: string]: number | boolean | string | undefined;
}
const golden: { steps: number; learningRate: number; epsilon: number; cases: Record<string, Case> } = JSON.parse(
  readFileSync(goldenPath("optimizers.json"), "utf8"),
);
const tensors = await readTensors(goldenPath("optimizers.safetensors"));
const ids = sequences(tensors);
// Equal advantages of 1: minus the mean log-probability, up to a constant.
const batch = {
  promptIds: ids.map((row) => row.slice(0, 1)),
  completionIds: ids.map((row) => row.slice(1)),
  advantages: ids.map(() => 1),
};

const load = () =>
  CausalLM.fromPretrained(goldenPath("models/qwen2-random"), {
    dtype: "float32",
    device: DEVICE,
    adapter: goldenPath("adapters/optimizers"),
  });

async function train(model: CausalLM, steps: number, options: OptimizerStepOptions): Promise<void> {
  for (let step = 0; step < steps; step++) {
    await model.forwardBackward(batch, { lossType: "dapo", beta: 0 });
    await model.optimizerStep(options);
  }
}

/** Options of a step, from transformers' names. */
function stepOptions(name: string, { weight_decay: weightDecay = 0, ...optimArgs }: Case): OptimizerStepOptions {
  const optim = name.replace(/_.*/, "") as "sgd" | "adafactor" | "muon";
  const own = optimizerOptions(new GRPOConfig({ optim, optimArgs }));
  return { learningRate: golden.learningRate, weightDecay, epsilon: golden.epsilon, maxGradNorm: 1, ...own };
}

// Float32, but for Muon's directions, which are in bfloat16 (2^-9), where five iterations add up to about a hundredth. A step's entries
// are within learningRate · 0.2 √48, or "original" √8; several steps make a third of that.
const TOLERANCE: Readonly<Record<string, number>> = { muon: 2e-4, muon_original: 5e-4 };

it.each(Object.entries(golden.cases))("%s ends at the reference's weights", async (name, options) => {
  await using model = await load();
  await train(model, golden.steps, stepOptions(name, options));
  const ours = await adapterWeights(model);
  expect(ours.size).toBeGreaterThan(10);
  for (const key of ours.keys()) {
    const expected = numbers(tensors, `${name}.${key}`);
    expect(largestDifference(numbers(ours, key), expected), key).toBeLessThan(TOLERANCE[name] ?? 2e-6);
  }
});

/** What the checkpoint's optimizer file holds. */
async function stateOf(model: CausalLM): Promise<Tensors> {
  const folder = await temporaryFolder();
  await model.saveCheckpoint(folder);
  return readTensors(path.join(folder, "optimizer.safetensors"));
}

const optimizers: readonly OptimizerStepOptions[] = [
  { learningRate: 0.01, optimizer: "adamw" },
  { learningRate: 0.01, optimizer: "adamw_8bit" },
  { learningRate: 0.01, optimizer: "sgd" },
  { learningRate: 0.01, optimizer: "sgd", momentum: 0.9, nesterov: true },
  { learningRate: 0.01, optimizer: "adafactor" },
  { learningRate: 0.01, optimizer: "muon", weightDecay: 0.1 },
];

describe.each(optimizers)("%o", (options) => {
  it("goes on from a checkpoint as if it had never stopped, bit for bit", async () => {
    await using whole = await load();
    await train(whole, 2, options);
    const folder = await temporaryFolder();
    await whole.saveCheckpoint(folder);
    await train(whole, 2, options);
    await using resumed = await load();
    await resumed.loadCheckpoint(folder);
    await train(resumed, 2, options);
    expect(await adapterWeights(resumed)).toEqual(await adapterWeights(whole));
    expect(await stateOf(resumed)).toEqual(await stateOf(whole));
  });
});

it("the state of one optimizer is refused by another's step", async () => {
  await using model = await load();
  await train(model, 1, { learningRate: 0.01, optimizer: "muon" });
  await model.forwardBackward(batch, { beta: 0 });
  await expect(model.optimizerStep({ learningRate: 0.01 })).rejects.toThrow("belongs to another optimizer");
});

it("adafactor remembers a row and a column of each matrix, muon one moment, sgd nothing", async () => {
  const sizes: Record<string, number> = {};
  for (const optimizer of ["adamw", "adamw_8bit", "adafactor", "muon", "sgd"] as const) {
    await using model = await load();
    await train(model, 1, { learningRate: 0.01, optimizer });
    const state = [...(await stateOf(model)).values()];
    const values = [...(await adapterWeights(model)).values()].reduce((sum, { data }) => sum + data.length, 0);
    sizes[optimizer] = state.reduce((sum, { data }) => sum + data.byteLength, 0) / values;
  }
  expect(sizes.adamw).toBe(8);
  expect(sizes.sgd).toBe(0);
  expect(sizes.muon).toBeLessThan(4.6);
  expect(sizes.adafactor).toBeLessThan(2);
});

describe("AdamW in 8 bits", () => {
  const options = { learningRate: 0.003, epsilon: 1e-6, weightDecay: 0.01 };

  it("makes AdamW's first step, and later ones near AdamW's", async () => {
    const moved = async (optimizer: "adamw" | "adamw_8bit", steps: number) => {
      await using model = await load();
      const before = await adapterWeights(model);
      await train(model, steps, { ...options, optimizer });
      const after = await adapterWeights(model);
      return [...after.keys()].flatMap((key) => {
        const start = numbers(before, key);
        return Array.from(numbers(after, key), (value, i) => value - (start[i] ?? 0));
      });
    };
    const length = (values: readonly number[]) => Math.hypot(...values);
    const [exact, rounded] = [await moved("adamw", 1), await moved("adamw_8bit", 1)];
    expect(largestDifference(rounded, exact)).toBe(0);
    const [far, near] = [await moved("adamw", 20), await moved("adamw_8bit", 20)];
    const gap = length(far.map((value, i) => value - (near[i] ?? 0)));
    expect(gap).toBeGreaterThan(0);
    expect(gap / length(far)).toBeLessThan(0.05);
  });

  /** The entries by the formula at the head of native/optim/adamw_8bit.cc. */
  function table(signed: boolean): number[] {
    const values = [0, 1];
    for (let exponent = 0; exponent < 7; exponent++) {
      const parts = 2 ** (signed ? exponent : exponent + 1);
      for (let i = 0; i < parts; i++) {
        const value = 10 ** (exponent - 6) * (0.1 + (0.9 * (i + 0.5)) / parts);
        values.push(value, ...(signed ? [-value] : []));
      }
    }
    return values.sort((a, b) => a - b);
  }

  it.each([
    ["exp_avg", true],
    ["exp_avg_sq", false],
  ] as const)(
    "stores each number of %s as the nearest entry times the largest of its block of 256",
    async (moment, signed) => {
      await using exact = await load();
      await using rounded = await load();
      await train(exact, 1, { ...options, optimizer: "adamw" });
      await train(rounded, 1, { ...options, optimizer: "adamw_8bit" });
      const moments = await stateOf(exact);
      // In the engine's order: all A in the order of the model, then all B.
      const modules = [0, 1].flatMap((layer) =>
        ["self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj"].map((m) => `${layer}.${m}`),
      );
      const names = ["A", "B"].flatMap((pair) => modules.map((m) => `model.layers.${m}.lora_${pair}.weight.${moment}`));
      const values = names.flatMap((name) => [...numbers(moments, name)]);
      const stored = await stateOf(rounded);
      const [codes, scales] = [numbers(stored, `${moment}.codes`), numbers(stored, `${moment}.scales`)];
      const entries = table(signed);
      expect(entries).toHaveLength(256);
      expect(scales).toHaveLength(Math.ceil(values.length / 256));
      for (const [i, value] of values.entries()) {
        const scale = scales[Math.floor(i / 256)] ?? 0;
        const distance = (entry: number) => Math.abs(entry * scale - value);
        const best = entries
          .filter((entry) => signed || entry > 0)
          .reduce((a, b) => (distance(b) < distance(a) ? b : a));
        expect(distance(entries[codes[i] ?? -1] ?? Number.NaN)).toBeLessThanOrEqual(distance(best) + 1e-6 * scale);
      }
    },
  );
});

it("the norm of ten million numbers is theirs", async () => {
  const engine = await rawModel(DEVICE, "float32", 0, await tinyConfig({ vocab_size: 160_000 }));
  await engine.trainAll();
  await engine.forwardBackward({ ...BATCH, advantages: Float32Array.from([1, -1, 0.5, 2, -2]) }, { ...LOSS, beta: 0 });
  const gradients = Object.values(await engine.gradients());
  const { gradNorm } = await engine.optimizerStep(ADAMW);
  engine.dispose();
  const squares = gradients.reduce((sum, values) => values.reduce((a, b) => a + b * b, sum), 0);
  expect(Math.abs(gradNorm / Math.sqrt(squares) - 1)).toBeLessThan(2e-6);
});
