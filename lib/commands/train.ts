// `grpo train`: a run from a configuration in YAML with TRL's keys, or a training script of one's own.

import { GrpoError } from "../errors.js";
import { isModulePath } from "../modules.js";
import { readGiven } from "../recipes/read.js";
import { runTraining } from "../recipes/run.js";
import { runScript } from "../recipes/run-script.js";
import { resolveSettings } from "../recipes/settings.js";
import type { Command } from "./command.js";

export const trainCommand: Command = {
  usage:
    "<config.yaml> [--key value …]\n" +
    "       grpo train <script.ts> [arguments of the script]\n\n" +
    "  The keys are those of `trl grpo`, such as --model_name_or_path, --dataset_name, --reward_funcs, --max_steps,\n" +
    "  --learning_rate, --use_peft; docs/cli.md has all. What the command line says wins over the file.\n\n" +
    "  grpo train recipe.yaml --model_name_or_path ./model --dataset_name ./data --max_steps 100",

  async run(args) {
    const { file, rest } = splitArguments(args);
    if (file !== undefined && isModulePath(file)) return runScript(file, rest);
    await runTraining(resolveSettings(await readGiven(file, rest)));
    return 0;
  },
};

/** The file comes first, or after --config as for `trl grpo`, or not at all. */
function splitArguments(args: readonly string[]): { file: string | undefined; rest: readonly string[] } {
  const [first, second] = args;
  if (first === undefined) {
    throw new GrpoError("BAD_OPTION", "what is there to train?", { hint: "grpo train <config.yaml or script.ts>" });
  }
  if (first === "--config" && second !== undefined) return { file: second, rest: args.slice(2) };
  if (first.startsWith("--config=")) return { file: first.slice("--config=".length), rest: args.slice(1) };
  if (first.startsWith("--")) return { file: undefined, rest: args };
  if (isModulePath(first) || /\.(ya?ml|json)$/.test(first)) return { file: first, rest: args.slice(1) };
  throw new GrpoError("BAD_OPTION", `expected a configuration (.yaml) or a script (.ts, .js), found ${first}`);
}
