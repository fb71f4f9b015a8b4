// `grpo train`: a run from a configuration in YAML with TRL's keys, or a training script of one's own.

import { readFileSync } from "node:fs";
import path from "node:path";
import { GrpoError } from "../errors.js";
import { isModulePath } from "../modules.js";
import { packageRoot } from "../package-files.js";
import { actingKeys } from "../recipes/json-schema.js";
import { readGiven } from "../recipes/read.js";
import { runTraining } from "../recipes/run.js";
import { runScript } from "../recipes/run-script.js";
import { resolveSettings } from "../recipes/settings.js";
import type { Command } from "./command.js";

const KEY_COLUMNS = 32;

const USAGE =
  "<config.yaml> [--key value …]\n" +
  "       grpo train <script.ts> [arguments of the script]\n\n" +
  "  What the command line says wins over the file.\n\n" +
  "  grpo train recipe.yaml --model_name_or_path ./model --dataset_name ./data --max_steps 100";

export const trainCommand: Command = {
  get usage() {
    return `${USAGE}\n\n  The keys, which are those of \`trl grpo\`:\n\n${keyLines().join("\n")}`;
  },

  async run(args) {
    const { file, rest } = splitArguments(args);
    if (file !== undefined && isModulePath(file)) return runScript(file, rest);
    await runTraining(resolveSettings(await readGiven(file, rest)));
    return 0;
  },
};

/** Every key that acts, with what it does and its default, as the JSON Schema of the package has them. */
function keyLines(): string[] {
  const { properties } = JSON.parse(readFileSync(path.join(packageRoot, "docs/train.schema.json"), "utf8")) as {
    readonly properties: Readonly<Record<string, { readonly description?: string; readonly default?: unknown }>>;
  };
  return actingKeys().map((name) => {
    const { description, default: value = null } = properties[name] ?? {};
    const parts = [description ?? [], value === null ? [] : `[${JSON.stringify(value)}]`].flat();
    return `  --${name.padEnd(KEY_COLUMNS)} ${parts.join(" ")}`.trimEnd();
  });
}

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
