// What no single option of a run can tell: combinations that contradict each other.

import { GrpoError } from "../errors.js";
import { optimizerOptions } from "./optimizer.js";
import type { RunOptions } from "./options.js";

/** `config` is the name of the options' class. Throws BAD_OPTION: the options, their values and what to write instead. */
export function checkRunOptions(config: string, options: RunOptions): void {
  checkEvaluations(config, options);
  optimizerOptions(options, `${config}: optimArgs`);
  for (const [name, value] of [
    ["loggingSteps", options.loggingSteps],
    ["saveSteps", options.saveSteps],
    ["evalSteps", options.evalSteps ?? 1],
    ["warmupSteps", options.warmupSteps],
  ] as const) {
    if (value > 1 && !Number.isInteger(value)) {
      throw new GrpoError("BAD_OPTION", `${config}: ${name} ${value} is neither a whole number nor a share below 1`, {
        hint: `use ${Math.round(value)}`,
      });
    }
  }
}

/** What needs evaluations, and the best model's checkpoint. */
function checkEvaluations(config: string, options: RunOptions): void {
  if (options.evalStrategy === "no") {
    const needs = [
      ...(options.loadBestModelAtEnd ? ["loadBestModelAtEnd true"] : []),
      ...(options.earlyStoppingPatience !== null ? [`earlyStoppingPatience ${options.earlyStoppingPatience}`] : []),
      ...(options.saveStrategy === "best" ? ['saveStrategy "best"'] : []),
    ][0];
    if (needs === undefined) return;
    throw new GrpoError("BAD_OPTION", `${config}: ${needs} needs evaluations, and evalStrategy is "no"`, {
      hint: 'set evalStrategy to "steps" or "epoch"',
    });
  }
  if (options.loadBestModelAtEnd && options.saveStrategy === "no") {
    throw new GrpoError(
      "BAD_OPTION",
      `${config}: loadBestModelAtEnd true needs checkpoints, and saveStrategy is "no"`,
      {
        hint: 'set saveStrategy to "steps" or "epoch"',
      },
    );
  }
}
