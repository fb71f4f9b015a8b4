// The TypeScript of the pages: every block type-checks with the project's settings, and the README's program runs.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";
import { expect, test } from "vitest";
import { codeBlocks, pages, root } from "./pages.js";

/** Every block as a module of the project, by the name of a file that is not there. */
function modules(): Map<string, string> {
  const blocks = pages().flatMap(({ file, text }) =>
    codeBlocks(text, "ts").map((code, i): [string, string] => [join(root, `${file}.${i}.ts`), code]),
  );
  return new Map(blocks);
}

function readmeProgram(): string {
  return modules().get(join(root, "README.md.0.ts")) ?? "";
}

function typeErrors(sources: ReadonlyMap<string, string>): string[] {
  const { config } = ts.readConfigFile(join(root, "tsconfig.json"), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent({ ...config, include: [], files: [] }, ts.sys, root);
  const host = ts.createCompilerHost(options);
  const { readFile, fileExists } = host;
  host.readFile = (name) => sources.get(name) ?? readFile(name);
  host.fileExists = (name) => sources.has(name) || fileExists(name);
  const program = ts.createProgram([...sources.keys()], options, host);
  const found = [...sources.keys()].flatMap((name) => ts.getPreEmitDiagnostics(program, program.getSourceFile(name)));
  return found.map((diagnostic) => {
    const text = ts.flattenDiagnosticMessageText(diagnostic.messageText, "\n");
    return `${diagnostic.file?.fileName ?? ""}: ${text}`;
  });
}

test("every TypeScript block of the pages type-checks", () => {
  const sources = modules();
  expect(sources.size).toBeGreaterThanOrEqual(4);
  expect(typeErrors(sources)).toEqual([]);
});

test("the README's program does not compile with a reward that asks for a column which the rows do not have", () => {
  const program = readmeProgram();
  const wrong = program.replace("perSample<Row>", "perSample<Row & { answer: string }>");
  expect(wrong).not.toBe(program);
  expect(typeErrors(new Map([[join(root, "wrong.ts"), wrong]])).join()).toContain("Property 'answer' is missing");
});

test("the README's program trains and saves an adapter", () => {
  const program = readmeProgram();
  mkdirSync(join(root, "build"), { recursive: true });
  // Below the root, where "grpo" means this package.
  const folder = mkdtempSync(join(root, "build", "readme-"));
  try {
    const short = program
      .replace(/maxSteps: \d+/, "maxSteps: 2")
      .replace(/outputDir: "[^"]+"/, `outputDir: "${folder}"`);
    expect(short).not.toBe(program);
    const { outputText } = ts.transpileModule(short, {
      compilerOptions: { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext },
    });
    const file = join(folder, "program.mjs");
    writeFileSync(file, outputText);
    const { status, stderr, stdout } = spawnSync(process.execPath, [file], { cwd: root, encoding: "utf8" });
    expect(stderr).toBe("");
    expect(status).toBe(0);
    expect(stdout).toMatch(/^2\/2 {2}reward \d\.\d{3}/m);
    expect(existsSync(join(folder, "adapter_model.safetensors"))).toBe(true);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
