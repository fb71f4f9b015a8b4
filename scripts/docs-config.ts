// Writes the tables of docs/configuration.md from lib/trainer/config.ts and lib/trainer/config-unsupported.ts, so that they cannot drift; a
// test compares. Names, comments and section headings come from the source of the schema, defaults from a GRPOConfig.
//
//   npx tsx scripts/docs-config.ts

import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { GRPOConfig } from "grpo";
import ts from "typescript";
import {
  renamedOptions,
  unsupportedDefaults,
  unsupportedValues,
  withoutEffect,
} from "../lib/trainer/config-unsupported.js";

const source = fileURLToPath(new URL("../lib/trainer/config.ts", import.meta.url));
const page = fileURLToPath(new URL("../docs/configuration.md", import.meta.url));
/** What stands above it in the page is written by hand. */
const marker = "<!-- From here on: npx tsx scripts/docs-config.ts -->\n";

/** The page as it should be. */
export function configurationPage(): string {
  const [introduction] = readFileSync(page, "utf8").split(marker);
  return `${introduction}${marker}\n${[actingTables(), refusedTable(), valuesTable(), ignoredTable(), renamedTable()].join("\n")}`;
}

export interface Option {
  readonly name: string;
  readonly description: string;
  /** Heading before the option, if a section begins with it. */
  readonly section: string | undefined;
}

/** The properties of the object that `fields` in lib/trainer/config.ts gives. A doc comment describes an option, a line comment begins a section. */
export function readOptions(): Option[] {
  const text = readFileSync(source, "utf8");
  const file = ts.createSourceFile(source, text, ts.ScriptTarget.Latest, true);
  return schemaFields(file).properties.map((property) => {
    const comments = ts.getLeadingCommentRanges(text, property.getFullStart()) ?? [];
    const words = (kind: ts.SyntaxKind) =>
      comments
        .filter((range) => range.kind === kind)
        .map((range) =>
          text
            .slice(range.pos, range.end)
            .replace(/^\/\*\*|^\/\/|\*\/$/g, "")
            .trim(),
        );
    const section = words(ts.SyntaxKind.SingleLineCommentTrivia).join(" ");
    const description = words(ts.SyntaxKind.MultiLineCommentTrivia).join(" ");
    return { name: property.name?.getText() ?? "", description, section: section || undefined };
  });
}

function schemaFields(file: ts.SourceFile): ts.ObjectLiteralExpression {
  const declarations = file.statements.filter(ts.isVariableStatement).flatMap((s) => s.declarationList.declarations);
  const value = declarations.find(({ name }) => name.getText() === "fields")?.initializer;
  const body = value && ts.isArrowFunction(value) ? value.body : undefined;
  const literal = body && ts.isParenthesizedExpression(body) ? body.expression : undefined;
  if (literal && ts.isObjectLiteralExpression(literal)) return literal;
  throw new Error(`${source} has no function "fields" of one object any more; scripts/docs-config.ts must follow it`);
}

function actingTables(): string {
  const defaults = new GRPOConfig();
  const lines = readOptions().flatMap(({ name, description, section }, i) => {
    const head = section || i === 0 ? heading(section ?? "The run.") : [];
    return [...head, `| \`${name}\` | ${code(Reflect.get(defaults, name))} | ${cell(description)} |`];
  });
  return `## Options that act\n${lines.join("\n")}\n`;
}

/** "Batch. One optimizer step takes …" → a heading, its sentence, and the head of a table. */
function heading(section: string): string[] {
  const [title = "", ...rest] = section.split(". ");
  const sentence = rest.join(". ").trim();
  const table = ["", "| option | default | |", "|---|---|---|"];
  return ["", `### ${title.replace(/\.$/, "")}`, ...(sentence ? ["", sentence] : []), ...table];
}

function refusedTable(): string {
  const rows = Object.entries(unsupportedDefaults).map(([name, value]) => `\`${name}\` ${code(value)}`);
  const text = "TRL has them and this version does not. TRL's default is accepted, any other value is an error:";
  return `## Options that are refused\n\n${text}\n\n${rows.join(" · ")}\n`;
}

function valuesTable(): string {
  const rows = Object.entries(unsupportedValues).map(
    ([name, values]) => `| \`${name}\` | ${values.map((value) => `\`${value}\``).join(", ")} |`,
  );
  return `Values that are refused:\n\n| option | values |\n|---|---|\n${rows.join("\n")}\n`;
}

function ignoredTable(): string {
  const rows = Object.entries(withoutEffect).map(([name, why]) => `| \`${name}\` | ${cell(why)} |`);
  const text =
    "Accepted with any value, so that a script can be ported as it is. The plan that is printed before the first";
  const rest =
    "step names those that were set. Names that begin with `vllm` belong here too: the engine samples by itself.";
  return `## Options without effect\n\n${text}\n${rest}\n\n| option | because |\n|---|---|\n${rows.join("\n")}\n`;
}

function renamedTable(): string {
  const rows = Object.entries(renamedOptions).map(([name, hint]) => `| \`${name}\` | ${cell(hint)} |`);
  return `## Other names\n\nUnknown options; the error says what to write.\n\n| found | instead |\n|---|---|\n${rows.join("\n")}\n`;
}

const code = (value: unknown): string => `\`${JSON.stringify(value)}\``;
const cell = (text: string): string => text.replaceAll("|", "\\|");

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(page, configurationPage());
