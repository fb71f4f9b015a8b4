// The second half of a training step: the gradient of the step's slices, one call per generation they come from, and the
// optimizer. A step whose loss or gradient is not finite changes nothing.

import { at } from "../at.js";
import type { Metrics } from "../log/metrics.js";
import type { Learner } from "../model/learner.js";
import type { NativeLossResult } from "../native/native.js";
import { lossOptionsOf } from "../options/loss.js";
import { mixSeed } from "../rollout/prompt-sampler.js";
import { Optimizer } from "../run/optimizer-step.js";
import { nanMean } from "../statistics.js";
import type { GRPOConfig } from "./config.js";
import type { EntropyControl } from "./entropy.js";
import { type Generation, takeSlices, tokensOf } from "./generation.js";
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

  /** `sampledElsewhere`: by another engine than `model`. */
  constructor(
    model: Learner,
    args: GRPOConfig,
    plan: TrainingPlan,
    entropy: EntropyControl,
    sampledElsewhere: boolean,
  ) {
    this.#model = model;
    this.#args = args;
    this.#plan = plan;
    this.#entropy = entropy;
    this.#sampledElsewhere = sampledElsewhere;
    this.#optimizer = new Optimizer(model, args, plan, "GRPOConfig");
  }

  async update(step: number, parts: readonly UpdatePart[]): Promise<PolicyUpdate> {
    const began = performance.now();
    const accumulation = parts.reduce((sum, { slices }) => sum + slices.length, 0);
    const results: NativeLossResult[] = [];
    for (const [i, part] of parts.entries()) results.push(await this.#gradient(step, i, part, accumulation));
    const result = mergeResults(results, parts);
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
      dropoutSeed: (index === 0 ? seed : mixSeed(seed, index)) >>> 1,
    });
  }
}

/** How far the log-probabilities of training are from those of sampling: rounding, where both are of the same weights and engine. */
function samplingGap(results: readonly NativeLossResult[]): Metrics {
  if (results.length === 0) return {};
  return {
    "sampling/sampling_logp_difference/mean": nanMean(results.map(({ logpDifferenceMean }) => logpDifferenceMean)),
    "sampling/sampling_logp_difference/max": Math.max(...results.map(({ logpDifferenceMax }) => logpDifferenceMax)),
  };
}

/** One result for the calls of a step: losses and counts add up, means weigh by slices (the active entropy by tokens). */
export function mergeResults(results: readonly NativeLossResult[], parts: readonly UpdatePart[]): NativeLossResult {
  const [first] = results;
  if (first && results.length === 1) return first;
  const all = (name: keyof NativeLossResult) => results.map((result) => result[name]);
  const sum = (name: keyof NativeLossResult) => all(name).reduce((a, b) => a + b, 0);
  const mean = (name: keyof NativeLossResult) =>
    nanMean(all(name).flatMap((value, i) => new Array<number>(at(parts, i).slices.length).fill(value)));
  const activeTokens = sum("activeTokens");
  const activeEntropy = results.reduce((total, result) => total + result.activeEntropy * result.activeTokens, 0);
  return {
    loss: sum("loss"),
    policyLoss: mean("policyLoss"),
    entropy: mean("entropy"),
    kl: mean("kl"),
    clipLow: mean("clipLow"),
    clipHigh: mean("clipHigh"),
    clipRegion: mean("clipRegion"),
    clipLowMin: mean("clipLowMin"),
    clipHighMax: mean("clipHighMax"),
    phi: mean("phi"),
    logpDifferenceMean: mean("logpDifferenceMean"),
    logpDifferenceMax: Math.max(...all("logpDifferenceMax")),
    activeEntropy: activeTokens > 0 ? activeEntropy / activeTokens : 0,
    activeTokens,
    tokens: sum("tokens"),
    idleRows: sum("idleRows"),
    microBatches: sum("microBatches"),
  };
}
