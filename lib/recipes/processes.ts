// What the keys of `grpo train` say to GRPOConfig: of completions that are printed and prompts that are cut, of vLLM in this process, and
// how many processes a configuration was written for.

import { toSnake } from "../options/names.js";
import type { ScriptSettings } from "./keys.js";
import type { Notices } from "./notices.js";

type Values = Record<string, unknown>;

export function applyRewardKeys({ num_completions_to_print: printed }: ScriptSettings, grpo: Values): void {
  if (printed === 0) grpo.logCompletions = false;
  else if (printed !== undefined) grpo.numCompletionsToPrint = printed;
  // TRL cut longer prompts at their beginning, in the versions that have this key.
  if (grpo.maxPromptLength !== undefined) grpo.promptOverflow ??= "truncate";
}

/** vLLM in the trainer's process, TRL's default with use_vllm, is the engine that is here. */
export function leaveOutColocation(grpo: Values, notices: Notices): void {
  if (grpo.useVllm !== true || grpo.vllmMode === "server") return;
  for (const name of ["useVllm", "vllmMode"].filter((name) => grpo[name] !== undefined)) {
    notices.add(toSnake(name), 'no effect, the engine samples in this process; vllm_mode "server" samples on servers');
    delete grpo[name];
  }
}

/**
 * A step takes the completions of all processes. Without num_processes: as many as it takes for groups to come out even, since TRL
 * refuses any other number.
 */
export function applyProcesses(asked: number | undefined, grpo: Values, notices: Notices): void {
  const sizes = { perDeviceTrainBatchSize: 8, gradientAccumulationSteps: 1, numGenerations: 8, ...grpo };
  const { perDeviceTrainBatchSize: batch, gradientAccumulationSteps: accumulation, numGenerations: group } = sizes;
  const slices = Number(grpo.stepsPerGeneration ?? accumulation);
  const own = grpo.generationBatchSize !== undefined;
  const valid = [batch, accumulation, group, slices].every((size) => Number.isSafeInteger(size) && size > 0);
  // GRPOConfig says what is wrong with the sizes.
  const processes = asked ?? (valid && !own && group > 1 ? group / commonDivisor(group, batch * slices) : 1);
  if (processes === 1 || !valid) return;
  grpo.gradientAccumulationSteps = accumulation * processes;
  if (grpo.stepsPerGeneration !== undefined) grpo.stepsPerGeneration = slices * processes;
  if (asked !== undefined) return;
  const product = `per_device_train_batch_size ${batch} × ${grpo.stepsPerGeneration === undefined ? "gradient_accumulation_steps" : "steps_per_generation"} ${slices}`;
  notices.add(
    "num_processes",
    `${processes}, the fewest with which num_generations ${group} divides a generation of ${product} × num_processes; ` +
      `a step takes ${batch * accumulation * processes} completions`,
  );
}

function commonDivisor(a: number, b: number): number {
  return b === 0 ? a : commonDivisor(b, a % b);
}
