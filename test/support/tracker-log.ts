// A run as trackers are told of it: cut short after three steps and resumed after the second, with an evaluation, a value that is not
// a number, an infinite one, and a configuration of all kinds of values.

import { RunLog } from "../../lib/log/run-log.js";
import type { Tracker } from "../../lib/log/trackers.js";

/** Variables of the recordings, and their time in milliseconds since 1970. */
export const MLFLOW = { MLFLOW_EXPERIMENT_NAME: "maths", MLFLOW_TAGS: '{"release":"1.2"}' };
export const WANDB = { WANDB_PROJECT: "maths", WANDB_TAGS: "a,b", WANDB_RUN_ID: "short1" };
export const NOW = 1_700_000_000_250;

export const RUN_NAME = "short run";
export const CONFIG = {
  learningRate: 1e-6,
  lossType: "dapo",
  rewardWeights: [1, 0.5],
  evalSteps: null,
  optim: { beta: 0.9 },
};
export const RECORD = {
  run_name: RUN_NAME,
  config: CONFIG,
  reward_functions: ["format", "accuracy"],
  plan: { totalSteps: 4 },
};

/** What a tracker has to show of it: by step, the values as texts. */
export const HISTORY = [
  { step: 1, name: "reward", value: "0.1" },
  { step: 1, name: "rewards/format/mean", value: "NaN" },
  { step: 2, name: "reward", value: "0.2" },
  { step: 2, name: "loss", value: "-Infinity" },
  { step: 2, name: "eval_reward", value: "1e-9" },
  { step: 3, name: "reward", value: "0.33" },
  { step: 4, name: "reward", value: "12345678.9" },
] as const;

export interface TrackedRun {
  readonly outputDir: string;
  readonly tracker: Tracker;
  readonly note?: (text: string) => void;
}

/** The part before the cut. */
export async function logFirstPart({ outputDir, tracker, note }: TrackedRun): Promise<void> {
  const log = open(outputDir, tracker, note);
  await log.begin({ ...RECORD, resumed_after_step: 0 }, 0);
  log.window(1, { reward: 0.1, "rewards/format/mean": Number.NaN });
  log.window(2, { reward: 0.2, loss: Number.NEGATIVE_INFINITY });
  log.evaluation(2, { metrics: { eval_reward: 1e-9 }, completions: [] });
  log.window(3, { reward: 0.3 });
  await log.close("stopped");
}

/** The part that goes on from the checkpoint of the second step. */
export async function logSecondPart({ outputDir, tracker, note }: TrackedRun): Promise<void> {
  const log = open(outputDir, tracker, note);
  await log.begin({ ...RECORD, resumed_after_step: 2 }, 2);
  log.window(3, { reward: 0.33 });
  log.window(4, { reward: 12345678.9 });
  await log.close("finished");
}

/** An evaluation, then a run; `between` comes when the evaluation is over. */
export async function logEvaluationAndRun(
  { outputDir, tracker, note }: TrackedRun,
  between: () => Promise<void>,
): Promise<void> {
  const log = open(outputDir, tracker, note);
  log.evaluation(0, { metrics: { eval_reward: 0.5 }, completions: [] });
  await log.close();
  await between();
  await log.begin({ ...RECORD, resumed_after_step: 0 }, 0);
  log.window(1, { reward: 0.25 });
  await log.close("finished");
}

function open(outputDir: string, tracker: Tracker, note: (text: string) => void = () => {}): RunLog {
  const output = { write: (text: string) => note(text.trimEnd()) };
  return new RunLog({
    outputDir,
    logTo: ["console", tracker],
    runName: RUN_NAME,
    project: "demo",
    config: CONFIG,
    output,
  });
}
