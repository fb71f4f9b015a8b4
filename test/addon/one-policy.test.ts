// One policy: on a CPU the log-probability that a rollout gives a token has the bits of the one that training computes for it,
// however many rows are decoded together, wherever a prompt ends, for every kind of layer, in both dtypes, on any number of threads.

import { describe, expect, it } from "vitest";
import { readModelConfig } from "../../lib/model/families/families.js";
import type { AdapterSpec } from "../../lib/model/lora/adapter-tensors.js";
import type { NativeBatch, NativeDtype, NativeEngine, NativeSampleRequest } from "../../lib/native/native.js";
import { ADAMW, adapterOf, BATCH, everyLayer, LOSS, REQUEST, rawModel, tinyConfig } from "./raw-engine.js";

const DTYPES = ["float32", "bfloat16"] satisfies NativeDtype[];

/** Prompts of these lengths. */
function promptsOf(...lengths: number[]) {
  const promptOffsets = Int32Array.from([
    0,
    ...lengths.map((_, i) => lengths.slice(0, i + 1).reduce((a, b) => a + b, 0)),
  ]);
  return {
    promptIds: Int32Array.from({ length: promptOffsets.at(-1) ?? 0 }, (_, i) => (i * 37 + 5) % 400),
    promptOffsets,
    promptKeys: Int32Array.from(lengths, (_, i) => i),
  };
}

/** Samples, and the log-probabilities of both sides. */
async function bothSides(engine: NativeEngine, options: Partial<NativeSampleRequest>) {
  const request = { ...REQUEST, ...options };
  const groups: { prompt: number; ids: Int32Array; offsets: Int32Array; logprobs: Float32Array }[] = [];
  await engine.sample(request, (group) => groups.push(group));
  groups.sort((a, b) => a.prompt - b.prompt);
  const sampled = groups.flatMap(({ logprobs }) => Array.from(logprobs));
  const completions = groups.flatMap(({ ids, offsets }) =>
    Array.from(offsets.subarray(1), (end, i) => Array.from(ids.subarray(offsets[i], end))),
  );
  const batch: NativeBatch = {
    promptIds: request.promptIds,
    promptOffsets: request.promptOffsets,
    completionIds: Int32Array.from(completions.flat()),
    completionOffsets: Int32Array.from([0, ...completions.map((_, i) => completions.slice(0, i + 1).flat().length)]),
    promptOf: Int32Array.from(completions, (_, i) => Math.floor(i / request.groupSize)),
  };
  return { sampled, batch, trained: Array.from(await engine.logprobs(batch, request.temperature)) };
}

async function expectOnePolicy(engine: NativeEngine, options: Partial<NativeSampleRequest>): Promise<void> {
  const { sampled, trained } = await bothSides(engine, options);
  expect(sampled.length).toBeGreaterThan(0);
  expect(sampled.every(Number.isFinite)).toBe(true);
  expect(trained).toEqual(sampled);
}

describe.each(DTYPES)("in %s", (dtype) => {
  it.each([
    [1, [1]],
    [1, [10]],
    [3, [64]],
    [8, [159]],
    [5, [31, 32, 33, 7]],
    [16, [2, 3]],
    [32, [40]],
    [2, [900, 97, 96]],
  ] as const)("%i rows of prompts of %j tokens are sampled as they are trained", async (groupSize, lengths) => {
    for (const threads of [1, 2, 3]) {
      const engine = await rawModel("cpu", dtype, threads);
      await expectOnePolicy(engine, { ...promptsOf(...lengths), groupSize, maxNewTokens: 40 });
      engine.dispose();
    }
  });

  it("rows that enter and leave", async () => {
    const engine = await rawModel("cpu", dtype);
    const stopIds = Int32Array.from({ length: 8 }, (_, i) => i * 60);
    await expectOnePolicy(engine, {
      ...promptsOf(5, 8, 1, 12, 3),
      groupSize: 3,
      maxNewTokens: 90,
      maxRows: 6,
      stopIds,
    });
    engine.dispose();
  });

  it("filters of sampling change nothing of a log-probability", async () => {
    const engine = await rawModel("cpu", dtype);
    for (const options of [{ topP: 0.7 }, { topK: 9 }, { minP: 0.3 }, { doSample: false }, { repetitionPenalty: 1.3 }])
      await expectOnePolicy(engine, { ...promptsOf(9, 6), groupSize: 4, ...options });
    engine.dispose();
  });

  it("a row is the same alone and among others", async () => {
    const engine = await rawModel("cpu", dtype);
    const { batch, trained } = await bothSides(engine, { ...promptsOf(17), groupSize: 12, maxNewTokens: 30 });
    const rows = Array.from(batch.promptOf, (_, row) =>
      batch.completionIds.slice(batch.completionOffsets[row], batch.completionOffsets[row + 1]),
    );
    const alone: number[] = [];
    for (const ids of rows) {
      const one = {
        ...batch,
        completionIds: ids,
        completionOffsets: Int32Array.from([0, ids.length]),
        promptOf: Int32Array.of(0),
      };
      alone.push(...(await engine.logprobs(one, REQUEST.temperature)));
    }
    expect(alone).toEqual(trained);
    engine.dispose();
  });

  it("a sequence is the same wherever its prompt ends", async () => {
    const engine = await rawModel("cpu", dtype);
    const ids = Int32Array.from({ length: 75 }, (_, i) => (i * 53 + 11) % 400);
    const from = (prompt: number) =>
      engine.logprobs(
        {
          promptIds: ids.slice(0, prompt),
          promptOffsets: Int32Array.of(0, prompt),
          completionIds: ids.slice(prompt),
          completionOffsets: Int32Array.of(0, ids.length - prompt),
          promptOf: Int32Array.of(0),
        },
        1,
      );
    const whole = await from(1);
    for (const prompt of [2, 7, 32, 33, 64, 74]) expect(await from(prompt)).toEqual(whole.slice(prompt - 1));
    engine.dispose();
  });

  it("a training step measures no distance", async () => {
    const engine = await rawModel("cpu", dtype);
    await engine.addAdapter(
      "default",
      adapterOf(await tinyConfig(), { targets: everyLayer(await tinyConfig(), 8, 4), init: "random" }),
    );
    const { batch, sampled } = await bothSides(engine, { ...promptsOf(11, 20), groupSize: 4, maxNewTokens: 30 });
    const samplingLogprobs = Float32Array.from(sampled);
    const advantages = Float32Array.from(batch.promptOf, (_, i) => (i % 2 === 0 ? 1 : -1));
    const train = { ...batch, advantages, sliceOffsets: Int32Array.of(0, batch.promptOf.length) };
    const own = { samplingLogprobs, oldLogprobs: samplingLogprobs, referenceLogprobs: samplingLogprobs };
    const loss = { ...LOSS, temperature: REQUEST.temperature, beta: 0.1, maxTokensPerMicroBatch: 100 };
    const { logpDifferenceMax, kl } = await engine.forwardBackward({ ...train, ...own }, loss);
    expect({ logpDifferenceMax, kl }).toEqual({ logpDifferenceMax: 0, kl: 0 });
    engine.dispose();
  });
});

