// The TypeScript of the pages type-checks with the project's settings; blocks.test.ts executes it.
import { join } from "node:path";
import ts from "typescript";
import { beforeAll, expect, test } from "vitest";
import { pages, programsOf, root } from "./pages.js";

/** Every program as a module of the project, by the name of a file that is not there. Lines are those of the page. */
function modules(): Map<string, string> {
  const programs = pages().flatMap((page) => programsOf(page, "ts"));
  return new Map(programs.map(({ file, line, code }) => [join(root, `${file}.${line}.ts`), "\n".repeat(line) + code]));
}

function readmeProgram(): string {
  return [...modules()].find(([name]) => name.startsWith(join(root, "README.md.")))?.[1] ?? "";
}

function typeErrors(sources: ReadonlyMap<string, string>): string[] {
  const { config } = ts.readConfigFile(join(root, "tsconfig.json"), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent({ ...config, include: [], files: [] }, ts.sys, root);
  options.paths = {}; // "grpo" is the package
  const host = ts.createCompilerHost(options);
  const { readFile, fileExists } = host;
  host.readFile = (name) => sources.get(name) ?? readFile(name);
  host.fileExists = (name) => sources.has(name) || fileExists(name);
  const program = ts.createProgram([...sources.keys()], options, host);
  const found = [...sources.keys()].flatMap((name) => ts.getPreEmitDiagnostics(program, program.getSourceFile(name)));
  return found.map((diagnostic) => {
    const text = ts.flattenDiagnosticMessageText(diagnostic.messageText, "\n");
    const { line } = diagnostic.file?.getLineAndCharacterOfPosition(diagnostic.start ?? 0) ?? { line: 0 };
    return `${diagnostic.file?.fileName ?? ""} (page's line ${line + 1}): ${text}`;
  });
}

// One program for all: making one takes longer than checking it.
const sources = modules();
const readme = readmeProgram();
const wrong = join(root, "wrong.ts");
let found: string[] = [];

beforeAll(() => {
  const misused = readme.replace("perSample<Row>", "perSample<Row & { answer: string }>");
  found = typeErrors(new Map([...sources, [wrong, misused]]));
});

test("every TypeScript block of the pages type-checks against the declarations that are published", () => {
  expect(sources.size).toBeGreaterThanOrEqual(15);
  expect(found.filter((error) => !error.startsWith(wrong))).toEqual([]);
});

test("the README's program does not compile with a reward that asks for a column which the rows do not have", () => {
  expect(found.find((error) => error.startsWith(wrong))).toContain("Property 'answer' is missing");
});
