// The runs that test/distributed holds against one process: 24 completions a step, whatever the number of ranks.

import type { GRPOConfigOptions } from "../../lib/index.js";

export const SIZE = Number(process.env.WORLD_SIZE ?? 1);
/** Slices of two completions in a step, of all ranks. */
export const SLICES = 12;

interface Case {
  readonly options?: GRPOConfigOptions;
  /** Default: LoRA. */
  readonly full?: boolean;
}

/**
 * TRL's default. Where a gradient is nothing but the rounding of its sum, the step of these is as large as any other, since they divide by its
 * size: at this rate such steps stay below the bound of the tests.
 */
const SMALL_RATE = 1e-6;

export const CASES: Readonly<Record<string, Case>> = {
  lora: { options: { evalStrategy: "steps", evalSteps: 10, scaleRewards: "batch" } },
  full: { full: true, options: { learningRate: SMALL_RATE } },
  iterations: { options: { numIterations: 2, stepsPerGeneration: (2 * SLICES) / SIZE, beta: 0.04 } },
  dynamic: { options: { dynamicSampling: true, learningRate: SMALL_RATE } },
  masked: { options: { maskTruncatedCompletions: true, lossType: "bnpo" } },
  entropy: { options: { topEntropyQuantile: 0.5, entropyCoef: 0.01, lossType: "grpo" } },
  adamw8bit: { options: { optim: "adamw_8bit", learningRate: SMALL_RATE } },
  sgd: { options: { optim: "sgd", optimArgs: "momentum=0.9", learningRate: 1e-2 } },
  adafactor: { options: { optim: "adafactor" } },
  muon: { options: { optim: "muon", learningRate: SMALL_RATE } },
};
