// The second half of a training step: the gradient of the step's slices, one call per generation they come from, and the
// optimizer. A step whose loss or gradient is not finite changes nothing.

import { at } from "../at.js";
import { type Part, partOf, type Ranks } from "../distributed/ranks.js";
import type { Metrics } from "../log/metrics.js";
import type { Learner } from "../model/learner.js";
import type { NativeLossResult } from "../native/native.js";
import { lossOptionsOf } from "../options/loss.js";
import { mixSeed } from "../rollout/prompt-sampler.js";
import { countTokens } from "../rollout/sample.js";
import { Optimizer } from "../run/optimizer-step.js";
import { nanMean } from "../statistics.js";
import type { GRPOConfig } from "./config.js";
import type { EntropyControl } from "./entropy.js";
import { type Generation, reachesAllRows, type TrainRollout, takeSlices, teaches, tokensOf } from "./generation.js";
import { lossMetrics } from "./metrics.js";
import type { TrainingPlan } from "./plan.js";

export interface PolicyUpdate {
  readonly loss: number;
  readonly metrics: Metrics;
  /** False: loss or gradient was not finite, and the step was skipped. */
  readonly applied: boolean;
}

/** A generation and those of its slices that a step trains on. */
export interface UpdatePart {
  readonly generation: Generation;
  readonly slices: readonly number[];
  /** Sampled in this step: how far its log-probabilities are from those of training is still to be told. */
  readonly fresh: boolean;
}

export class PolicyUpdater {
  readonly #model: Learner;
  readonly #args: GRPOConfig;
  readonly #plan: TrainingPlan;
  readonly #entropy: EntropyControl;
  readonly #optimizer: Optimizer;
  readonly #sampledElsewhere: boolean;
  readonly #ranks: Ranks;

  /** `sampledElsewhere`: by another engine than `model`. `ranks`: each trains on its part of the slices. */
  constructor(
    model: Learner,
    args: GRPOConfig,
    plan: TrainingPlan,
    entropy: EntropyControl,
    sampledElsewhere: boolean,
    ranks: Ranks,
  ) {
    this.#model = model;
    this.#args = args;
    this.#plan = plan;
    this.#entropy = entropy;
    this.#sampledElsewhere = sampledElsewhere;
    this.#ranks = ranks;
    this.#optimizer = new Optimizer(model, args, plan, "GRPOConfig");
  }

