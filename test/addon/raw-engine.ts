// The native engine without CausalLM around it, on any device that libtorch knows, "meta" included. For tests of what only the
// boundary shows: read-backs, and what the engine itself refuses.

import { readFile } from "node:fs/promises";
import type { JsonObject } from "../../lib/json.js";
import { linearLayers, readModelConfig } from "../../lib/model/families/families.js";
import { type AdapterSpec, adapterTensors, nativeAdapter } from "../../lib/model/lora/adapter-tensors.js";
import type {
  NativeAdapterSpec,
  NativeBatch,
  NativeDtype,
  NativeEngine,
  NativeLoss,
  NativeModelConfig,
  NativeSampleRequest,
  NativeTrainBatch,
} from "../../lib/native/native.js";
import { loadCore } from "../../lib/native/native-loader.js";
import { toNativeLoss } from "../../lib/options/loss.js";
import { toNativeOptimizer } from "../../lib/options/optimizer.js";
import { tinyQwen2 } from "./golden.js";

/** Of the bundled model, with `fields` in its config.json. */
export async function tinyConfig(fields: JsonObject = {}): Promise<NativeModelConfig> {
  const json: JsonObject = JSON.parse(await readFile(`${tinyQwen2}/config.json`, "utf8"));
  return readModelConfig({ ...json, ...fields }).native;
}

/** An adapter as the engine gets it: without anything but what `spec` gives it. */
export function adapterOf(config: NativeModelConfig, spec: Partial<AdapterSpec>): NativeAdapterSpec {
  const whole: AdapterSpec = {
    targets: [],
    dropout: 0,
    init: "default",
    initIterations: 0,
    dora: false,
    biases: [],
    fullModules: [],
    tokenRows: [],
    tieOutput: false,
    seed: 1,
    ...spec,
  };
  return nativeAdapter(whole, adapterTensors(whole, config));
}

/** A pair on every linear layer. */
export function everyLayer(config: NativeModelConfig, rank: number, scaling: number): AdapterSpec["targets"] {
  return linearLayers(config).map(({ module }) => ({ module, rank, scaling }));
}

/** The bundled model's shape, or that of `config`, with random weights. */
export async function rawModel(
  device: string,
  dtype: NativeDtype = "float32",
  threads = 0,
  config?: NativeModelConfig,
): Promise<NativeEngine> {
  const { Engine } = loadCore();
  const engine = new Engine({ config: config ?? (await tinyConfig()), device, dtype, threads });
  await engine.initModel(1);
  return engine;
}

/** The same with an adapter with dropout on every linear layer, and what `more` adds. */
export async function rawEngine(device: string, more: Partial<AdapterSpec> = {}, threads = 0): Promise<NativeEngine> {
  const config = await tinyConfig();
  const engine = await rawModel(device, "float32", threads);
  await engine.addAdapter("default", adapterOf(config, { targets: everyLayer(config, 8, 4), dropout: 0.1, ...more }));
  return engine;
}

/** Three prompts of 3, 4 and 1 tokens. */
export const PROMPTS = {
  promptIds: Int32Array.from([1, 2, 3, 4, 5, 6, 7, 8]),
  promptOffsets: Int32Array.from([0, 3, 7, 8]),
};

export const REQUEST: NativeSampleRequest = {
  ...PROMPTS,
  promptKeys: Int32Array.from([0, 1, 2]),
  groupSize: 2,
  maxNewTokens: 9,
  doSample: true,
  temperature: 0.9,
  topP: 1,
  topK: 0,
  minP: 0,
  repetitionPenalty: 1,
  stopIds: new Int32Array(),
  seed: 1,
  step: 0,
  maxRows: 64,
};

/** Five completions in slices of at most two, one of them empty. */
export const BATCH: NativeBatch & Pick<NativeTrainBatch, "sliceOffsets"> = {
  ...PROMPTS,
  completionIds: Int32Array.from([5, 6, 7, 8, 9, 10, 11, 12]),
  completionOffsets: Int32Array.from([0, 1, 4, 4, 6, 8]),
  promptOf: Int32Array.from([0, 0, 1, 1, 2]),
  sliceOffsets: Int32Array.from([0, 2, 4, 5]),
};

export const LOSS: NativeLoss = toNativeLoss({
  beta: 0.04,
  temperature: 0.9,
  maxTokensPerMicroBatch: 8,
  dropoutSeed: 3,
});

export const ADAMW = toNativeOptimizer({ learningRate: 1e-3, weightDecay: 0.01 });
