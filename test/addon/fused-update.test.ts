// The fast paths of the update against the plain one: float64 goes operator by operator through autograd, with padded
// attention, and float32 through fused layers, attention in segments and scores in place.

import { describe, expect, it } from "vitest";
import { linearLayers, readModelConfig } from "../../lib/model/families/families.js";
import type { NativeDtype, NativeEngine, NativeTrainBatch } from "../../lib/native/native.js";
import { loadCore } from "../../lib/native/native-loader.js";
import { toNativeLoss } from "../../lib/options/loss.js";
import { DEVICE } from "../support/device.js";
import { adapterOf } from "./raw-engine.js";

const SHAPE = {
  hidden_size: 40,
  intermediate_size: 52,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 12,
  vocab_size: 101,
  rms_norm_eps: 1e-6,
  rope_theta: 10000,
  max_position_embeddings: 512,
};
const MODELS = {
  qwen2: { ...SHAPE, model_type: "qwen2", hidden_act: "silu", tie_word_embeddings: true, head_dim: 10 },
  qwen3: { ...SHAPE, model_type: "qwen3", hidden_act: "silu", tie_word_embeddings: true },
  // Norms with an offset on both sides of a block, gelu, windows shorter than the sequences.
  gemma3: {
    ...SHAPE,
    model_type: "gemma3_text",
    hidden_activation: "gelu_pytorch_tanh",
    query_pre_attn_scalar: 12,
    layer_types: ["sliding_attention", "full_attention"],
    sliding_window: 5,
    rope_local_base_freq: 10000,
  },
};

/** Groups of one, two and three completions; equal lengths beside each other, one of a single token, one empty. */
const SHORT = { prompts: [7, 7, 3], lengths: [6, 6, 11, 1, 0, 19] };
/** Of one block of attention's queries, just over it, and of three. */
const LONG = { prompts: [61, 7, 130], lengths: [60, 61, 130, 180, 0, 181] };

function batch({ prompts, lengths }: typeof SHORT): NativeTrainBatch {
  const sum = (list: readonly number[]) => list.reduce((a, b) => a + b, 0);
  let state = 1;
  const next = () => {
    state = (state * 48271) % 2147483647;
    return state % 101;
  };
  const ids = (n: number) => Int32Array.from({ length: n }, next);
  const offsets = (list: readonly number[]) => Int32Array.from([0, ...list.map((_, i) => sum(list.slice(0, i + 1)))]);
  return {
    promptIds: ids(sum(prompts)),
    promptOffsets: offsets(prompts),
    completionIds: ids(sum(lengths)),
    completionOffsets: offsets(lengths),
    promptOf: Int32Array.from([0, 0, 0, 1, 1, 2]),
    sliceOffsets: Int32Array.from([0, 3, 6]),
    advantages: Float32Array.from([1, -1, 0.5, 2, 1, -0.5]),
  };
}

type Train = "pairs" | "dropout" | "long" | "all";

async function engineOf(config: object, dtype: NativeDtype, train: Train): Promise<NativeEngine> {
  const native = readModelConfig(JSON.parse(JSON.stringify(config))).native;
  const engine = new (loadCore().Engine)({ config: native, device: DEVICE, dtype, threads: 0 });
  await engine.initModel(3);
  if (train === "all") {
    await engine.trainAll();
    return engine;
  }
  const targets = linearLayers(native).map(({ module }, i) => ({ module, rank: 2 + (i % 3), scaling: 1 + (i % 2) }));
  const dropout = train === "dropout" ? 0.1 : 0;
  await engine.addAdapter("default", adapterOf(native, { targets, dropout, init: "random", seed: 5 }));
  return engine;
}

/** Loss and gradients; `more` for the loss. */
async function update(config: object, dtype: NativeDtype, train: Train, more: object) {
  const engine = await engineOf(config, dtype, train);
  const maxTokensPerMicroBatch = train === "long" ? 400 : 40;
  const loss = toNativeLoss({ temperature: 0.8, dropoutSeed: 9, maxTokensPerMicroBatch, ...more });
  const result = await engine.forwardBackward(batch(train === "long" ? LONG : SHORT), loss);
  const gradients = await engine.gradients();
  await engine.dispose();
  return { result, gradients };
}

// Float32 rounding of a sum over a few dozen tokens, of those that a mask leaves, or of some hundreds; the largest element is the
// measure. Over ten seeds of the masks the worst was 2.3e-5.
const TOLERANCE = { pairs: 1e-5, all: 1e-5, dropout: 3e-5, long: 3e-5 };

describe.each(Object.entries(MODELS))("an update of %s", (_, config) => {
  it.each([
    ["LoRA pairs", "pairs", {}],
    ["LoRA pairs with an entropy bonus", "pairs", { entropyCoef: 0.1 }],
    ["LoRA pairs with layers computed again", "pairs", { gradientCheckpointing: true }],
    // Both draw the same masks.
    ["LoRA pairs with dropout", "dropout", {}],
    ["LoRA pairs with dropout and layers computed again", "dropout", { gradientCheckpointing: true }],
    ["LoRA pairs by long sequences", "long", {}],
    ["all weights", "all", { entropyCoef: 0.1 }],
  ] as const)("of %s has the gradient of the plain path", async (_name, train, more) => {
    const fast = await update(config, "float32", train, more);
    const plain = await update(config, "float64", train, more);
    expect(fast.result.loss).toBeCloseTo(plain.result.loss, 5);
    expect(fast.result.entropy).toBeCloseTo(plain.result.entropy, 5);
    for (const [name, expected] of Object.entries(plain.gradients)) {
      const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      const apart = expected.map((value, i) => Math.abs(value - (fast.gradients[name]?.[i] ?? Number.NaN)));
      const worst = apart.reduce((most, value) => (value > most || Number.isNaN(value) ? value : most), 0);
      expect(largest, name).toBeGreaterThan(0);
      expect(worst / largest, name).toBeLessThan(TOLERANCE[train]);
    }
  });
});
