// One generation on its way into the loss: the completions of a rollout with their advantages, masked where asked, and the
// log-probabilities that belong to the moment of sampling: the reference's, and the policy's own where it will have changed
// before the last of them is trained on. Steps take slices of it.

import type * as Zod from "zod";
import type { PolicyModel, SequenceBatch, TrainBatch } from "../policy.js";
import { storedNumber, storeNumber } from "../run/stored-number.js";
import { lazySchema } from "../zod.js";
import type { GRPOConfig } from "./config.js";
import { type TrainingPlan, trainsOnOldSamples } from "./plan.js";
import type { Rollout } from "./rollout.js";

export interface Generation {
  readonly index: number;
  /** All completions, groups side by side; those that are masked are empty. */
  readonly batch: TrainBatch;
  /** Completion tokens that count in the loss. */
  readonly tokens: number;
}

export async function prepareGeneration(
  model: PolicyModel,
  args: GRPOConfig,
  plan: TrainingPlan,
  index: number,
  rollout: Rollout,
  advantages: Float32Array,
): Promise<Generation> {
  const completionIds = rollout.completionIds.map((ids, i) =>
    args.maskTruncatedCompletions && rollout.finishReasons[i] === "length" ? [] : ids,
  );
  // As in sampling, whatever part of the generation a step takes.
  const longestPrompt = rollout.promptIds.reduce((longest, ids) => Math.max(longest, ids.length), 0);
  const contextLength = longestPrompt + args.maxCompletionLength;
  const sequences = { promptIds: rollout.promptIds, completionIds, contextLength };
  const options = { temperature: args.temperature };
  const oldLogprobs = trainsOnOldSamples(plan)
    ? await scoreActive(model, sequences, activeRows(args, advantages), options)
    : undefined;
  const referenceLogprobs =
    args.beta > 0 ? await model.completionLogprobs(sequences, { ...options, reference: true }) : undefined;
  return {
    index,
    batch: {
      ...sequences,
      advantages,
      samplingLogprobs: rollout.samplingLogprobs.map((values, i) => values.slice(0, completionIds[i]?.length ?? 0)),
      ...(oldLogprobs ? { oldLogprobs } : {}),
      ...(referenceLogprobs ? { referenceLogprobs } : {}),
    },
    tokens: countTokens(completionIds),
  };
}

/** Rows that the update will compute: without a term that reaches them all, those that have an advantage. */
function activeRows(args: GRPOConfig, advantages: Float32Array): boolean[] {
  const entropyTerm = args.useAdaptiveEntropy || args.entropyCoef !== 0 || args.topEntropyQuantile < 1;
  return Array.from(advantages, (advantage) => args.beta !== 0 || entropyTerm || advantage !== 0);
}

/** Log-probabilities of the rows that count; zeros, which nothing reads, in place of the others. */
async function scoreActive(
  model: PolicyModel,
  sequences: SequenceBatch,
  active: readonly boolean[],
  options: { readonly temperature: number },
): Promise<Float32Array[]> {
  const completionIds = sequences.completionIds.map((ids, row) => (active[row] ? ids : []));
  const scored = await model.completionLogprobs({ ...sequences, completionIds }, options);
  return scored.map((values, row) =>
    active[row] ? values : new Float32Array(sequences.completionIds[row]?.length ?? 0),
  );
}

/** The rows of some slices, in the order of the slices. */
export function takeSlices({ batch }: Generation, slices: readonly number[], rowsPerSlice: number): TrainBatch {
  const rows = slices.flatMap((slice) => Array.from({ length: rowsPerSlice }, (_, i) => slice * rowsPerSlice + i));
  const take = <T>(list: ArrayLike<T>) => rows.map((row) => list[row] as T);
  return {
    promptIds: take(batch.promptIds),
    completionIds: take(batch.completionIds),
    ...(batch.contextLength === undefined ? {} : { contextLength: batch.contextLength }),
    advantages: take(batch.advantages),
    ...(batch.oldLogprobs ? { oldLogprobs: take(batch.oldLogprobs) } : {}),
    ...(batch.referenceLogprobs ? { referenceLogprobs: take(batch.referenceLogprobs) } : {}),
    ...(batch.samplingLogprobs ? { samplingLogprobs: take(batch.samplingLogprobs) } : {}),
  };
}

export function countTokens(sequences: SequenceBatch["completionIds"]): number {
  return sequences.reduce((sum, ids) => sum + ids.length, 0);
}

/** A generation in a checkpoint. Float32 numbers are exact as JSON. */
const generationSchema = lazySchema((z) =>
  z.object({
    schema_version: z.literal(1),
    index: z.int().min(0),
    tokens: z.int().min(0),
    prompt_ids: z.array(z.array(z.int())),
    completion_ids: z.array(z.array(z.int())),
    context_length: z.int().min(0).optional(),
    advantages: z.array(z.number()),
    old_logprobs: z.array(z.array(storedNumber(z))).optional(),
    reference_logprobs: z.array(z.array(storedNumber(z))).optional(),
  }),
);

export function generationToJson({ index, tokens, batch }: Generation): string {
  const numbers = (lists: readonly ArrayLike<number>[] | undefined) =>
    lists?.map((list) => Array.from(list, storeNumber));
  const stored: Zod.input<ReturnType<typeof generationSchema>> = {
    schema_version: 1,
    index,
    tokens,
    prompt_ids: batch.promptIds.map((ids) => [...ids]),
    completion_ids: batch.completionIds.map((ids) => [...ids]),
    context_length: batch.contextLength,
    advantages: Array.from(batch.advantages),
    old_logprobs: numbers(batch.oldLogprobs),
    reference_logprobs: numbers(batch.referenceLogprobs),
  };
  return JSON.stringify(stored);
}

/** Throws what JSON.parse or zod throws. */
export function generationFromJson(text: string): Generation {
  const stored = generationSchema().parse(JSON.parse(text));
  const floats = (lists: number[][]) => lists.map((list) => Float32Array.from(list));
  return {
    index: stored.index,
    tokens: stored.tokens,
    batch: {
      promptIds: stored.prompt_ids,
      completionIds: stored.completion_ids,
      ...(stored.context_length === undefined ? {} : { contextLength: stored.context_length }),
      advantages: Float32Array.from(stored.advantages),
      ...(stored.old_logprobs ? { oldLogprobs: floats(stored.old_logprobs) } : {}),
      ...(stored.reference_logprobs ? { referenceLogprobs: floats(stored.reference_logprobs) } : {}),
    },
  };
}
