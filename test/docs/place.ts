// Where the blocks of the pages run: a folder with what a reader of the pages would have by then, and a Hub that serves the bundled
// model and small data sets under the names that the pages use.

import { spawn } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { publishedTemplate } from "../support/chat-formats.js";
import type { HubServer } from "../support/hub-server.js";
import { serveNotebook } from "../support/notebook.js";
import { HUB_VARIABLES } from "../support/use-hub.js";
import { blocksOf, pages, root } from "./pages.js";

const tiny = join(root, "scripts/assets/tiny-qwen2");
const standIn = join(root, "test/docs/stand-in.mjs");

/** Rows of the bundled data in GSM8K's columns. */
function gsm8kRows(count: number): string {
  const lines = readFileSync(join(tiny, "train.jsonl"), "utf8").trim().split("\n").slice(0, count);
  const rows = lines.map((line) => {
    const { problem, solution } = JSON.parse(line) as { problem: string; solution: string };
    return JSON.stringify({ question: problem, answer: `A sum.\n#### ${solution.replaceAll("$", "")}` });
  });
  return `${rows.join("\n")}\n`;
}

/** Conversations, in the column of TRL's data. */
function chatRows(count: number): string {
  const row = (i: number) => [
    { role: "user", content: `${i} + 1?` },
    { role: "assistant", content: `${i + 1}` },
  ];
  return Array.from({ length: count }, (_, i) => `${JSON.stringify({ messages: row(i) })}\n`).join("");
}

/** Problems for programs, in the columns of open-r1's data. */
function programRows(count: number): string {
  const tests = { language: "python", test_cases: [{ input: "1 2\n", output: "3\n" }] };
  const row = JSON.stringify({ problem_statement: "Add two numbers.", verification_info: tests });
  return `${row}\n`.repeat(count);
}

/** A folder below the root, where "grpo" means this package and tsx is found. */
export function makePlace(): string {
  mkdirSync(join(root, "build"), { recursive: true });
  const folder = mkdtempSync(join(root, "build", "pages-"));
  // A clone of the project, with the files that the pages speak of beside it.
  for (const name of ["scripts", "examples", "test", "docs", "tsconfig.json"])
    symlinkSync(join(root, name), join(folder, name));
  // And the package, as npm installs it.
  mkdirSync(join(folder, "node_modules"));
  symlinkSync(root, join(folder, "node_modules", "grpo"));
  symlinkSync(tiny, join(folder, "SmolLM2-135M-Instruct"));
  const judge = join(folder, "my-reward-model");
  cpSync(join(root, "test/fixtures/golden/models/reward-qwen2"), judge, { recursive: true });
  for (const file of ["tokenizer.json", "tokenizer_config.json"]) cpSync(join(tiny, file), join(judge, file));
  writeFileSync(join(folder, "train.jsonl"), gsm8kRows(40));
  writeFileSync(join(folder, "train-gsm8k.ts"), readFileSync(join(root, "scripts/train-gsm8k.ts")));
  symlinkSync(tiny, join(folder, "model"));
  symlinkSync(join(root, "test/docs/notes-server.mjs"), join(folder, "notes-server.mjs"));
  mkdirSync(join(folder, "data"));
  writeFileSync(join(folder, "data/train.jsonl"), programRows(40));
  const recipe = readFileSync(join(root, "test/fixtures/recipes/Qwen2.5-1.5B-Instruct-config_demo_code.yaml"));
  writeFileSync(join(folder, "config_demo_code.yaml"), recipe);
  for (const { code } of pages().flatMap(blocksOf)) {
    // A block that begins with the name of a file is that file.
    const [, name] = /^(?:\/\/|#) ([\w-]+\.\w+)\n/.exec(code) ?? [];
    if (name !== undefined) writeFileSync(join(folder, name), code);
  }
  return folder;
}

export async function serveHub(hub: HubServer): Promise<void> {
  await serveNotebook(hub);
  const model = Object.fromEntries(hub.filesOf("Qwen/Qwen2-0.5B-Instruct"));
  // With the template that the real one has.
  const templates = { "chat_template.jinja": publishedTemplate("trl/qwen2_5") };
  hub.add("Qwen/Qwen2.5-0.5B-Instruct", { files: { ...model, ...templates } });
  const main = ["train", "test"].map((split) => `\n  - split: ${split}\n    path: main/${split}.jsonl`).join("");
  const card = `---\nconfigs:\n- config_name: main\n  data_files:${main}\n- config_name: socratic\n  data_files: s/*\n---\n`;
  const files = { "README.md": card, "main/train.jsonl": gsm8kRows(40), "main/test.jsonl": gsm8kRows(4) };
  hub.add("openai/gsm8k", { type: "dataset", files });
  hub.add("trl-lib/Capybara", { type: "dataset", files: { "train.jsonl": chatRows(40) } });
}

export function hubEnvironment(hub: HubServer, folder: string): Readonly<Record<string, string>> {
  const empty = Object.fromEntries(HUB_VARIABLES.map((name) => [name, ""]));
  return { ...empty, HF_ENDPOINT: hub.url, HF_HOME: join(folder, "home"), HF_TOKEN: hub.token };
}

export interface ShellRun {
  readonly status: number | null;
  readonly output: string;
}

/** Runs a block in bash, where every program is the stand-in. `input` is what would be typed. */
export async function runShell(
  code: string,
  options: { cwd: string; env: Readonly<Record<string, string>>; input: string },
): Promise<ShellRun> {
  // Functions, which come before whatever is on the machine; and for programs that nobody thought of, bash's own hook.
  const run = `"${process.execPath}" "${standIn}"`;
  const known = ["npm", "npx", "node", "python3"].map((name) => `${name}() { ${run} ${name} "$@"; }`);
  const handler = [...known, `command_not_found_handle() { ${run} "$@"; }`].join("\n");
  const notes = {
    DOCS_NOT_EXECUTED: join(options.cwd, "not-executed"),
    DOCS_DONE: join(options.cwd, "done"),
    DOCS_PATH: process.env.PATH,
  };
  // Nothing is found there.
  const env = { ...process.env, ...options.env, ...notes, PATH: join(options.cwd, "no-programs") };
  const child = spawn("/bin/bash", ["-e", "-c", `${handler}\n${code}`], { cwd: options.cwd, env });
  const parts: string[] = [];
  child.stdout.on("data", (part) => parts.push(String(part)));
  child.stderr.on("data", (part) => parts.push(String(part)));
  child.stdin.on("error", () => {}); // a block may end without having read
  child.stdin.end(options.input);
  const status = await new Promise<number | null>((resolve, reject) =>
    child.once("error", reject).once("close", (code) => resolve(code)),
  );
  return { status, output: parts.join("") };
}
