// What an editor shows beside an option: the comment of the table that the option stands in, through every type that is made of
// it, in the declarations as they are published. And the default that a comment names is the one that acts.
import { join } from "node:path";
import ts from "typescript";
import { beforeAll, describe, expect, test } from "vitest";
import { optionsSchema } from "../../lib/options/fields.js";
import { lossFields, lossSchema } from "../../lib/options/loss.js";
import { optimizers, stepFields } from "../../lib/options/optimizer.js";
import { root } from "./pages.js";

const types = ["GRPOConfig", "GRPOConfigOptions", "LossOptions", "OptimizerStepOptions"] as const;
type TypeName = (typeof types)[number];

/** Comments by type and property. */
let comments: Readonly<Record<TypeName, ReadonlyMap<string, string>>>;

beforeAll(() => {
  const file = join(root, "editor-help.ts");
  const source = `import type { ${types.join(", ")} } from "grpo";\n${types.map((name) => `export type ${name}_ = ${name};`).join("\n")}`;
  const { config } = ts.readConfigFile(join(root, "tsconfig.json"), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent({ ...config, include: [], files: [] }, ts.sys, root);
  options.paths = {}; // "grpo" is the package
  const host = ts.createCompilerHost(options);
  const { readFile, fileExists } = host;
  host.readFile = (name) => (name === file ? source : readFile(name));
  host.fileExists = (name) => name === file || fileExists(name);
  const program = ts.createProgram([file], options, host);
  const checker = program.getTypeChecker();
  const aliases = program.getSourceFile(file)?.statements.filter(ts.isTypeAliasDeclaration) ?? [];
  comments = Object.fromEntries(
    aliases.map((alias) => {
      const properties = checker.getTypeAtLocation(alias).getProperties();
      const text = (property: ts.Symbol) => ts.displayPartsToString(property.getDocumentationComment(checker));
      return [alias.name.text.slice(0, -1), new Map(properties.map((property) => [property.name, text(property)]))];
    }),
  ) as unknown as typeof comments;
});

const lossNames = Object.keys(lossSchema().shape);
const ownNames = Object.keys(optionsSchema(lossFields)().shape);

test.each([
  ["LossOptions", lossNames],
  ["GRPOConfig", ownNames],
  ["GRPOConfigOptions", ownNames],
  ["OptimizerStepOptions", [...Object.keys(optionsSchema(stepFields)().shape), "momentum", "nsSteps", "adjustLrFn"]],
] as const)("%s tells of every option", (type, names) => {
  expect(names.filter((name) => !comments[type].get(name))).toEqual([]);
});

describe("the default that a comment names is the one that acts", () => {
  /** "… Default 0.2." or "… Default 0: the tokens of this batch." */
  const named = (comment: string | undefined) => /Default ("[^"]*"|[^\s:]+?)[.:]?(\s|$)/.exec(comment ?? "")?.[1];

  test("of the loss", () => {
    const defaults = Object.entries(lossSchema().parse({}));
    expect(lossNames.map((name) => [name, named(comments.LossOptions.get(name))])).toEqual(
      defaults.map(([name, value]) => [name, JSON.stringify(value)]),
    );
  });

  test("of a step", () => {
    const { learningRate: _, ...defaults } = optionsSchema(stepFields)().parse({ learningRate: 1 });
    const { nsSteps, adjustLrFn } = optionsSchema(optimizers.muon.own)().parse({});
    for (const [name, value] of Object.entries({ ...defaults, nsSteps, adjustLrFn })) {
      const found = named(comments.OptimizerStepOptions.get(name));
      expect([name, JSON.parse(found ?? "null")]).toEqual([name, value]);
    }
  });
});
