// What a run of supervised fine-tuning prints: its plan, and a line for each logging window and each evaluation.

import { clip, fixed, formatDuration } from "../log/format.js";
import type { Metrics } from "../log/metrics.js";
import type { Trainable } from "../model/learner.js";
import type { WindowFacts } from "../run/loop-options.js";
import type { SFTConfig } from "./config.js";
import type { SftPlan } from "./plan.js";
import type { DataFacts } from "./training-data.js";

export function formatStepLine({
  step,
  totalSteps,
  metrics,
  secondsLeft,
  width,
}: Omit<WindowFacts, "records">): string {
  const parts = [
    `${String(step).padStart(String(totalSteps).length)}/${totalSteps}`,
    `loss ${fixed(metrics.loss, 4)}`,
    `accuracy ${fixed(metrics.mean_token_accuracy, 3)}`,
    `entropy ${fixed(metrics.entropy, 2)}`,
    `grad ${fixed(metrics.grad_norm, 2)}`,
    `${fixed(metrics.tokens_per_second, 0)} tok/s`,
    ...(secondsLeft === undefined ? [] : [`${formatDuration(secondsLeft)} left`]),
  ];
  return clip(parts.join("  "), width);
}

export function formatEvaluation(step: number, metrics: Readonly<Metrics>, width: number): string {
  const accuracy = fixed(metrics.eval_mean_token_accuracy, 3);
  return clip(`evaluation at step ${step}  loss ${fixed(metrics.eval_loss, 4)}  accuracy ${accuracy}`, width);
}

export interface PlanFacts {
  readonly config: SFTConfig;
  readonly plan: SftPlan;
  readonly model: Trainable;
  readonly data: DataFacts;
  readonly startStep: number;
  /** About memory, as the preflight words it. */
  readonly memory: readonly string[];
  /** Whatever else is to be said. */
  readonly notes: readonly string[];
}

/** What the run will do, in words, before it does it. */
export function describePlan({ config, plan, model, data, startStep, memory, notes }: PlanFacts): string[] {
  const { trainable, all } = model.trainableParameters();
  const number = (value: number) => value.toLocaleString("en");
  const share = ((100 * data.counted) / data.tokens).toFixed(1);
  const packed = config.packing ? `, packed ("${config.packingStrategy}") into ${number(plan.rows)} rows` : "";
  return [
    `model    ${model.device} ${model.dtype}, ${number(trainable)} of ${number(all)} parameters trained`,
    `data     ${number(data.read)} rows${packed}; ${number(data.tokens)} tokens, ${share} % count in the loss; longest ${data.longest}`,
    `step     ${plan.slicesPerStep} × ${config.perDeviceTrainBatchSize} = ${plan.rowsPerStep} rows; ${plan.stepsPerEpoch} steps an epoch`,
    `run      ${plan.totalSteps} steps${startStep > 0 ? `, continuing after step ${startStep}` : ""}; ${config.lossType}, learning rate ${config.learningRate} ${config.lrSchedulerType}`,
    ...memory,
    ...dataNotes(data, config),
    ...[...notes, ...config.notes].map((note) => `note     ${note}`),
    ...(config.bf16 && model.dtype !== "bfloat16"
      ? [`note     bf16 has no effect: the model's type is ${model.dtype}`]
      : []),
  ];
}

/** What became of rows that are not as they were meant. */
function dataNotes(data: DataFacts, { maxLength }: SFTConfig): string[] {
  const rows = (count: number) => `${count.toLocaleString("en")} ${count === 1 ? "row" : "rows"}`;
  return [
    ...(data.cut > 0
      ? [
          `note     ${rows(data.cut)} cut to maxLength ${maxLength}; ${data.cutTokens.toLocaleString("en")} tokens are lost`,
        ]
      : []),
    ...(data.masked > 0
      ? [
          `warning  ${rows(data.masked)} without effect: nothing in them${maxLength === null ? "" : ` within maxLength ${maxLength}`} counts in the loss`,
        ]
      : []),
    ...(data.differentPrompts > 0
      ? [
          `warning  ${rows(data.differentPrompts)} whose prompt alone is tokenized otherwise than with its completion; what counts begins where they differ`,
        ]
      : []),
    ...(data.doubled > 0
      ? [`note     ${data.doubled.toLocaleString("en")} doubled tokens at the beginning or end of texts were left out`]
      : []),
  ];
}