  async update(step: number, parts: readonly UpdatePart[]): Promise<PolicyUpdate> {
    const began = performance.now();
    const accumulation = parts.reduce((sum, { slices }) => sum + slices.length, 0);
    const own: (PartResult | undefined)[] = [];
    for (const [i, part] of ownParts(parts, partOf(this.#ranks, accumulation)).entries()) {
      const { length: slices } = part.slices;
      own.push(
        slices === 0
          ? undefined
          : { result: await this.#gradient(step, i, part, accumulation), ...this.#slicesOf(part) },
      );
    }
    // Before the optimizer's step: all ranks make it, or none does.
    const all = await this.#ranks.gather(own);
    const results = parts.map((_, i) =>
      mergeResults(all.map((ofRank) => at(ofRank, i)).filter((one) => one !== undefined)),
    );
    const result = mergeResults(results.map((result, i) => ({ result, ...this.#slicesOf(at(parts, i)) })));
    const { gradNorm, applied, learningRate } = await this.#optimizer.step(step, Number.isFinite(result.loss));
    this.#entropy.update(result.activeEntropy);
    const bonus: Metrics = this.#entropy.enabled
      ? { policy_loss: result.policyLoss, entropy_coef: this.#entropy.state.coef }
      : {};
    const metrics = {
      ...lossMetrics(result, this.#args),
      ...bonus,
      ...samplingGap(results.filter((_, i) => at(parts, i).fresh)),
      grad_norm: gradNorm,
      learning_rate: learningRate,
      "time/update": (performance.now() - began) / 1000,
    };
    return { loss: result.loss, metrics, applied };
  }

  #gradient(step: number, index: number, part: UpdatePart, accumulation: number): Promise<NativeLossResult> {
    const args = this.#args;
    const { generation, slices } = part;
    const seed = mixSeed(args.seed, step);
    const batch = takeSlices(generation, slices, args.perDeviceTrainBatchSize);
    return this.#model.forwardBackward(batch, {
      ...lossOptionsOf(args),
      entropyCoef: this.#entropy.applied,
      maxCompletionLength: args.maxCompletionLength,
      temperature: args.temperature,
      rowsPerSlice: batch.sliceOffsets ? 0 : args.perDeviceTrainBatchSize,
      // The tokens of the generation, scaled to what one step takes of it.
      lossTokens: (Math.max(tokensOf(generation), 1) * accumulation) / this.#plan.slicesPerGeneration,
      gradientAccumulationSteps: accumulation,
      // The controller needs the entropy of every token, also while the bonus is off.
      skipIdleRows: !this.#entropy.enabled,
      sampledElsewhere: this.#sampledElsewhere,
      dropoutSeed: this.#dropoutSeed(index === 0 ? seed : mixSeed(seed, index)),
    });
  }

  #slicesOf({ generation, slices }: UpdatePart): SliceCounts {
    const args = this.#args;
    const reached = reachesAllRows(args);
    const ofSlices = slices.map((slice) =>
      generation.rollouts.slice(slice * args.perDeviceTrainBatchSize, (slice + 1) * args.perDeviceTrainBatchSize),
    );
    const counts = ({ samples }: TrainRollout) => samples.some((sample) => countTokens(sample) > 0);
    const isIdle = (rollouts: readonly TrainRollout[]) =>
      !reached &&
      rollouts.some(counts) &&
      rollouts.filter(counts).every((rollout) => !rollout.samples.some((sample) => teaches(sample, rollout)));
    const isEmpty = (rollouts: readonly TrainRollout[]) =>
      args.importanceSamplingLevel === "token" && !rollouts.some(counts);
    return {
      slices: slices.length,
      scored: ofSlices.filter((rollouts) => !isIdle(rollouts)).length,
      clipped: ofSlices.filter((rollouts) => !isEmpty(rollouts)).length,
    };
  }

  /** Ranks drop out by masks of their own. */
  #dropoutSeed(seed: number): number {
    const { rank } = this.#ranks;
    return (rank === 0 ? seed : mixSeed(seed, rank)) >>> 1;
  }
}

/** Slices that the means of a result are of: those of no value are not among them. */
interface SliceCounts {
  readonly slices: number;
  /** Of entropy, kl, phi and the difference of log-probabilities: some row was computed. */
  readonly scored: number;
  /** Of the extreme clipped shares: some completion has one. */
  readonly clipped: number;
}

interface PartResult extends SliceCounts {
  readonly result: NativeLossResult;
}

/** Of the slices of a step, taken as one list, those from `from` on, before `to`; parts stay in their places. */
function ownParts(parts: readonly UpdatePart[], { from, to }: Part): UpdatePart[] {
  let start = 0;
  return parts.map((part) => {
    const slices = part.slices.slice(Math.max(0, from - start), Math.max(0, to - start));
    start += part.slices.length;
    return { ...part, slices };
  });
}

/** How far the log-probabilities of training are from those of sampling: rounding, where both are of the same weights and engine. */
function samplingGap(results: readonly NativeLossResult[]): Metrics {
  if (results.length === 0) return {};
  return {
    "sampling/sampling_logp_difference/mean": nanMean(results.map(({ logpDifferenceMean }) => logpDifferenceMean)),
    "sampling/sampling_logp_difference/max": Math.max(...results.map(({ logpDifferenceMax }) => logpDifferenceMax)),
  };
}

/**
 * One result for several calls: losses and counts add up, means weigh by the slices that they are of (the active entropy by tokens). Slices
 * without a value, as all their rows were idle, have no part in a mean.
 */
export function mergeResults(parts: readonly PartResult[]): NativeLossResult {
  const [first] = parts;
  if (first && parts.length === 1) return first.result;
  const results = parts.map(({ result }) => result);
  const all = (name: keyof NativeLossResult) => results.map((result) => result[name]);
  const sum = (name: keyof NativeLossResult) => all(name).reduce((a, b) => a + b, 0);
  const mean = (name: keyof NativeLossResult, slicesOf: (part: PartResult) => number = ({ slices }) => slices) =>
    weightedMean(all(name), parts.map(slicesOf));
  const scored = (part: PartResult) => part.scored;
  const clipped = (part: PartResult) => part.clipped;
  const activeTokens = sum("activeTokens");
  const activeEntropy = results.reduce((total, result) => total + result.activeEntropy * result.activeTokens, 0);
  return {
    loss: sum("loss"),
    policyLoss: mean("policyLoss"),
    entropy: mean("entropy", scored),
    kl: mean("kl", scored),
    clipLow: mean("clipLow"),
    clipHigh: mean("clipHigh"),
    clipRegion: mean("clipRegion"),
    clipLowMin: mean("clipLowMin", clipped),
    clipHighMax: mean("clipHighMax", clipped),
    phi: mean("phi", scored),
    logpDifferenceMean: mean("logpDifferenceMean", scored),
    logpDifferenceMax: Math.max(...all("logpDifferenceMax")),
    activeEntropy: activeTokens > 0 ? activeEntropy / activeTokens : 0,
    activeTokens,
    tokens: sum("tokens"),
    idleRows: sum("idleRows"),
    microBatches: sum("microBatches"),
  };
}

/** NaN where nothing has a weight. */
function weightedMean(values: readonly number[], weights: readonly number[]): number {
  const known = values
    .map((value, i) => ({ value, weight: at(weights, i) }))
    .filter(({ value }) => !Number.isNaN(value));
  const weight = known.reduce((sum, one) => sum + one.weight, 0);
  return known.reduce((sum, one) => sum + one.value * one.weight, 0) / weight;
}
