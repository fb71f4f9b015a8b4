// A reward function in TypeScript for a worker process.

import type { RewardBatch } from "../../lib/types.js";

interface Row {
  readonly answer: bigint;
}

export function lengths(batch: RewardBatch<Row>): (number | null)[] {
  const { completions, answer, logMetric, logExtra, trainerState } = batch;
  logMetric("seen", completions.length);
  logExtra("answer", answer);
  return completions.map((completion, i) => (i === 0 ? null : completion.length + trainerState.globalStep));
}
