// Attention on an accelerator in half precision: sequences of different lengths without padding, prompts that completions share,
// pages of keys; beside the CPU's own kernels, and beside itself, where a token that was drawn is scored again.

import { afterEach, describe, expect, it } from "vitest";
import type { NativeEngine, NativeModelConfig } from "../../lib/native/native.js";
import { largestDifference } from "../addon/golden.js";
import { adapterOf, everyLayer, LOSS, REQUEST, rawModel, tinyConfig } from "../addon/raw-engine.js";
import { countsOf, openFakeDevice } from "./fake-device.js";

/** Numbers of half precision have eleven binary digits; these models' logits and log-probabilities are below ten. */
const CLOSE = 2e-2;

const engines: NativeEngine[] = [];
afterEach(() => {
  for (const engine of engines.splice(0)) engine.dispose();
});

async function engineOf(device: string, config: NativeModelConfig): Promise<NativeEngine> {
  await openFakeDevice();
  const engine = await rawModel(device, "float16", 1, config);
  engines.push(engine);
  await engine.addAdapter("default", adapterOf(config, { targets: everyLayer(config, 4, 2) }));
  return engine;
}

/** Every other layer with a window, if one is given. */
async function configOf(window: number): Promise<NativeModelConfig> {
  const config = await tinyConfig();
  return { ...config, layers: config.layers.map((layer, index) => (index % 2 === 0 ? { ...layer, window } : layer)) };
}

const offsetsOf = (lengths: readonly number[]) =>
  Int32Array.from([0, ...lengths.map((_, index) => lengths.slice(0, index + 1).reduce((a, b) => a + b))]);
const someIds = (count: number, factor: number) =>
  Int32Array.from({ length: count }, (_, t) => 1 + ((t * factor) % 61));

/** Prompts of 5, 17 and 1 tokens; of the second no completion counts, of the others two and three, one of a single token. */
const LENGTHS = { prompts: [5, 17, 1], completions: [4, 9, 1, 12, 3], promptOf: [0, 0, 2, 2, 2] };
const PROMPT_OFFSETS = offsetsOf(LENGTHS.prompts);
const COMPLETION_OFFSETS = offsetsOf(LENGTHS.completions);
const BATCH = {
  promptIds: someIds(23, 7),
  promptOffsets: PROMPT_OFFSETS,
  completionIds: someIds(29, 11),
  completionOffsets: COMPLETION_OFFSETS,
  promptOf: Int32Array.from(LENGTHS.promptOf),
  advantages: Float32Array.from([1, -1, 0.5, 2, -2]),
};

describe.each([0, 3, 8])("with windows of %i", (window) => {
  it("gives the logits and log-probabilities of the CPU", async () => {
    const config = await configOf(window);
    const [here, there] = [await engineOf("cpu", config), await engineOf("fake:1", config)];
    const logits = (engine: NativeEngine) => engine.forward(BATCH.promptIds, BATCH.promptOffsets);
    expect(largestDifference(await logits(there), await logits(here))).toBeLessThan(CLOSE);
    const logprobs = (engine: NativeEngine) => engine.logprobs(BATCH, 0.9);
    expect(largestDifference(await logprobs(there), await logprobs(here))).toBeLessThan(CLOSE);
  });

  it.each([8192, 24])("gives the CPU's gradients within %i tokens a micro-batch", async (maxTokensPerMicroBatch) => {
    const config = await configOf(window);
    const of = async (device: string) => {
      const engine = await engineOf(device, config);
      await engine.forwardBackward(BATCH, { ...LOSS, beta: 0, maxTokensPerMicroBatch });
      return engine.gradients();
    };
    const [actual, expected] = [await of("fake:1"), await of("cpu")];
    for (const [name, gradient] of Object.entries(expected)) {
      const largest = Math.max(...gradient.map(Math.abs));
      expect(largestDifference(actual[name] ?? [], gradient), name).toBeLessThanOrEqual(2 * CLOSE * largest);
    }
  });

  it.each([
    ["shorter than a page", [5, 17, 1], 20],
    ["longer than pages, one of them full", [255, 256, 300], 8],
    ["that grow into another page", [250, 3], 12],
  ] as const)("scores drawn tokens as they were drawn, after prompts %s", async (_, lengths, maxNewTokens) => {
    const engine = await engineOf("fake:1", await configOf(window));
    const promptOffsets = offsetsOf(lengths);
    const prompts = { promptIds: someIds(promptOffsets.at(-1) ?? 0, 5), promptOffsets };
    const groups = new Map<number, { ids: Int32Array; offsets: Int32Array; logprobs: Float32Array }>();
    const request = {
      ...REQUEST,
      ...prompts,
      promptKeys: Int32Array.from(lengths, (_l, index) => index),
      maxNewTokens,
    };
    // Rows end at different times, so that others take their places.
    await engine.sample({ ...request, groupSize: 3, stopIds: Int32Array.from([3, 9, 27, 50]), maxRows: 6 }, (group) =>
      groups.set(group.prompt, group),
    );
    const inOrder = lengths.map((_l, index) => groups.get(index) as NonNullable<ReturnType<typeof groups.get>>);
    const drawn = inOrder.flatMap(({ logprobs }) => Array.from(logprobs));
    const completionLengths = inOrder.flatMap(({ offsets }) =>
      Array.from(offsets.subarray(1), (end, row) => end - (offsets[row] ?? 0)),
    );
    const scored = await engine.logprobs(
      {
        ...prompts,
        completionIds: Int32Array.from(inOrder.flatMap(({ ids }) => Array.from(ids))),
        completionOffsets: offsetsOf(completionLengths),
        promptOf: Int32Array.from(completionLengths, (_l, row) => Math.floor(row / 3)),
      },
      request.temperature,
    );
    expect(drawn.length).toBeGreaterThan(20);
    expect(largestDifference(scored, drawn)).toBeLessThan(CLOSE);
  });

  it("replays recorded steps to the same tokens", async () => {
    const engine = await engineOf("fake:1", await configOf(window));
    const of = async (graphCapture: boolean) => {
      const groups = new Map<number, number[]>();
      await engine.sample({ ...REQUEST, maxNewTokens: 30, graphCapture }, ({ prompt, ids }) =>
        groups.set(prompt, Array.from(ids)),
      );
      return [...groups].sort(([a], [b]) => a - b);
    };
    const expected = await of(false);
    const { graphReplays } = await countsOf(async () => expect(await of(true)).toEqual(expected));
    expect(graphReplays).toBe(29);
  });
});

it("is computed by no operator that pads or masks", async () => {
  const device = await openFakeDevice();
  const engine = await engineOf("fake:1", await configOf(0));
  const before = device.kernels();
  await engine.sample({ ...REQUEST, doSample: false }, () => {});
  await engine.forwardBackward(BATCH, { ...LOSS, beta: 0 });
  const after = device.kernels();
  const ran = Object.keys(after).filter((name) => after[name] !== before[name]);
  expect(ran).toEqual(expect.arrayContaining(["aten::_flash_attention_forward", "aten::_flash_attention_backward"]));
  expect(ran.filter((name) => /scaled_dot_product|bmm|_softmax$/.test(name))).toEqual(["aten::_log_softmax"]);
});
