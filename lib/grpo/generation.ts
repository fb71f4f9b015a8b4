// One generation on its way into the loss: the samples of its rollouts, cut and masked to what is trained on, and the
// log-probabilities that belong to the moment of sampling: the reference's, and the policy's own where it will have changed
// before the last of them is trained on, or where another engine drew the tokens. Steps take slices of it; the columns of the engine
// are made here.

import { at } from "../at.js";
import { partOf, type Ranks } from "../distributed/ranks.js";
import { GrpoError } from "../errors.js";
import type { Metrics } from "../log/metrics.js";
import type { Learner, SequenceBatch, TrainBatch } from "../model/learner.js";
import { countTokens, type Group, type Sample, type ScoredRollout } from "../rollout/sample.js";
import type { GRPOConfig } from "./config.js";
import { correctSampling } from "./importance-sampling.js";
import { type TrainingPlan, trainsOnOldSamples } from "./plan.js";

/** A sample as the loss takes it. All of a generation have the same fields. */
export interface TrainSample {
  readonly promptIds: readonly number[];
  /** [T] up to the last token that counts: no other comes after it, and what does not count changes nothing before it. */
  readonly completionIds: readonly number[];
  /** [T] absent: every token counts. */
  readonly lossMask?: Uint8Array | undefined;
  /** [T] absent: every token has the advantage of its rollout. */
  readonly tokenAdvantages?: Float32Array | undefined;
  /** [T] absent: not known any more, which happens in a generation that an older version has stored. */
  readonly samplingLogprobs?: Float32Array | undefined;
  /** [T] of the policy when it was sampled. Absent: it is the policy that is trained. */
  readonly oldLogprobs?: Float32Array | undefined;
  /** [T] absent: beta is 0. */
  readonly referenceLogprobs?: Float32Array | undefined;
  /** [T] absent: the engine that trains drew it, or nothing is corrected. */
  readonly importanceRatios?: Float32Array | undefined;
}

/** The unit that slices count: an attempt at a prompt, whose samples share its advantage where their tokens have none of their own. */
export interface TrainRollout {
  readonly advantage: number;
  readonly samples: readonly TrainSample[];
}

export interface Generation {
  readonly index: number;
  /** Groups side by side. */
  readonly rollouts: readonly TrainRollout[];
  /** See SequenceBatch. */
  readonly contextLength: number | undefined;
}

export interface GenerationRequest {
  readonly index: number;
  readonly groups: readonly Group<ScoredRollout>[];
  /** Another engine drew the tokens, and the loss is corrected for it. */
  readonly corrected: boolean;
  /**
   * Sampled while earlier steps were trained: the old log-probabilities are those of whoever sampled, as in TRL's AsyncGRPOTrainer, so
   * that the ratio of the loss, with its bounds, is to the weights that drew.
   */
  readonly ahead: boolean;
}

export interface PreparedGeneration {
  readonly generation: Generation;
  /** Of the correction. */
  readonly metrics: Metrics;
}

export async function prepareGeneration(
  model: Learner,
  args: GRPOConfig,
  plan: TrainingPlan,
  ranks: Ranks,
  { index, groups, corrected, ahead }: GenerationRequest,
): Promise<PreparedGeneration> {
  const rollouts = groups.flatMap((group) => group.rollouts).map((rollout) => trainRollout(rollout, args));
  const samples = samplesOf(rollouts);
  const contextLength = contextLengthOf(samples, args.maxCompletionLength);
  const score = (needed: readonly TrainSample[], reference: boolean) =>
    scoreSamples(model, ranks, samples, new Set(needed), contextLength, { temperature: args.temperature, reference });
  const everyRow = corrected || reachesAllRows(args);
  const active = rollouts.flatMap((rollout) =>
    rollout.samples.filter((sample) => everyRow || teaches(sample, rollout)),
  );
  const scoredOld = () => (corrected || trainsOnOldSamples(plan) ? score(active, false) : undefined);
  const old = ahead ? await drawnLogprobs(samples, (unknown) => score(unknown, false)) : await scoredOld();
  const reference = args.beta > 0 ? await score(samples, true) : undefined;
  const correction = corrected && old ? correctSamples(samples, old, args) : undefined;
  const complete = (sample: TrainSample): TrainSample => ({
    ...sample,
    oldLogprobs: old?.get(sample),
    referenceLogprobs: reference?.get(sample),
    importanceRatios: correction?.ratios.get(sample),
  });
  return {
    generation: {
      index,
      rollouts: rollouts.map((rollout) => ({ ...rollout, samples: rollout.samples.map(complete) })),
      contextLength,
    },
    metrics: correction?.metrics ?? {},
  };
}

