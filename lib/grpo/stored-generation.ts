// A generation in a checkpoint, as the text of generation.json. Version 2 stores rollouts with their samples, version 1 a row per
// completion; both are read. Float32 numbers are exact as JSON, and any number may be infinite or none: rewards make advantages.

import type * as Zod from "zod";
import { at } from "../at.js";
import { GrpoError } from "../errors.js";
import { storedNumber, storeNumber } from "../run/stored-number.js";
import { lazySchema, type ZodModule } from "../zod.js";
import type { Generation } from "./generation.js";

const schema = lazySchema((z) => {
  const { number, ids, logprobs } = kinds(z);
  const sample = z.object({
    prompt_ids: ids,
    completion_ids: ids,
    /** Where it is absent every token counts. */
    loss_mask: z.array(z.int().min(0).max(1)).optional(),
    token_advantages: z.array(number).optional(),
    sampling_logprobs: logprobs.optional(),
    old_logprobs: logprobs.optional(),
    reference_logprobs: logprobs.optional(),
    importance_ratios: logprobs.optional(),
  });
  return z.object({
    schema_version: z.literal(2),
    index: z.int().min(0),
    context_length: z.int().min(0).optional(),
    rollouts: z.array(z.object({ advantage: number, samples: z.array(sample) })),
  });
});

/** Columns with an entry per completion, each of which is a rollout of one sample. */
const schemaOfVersion1 = lazySchema((z) => {
  const { number, ids, logprobs } = kinds(z);
  return z.object({
    schema_version: z.literal(1),
    index: z.int().min(0),
    prompt_ids: z.array(ids),
    completion_ids: z.array(ids),
    context_length: z.int().min(0).optional(),
    advantages: z.array(number),
    old_logprobs: z.array(logprobs).optional(),
    reference_logprobs: z.array(logprobs).optional(),
  });
});

function kinds(z: ZodModule) {
  const number = storedNumber(z);
  return { number, ids: z.array(z.int()), logprobs: z.array(number) };
}

export function generationToJson({ index, contextLength, rollouts }: Generation): string {
  const numbers = (list: Float32Array | undefined) => list && Array.from(list, storeNumber);
  const stored: Zod.input<ReturnType<typeof schema>> = {
    schema_version: 2,
    index,
    context_length: contextLength,
    rollouts: rollouts.map(({ advantage, samples }) => ({
      advantage: storeNumber(advantage),
      samples: samples.map((sample) => ({
        prompt_ids: [...sample.promptIds],
        completion_ids: [...sample.completionIds],
        loss_mask: sample.lossMask && [...sample.lossMask],
        token_advantages: numbers(sample.tokenAdvantages),
        sampling_logprobs: numbers(sample.samplingLogprobs),
        old_logprobs: numbers(sample.oldLogprobs),
        reference_logprobs: numbers(sample.referenceLogprobs),
        importance_ratios: numbers(sample.importanceRatios),
      })),
    })),
  };
  return JSON.stringify(stored);
}

/** Throws BAD_CHECKPOINT for a version that this one does not read, and what JSON.parse or zod throws. */
export function generationFromJson(text: string): Generation {
  const content: unknown = JSON.parse(text);
  const version: unknown = Object(content).schema_version;
  if (version === 1) return fromVersion1(content);
  if (version !== 2) {
    throw new GrpoError("BAD_CHECKPOINT", `expected schema_version 1 or 2, found ${JSON.stringify(version)}`, {
      hint: "resume with the version of grpo that wrote the checkpoint, or start a new run from its adapter",
    });
  }
  const { index, context_length, rollouts } = schema().parse(content);
  return {
    index,
    contextLength: context_length,
    rollouts: rollouts.map(({ advantage, samples }) => ({
      advantage,
      samples: samples.map((sample) => ({
        promptIds: sample.prompt_ids,
        completionIds: sample.completion_ids,
        lossMask: sample.loss_mask && Uint8Array.from(sample.loss_mask),
        tokenAdvantages: floats(sample.token_advantages),
        samplingLogprobs: floats(sample.sampling_logprobs),
        oldLogprobs: floats(sample.old_logprobs),
        referenceLogprobs: floats(sample.reference_logprobs),
        importanceRatios: floats(sample.importance_ratios),
      })),
    })),
  };
}

function fromVersion1(content: unknown): Generation {
  const stored = schemaOfVersion1().parse(content);
  const rowOf = (lists: readonly number[][] | undefined, row: number) => floats(lists && at(lists, row));
  return {
    index: stored.index,
    contextLength: stored.context_length,
    rollouts: stored.completion_ids.map((completionIds, row) => ({
      advantage: at(stored.advantages, row),
      samples: [
        {
          promptIds: at(stored.prompt_ids, row),
          completionIds,
          oldLogprobs: rowOf(stored.old_logprobs, row),
          referenceLogprobs: rowOf(stored.reference_logprobs, row),
        },
      ],
    })),
  };
}

function floats(list: readonly number[] | undefined): Float32Array | undefined {
  return list && Float32Array.from(list);
}
