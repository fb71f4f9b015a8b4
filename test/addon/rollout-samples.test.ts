// Rollouts of several samples on the real engine: what it must not matter how a conversation is cut into samples.

import { expect, it } from "vitest";
import type { SampledGroup, SampleOptions } from "../../lib/model/sampled.js";
import type { Sample } from "../../lib/rollout/sample.js";
import type { SampledAttempt } from "../../lib/rollout/sampler.js";
import { GRPOConfig } from "../../lib/trainer/config.js";
import { GRPOTrainer } from "../../lib/trainer/trainer.js";
import type { TokenIds } from "../../lib/types.js";
import { numbers } from "./golden.js";
import {
  adapterNames,
  adapterWeights,
  modelWithAdapter,
  readFixture,
  relativeDifference,
} from "./training-fixtures.js";

interface MaskedRuns {
  readonly prompts: readonly number[][];
  /** [generation][row] */
  readonly completions: readonly (readonly number[][])[];
  /** [generation][row] 1: the token counts. */
  readonly lossMask: readonly (readonly number[][])[];
}

const { json, tensors } = await readFixture<MaskedRuns>("masked-runs");

type Cut = (promptIds: TokenIds, completionIds: TokenIds, mask: TokenIds) => Sample[];

function sampleOf(promptIds: TokenIds, completionIds: TokenIds, mask?: TokenIds): Sample {
  return {
    promptIds,
    completionIds,
    samplingLogprobs: new Float32Array(completionIds.length),
    ...(mask && { lossMask: Uint8Array.from(mask) }),
    finishReason: "eos",
  };
}

const whole: Cut = (promptIds, completionIds, mask) => [sampleOf(promptIds, completionIds, mask)];

/** Each stretch of tokens that count, in the context of all that was before it. */
const byTurn: Cut = (promptIds, completionIds, mask) => {
  const starts = Array.from(mask.keys()).filter((t) => mask[t] === 1 && mask[t - 1] !== 1);
  const turns = starts.map((start) => {
    const end = mask.indexOf(0, start);
    const context = [...promptIds, ...completionIds.slice(0, start)];
    return sampleOf(context, completionIds.slice(start, end < 0 ? undefined : end));
  });
  return turns.length > 0 ? turns : [sampleOf(promptIds, [])];
};

async function train(cut: Cut) {
  await using model = await modelWithAdapter(json, tensors);
  const sample = async (prompts: readonly TokenIds[], options: SampleOptions<SampledAttempt>) => {
    const generation = options.step ?? 0;
    const groups = prompts.map((promptIds, prompt): SampledGroup<SampledAttempt> => {
      const rows = Array.from({ length: options.groupSize }, (_, i) => prompt * options.groupSize + i);
      const completions = rows.map((row) => {
        const ids = json.completions[generation]?.[row] ?? [];
        return { samples: cut(promptIds, ids, json.lossMask[generation]?.[row] ?? []), completion: String(row) };
      });
      return { prompt, completions };
    });
    for (const group of groups) options.onGroup?.(group);
    return { groups };
  };
  const trainer = new GRPOTrainer({
    model,
    sampler: { maxPositions: model.maxPositions, sample },
    processingClass: {
      eosTokenIds: [1],
      encode: (text) => [...(json.prompts[Number(text)] ?? [])],
      decode: () => "",
      applyChatTemplate: () => [],
      savePretrained: async () => {},
    },
    args: new GRPOConfig({
      numGenerations: 4,
      perDeviceTrainBatchSize: 2,
      gradientAccumulationSteps: 2,
      stepsPerGeneration: 4,
      numIterations: 2,
      beta: 0.04,
      maxCompletionLength: 10,
      maxSteps: 6,
      learningRate: 0.005,
      adamEpsilon: 1e-3,
      shuffleDataset: false,
      loggingSteps: 1,
      saveStrategy: "no",
      logTo: [],
    }),
    trainDataset: json.prompts.map((_, i) => ({ prompt: String(i) })),
    rewardFuncs: [({ completions }) => completions.map((row) => (Number(row) * 7) % 5)],
  });
  await trainer.train();
  return { logged: trainer.state.logHistory, weights: await adapterWeights(model) };
}

it("a conversation as one masked sample trains as its turns do, each as a sample in the context of those before", async () => {
  const [one, several] = [await train(whole), await train(byTurn)];
  expect(one.logged[0]?.grad_norm).toBeGreaterThan(0.1);
  // Six steps of AdamW on float32 gradients whose sums are in another order.
  const tolerance = 1e-5;
  for (const [i, expected] of one.logged.entries()) {
    for (const metric of ["loss", "grad_norm", "entropy", "kl", "completions/mean_length", "reward"]) {
      const value = expected[metric] ?? 0;
      const difference = Math.abs((several.logged[i]?.[metric] ?? 0) - value);
      expect(difference, `step ${i + 1}: ${metric} ${value}`).toBeLessThanOrEqual(
        tolerance * Math.max(1, Math.abs(value)),
      );
    }
  }
  for (const tensor of adapterNames(tensors)) {
    const difference = relativeDifference(numbers(several.weights, tensor), numbers(one.weights, tensor));
    expect(difference, tensor).toBeLessThan(tolerance);
  }
});
