// Writes what is said of the keys of `grpo train` and `grpo sft`: docs/train.schema.json and docs/sft.schema.json, by which editors complete
// and check a configuration, and the tables of docs/cli.md. Names and types come from lib/recipes/, the descriptions of a config's
// fields from the comments in its source. A test compares.
//
//   npx tsx scripts/docs-train.ts

import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { configurationSchema, keySchemas } from "../lib/recipes/json-schema.js";
import { refusedKeys } from "../lib/recipes/keys.js";
import { type Recipe, SFT, TRAIN } from "../lib/recipes/recipe.js";
import * as configs from "./docs-config.js";

const CONFIGS = { train: configs.GRPO, sft: configs.SFT };
type AnyRecipe = Recipe<never, unknown>;

export const RECIPES: readonly AnyRecipe[] = [TRAIN, SFT];
export const pageFile = fileURLToPath(new URL("../docs/cli.md", import.meta.url));
/** What stands above it in the page is written by hand. */
const marker = "<!-- From here on: npx tsx scripts/docs-train.ts -->\n";

export function schemaFile({ command }: AnyRecipe): string {
  return fileURLToPath(new URL(`../docs/${command}.schema.json`, import.meta.url));
}

/** The schema as it should be. */
export function schemaText(recipe: AnyRecipe): string {
  const options = configs.readOptions(CONFIGS[recipe.command]);
  const descriptions = new Map(options.map(({ name, description }) => [name, description]));
  return `${JSON.stringify(configurationSchema(recipe, descriptions), null, 1)}\n`;
}

/** The page as it should be. */
export function pageText(): string {
  const [introduction] = readFileSync(pageFile, "utf8").split(marker);
  return `${introduction}${marker}\n${[...actingTables(), ignoredTable(), refusedTable()].join("\n")}`;
}

function actingTables(): string[] {
  const schemas = keySchemas(TRAIN);
  const defaults = TRAIN.scriptSchema.partial({ model_name_or_path: true }).parse({});
  return Object.entries(TRAIN.scriptGroups).map(([group, names]) => {
    const rows = names.map((name) => {
      const value = Reflect.get(defaults, name) as unknown;
      const shown = value === undefined ? "" : `\`${JSON.stringify(value)}\``;
      return `| \`${name}\` | ${shown} | ${cell(String(schemas.get(name)?.description ?? ""))} |`;
    });
    return `### ${group}\n\n| key | default | |\n|---|---|---|\n${rows.join("\n")}\n`;
  });
}

function ignoredTable(): string {
  const rows = byReason(Object.entries(TRAIN.ignoredKeys)).map(([why, names]) => `| ${names} | ${cell(why)} |`);
  return `## Keys without effect\n\nNamed in the notice, together with those of [GRPOConfig](configuration.md).\n\n| keys | because |\n|---|---|\n${rows.join("\n")}\n`;
}

function refusedTable(): string {
  const hints = Object.entries(refusedKeys).map(([name, { hint }]): [string, string] => [name, hint]);
  const rows = byReason(hints).map(([hint, names]) => `| ${names} | ${cell(hint)} |`);
  return `## Keys that are refused\n\nThey would change the result; so would those of GRPOConfig that are refused there.\n\n| keys | instead |\n|---|---|\n${rows.join("\n")}\n`;
}

function byReason(entries: readonly (readonly [name: string, reason: string])[]): [reason: string, names: string][] {
  const reasons = new Map<string, string[]>();
  for (const [name, reason] of entries) reasons.set(reason, [...(reasons.get(reason) ?? []), `\`${name}\``]);
  return [...reasons].map(([reason, names]) => [reason, names.join(", ")]);
}

const cell = (text: string): string => text.replaceAll("|", "\\|");

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const recipe of RECIPES) writeFileSync(schemaFile(recipe), schemaText(recipe));
  writeFileSync(pageFile, pageText());
}
