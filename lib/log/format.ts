// Numbers to the one line that a step prints. It leads with what tells whether learning works: reward, its parts, its
// spread, entropy, gradient norm, length. The loss is left out: on-policy it is about 0 whatever happens.

import type { Metrics } from "../trainer/step-metrics.js";

export interface StepLine {
  readonly step: number;
  readonly totalSteps: number;
  readonly metrics: Readonly<Metrics>;
  readonly rewardNames: readonly string[];
  /** Seconds to the end of the run, if known. */
  readonly secondsLeft?: number;
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

export function fixed(value: number | undefined, digits: number): string {
  return value === undefined || Number.isNaN(value) ? "–" : value.toFixed(digits);
}

/** 42 → "42s", 90 → "1m30s", 3700 → "1h01m". */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole}s`;
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const two = (value: number) => String(value).padStart(2, "0");
  return h > 0 ? `${h}h${two(m)}m` : `${m}m${two(s)}s`;
}

export function clip(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}…`;
}
