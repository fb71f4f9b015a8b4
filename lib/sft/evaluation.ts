// Evaluation: the loss of evalDataset, with TRL's means. Each batch has its own mean over tokens; eval_loss is their mean weighted by rows,
// without those that are not finite, entropy and token accuracy are plain means of the batches.

import { GrpoError } from "../errors.js";
import type { SupervisedLearner } from "../model/learner.js";
import { batchOf, sliceScores } from "./batch.js";
import type { SFTConfig } from "./config.js";
import type { SFTEvaluation } from "./setup.js";
import type { TrainingData } from "./training-data.js";

/** `tokensSeen`: of the training so far. */
export async function evaluate(
  model: SupervisedLearner,
  { rows }: TrainingData,
  args: SFTConfig,
  tokensSeen: number,
  signal?: AbortSignal,
): Promise<SFTEvaluation> {
  const began = performance.now();
  const { perDeviceEvalBatchSize: size, lossType, maxTokensPerMicroBatch } = args;
  const batches: {
    readonly loss: number;
    readonly entropy: number;
    readonly accuracy: number;
    readonly rows: number;
  }[] = [];
  for (let start = 0; start < rows.length; start += size) {
    if (signal?.aborted) throw new GrpoError("CANCELLED", "stopped during the evaluation");
    const batch = rows.slice(start, start + size);
    const result = await model.sftEvaluate(batchOf(batch), { lossType, maxTokensPerMicroBatch });
    for (const { loss, entropy, accuracy } of sliceScores(batch, result, size)) {
      batches.push({ loss, entropy, accuracy, rows: batch.length });
    }
  }
  const finite = batches.filter(({ loss }) => Number.isFinite(loss));
  const mean = (name: "entropy" | "accuracy") => batches.reduce((sum, batch) => sum + batch[name], 0) / batches.length;
  const runtime = (performance.now() - began) / 1000;
  const weight = finite.reduce((sum, batch) => sum + batch.rows, 0);
  return {
    metrics: {
      eval_loss: finite.reduce((sum, batch) => sum + batch.loss * batch.rows, 0) / weight,
      eval_entropy: mean("entropy"),
      eval_mean_token_accuracy: mean("accuracy"),
      eval_num_tokens: tokensSeen,
      eval_runtime: runtime,
      eval_samples_per_second: rows.length / runtime,
      eval_steps_per_second: batches.length / runtime,
    },
    completions: [],
  };
}
