// Writes the tables of docs/configuration.md, and the type of the options without effect, from the tables of options in lib/grpo/config-fields.ts, lib/run/ and lib/options/ and from
// lib/grpo/config-unsupported.ts, so that they cannot drift; a test compares. Names, comments and section headings come from the
// sources, defaults from a GRPOConfig.
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
} from "../lib/grpo/config-unsupported.js";
import { optionsSchema } from "../lib/options/fields.js";
import { toSnake } from "../lib/options/names.js";
import { optimizers } from "../lib/options/optimizer.js";

const sources = ["grpo/config-fields.ts", "run/options.ts", "options/loss.ts", "options/optimizer.ts"].map((file) =>
  fileURLToPath(new URL(`../lib/${file}`, import.meta.url)),
);
const page = fileURLToPath(new URL("../docs/configuration.md", import.meta.url));
/** What stands above it in the page is written by hand. */
const marker = "<!-- From here on: npx tsx scripts/docs-config.ts -->\n";

export const ignoredOptionsPath = fileURLToPath(new URL("../lib/grpo/options-without-effect.ts", import.meta.url));

/** The page as it should be. */
export function configurationPage(): string {
  const [introduction] = readFileSync(page, "utf8").split(marker);
  return `${introduction}${marker}\n${[actingTables(), optimizerTable(), refusedTable(), valuesTable(), ignoredTable(), renamedTable()].join("\n")}`;
}

export interface Option {
  readonly name: string;
  readonly description: string;
  /** Heading before the option, if a section begins with it. */
  readonly section: string | undefined;
}

/**
 * The properties of the object that `fields` in lib/grpo/config-fields.ts gives, in their order; what it spreads are calls of other
 * tables. A doc comment describes an option, a line comment begins a section.
 */
export function readOptions(): Option[] {
  return optionsOf(tablesIn(sources), "fields");
}

type Tables = ReadonlyMap<string, ts.ObjectLiteralExpression>;

/** Functions that are one object, by their names. */
function tablesIn(files: readonly string[]): Tables {
  const declarations = files
    .map((file) => ts.createSourceFile(file, readFileSync(file, "utf8"), ts.ScriptTarget.Latest, true))
    .flatMap((file) => file.statements.filter(ts.isVariableStatement))
    .flatMap((statement) => statement.declarationList.declarations);
  return new Map(
    declarations.flatMap(({ name, initializer }) => {
      const body = initializer && ts.isArrowFunction(initializer) ? initializer.body : undefined;
      const literal = body && ts.isParenthesizedExpression(body) ? body.expression : undefined;
      return literal && ts.isObjectLiteralExpression(literal) ? [[name.getText(), literal] as const] : [];
    }),
  );
}

function optionsOf(tables: Tables, name: string): Option[] {
  const table = tables.get(name);
  if (table === undefined) {
    throw new Error(`there is no function ${name} of one object any more; scripts/docs-config.ts must follow`);
  }
  return table.properties.flatMap((property): Option[] => {
    const section = commentsBefore(property, ts.SyntaxKind.SingleLineCommentTrivia) || undefined;
    if (ts.isSpreadAssignment(property) && ts.isCallExpression(property.expression)) {
      const [first, ...rest] = optionsOf(tables, property.expression.expression.getText());
      return first === undefined ? [] : [{ ...first, section: section ?? first.section }, ...rest];
    }
    // The value has a column of its own.
    const description = commentsBefore(property, ts.SyntaxKind.MultiLineCommentTrivia).replace(
      / ?Default [^;]+\.$/,
      "",
    );
    return [{ name: property.name?.getText() ?? "", description, section }];
  });
}

function commentsBefore(node: ts.Node, kind: ts.SyntaxKind): string {
  const text = node.getSourceFile().text;
  const comments = ts.getLeadingCommentRanges(text, node.getFullStart()) ?? [];
  return comments
    .filter((range) => range.kind === kind)
    .map((range) => text.slice(range.pos, range.end).replace(/^\/\*\*|^\/\/|\*\/$/g, ""))
    .map((comment) => comment.replaceAll(/\n\s*\*/g, "").trim())
    .join(" ");
}

function actingTables(): string {
  const defaults = new GRPOConfig();
  const lines = readOptions().flatMap(({ name, description, section }, i) => {
    const head = section || i === 0 ? heading(section ?? "The run.") : [];
    return [...head, `| \`${name}\` | ${code(Reflect.get(defaults, name))} | ${cell(description)} |`];
  });
  return `## Options that act\n${lines.join("\n")}\n`;
}

/** What `optimArgs` may hold, by optimizer. */
function optimizerTable(): string {
  const rows = Object.values(optimizers).flatMap(({ optim, own }) => {
    const options = Object.entries(optionsSchema(own)().parse({})).map(([name, value]) => `${toSnake(name)}=${value}`);
    return options.length === 0 ? [] : [`| ${optim.map(code).join(", ")} | \`${options.join(",")}\` |`];
  });
  const text = "The other optimizers have no settings of their own.";
  return `### optimArgs and their defaults\n\n${text}\n\n| optim | optimArgs |\n|---|---|\n${rows.join("\n")}\n`;
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
  const text =
    "TRL has these options, but this version does not. TRL's default is accepted; any other value is an error:";
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
    "Accepted with any value, so that a script can be ported unchanged. The plan that is printed before the first";
  const rest = "step names those that were set.";
  return `## Options without effect\n\n${text}\n${rest}\n\n| option | because |\n|---|---|\n${rows.join("\n")}\n`;
}

function renamedTable(): string {
  const rows = Object.entries(renamedOptions).map(([name, hint]) => `| \`${name}\` | ${cell(hint)} |`);
  return `## Other names\n\nThese are unknown options too; the error says what to write.\n\n| found | instead |\n|---|---|\n${rows.join("\n")}\n`;
}

/** lib/grpo/options-without-effect.ts as it should be: what an editor shows is a comment in a type. */
export function ignoredOptionsFile(): string {
  const member = (name: string, type: string, comment: string) =>
    `  /** @deprecated ${comment}. */\n  readonly ${name}?: ${type};\n`;
  const ignored = Object.entries(withoutEffect).map(([name, why]) => member(name, "unknown", `No effect: ${why}`));
  const refused = Object.entries(unsupportedDefaults).map(([name, value]) => {
    const only = JSON.stringify(value);
    return member(name, `${only} | undefined`, `Not supported yet: TRL's default, ${only}, is the only value taken`);
  });
  return `// Written by scripts/docs-config.ts from config-unsupported.ts: TRL's options that a config takes, so that a script can be ported as it
// is, and that change nothing.

/** TRL's options that change nothing. */
export interface OptionsWithoutEffect {
${[...ignored, ...refused].join("")}}
`;
}

const code = (value: unknown): string => `\`${JSON.stringify(value)}\``;
const cell = (text: string): string => text.replaceAll("|", "\\|");

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(page, configurationPage());
  writeFileSync(ignoredOptionsPath, ignoredOptionsFile());
}