/** Whether whoever sampled does not know a log-probability. */
function isPartlyUnknown({ samplingLogprobs }: TrainSample): boolean {
  return samplingLogprobs?.some(Number.isNaN) ?? true;
}

/** Those of whoever sampled; where they are not known, of the policy of the moment. */
async function drawnLogprobs(
  samples: readonly TrainSample[],
  score: (unknown: readonly TrainSample[]) => Promise<ReadonlyMap<TrainSample, Float32Array>>,
): Promise<Map<TrainSample, Float32Array>> {
  const unknown = samples.filter(isPartlyUnknown);
  const scored = unknown.length > 0 ? await score(unknown) : new Map<TrainSample, Float32Array>();
  return new Map(
    samples.map((sample) => {
      const own = scored.get(sample) ?? new Float32Array();
      return [sample, sample.samplingLogprobs?.map((value, i) => (Number.isNaN(value) ? at(own, i) : value)) ?? own];
    }),
  );
}

function correctSamples(
  samples: readonly TrainSample[],
  old: ReadonlyMap<TrainSample, Float32Array>,
  args: GRPOConfig,
) {
  const scored = samples.map((sample) => {
    const { lossMask, samplingLogprobs } = sample;
    const oldLogprobs = old.get(sample);
    if (!oldLogprobs || !samplingLogprobs) throw new GrpoError("INTERNAL", "a sample to correct was not scored");
    return { lossMask, samplingLogprobs, oldLogprobs };
  });
  const { ratios, metrics } = correctSampling(scored, args);
  return { ratios: new Map(samples.map((sample, i) => [sample, at(ratios, i)])), metrics };
}

function trainRollout(
  { samples, advantage, tokenAdvantages }: ScoredRollout,
  { maskTruncatedCompletions }: GRPOConfig,
): TrainRollout {
  const masked = (sample: Sample) => maskTruncatedCompletions && sample.finishReason === "length";
  const trained = samples.map((sample, i) => {
    const end = masked(sample) ? 0 : countedEnd(sample);
    return { ...trainSample(sample, end), tokenAdvantages: tokenAdvantages && at(tokenAdvantages, i).slice(0, end) };
  });
  return { advantage, samples: trained };
}

/** The sample up to its token `end`. */
function trainSample({ promptIds, completionIds, samplingLogprobs, lossMask }: Sample, end: number): TrainSample {
  const mask = lossMask?.slice(0, end);
  return {
    promptIds,
    completionIds: completionIds.slice(0, end),
    samplingLogprobs: samplingLogprobs.slice(0, end),
    lossMask: mask?.includes(0) ? mask : undefined,
  };
}

/** One past the last token that counts. */
function countedEnd({ completionIds, lossMask }: Sample): number {
  return lossMask ? lossMask.lastIndexOf(1) + 1 : completionIds.length;
}

function samplesOf(rollouts: readonly TrainRollout[]): TrainSample[] {
  return rollouts.flatMap(({ samples }) => samples);
}

/** As in sampling, whatever part of the generation a step takes; more where a conversation has grown beyond it. */
function contextLengthOf(samples: readonly TrainSample[], maxCompletionLength: number): number {
  return samples.reduce((longest, { promptIds, completionIds }) => {
    return Math.max(longest, promptIds.length + Math.max(maxCompletionLength, completionIds.length));
  }, 0);
}

/** Whether a token of the sample has an advantage. */
export function teaches({ tokenAdvantages }: TrainSample, { advantage }: TrainRollout): boolean {
  return tokenAdvantages ? tokenAdvantages.some((value) => value !== 0) : advantage !== 0;
}

