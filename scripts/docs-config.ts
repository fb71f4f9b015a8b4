// Writes the tables of docs/configuration.md and docs/sft.md, and the types of the options without effect, from the tables of options in
// lib/grpo/, lib/sft/, lib/run/ and lib/options/, so that they cannot drift; a test compares. Names, comments and section headings come
// from the sources, defaults from a config.
//
//   npx tsx scripts/docs-config.ts

import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { GRPOConfig, SFTConfig } from "grpo";
import ts from "typescript";
import * as grpoForeign from "../lib/grpo/config-unsupported.js";
import { optionsSchema } from "../lib/options/fields.js";
import { toSnake } from "../lib/options/names.js";
import { optimizers } from "../lib/options/optimizer.js";
import type { ForeignOptions } from "../lib/run/read-options.js";
import * as sftForeign from "../lib/sft/config-unsupported.js";

const pathOf = (file: string) => fileURLToPath(new URL(`../${file}`, import.meta.url));
/** Tables that configs have in common. */
const SHARED = ["lib/run/options.ts", "lib/run/trained-model.ts", "lib/options/loss.ts", "lib/options/optimizer.ts"];
/** What stands above it in a page is written by hand. */
const MARKER = "<!-- From here on: npx tsx scripts/docs-config.ts -->\n";

/** A config, and what is written about it. */
export interface DocumentedConfig {
  readonly defaults: () => object;
  readonly foreign: ForeignOptions;
  /** Where its tables of options stand. */
  readonly sources: readonly string[];
  readonly page: string;
  /** Its type of the options without effect. */
  readonly ignoredOptions: string;
}

export const GRPO: DocumentedConfig = {
  defaults: () => new GRPOConfig(),
  foreign: grpoForeign,
  sources: ["lib/grpo/config-fields.ts", ...SHARED].map(pathOf),
  page: pathOf("docs/configuration.md"),
  ignoredOptions: pathOf("lib/grpo/options-without-effect.ts"),
};

export const SFT: DocumentedConfig = {
  defaults: () => new SFTConfig(),
  foreign: sftForeign,
  sources: ["lib/sft/config-fields.ts", "lib/options/sft-loss.ts", ...SHARED].map(pathOf),
  page: pathOf("docs/sft.md"),
  ignoredOptions: pathOf("lib/sft/options-without-effect.ts"),
};

/** The page as it should be. */
export function configurationPage(config: DocumentedConfig): string {
  const [introduction] = readFileSync(config.page, "utf8").split(MARKER);
  const tables = [
    actingTables(config),
    ...(config === GRPO ? [optimizerTable()] : []),
    refusedTable(config),
    valuesTable(config),
    ignoredTable(config),
    renamedTable(config),
  ];
  return `${introduction}${MARKER}\n${tables.join("\n")}`;
}

export interface Option {
  readonly name: string;
  readonly description: string;
  /** Heading before the option, if a section begins with it. */
  readonly section: string | undefined;
}

/**
 * The properties of the object that `fields` in its config-fields.ts gives, in their order; what it spreads are calls of other tables, and
 * of two of one name the later counts. A doc comment describes an option, a line comment begins a section.
 */
export function readOptions({ sources }: DocumentedConfig): Option[] {
  const options = optionsOf(tablesIn(sources), "fields");
  const latest = new Map(options.map((option) => [option.name, option.description]));
  const seen = new Set<string>();
  return options.flatMap((option) => {
    if (seen.has(option.name)) return [];
    seen.add(option.name);
    return [{ ...option, description: latest.get(option.name) ?? option.description }];
  });
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

function actingTables(config: DocumentedConfig): string {
  const defaults = config.defaults();
  const lines = readOptions(config).flatMap(({ name, description, section }, i) => {
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

function refusedTable({ foreign }: DocumentedConfig): string {
  const rows = Object.entries(foreign.unsupportedDefaults).map(([name, value]) => `\`${name}\` ${code(value)}`);
  const text =
    "TRL has these options, but this version does not. TRL's default is accepted; any other value is an error:";
  return `## Options that are refused\n\n${text}\n\n${rows.join(" · ")}\n`;
}

function valuesTable({ foreign }: DocumentedConfig): string {
  const rows = Object.entries(foreign.unsupportedValues).map(
    ([name, values]) => `| \`${name}\` | ${values.map((value) => `\`${value}\``).join(", ")} |`,
  );
  return `Values that are refused:\n\n| option | values |\n|---|---|\n${rows.join("\n")}\n`;
}

function ignoredTable({ foreign }: DocumentedConfig): string {
  const rows = Object.entries(foreign.withoutEffect).map(([name, why]) => `| \`${name}\` | ${cell(why)} |`);
  const text =
    "Accepted with any value, so that a script can be ported unchanged. The plan that is printed before the first";
  const rest = "step names those that were set.";
  return `## Options without effect\n\n${text}\n${rest}\n\n| option | because |\n|---|---|\n${rows.join("\n")}\n`;
}

function renamedTable({ foreign }: DocumentedConfig): string {
  const rows = Object.entries(foreign.renamedOptions).map(([name, hint]) => `| \`${name}\` | ${cell(hint)} |`);
  return `## Other names\n\nThese are unknown options too; the error says what to write.\n\n| found | instead |\n|---|---|\n${rows.join("\n")}\n`;
}

/** Its options-without-effect.ts as it should be: what an editor shows is a comment in a type. */
export function ignoredOptionsFile({ foreign }: DocumentedConfig): string {
  const member = (name: string, type: string, comment: string) =>
    `  /** @deprecated ${comment}. */\n  readonly ${name}?: ${type};\n`;
  const ignored = Object.entries(foreign.withoutEffect).map(([name, why]) =>
    member(name, "unknown", `No effect: ${why}`),
  );
  const refused = Object.entries(foreign.unsupportedDefaults).map(([name, value]) => {
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
  for (const config of [GRPO, SFT]) {
    writeFileSync(config.ignoredOptions, ignoredOptionsFile(config));
    writeFileSync(config.page, configurationPage(config));
  }
}
