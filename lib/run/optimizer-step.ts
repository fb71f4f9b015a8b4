// The second half of an optimizer step, whatever the gradient is of: the learning rate of the step, the update, and nothing at all where
// loss or gradient is not finite.

import type { Optimizable } from "../model/learner.js";
import type { OptimizerStepOptions } from "../options/optimizer.js";
import { optimizerOptions } from "./optimizer.js";
import type { RunOptions } from "./options.js";
import type { RunPlan } from "./plan.js";
import { learningRateSchedule, type Schedule } from "./schedule.js";

export interface OptimizerOutcome {
  readonly gradNorm: number;
  readonly learningRate: number;
  /** False: loss or gradient was not finite, and the weights are as they were. */
  readonly applied: boolean;
}

export class Optimizer {
  readonly #model: Optimizable;
  readonly #args: RunOptions;
  readonly #learningRateAt: Schedule;

  /** `config`: the name of the options' class, for messages. Throws BAD_OPTION for what the schedule cannot be told. */
  constructor(model: Optimizable, args: RunOptions, plan: RunPlan, config: string) {
    this.#model = model;
    this.#args = args;
    this.#learningRateAt = learningRateSchedule({
      name: args.lrSchedulerType,
      options: args.lrSchedulerKwargs ?? {},
      learningRate: args.learningRate,
      warmupSteps: plan.warmupSteps,
      totalSteps: plan.totalSteps,
      where: `${config}: lrSchedulerKwargs`,
    });
  }

  /** Step 0 is the first. Without `finite` the gradient is forgotten. */
  async step(step: number, finite: boolean): Promise<OptimizerOutcome> {
    const args = this.#args;
    const learningRate = this.#learningRateAt(step);
    const result = finite
      ? await this.#model.optimizerStep({
          learningRate,
          ...loraPlus(args, learningRate),
          ...optimizerOptions(args),
          beta1: args.adamBeta1,
          beta2: args.adamBeta2,
          epsilon: args.adamEpsilon,
          weightDecay: args.weightDecay,
          maxGradNorm: args.maxGradNorm,
        })
      : { gradNorm: Number.NaN, applied: false };
    if (!result.applied) await this.#model.zeroGrad();
    return { ...result, learningRate };
  }
}

/** PEFT's create_loraplus_optimizer, whose groups all follow one schedule. */
function loraPlus(args: RunOptions, learningRate: number): Partial<OptimizerStepOptions> {
  if (args.loraplusLrRatio === null || args.learningRate === 0) return {};
  const embedding = args.loraplusLrEmbedding * (learningRate / args.learningRate);
  return { loraPlusRatio: args.loraplusLrRatio, loraPlusEmbeddingRate: embedding };
}
