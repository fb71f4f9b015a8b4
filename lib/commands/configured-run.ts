// What `grpo train` and `grpo sft` have in common: the file, the keys that the command line adds, and the help that lists them all.

import { readFileSync } from "node:fs";
import path from "node:path";
import { GrpoError } from "../errors.js";
import { isModulePath } from "../modules.js";
import { packageRoot } from "../package-files.js";
import { actingKeys } from "../recipes/json-schema.js";
import type { CommonSettings } from "../recipes/keys.js";
import { readGiven } from "../recipes/read.js";
import type { Recipe } from "../recipes/recipe.js";
import { runScript } from "../recipes/run-script.js";
import { type RunSettings, resolveSettings } from "../recipes/settings.js";
import type { Command } from "./command.js";

const KEY_COLUMNS = 32;

/** A command that runs a configuration, or a training script of one's own. */
export function configuredRun<Script extends CommonSettings, Args>(
  recipe: Recipe<Script, Args>,
  run: (settings: RunSettings<Script, Args>) => Promise<void>,
): Command {
  const { command, trlCommand } = recipe;
  return {
    get usage() {
      const usage =
        "<config.yaml> [--key value …]\n" +
        `       grpo ${command} <script.ts> [arguments of the script]\n\n` +
        "  What the command line says wins over the file.\n\n" +
        `  grpo ${command} recipe.yaml --model_name_or_path ./model --dataset_name ./data --max_steps 100`;
      return `${usage}\n\n  The keys, which are those of \`${trlCommand}\`:\n\n${keyLines(recipe).join("\n")}`;
    },

    async run(args) {
      const { file, rest } = splitArguments(command, args);
      if (file !== undefined && isModulePath(file)) return runScript(file, rest);
      await run(resolveSettings(recipe, await readGiven(recipe, file, rest)));
      return 0;
    },
  };
}

/** Every key that acts, with what it does and its default, as the JSON Schema of the package has them. */
function keyLines(recipe: Recipe<never, unknown>): string[] {
  const file = path.join(packageRoot, `docs/${recipe.command}.schema.json`);
  const { properties } = JSON.parse(readFileSync(file, "utf8")) as {
    readonly properties: Readonly<Record<string, { readonly description?: string; readonly default?: unknown }>>;
  };
  return actingKeys(recipe).map((name) => {
    const { description, default: value = null } = properties[name] ?? {};
    const parts = [description ?? [], value === null ? [] : `[${JSON.stringify(value)}]`].flat();
    return `  --${name.padEnd(KEY_COLUMNS)} ${parts.join(" ")}`.trimEnd();
  });
}

/** The file comes first, or after --config as for TRL's commands, or not at all. */
function splitArguments(
  command: string,
  args: readonly string[],
): { file: string | undefined; rest: readonly string[] } {
  const [first, second] = args;
  if (first === undefined) {
    throw new GrpoError("BAD_OPTION", "what is there to train?", {
      hint: `grpo ${command} <config.yaml or script.ts>`,
    });
  }
  if (first === "--config" && second !== undefined) return { file: second, rest: args.slice(2) };
  if (first.startsWith("--config=")) return { file: first.slice("--config=".length), rest: args.slice(1) };
  if (first.startsWith("--")) return { file: undefined, rest: args };
  if (isModulePath(first) || /\.(ya?ml|json)$/.test(first)) return { file: first, rest: args.slice(1) };
  throw new GrpoError("BAD_OPTION", `expected a configuration (.yaml) or a script (.ts, .js), found ${first}`);
}