/** Whether the loss has a term that is not a multiple of the advantage. */
export function reachesAllRows({ beta, useAdaptiveEntropy, entropyCoef, topEntropyQuantile }: GRPOConfig): boolean {
  return beta !== 0 || useAdaptiveEntropy || entropyCoef !== 0 || topEntropyQuantile < 1;
}

/** Log-probabilities of the samples that are needed, each by one rank; zeros, which nothing reads, in place of the others. */
async function scoreSamples(
  model: Learner,
  ranks: Ranks,
  samples: readonly TrainSample[],
  needed: ReadonlySet<TrainSample>,
  contextLength: number,
  options: { readonly temperature: number; readonly reference: boolean },
): Promise<Map<TrainSample, Float32Array>> {
  const { from, to } = partOf(ranks, samples.length);
  const own = samples.slice(from, to);
  const completionIds = own.map((sample) => (needed.has(sample) ? sample.completionIds : []));
  const sequences = { ...sequenceBatch(own, contextLength), completionIds };
  const scored = (
    await ranks.gather(own.length === 0 ? [] : await model.completionLogprobs(sequences, options))
  ).flat();
  return new Map(
    samples.map((sample, i) => [
      sample,
      needed.has(sample) ? at(scored, i) : new Float32Array(sample.completionIds.length),
    ]),
  );
}

/** Tokens of the generation that count in the loss. */
export function tokensOf({ rollouts }: Generation): number {
  return samplesOf(rollouts).reduce((sum, sample) => sum + countTokens(sample), 0);
}

/** The rollouts of some slices, in the order of the slices, as the engine takes them: one row per sample. */
export function takeSlices(
  { rollouts, contextLength }: Generation,
  slices: readonly number[],
  rolloutsPerSlice: number,
): TrainBatch {
  const taken = slices.map((slice) => rollouts.slice(slice * rolloutsPerSlice, (slice + 1) * rolloutsPerSlice));
  const rows = taken.flat().flatMap(({ samples, advantage }) => samples.map((sample) => ({ sample, advantage })));
  const samples = rows.map(({ sample }) => sample);
  const lossMask = lossMasks(samples);
  const offsets = sliceOffsets(taken);
  return {
    ...sequenceBatch(samples, contextLength),
    advantages: rows.map(({ advantage }) => advantage),
    tokenAdvantages: column(samples, ({ tokenAdvantages }) => tokenAdvantages),
    oldLogprobs: column(samples, ({ oldLogprobs }) => oldLogprobs),
    referenceLogprobs: column(samples, ({ referenceLogprobs }) => referenceLogprobs),
    samplingLogprobs: column(samples, ({ samplingLogprobs }) => samplingLogprobs),
    importanceRatios: column(samples, ({ importanceRatios }) => importanceRatios),
    ...(lossMask && { lossMask }),
    ...(offsets && { sliceOffsets: offsets }),
  };
}

/** Absent where every rollout is one row, so that slices are of one size. */
function sliceOffsets(slices: readonly (readonly TrainRollout[])[]): number[] | undefined {
  if (slices.flat().every(({ samples }) => samples.length === 1)) return undefined;
  const ends = slices.map((_, i) => samplesOf(slices.slice(0, i + 1).flat()).length);
  return [0, ...ends];
}

function sequenceBatch(samples: readonly TrainSample[], contextLength: number | undefined): SequenceBatch {
  return {
    promptIds: samples.map(({ promptIds }) => promptIds),
    completionIds: samples.map(({ completionIds }) => completionIds),
    contextLength,
  };
}

/** What every sample has, or none has. */
function column<T>(samples: readonly TrainSample[], value: (sample: TrainSample) => T | undefined): T[] | undefined {
  const values = samples.map(value).filter((one) => one !== undefined);
  return values.length === samples.length ? values : undefined;
}

/** Absent where every token of every sample counts. */
function lossMasks(samples: readonly TrainSample[]): Uint8Array[] | undefined {
  if (samples.every(({ lossMask }) => lossMask === undefined)) return undefined;
  return samples.map(({ lossMask, completionIds }) => lossMask ?? new Uint8Array(completionIds.length).fill(1));
}
