// CausalLM's verbs on the real engine: sampling, cancelling, training, checkpoints, disposal.

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { JsonObject } from "../../lib/json.js";
import { LoraConfig } from "../../lib/model/lora/lora.js";
import { CausalLM } from "../../lib/model/model.js";
import { DEVICE } from "../support/device.js";
import { goldenPath, largestDifference, tinyQwen2 } from "./golden.js";

const f32 = { dtype: "float32", device: DEVICE } as const;
const prompts = [[1, 2, 3], [4, 5], [6]];
const code = (expected: string) => expect.objectContaining({ name: "GrpoError", code: expected });

let model: CausalLM;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "grpo-test-"));
  model = await CausalLM.fromPretrained(tinyQwen2, f32);
  model.applyLora(new LoraConfig({ initLoraWeights: false, loraDropout: 0.1 }));
});
afterAll(async () => {
  model.dispose();
  await rm(folder, { recursive: true, force: true });
});

describe("greedy generation", () => {
  it("gives transformers' tokens for 20 prompts in one batch", async () => {
    const file = await readFile(goldenPath("greedy-tiny-qwen2.json"), "utf8");
    const golden: { maxNewTokens: number; rows: { promptIds: number[]; completionIds: number[] }[] } = JSON.parse(file);
    await using base = await CausalLM.fromPretrained(tinyQwen2, f32);
    const options = { maxNewTokens: golden.maxNewTokens, doSample: false };
    const completions = await base.generate(
      golden.rows.map(({ promptIds }) => promptIds),
      options,
    );
    expect(completions.map(({ ids }) => ids)).toEqual(golden.rows.map(({ completionIds }) => completionIds));
  });
});

describe("sampling", () => {
  it("records the log-probabilities that logprobs() computes", async () => {
    const options = { groupSize: 3, maxNewTokens: 12, temperature: 0.8, topP: 0.9, seed: 3 };
    const { groups } = await model.sample(prompts, options);
    const all = groups.flatMap(({ prompt, completions }) =>
      completions.map((completion) => ({ prompt, ...completion })),
    );
    const logprobs = await model.logprobs(
      { promptIds: all.map(({ prompt }) => prompts[prompt] ?? []), completionIds: all.map(({ ids }) => ids) },
      { temperature: 0.8 },
    );
    all.forEach((completion, i) => {
      // The cache and the packed forward sum in another order.
      expect(largestDifference(completion.logprobs, logprobs[i] ?? [])).toBeLessThan(1e-4);
    });
  });

  it("gives a prompt the same completions whatever is beside it", async () => {
    const options = { groupSize: 2, maxNewTokens: 10, seed: 1 };
    const together = await model.sample(prompts, { ...options, promptKeys: [7, 8, 9] });
    const alone = await model.sample(prompts.slice(1, 2), { ...options, promptKeys: [8], maxRows: 2 });
    expect(alone.groups[0]?.completions.map(({ ids }) => ids)).toEqual(
      together.groups[1]?.completions.map(({ ids }) => ids),
    );
  });

  it("stops at a signal, and the model works on", async () => {
    const stop = new AbortController();
    // One group at a time: when the first is done, fifteen are left to cancel.
    const options = { groupSize: 8, maxNewTokens: 900, maxRows: 8, onGroup: () => stop.abort(), signal: stop.signal };
    await expect(model.sample(new Array<number[]>(16).fill([1]), options)).rejects.toEqual(code("CANCELLED"));
    expect(await model.generate([[1]], { maxNewTokens: 2 })).toHaveLength(1);
  });
});

describe("training", () => {
  const batch = {
    promptIds: [
      [1, 2],
      [1, 2],
    ],
    completionIds: [[3, 4, 5], [6]],
    advantages: [1, -1],
  };

  it("adds up gradients until they are cleared, under PEFT's names", async () => {
    await model.zeroGrad();
    await model.forwardBackward(batch, { dropoutSeed: 1 });
    const once = await model.gradients();
    await model.forwardBackward(batch, { dropoutSeed: 1 });
    const twice = await model.gradients();
    const name = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight";
    expect(once[name]?.some((value) => value !== 0)).toBe(true);
    expect(twice[name]).toEqual(once[name]?.map((value) => 2 * value));
    await model.zeroGrad();
    expect((await model.gradients())[name]?.every((value) => value === 0)).toBe(true);
  });

  it("goes on from a checkpoint as if it had not stopped, bit for bit", async () => {
    const step = async (lm: CausalLM, seed: number) => {
      await lm.forwardBackward(batch, { dropoutSeed: seed });
      await lm.optimizerStep({ learningRate: 1e-3 });
    };
    const checkpoint = path.join(folder, "checkpoint");
    await step(model, 1);
    await model.saveCheckpoint(checkpoint);
    await step(model, 2);
    await using resumed = await CausalLM.fromPretrained(tinyQwen2, f32);
    await resumed.loadCheckpoint(checkpoint);
    await step(resumed, 2);
    expect(await resumed.forward(prompts)).toEqual(await model.forward(prompts));
  });

  it("without an adapter is refused", async () => {
    await using base = await CausalLM.fromPretrained(tinyQwen2, f32);
    await expect(base.forwardBackward(batch)).rejects.toEqual(code("BAD_INPUT"));
    const inside = model.disableAdapter(() => model.forwardBackward(batch));
    await expect(inside).rejects.toEqual(code("BAD_INPUT"));
  });
});

describe("dispose", () => {
  it("during sampling ends it with a typed error", async () => {
    // Without an id that ends a completion there are 16 groups of 900 tokens to draw, on however fast a machine.
    const config: JsonObject = JSON.parse(await readFile(path.join(tinyQwen2, "config.json"), "utf8"));
    const lm = await CausalLM.fromConfig({ ...config, eos_token_id: null }, f32);
    const sampling = lm.sample(new Array<number[]>(16).fill([1]), { groupSize: 8, maxNewTokens: 900, maxRows: 8 });
    const outcome = sampling.catch((error: unknown) => error);
    await new Promise((resolve) => setTimeout(resolve, 50));
    lm.dispose();
    lm.dispose();
    expect(await outcome).toEqual(expect.objectContaining({ name: "GrpoError" }));
    await expect(lm.zeroGrad()).rejects.toEqual(code("DISPOSED"));
  });
});
