// Trainings of the golden fixtures (runs, masked-runs, and those with completions of another engine) by GRPOTrainer on the real engine, with completions from the fixture handed
// out in place of sampled ones, and what of them must equal TRL's.

import { expect } from "vitest";
import { at } from "../../lib/at.js";
import { GRPOConfig, type GRPOConfigOptions } from "../../lib/grpo/config.js";
import type { PolicyModel } from "../../lib/grpo/setup.js";
import { GRPOTrainer } from "../../lib/grpo/trainer.js";
import type { CausalLM } from "../../lib/model/model.js";
import type { SampledGroup, SampleOptions } from "../../lib/model/sampled.js";
import type { SampledAttempt } from "../../lib/rollout/sampler.js";
import type { ProcessingClass } from "../../lib/tokenizer/processing-class.js";
import type { RewardBatch, TokenIds } from "../../lib/types.js";
import { numbers, type Tensors } from "./golden.js";
import {
  type AdapterFixture,
  adapterNames,
  adapterWeights,
  modelWithAdapter,
  relativeDifference,
} from "./training-fixtures.js";

type Options = GRPOConfigOptions & { readonly functions?: number };
export interface GoldenRun {
  readonly name: string;
  readonly options: Options;
  readonly steps: readonly Readonly<Record<string, number>>[];
  /** By generation, row and token, as another engine than the one that trains gave them; null: not known. Absent: nobody cares. */
  readonly samplingLogprobs?: readonly (readonly (readonly (number | null)[])[])[];
}
export interface RunsFixture extends AdapterFixture {
  readonly numGenerations: number;
  readonly perDeviceTrainBatchSize: number;
  readonly maxCompletionLength: number;
  readonly maxSteps: number;
  readonly learningRate: number;
  readonly adamEpsilon: number;
  readonly eosId: number;
  readonly prompts: readonly number[][];
  /** Token ids by generation and row. */
  readonly completions: readonly (readonly number[][])[];
  /** In the form of `completions`: 1 where a token counts. Absent: all count. */
  readonly lossMask?: readonly (readonly number[][])[];
  readonly runs: readonly GoldenRun[];
}

// As in scripts/golden/runs.py. A reward depends on the ids alone.
const sum = (ids: TokenIds) => ids.reduce((a, b) => a + b, 0);
const REWARDS = [
  function first({ completionIds }: RewardBatch) {
    return completionIds.map((ids) => (sum(ids) % 11) / 10);
  },
  function second({ completionIds }: RewardBatch) {
    return completionIds.map((ids) => ((ids[0] ?? 0) % 2 === 0 ? null : ids.length / 8));
  },
  function third({ completionIds }: RewardBatch) {
    return completionIds.map((ids) => (((ids[0] ?? 0) * 7 + ids.length) % 5) - 1.5);
  },
];

/** A completion of the fixture as a sampler gives it. */
function attempt(
  promptIds: TokenIds,
  ids: TokenIds,
  mask: readonly number[] | undefined,
  logprobs: Float32Array,
  eosId: number,
): SampledAttempt {
  const finishReason = ids.at(-1) === eosId ? "eos" : "length";
  if (mask === undefined) return { ids: [...ids], logprobs, finishReason };
  const lossMask = Uint8Array.from(mask);
  const sample = { promptIds, completionIds: ids, samplingLogprobs: logprobs, lossMask, finishReason } as const;
  return { samples: [sample], completion: "" };
}

/** The model, with completions of the fixture where it would sample; and with the base as the reference, if `reference` says so. */
function withGivenCompletions(
  model: CausalLM,
  { completions, lossMask, eosId }: RunsFixture,
  samplingLogprobs: GoldenRun["samplingLogprobs"],
  reference: "base" | "own",
): PolicyModel {
  const sample = async (prompts: readonly TokenIds[], options: SampleOptions<SampledAttempt>) => {
    const generation = (options.step ?? 0) % completions.length;
    const groups = prompts.map((promptIds, prompt): SampledGroup<SampledAttempt> => {
      const rows = Array.from({ length: options.groupSize }, (_, i) => prompt * options.groupSize + i);
      const attempts = rows.map((row) => {
        const mask = lossMask && at(at(lossMask, generation), row);
        const ids = at(at(completions, generation), row);
        const given = samplingLogprobs && at(at(samplingLogprobs, generation), row);
        const logprobs = Float32Array.from(given ?? ids.map(() => 0), (value) => value ?? Number.NaN);
        return attempt(promptIds, ids, mask, logprobs, eosId);
      });
      return { prompt, completions: attempts };
    });
    for (const group of groups) options.onGroup?.(group);
    return { groups, stats: { decodeSteps: 0, tokens: 0, prefillTokens: 0, prefillSeconds: 0, decodeSeconds: 0 } };
  };
  return new Proxy(model, {
    get(target, name) {
      if (name === "sample") return sample;
      if (name === "elsewhere") return samplingLogprobs !== undefined;
      // Where TRL made the adapter itself and its weights were set afterwards.
      if (name === "beginTraining" && reference === "base") return async () => {};
      const value: unknown = Reflect.get(target, name);
      return typeof value === "function" ? value.bind(target) : value;
    },
  }) as unknown as PolicyModel;
}

