// What the model card says of a run of GRPO.

import type { TrainingFacts } from "../hub/model-card.js";
import type { RewardPoint } from "../hub/reward-curve.js";
import type { TrainerState } from "../types.js";
import type { GRPOConfig } from "./config.js";

export function cardFacts(
  args: GRPOConfig,
  state: TrainerState,
  rewardNames: readonly string[],
): Omit<TrainingFacts, "dataset"> {
  return { method: "GRPO", rewardNames, curve: rewardPoints(state), settings: settingsOf(args, state) };
}

function rewardPoints(state: TrainerState): RewardPoint[] {
  const points = new Map<number, { reward?: number; evalReward?: number }>();
  for (const { step, reward, eval_reward: evalReward } of state.logHistory) {
    if (step === undefined) continue;
    const values = { ...(isNumber(reward) ? { reward } : {}), ...(isNumber(evalReward) ? { evalReward } : {}) };
    points.set(step, { ...points.get(step), ...values });
  }
  const logged = [...points].map(([step, values]) => ({ step, ...values }));
  return logged.filter((point): point is RewardPoint => point.reward !== undefined);
}

function isNumber(value: number | undefined): value is number {
  return value !== undefined && Number.isFinite(value);
}

function settingsOf(args: GRPOConfig, state: TrainerState): Record<string, string | number> {
  return {
    steps: state.globalStep,
    "completions per step": args.completionsPerStep,
    "completions per prompt": args.numGenerations,
    "learning rate": args.learningRate,
    loss: args.lossType,
    beta: args.beta,
    temperature: args.temperature,
    "longest completion": args.maxCompletionLength,
    seed: args.seed,
  };
}
