// What stands for time and memory where there is no accelerator: operators, kernels, operations and bytes of the path that runs
// on one. The bounds are what was counted when they were written; docs/profile.md has the same numbers.

import { afterEach, describe, expect, it } from "vitest";
import type {
  NativeDtype,
  NativeEngine,
  NativeModelConfig,
  NativeOperatorCounts,
  NativeSampleRequest,
} from "../../lib/native/native.js";
import { ADAMW, adapterOf, BATCH, everyLayer, LOSS, REQUEST, rawModel, tinyConfig } from "./raw-engine.js";

const RANK = 8;
let engine: NativeEngine;
afterEach(() => engine.dispose());

const configOf = (numLayers: number) => tinyConfig({ num_hidden_layers: numLayers, layer_types: null });

/** An engine on the meta device, with LoRA on every linear layer or without. */
async function modelOf(
  numLayers: number,
  lora: boolean,
  device = "meta",
  dtype: NativeDtype = "float32",
): Promise<NativeEngine> {
  const config = await configOf(numLayers);
  const made = await rawModel(device, dtype, 1, config);
  if (!lora) return made;
  await made.addAdapter("default", adapterOf(config, { targets: everyLayer(config, RANK, 4) }));
  return made;
}

async function countsOf(job: () => Promise<unknown>): Promise<NativeOperatorCounts> {
  await engine.countOperators(true);
  await job();
  return engine.countOperators(false);
}

const kernelsOf = ({ kernels }: NativeOperatorCounts) => Object.values(kernels).reduce((sum, n) => sum + n, 0);

/** Of one decode step of 6 rows: what one token more adds. */
async function decodeStep(options: Partial<NativeSampleRequest> = {}) {
  const sample = (maxNewTokens: number) =>
    countsOf(() => engine.sample({ ...REQUEST, plain: true, maxNewTokens, ...options }, () => {}));
  const [eight, nine] = [await sample(8), await sample(9)];
  return {
    operators: nine.operators - eight.operators,
    kernels: kernelsOf(nine) - kernelsOf(eight),
    flops: nine.flops - eight.flops,
  };
}

/** The same, a layer and beside the layers. */
async function decodeStepByLayer(
  lora: boolean,
  dtype: NativeDtype = "float32",
  options: Partial<NativeSampleRequest> = {},
) {
  const of = async (layers: number) => {
    engine = await modelOf(layers, lora, "meta", dtype);
    return decodeStep(options);
  };
  const [two, three] = [await of(2), await of(3)];
  const kernels = three.kernels - two.kernels;
  const operators = three.operators - two.operators;
  return { kernels, operators, otherKernels: two.kernels - 2 * kernels, otherOperators: two.operators - 2 * operators };
}

/** Multiplications for one token: of the linear layers, of the pairs on them, of the output layer; for one key, of attention. */
function perToken(config: NativeModelConfig) {
  const { hiddenSize: c, intermediateSize: f, headDim, numHeads, numKvHeads, numLayers, vocabSize } = config;
  const [q, kv] = [numHeads * headDim, numKvHeads * headDim];
  const shapes = [
    [c, q],
    [c, kv],
    [c, kv],
    [q, c],
    [c, f],
    [c, f],
    [f, c],
  ] as const;
  const total = (of: (input: number, output: number) => number) =>
    numLayers * shapes.reduce((sum, [input, output]) => sum + of(input, output), 0);
  return {
    base: total((input, output) => input * output),
    pairs: total((input, output) => RANK * (input + output)),
    output: c * vocabSize,
    attention: numLayers * q,
    /** What the backward to the input of the first q, k and v would take. */
    firstInput: c * (q + 2 * kv) + 3 * RANK * c,
  };
}

