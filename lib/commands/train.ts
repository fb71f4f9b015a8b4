// `grpo train`: a run of GRPO from a configuration in YAML with TRL's keys, or a training script of one's own.

import { TRAIN } from "../recipes/recipe.js";
import { runTraining } from "../recipes/run.js";
import type { Command } from "./command.js";
import { configuredRun } from "./configured-run.js";

export const trainCommand: Command = configuredRun(TRAIN, runTraining);