/** A prompt is its index in the fixture. */
function tokenizerOf({ eosId, prompts }: RunsFixture): ProcessingClass {
  return {
    eosTokenIds: [eosId],
    encode: (text) => [...at(prompts, Number(text))],
    decode: () => "",
    applyChatTemplate: () => [],
    savePretrained: async () => {},
  };
}

/** A trainer as in scripts/golden/runs.py. */
export function goldenTrainer(
  model: CausalLM,
  json: RunsFixture,
  { functions = 1, ...options }: Options,
  reference: "base" | "own" = "base",
  samplingLogprobs?: GoldenRun["samplingLogprobs"],
) {
  const { numGenerations, perDeviceTrainBatchSize, maxCompletionLength, maxSteps, learningRate, adamEpsilon } = json;
  const given = { numGenerations, perDeviceTrainBatchSize, maxCompletionLength, maxSteps, learningRate, adamEpsilon };
  return new GRPOTrainer({
    model: withGivenCompletions(model, json, samplingLogprobs, reference),
    processingClass: tokenizerOf(json),
    args: new GRPOConfig({
      ...given,
      shuffleDataset: false,
      loggingSteps: 1,
      saveStrategy: "no",
      logTo: [],
      ...options,
    }),
    trainDataset: json.prompts.map((_, i) => ({ prompt: String(i) })),
    rewardFuncs: REWARDS.slice(0, functions),
  });
}

// Six steps of AdamW on float32 gradients that agree to 5e-6 (loss.test.ts).
const TOLERANCE = 1e-5;

/** Trains as TRL did: every metric of every step, and the adapter at the end. */
export async function expectTraining(
  { json, tensors }: { readonly json: RunsFixture; readonly tensors: Tensors },
  { name, options, steps, samplingLogprobs }: GoldenRun,
): Promise<void> {
  await using model = await modelWithAdapter(json, tensors);
  const trainer = goldenTrainer(model, json, options, "base", samplingLogprobs);
  await trainer.train();
  expectLog(trainer.state.logHistory, steps);
  await expectAdapter(model, tensors, name);
}

/** Every metric of every step; losses are of 1e-5 whatever the tolerance of the others is. */
export function expectLog(
  logged: readonly Readonly<Record<string, number>>[],
  steps: readonly Readonly<Record<string, number>>[],
  others = TOLERANCE,
): void {
  expect(logged).toHaveLength(steps.length);
  steps.forEach((expected, i) => {
    for (const [metric, value] of Object.entries(expected)) {
      // A loss is what is left of token losses of the order of 1 that cancel each other.
      const isLoss = metric.endsWith("loss");
      const tolerance = isLoss ? TOLERANCE * Math.max(Math.abs(value), 1) : others * Math.max(Math.abs(value), 0.1);
      const found = logged[i]?.[metric] ?? Number.NaN;
      expect(Math.abs(found - value), `step ${i + 1}: ${metric} ${found}, TRL ${value}`).toBeLessThanOrEqual(tolerance);
    }
    // A step without a generation of its own has no rewards to report.
    expect(logged[i]?.reward === undefined).toBe(expected.reward === undefined);
  });
}

/** The adapter is that of the fixture with this name. */
export async function expectAdapter(
  model: CausalLM,
  tensors: Tensors,
  name: string,
  tolerance = TOLERANCE,
): Promise<void> {
  const weights = await adapterWeights(model);
  for (const tensor of adapterNames(tensors)) {
    const difference = relativeDifference(numbers(weights, tensor), numbers(tensors, `${name}.${tensor}`));
    expect(difference, tensor).toBeLessThan(tolerance);
  }
}