describe("a decode step", () => {
  it.each([
    ["bfloat16", false, { kernels: 14, operators: 85, otherKernels: 22, otherOperators: 96 }],
    ["bfloat16", true, { kernels: 22, operators: 87, otherKernels: 22, otherOperators: 96 }],
    ["float32", false, { kernels: 25, operators: 148, otherKernels: 29, otherOperators: 120 }],
    ["float32", true, { kernels: 33, operators: 156, otherKernels: 29, otherOperators: 120 }],
  ] as const)("in %s with LoRA %s has no more operators than were counted", async (dtype, lora, bound) => {
    const counted = await decodeStepByLayer(lora, dtype);
    for (const key of Object.keys(bound) as (keyof typeof bound)[])
      expect(counted[key], key).toBeLessThanOrEqual(bound[key]);
  });

  it.each(["bfloat16", "float32"] as const)("of a fixed shape has as many in %s", async (dtype) => {
    const exact = await decodeStepByLayer(true, dtype);
    const fixed = await decodeStepByLayer(true, dtype, { graphCapture: true });
    // Inputs that stay where they are are not cut into views again.
    expect(fixed.otherOperators).toBeLessThan(exact.otherOperators);
    expect({ ...fixed, otherOperators: 0 }).toEqual({ ...exact, otherOperators: 0 });
  });

  it("does not grow with its rows", async () => {
    engine = await modelOf(2, true);
    const few = await decodeStep();
    expect(await decodeStep({ groupSize: 20 })).toMatchObject({ kernels: few.kernels, operators: few.operators });
  });

  it("multiplies what its shape says", async () => {
    engine = await modelOf(3, false);
    const config = await configOf(3);
    const [rows, time, places, width] = [6, 8, 3 * 2, 4];
    const { base, output, attention } = perToken(config);
    const { flops } = await decodeStep();
    // Products with keys and with values, of each row's own and of its prompt.
    expect(flops).toBe(2 * rows * (base + output) + 2 * 2 * attention * (rows * time + places * width));
  });
});

describe("an update", () => {
  const batch = { ...BATCH, advantages: Float32Array.from([1, -1, 0.5, 2, -2]) };
  const update = () =>
    countsOf(() => engine.forwardBackward(batch, { ...LOSS, beta: 0, maxTokensPerMicroBatch: 8192 }));
  /** 8 tokens of 3 prompts, each once; the last token of a completion is not fed, and an empty one is no row. */
  const [fed, drawn, prompts, longestPrompt, rows, longestFed] = [12, 8, 3, 4, 4, 2];
  /** Two products forward, four backward, over padded lengths. */
  const attended = 2 * 6 * (prompts * longestPrompt ** 2 + rows * longestFed * (longestPrompt + longestFed));

  it("of LoRA multiplies no base weight's gradient and each prompt once", async () => {
    engine = await modelOf(2, true);
    const { base, pairs, output, attention, firstInput } = perToken(await configOf(2));
    const { flops } = await update();
    // Forward and backward to the input; a pair also has gradients; nothing flows below the first layer.
    const linear = 2 * fed * (2 * base + 3 * pairs - firstInput) + 2 * drawn * 2 * output;
    expect(flops).toBe(linear + attention * attended);
  });

  it("of the whole model adds the gradient of every weight", async () => {
    engine = await modelOf(2, false);
    await engine.trainAll();
    const { base, output, attention } = perToken(await configOf(2));
    const { flops } = await update();
    expect(flops).toBe(2 * fed * 3 * base + 2 * drawn * 3 * output + attention * attended);
  });

  it.each([
    ["bfloat16", 366],
    ["float32", 532],
  ] as const)("and its optimizer step have no more kernels than were counted in %s", async (dtype, bound) => {
    engine = await modelOf(2, true, "meta", dtype);
    expect(kernelsOf(await update())).toBeLessThanOrEqual(bound);
    expect(kernelsOf(await countsOf(() => engine.optimizerStep(ADAMW)))).toBeLessThanOrEqual(8);
  });
});

describe("the bytes held at most", () => {
  it("are no more than were counted", async () => {
    engine = await modelOf(2, true, "cpu");
    const batch = { ...BATCH, advantages: Float32Array.from([1, -1, 0.5, 2, -2]) };
    const rollout = await countsOf(() => engine.sample({ ...REQUEST, plain: true, maxNewTokens: 64 }, () => {}));
    const update = await countsOf(() => engine.forwardBackward(batch, { ...LOSS, beta: 0 }));
    const optimizer = await countsOf(() => engine.optimizerStep(ADAMW));
    expect(rollout.peakBytes).toBeLessThanOrEqual(720_000);
    expect(update.peakBytes).toBeLessThanOrEqual(405_000);
    expect(optimizer.peakBytes).toBeLessThanOrEqual(394_000);
    expect(Math.min(rollout.peakBytes, update.peakBytes, optimizer.peakBytes)).toBeGreaterThan(100_000);
  });
});
