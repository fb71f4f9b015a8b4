// A trainer of four short steps on the model without an engine, with a checkpoint after the second.

import { GRPOConfig, type GRPOConfigOptions } from "../../lib/grpo/config.js";
import type { GRPOTrainerOptions } from "../../lib/grpo/setup.js";
import { GRPOTrainer } from "../../lib/grpo/trainer.js";
import { FakePolicy, type FakeRow, FakeTokenizer, fakeRows } from "./fake-policy.js";

/** `printed`: what it has written to the console. */
export function fakeTrainer(
  args: GRPOConfigOptions,
  options: Partial<GRPOTrainerOptions<FakeRow>> = {},
): { readonly trainer: GRPOTrainer<FakeRow>; readonly printed: readonly string[] } {
  const printed: string[] = [];
  const trainer = new GRPOTrainer<FakeRow>({
    model: new FakePolicy(),
    processingClass: new FakeTokenizer(),
    args: new GRPOConfig({
      perDeviceTrainBatchSize: 4,
      numGenerations: 4,
      maxSteps: 4,
      saveSteps: 2,
      maxCompletionLength: 4,
      loggingSteps: 1,
      ...args,
    }),
    rewardFuncs: [({ completionIds }) => completionIds.map((ids) => ids.length)],
    trainDataset: fakeRows(6),
    output: { write: (text: string) => printed.push(text) },
    ...options,
  });
  return { trainer, printed };
}