const SHAPE = {
  vocab_size: 101,
  hidden_size: 40,
  intermediate_size: 72,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 12,
  rms_norm_eps: 1e-6,
  rope_theta: 10000,
  max_position_embeddings: 512,
};
const FAMILIES = {
  "biases on queries, keys and values": {
    ...SHAPE,
    model_type: "qwen2",
    hidden_act: "silu",
    tie_word_embeddings: true,
    head_dim: 10,
  },
  "norms of queries and keys": { ...SHAPE, model_type: "qwen3", hidden_act: "silu" },
  "windows, gelu and norms on both sides": {
    ...SHAPE,
    model_type: "gemma3_text",
    hidden_activation: "gelu_pytorch_tanh",
    query_pre_attn_scalar: 12,
    layer_types: ["sliding_attention", "full_attention"],
    sliding_window: 5,
    rope_local_base_freq: 10000,
  },
  "capped scores and logits": {
    ...SHAPE,
    model_type: "gemma2",
    hidden_activation: "gelu_pytorch_tanh",
    query_pre_attn_scalar: 12,
    attn_logit_softcapping: 50,
    final_logit_softcapping: 30,
    sliding_window: 6,
  },
};

describe.each(Object.entries(FAMILIES))("a model with %s", (_, json) => {
  it.each(DTYPES)("in %s", async (dtype) => {
    const engine = await rawModel("cpu", dtype, 0, readModelConfig(JSON.parse(JSON.stringify(json))).native);
    // Windows leave whole panels of keys out of the long ones.
    for (const lengths of [
      [9, 20, 1],
      [150, 97],
    ]) {
      const { promptIds, ...prompts } = promptsOf(...lengths);
      await expectOnePolicy(engine, {
        ...prompts,
        promptIds: promptIds.map((id) => id % 101),
        groupSize: 3,
        maxNewTokens: 45,
      });
    }
    engine.dispose();
  });
});

describe("an adapter with", () => {
  const kinds: [string, Partial<AdapterSpec>][] = [
    ["pairs on all linear layers", {}],
    ["biases", { biases: ["model.layers.0.self_attn.k_proj", "model.layers.1.self_attn.q_proj"] }],
    [
      "the embedding and the output layer in full",
      { targets: [], fullModules: ["model.embed_tokens", "lm_head", "model.norm"] },
    ],
  ];
  it.each(kinds.flatMap(([name, spec]) => DTYPES.map((dtype) => [name, dtype, spec] as const)))(
    "%s, in %s",
    async (_, dtype, spec) => {
      const config = await tinyConfig();
      const engine = await rawModel("cpu", dtype);
      await engine.addAdapter("default", adapterOf(config, { targets: everyLayer(config, 8, 4), ...spec }));
      for (let step = 0; step < 2; step++) {
        await engine.forwardBackward(
          { ...BATCH, advantages: Float32Array.from([1, -1, 0.5, 2, -2]) },
          { ...LOSS, beta: 0 },
        );
        await engine.optimizerStep({ ...ADAMW, learningRate: 0.02 });
      }
      await expectOnePolicy(engine, { ...promptsOf(7, 12), groupSize: 5, maxNewTokens: 30 });
      engine.dispose();
    },
  );
});

it.each(DTYPES)("a model that is trained in full, in %s", async (dtype) => {
  const engine = await rawModel("cpu", dtype);
  await engine.trainAll();
  await engine.forwardBackward({ ...BATCH, advantages: Float32Array.from([1, -1, 0.5, 2, -2]) }, { ...LOSS, beta: 0 });
  await engine.optimizerStep({ ...ADAMW, learningRate: 0.02 });
  await expectOnePolicy(engine, { ...promptsOf(7, 12), groupSize: 5, maxNewTokens: 30 });
  engine.dispose();
});
