// The texts of GrpoErrors keep the rules of CONTRIBUTING.md ("Messages") as far as the sources show them: the arguments of `new
// GrpoError` and of the functions that return one, with the constants of the same file that are passed there.
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { expect, test } from "vitest";

const lib = fileURLToPath(new URL("../../lib/", import.meta.url));
const errors = new Set(["GrpoError", "ApiError", "RewardError", "HubRefusal", "HubUnreachable"]);
/** Names that are spelled like the first word of a sentence. */
const names = new Set(["Node", "Piston", "Python"]);

const parse = (file: string, text: string) => ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
const files = readdirSync(lib, { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".ts"))
  .map((file) => parse(file, readFileSync(path.join(lib, file), "utf8")));
const makers = new Set(files.flatMap(makersIn));

/** The functions of a file that return an error. */
function makersIn(file: ts.SourceFile): string[] {
  return nodes(file).flatMap((node) => {
    if (!ts.isFunctionDeclaration(node) && !ts.isArrowFunction(node)) return [];
    if (!node.type || !errors.has(node.type.getText())) return [];
    return nameOf(ts.isArrowFunction(node) ? node.parent : node);
  });
}

function nameOf(node: ts.Node): string[] {
  return (ts.isFunctionDeclaration(node) || ts.isVariableDeclaration(node)) && node.name ? [node.name.getText()] : [];
}

function nodes(node: ts.Node, found: ts.Node[] = []): ts.Node[] {
  found.push(node);
  ts.forEachChild(node, (child) => void nodes(child, found));
  return found;
}

/** The texts that go into errors of a file, with … for what is computed. */
function textsOf(file: ts.SourceFile): string[] {
  const constants = new Map<string, ts.Expression>();
  for (const node of nodes(file)) {
    if (ts.isVariableDeclaration(node) && node.initializer) constants.set(node.name.getText(), node.initializer);
  }
  return nodes(file).flatMap((node) => {
    const makes =
      (ts.isNewExpression(node) && errors.has(node.expression.getText())) ||
      (ts.isCallExpression(node) && makers.has(node.expression.getText()));
    return makes ? (node.arguments ?? []).flatMap((argument) => texts(argument, constants)) : [];
  });
}

function texts(node: ts.Expression, constants: ReadonlyMap<string, ts.Expression>): string[] {
  if (ts.isStringLiteralLike(node)) return [node.text];
  if (ts.isTemplateExpression(node)) {
    return [node.templateSpans.reduce((text, { literal }) => `${text}…${literal.text}`, node.head.text)];
  }
  if (ts.isConditionalExpression(node)) {
    return [...texts(node.whenTrue, constants), ...texts(node.whenFalse, constants)];
  }
  if (ts.isBinaryExpression(node)) {
    const [left, right] = [texts(node.left, constants), texts(node.right, constants)];
    if (node.operatorToken.kind !== ts.SyntaxKind.PlusToken) return [...left, ...right];
    return [`${left[0] ?? "…"}${right[0] ?? "…"}`];
  }
  if (ts.isObjectLiteralExpression(node)) {
    return node.properties.flatMap((property) => {
      const isHint = property.name?.getText() === "hint";
      if (isHint && ts.isPropertyAssignment(property)) return texts(property.initializer, constants);
      if (isHint && ts.isShorthandPropertyAssignment(property)) return texts(property.name, constants);
      return ts.isSpreadAssignment(property) ? texts(property.expression, constants) : [];
    });
  }
  if (ts.isParenthesizedExpression(node)) return texts(node.expression, constants);
  const value = ts.isIdentifier(node) ? constants.get(node.text) : undefined;
  return value && !ts.isIdentifier(value) ? texts(value, constants) : [];
}

/** What is wrong with a text, or nothing. */
function faultOf(text: string): string | undefined {
  if (/[^.]\.$/.test(text)) return "ends with a full stop";
  if (/[^.…][.?!] \p{Lu}/u.test(text)) return "has two sentences";
  const [, first] = /^(\p{Lu}\p{Ll}*)(?= |$)/u.exec(text) ?? [];
  return first !== undefined && text.includes(" ") && !names.has(first) ? "begins with a capital" : undefined;
}

const faultsOf = (file: ts.SourceFile) => {
  const found = textsOf(file).map((text) => ({ file: file.fileName, text, fault: faultOf(text) }));
  return found.filter(({ fault }) => fault !== undefined);
};

test("no message or hint of an error ends with a full stop, begins with a capital, or has two sentences", () => {
  expect(files.flatMap(textsOf).length).toBeGreaterThan(350);
  expect(files.flatMap(faultsOf)).toEqual([]);
});

test.each([
  ["a full stop", 'new GrpoError("BAD_INPUT", "the row is empty.")', "ends with a full stop"],
  ["a full stop after a value", "new GrpoError(code, `found ${" + "value}.`)", "ends with a full stop"],
  ["a capital", 'new GrpoError("BAD_INPUT", "Expected " + wanted)', "begins with a capital"],
  ["two sentences", 'new GrpoError("BAD_INPUT", "it is closed. Open it")', "has two sentences"],
  ["a hint", 'new GrpoError("BAD_INPUT", "x", { ...(near ? { hint: "Use y" } : {}) })', "begins with a capital"],
  ["a constant", 'const hint = "use y."; new GrpoError("BAD_INPUT", "x", { hint })', "ends with a full stop"],
])("%s is found", (_, source, fault) => {
  expect(faultsOf(parse("x.ts", source))).toEqual([expect.objectContaining({ fault })]);
});

test("names and what they are followed by stay as they are spelled", () => {
  const source =
    'new GrpoError("BAD_INPUT", "GRPOConfig: maxSteps 1.5 …"); new GrpoError("BAD_INPUT", "Node 18 is too old")';
  expect(faultsOf(parse("x.ts", source))).toEqual([]);
});
