// What a run of GRPO prints: its plan, a line for each logging window and each evaluation, and sample completions. A step's line
// leads with what tells whether learning works: reward, its parts, its spread, entropy, gradient norm, length. The loss is left
// out: on-policy it is about 0 whatever happens.

import { clip, fixed, formatDuration } from "../log/format.js";
import type { Metrics } from "../log/metrics.js";
import type { CompletionRecord } from "../log/run-log.js";
import type { Trainable } from "../model/learner.js";
import type { PromptSurvey } from "../rollout/prompts.js";
import type { GRPOConfig } from "./config.js";
import type { TrainingPlan } from "./plan.js";

export interface StepLine {
  readonly step: number;
  readonly totalSteps: number;
  readonly metrics: Readonly<Metrics>;
  readonly rewardNames: readonly string[];
  /** Seconds to the end of the run, if known. */
  readonly secondsLeft?: number | undefined;
  readonly width: number;
}

export function formatStepLine(line: StepLine): string {
  const { metrics, rewardNames } = line;
  const head = `${String(line.step).padStart(String(line.totalSteps).length)}/${line.totalSteps}`;
  const tail = [
    `±${fixed(metrics.reward_std, 3)}`,
    `entropy ${fixed(metrics.entropy, 2)}`,
    `grad ${fixed(metrics.grad_norm, 2)}`,
    `len ${fixed(metrics["completions/mean_length"], 0)}`,
    `${fixed(metrics.tokens_per_second, 0)} tok/s`,
    ...(line.secondsLeft === undefined ? [] : [`${formatDuration(line.secondsLeft)} left`]),
  ].join("  ");
  const reward = `reward ${fixed(metrics.reward, 3)}`;
  const room = line.width - head.length - reward.length - tail.length - 6;
  const parts = rewardNames.length > 1 ? rewardParts(metrics, rewardNames, room) : "";
  return clip([head, reward, ...(parts ? [parts] : []), tail].join("  "), line.width);
}

/** "(format 0.61  accuracy 0.41)", with names shortened, and then left out from the end, to fit `room` columns. */
function rewardParts(metrics: Readonly<Metrics>, names: readonly string[], room: number): string {
  const values = names.map((name) => fixed(metrics[`rewards/${name}/mean`], 2));
  for (let shown = names.length; shown > 0; shown--) {
    for (const longest of [40, 16, 12, 8, 5]) {
      const parts = names.slice(0, shown).map((name, k) => `${clip(name, longest)} ${values[k]}`);
      const text = `(${parts.join("  ")}${shown < names.length ? "  …" : ""})`;
      if (text.length <= room) return text;
    }
  }
  return "";
}

export function formatEvaluation(
  step: number,
  metrics: Readonly<Metrics>,
  names: readonly string[],
  width: number,
): string {
  const parts = names.map((name) => `${name} ${fixed(metrics[`eval_rewards/${name}/mean`], 3)}`);
  const length = fixed(metrics["eval_completions/mean_length"], 0);
  return clip(
    `evaluation at step ${step}  reward ${fixed(metrics.eval_reward, 3)}  ${parts.join("  ")}  length ${length}`,
    width,
  );
}

/** Two lines for each of some completions: what it was rewarded, and how it begins. */
export function formatSamples(records: readonly CompletionRecord[], width: number): string[] {
  return records.flatMap(({ rewards, advantage, completion }) => {
    const values = Object.entries(rewards).map(([name, value]) => `${name} ${fixed(value ?? Number.NaN, 2)}`);
    return [
      `  [${values.join("  ")}  advantage ${advantage.toFixed(2)}]`,
      `    ${clip(JSON.stringify(completion), width - 4)}`,
    ];
  });
}

export interface PlanFacts {
  readonly config: GRPOConfig;
  readonly plan: TrainingPlan;
  readonly model: Trainable;
  readonly survey: PromptSurvey;
  /** Rows whose prompt was too long and that were left out. */
  readonly tooLong: number;
  readonly startStep: number;
  /** About memory, as the preflight words it. */
  readonly memory: readonly string[];
}

/** What the run will do, in words, before it does it. */
export function describePlan({ config, plan, model, survey, tooLong, startStep, memory }: PlanFacts): string[] {
  const { trainable, all } = model.trainableParameters();
  const perEpoch =
    plan.droppedRows > 0 ? `; ${plan.droppedRows} rows of each epoch fill no generation and are left out` : "";
  const cut = config.promptOverflow === "truncate" && survey.overlong > 0 ? `; ${survey.overlong} cut to fit` : "";
  const left = tooLong > 0 ? `; ${tooLong} rows dropped as too long` : "";
  const loss = `${config.lossType}, beta ${config.beta}, learning rate ${config.learningRate} ${config.lrSchedulerType}`;
  return [
    `model    ${model.device} ${model.dtype}, ${trainable.toLocaleString("en")} of ${all.toLocaleString("en")} parameters trained`,
    ...describeSteps(config, plan),
    `epoch    ${describeEpoch(plan)}${perEpoch}`,
    `run      ${plan.totalSteps} steps${startStep > 0 ? `, continuing after step ${startStep}` : ""}; ${loss}`,
    `prompts  ${survey.rows} rendered, longest ${survey.longest} tokens${cut}${left}; completions up to ${config.maxCompletionLength}`,
    ...memory,
    ...config.notes.map((note) => `note     ${note}`),
    ...(config.bf16 && model.dtype !== "bfloat16"
      ? [`note     bf16 has no effect: the model's type is ${model.dtype}`]
      : []),
  ];
}

/** One line where each step samples its own completions, two where they are shared or reused. */
function describeSteps(config: GRPOConfig, plan: TrainingPlan): string[] {
  const { promptsPerGeneration: prompts, completionsPerGeneration: completions, completionsPerStep, iterations } = plan;
  const noun = prompts === 1 ? "prompt" : "prompts";
  const product = `${prompts} ${noun} × ${config.numGenerations} completions = ${completions} completions`;
  if (completions === completionsPerStep && iterations === 1) return [`step     ${product}`];
  const passes = iterations > 1 ? `, trained on ${iterations} times` : "";
  return [`sampling ${product}${passes}`, `step     ${completionsPerStep} completions`];
}

function describeEpoch({
  rows,
  promptsPerGeneration,
  slicesPerEpoch,
  slicesPerGeneration,
  iterations,
  ...plan
}: TrainingPlan): string {
  const generations = slicesPerEpoch / slicesPerGeneration / iterations;
  const steps = `${plan.stepsPerEpoch} steps`;
  return `${rows} rows / ${promptsPerGeneration} = ${generations === plan.stepsPerEpoch ? steps : `${generations} generations, ${steps}`}`;
}
