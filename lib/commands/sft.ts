// `grpo sft`: supervised fine-tuning from a configuration in YAML with TRL's keys, or a training script of one's own.

import { SFT } from "../recipes/recipe.js";
import { runSft } from "../recipes/run-sft.js";
import type { Command } from "./command.js";
import { configuredRun } from "./configured-run.js";

export const sftCommand: Command = configuredRun(SFT, runSft);
