// The second half of a training step: reference log-probabilities where the loss needs them, the gradient of all the
// step's completions in one call, and the optimizer. A step whose loss or gradient is not finite changes nothing.

import type { PolicyModel, SequenceBatch, TrainBatch } from "../policy.js";
import type { GRPOConfig } from "./config.js";
import { learningRateAt, type TrainingPlan } from "./plan.js";
import { mixSeed } from "./prompt-sampler.js";
import { lossMetrics, type Metrics } from "./step-metrics.js";

export interface PolicyUpdate {
  readonly metrics: Metrics;
  /** False: loss or gradient was not finite, and the step was skipped. */
  readonly applied: boolean;
}

export async function updatePolicy(
  model: PolicyModel,
  args: GRPOConfig,
  plan: TrainingPlan,
  step: number,
  batch: TrainBatch,
): Promise<PolicyUpdate> {
  const began = performance.now();
  const result = await model.forwardBackward(await withReference(model, args, batch), {
    lossType: args.lossType,
    beta: args.beta,
    epsilon: args.epsilon,
    epsilonHigh: args.epsilonHigh,
    useBiasCorrectionKl: args.useBiasCorrectionKl,
    maxCompletionLength: args.maxCompletionLength,
    temperature: args.temperature,
    rowsPerSlice: args.perDeviceTrainBatchSize,
    // One call takes the whole step: its own tokens are the ones to divide by, and nothing is left to accumulate.
    lossTokens: 0,
    gradientAccumulationSteps: 0,
    maxTokensPerMicroBatch: args.maxTokensPerMicroBatch,
    gradientCheckpointing: args.gradientCheckpointing,
    dropoutSeed: mixSeed(args.seed, step) >>> 1,
  });
  const learningRate = learningRateAt(args, plan, step);
  const { gradNorm, applied } = Number.isFinite(result.loss)
    ? await model.optimizerStep({
        learningRate,
        beta1: args.adamBeta1,
        beta2: args.adamBeta2,
        epsilon: args.adamEpsilon,
        weightDecay: args.weightDecay,
        maxGradNorm: args.maxGradNorm,
      })
    : { gradNorm: Number.NaN, applied: false };
  if (!applied) await model.zeroGrad();
  const metrics = {
    ...lossMetrics(result, args.beta),
    grad_norm: gradNorm,
    learning_rate: learningRate,
    "time/update": (performance.now() - began) / 1000,
  };
  return { metrics, applied };
}

/** The reference policy is the base model: the same weights with the adapter off. */
async function withReference(model: PolicyModel, args: GRPOConfig, batch: TrainBatch): Promise<TrainBatch> {
  if (args.beta === 0) return batch;
  const sequences: SequenceBatch = { promptIds: batch.promptIds, completionIds: batch.completionIds };
  const options = { temperature: args.temperature };
  const referenceLogprobs = await model.disableAdapter(() => model.completionLogprobs(sequences, options));
  return { ...batch, referenceLogprobs };
}
