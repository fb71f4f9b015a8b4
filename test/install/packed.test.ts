// What npm would publish, in an empty project: the README's program and every example run there, and so does a bundle of them. The
// files are those that `npm pack` names; dependencies are this checkout's, and so is the engine, which prebuilds would bring.
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { buildSync } from "esbuild";
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { codeBlocks, root } from "../docs/pages.js";
import { temporaryFolder } from "./fake-libtorch.js";

const project = mkdtempSync(join(tmpdir(), "grpo-packed-"));
const examples = readdirSync(join(root, "examples"));
let packed: string[] = [];

function namesPacked(): string[] {
  const args = ["pack", "--dry-run", "--json", "--ignore-scripts"];
  const { stdout } = spawnSync("npm", args, { cwd: root, encoding: "utf8", maxBuffer: 1 << 26 });
  const [{ files }] = JSON.parse(stdout) as [{ files: { path: string }[] }];
  return files.map(({ path }) => path);
}

function run(args: readonly string[], cwd = project) {
  const env = { ...process.env, HF_ALLOW_CODE_EVAL: "1" };
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd, encoding: "utf8", env });
  return { status, stdout, stderr };
}

/** Rows of the bundled data in GSM8K's columns, since the test is without a network. */
function writeGsm8k(file: string): void {
  const lines = readFileSync(join(root, "scripts/assets/tiny-qwen2/test.jsonl"), "utf8")
    .trim()
    .split("\n")
    .slice(0, 16);
  const rows = lines.map((line) => {
    const { problem, solution } = JSON.parse(line) as { problem: string; solution: string };
    return JSON.stringify({ question: problem, answer: `A sum.\n#### ${solution.replaceAll("$", "")}` });
  });
  writeFileSync(file, rows.join("\n"));
}

beforeAll(() => {
  packed = namesPacked();
  const modules = join(project, "node_modules");
  for (const name of packed) cpSync(join(root, name), join(modules, "grpo", name));
  mkdirSync(join(modules, "grpo/build"));
  symlinkSync(join(root, "build/Release"), join(modules, "grpo/build/Release"));
  for (const name of readdirSync(join(root, "node_modules"))) {
    symlinkSync(join(root, "node_modules", name), join(modules, name));
  }
  writeFileSync(join(project, "package.json"), JSON.stringify({ private: true, type: "module" }));
});

afterAll(() => rmSync(project, { recursive: true, force: true }));

test("has what the pages point at, and nothing of the checkout alone", () => {
  const wanted = [
    "docs/examples.md",
    "docs/assets/report.png",
    "scripts/train-gsm8k.ts",
    "scripts/train-numina-math.ts",
  ];
  expect(packed).toEqual(expect.arrayContaining([...examples.map((name) => `examples/${name}`), ...wanted]));
  expect(packed.filter((name) => /^(test|build|\.)|node_modules/.test(name))).toEqual([]);
});

test("the README's program trains", () => {
  const [program = ""] = codeBlocks(readFileSync(join(project, "node_modules/grpo/README.md"), "utf8"), "ts");
  writeFileSync(join(project, "readme.ts"), program.replace("maxSteps: 50", "maxSteps: 2"));
  const { status, stdout, stderr } = run(["--import", "tsx", "readme.ts"]);
  expect(stderr).toBe("");
  expect(stdout).toMatch(/^2\/2 +reward /m);
  expect(status).toBe(0);
  expect(readdirSync(join(project, "runs/sums"))).toContain("adapter_model.safetensors");
});

test("a CommonJS program loads it", () => {
  const program = `const { CausalLM, tinyModel } = require("grpo");
    CausalLM.fromPretrained(tinyModel).then((model) => model.dispose());`;
  writeFileSync(join(project, "program.cjs"), program);
  expect(run(["program.cjs"])).toMatchObject({ status: 0, stdout: "" });
});

const OWN_ARGUMENTS: Readonly<Record<string, readonly string[]>> = {
  "gsm8k.ts": ["--data", "gsm8k.jsonl"],
  "calculator.ts": ["--lessons", "1"],
};

describe("an example that is copied", () => {
  it.each(examples)("%s trains", (name) => {
    cpSync(join(project, "node_modules/grpo/examples", name), join(project, name));
    writeGsm8k(join(project, "gsm8k.jsonl"));
    const own = OWN_ARGUMENTS[name] ?? [];
    const { status, stdout, stderr } = run([
      "--import",
      "tsx",
      name,
      "--steps",
      "1",
      "--output",
      `runs/${name}`,
      ...own,
    ]);
    expect(stderr).toBe("");
    expect(stdout).toMatch(/^1\/1 +(reward|loss) -?\d/m);
    expect(status).toBe(0);
    expect(readdirSync(join(project, "runs", name))).toContain(
      name === "calculator.ts" ? "model.safetensors" : "adapter_model.safetensors",
    );
  });
});

describe("a bundle", () => {
  const source = 'import { CausalLM, tinyModel } from "grpo"; (await CausalLM.fromPretrained(tinyModel)).dispose();';

  function bundle(file: string): void {
    const stdin = { contents: source, resolveDir: project };
    buildSync({ stdin, bundle: true, platform: "node", format: "esm", outfile: file, logLevel: "error" });
  }

  it("finds the package that is installed above it", () => {
    const file = join(project, "out/bundle.mjs");
    bundle(file);
    expect(run([file])).toEqual({ status: 0, stdout: "", stderr: "" });
  });

  it("says what to do where no package is installed", () => {
    const file = join(temporaryFolder(), "bundle.mjs");
    bundle(file);
    const { status, stderr } = run([file], dirname(file));
    expect(status).toBe(1);
    expect(stderr).toContain(`the files of the package grpo are not there; looked upwards from ${dirname(file)}`);
    expect(stderr).toContain("esbuild: --external:grpo");
  });
});
