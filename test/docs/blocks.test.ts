// Every code block of README and docs/ is executed, page by page and from top to bottom, in one folder, as by a reader who follows
// them: README's commands leave the adapters that later pages load. Runs are made short (`smaller` below for TypeScript,
// commands.json for the shell); what is not executed is in commands.json with the reason, and in `checked` by language.

import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { format } from "node:util";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { parse } from "yaml";
import type { GRPOConfigOptions } from "../../lib/grpo/config.js";
import { readGiven } from "../../lib/recipes/read.js";
import { SFT, TRAIN } from "../../lib/recipes/recipe.js";
import { resolveSettings } from "../../lib/recipes/settings.js";
import { HubServer } from "../support/hub-server.js";
import commands from "./commands.json" with { type: "json" };
import { use } from "./exports.js";
import { type Block, blocksOf, pages, programsOf, root } from "./pages.js";
import { hubEnvironment, makePlace, runShell, serveHub } from "./place.js";

/** The pages train as they are written, but for a step or two and with few short completions. */
function smaller(options: GRPOConfigOptions): GRPOConfigOptions {
  const { maxSteps = -1, perDeviceTrainBatchSize = 8, maxCompletionLength = 512 } = options;
  return {
    ...options,
    maxSteps: maxSteps < 0 ? 1 : Math.min(maxSteps, 2),
    perDeviceTrainBatchSize: Math.min(perDeviceTrainBatchSize, 16),
    gradientAccumulationSteps: 1,
    maxCompletionLength: Math.min(maxCompletionLength, 16),
  };
}

vi.mock("../../lib/index.js", async (original) => {
  const grpo = await original<typeof import("../../lib/index.js")>();
  class GRPOConfig extends grpo.GRPOConfig {
    constructor(options: GRPOConfigOptions = {}) {
      super(smaller(options));
    }
  }
  return { ...grpo, GRPOConfig };
});

/** What the services of the pages answer. */
const services: Readonly<Record<string, unknown>> = {
  "http://localhost:8000/judge": [0.5, 1],
  "http://10.0.0.7:8000/execute_batch": [{ execution: { results: [{ is_main_result: true, text: "1.0" }] } }],
  "http://localhost:8000/v1/chat/completions": { choices: [{ message: { content: "9" } }] },
};

const hub = new HubServer();
const python = spawnSync("python3", ["--version"]).status === 0;
let place = "";

beforeAll(async () => {
  await hub.start();
  place = makePlace();
  await serveHub(hub);
  for (const [name, value] of Object.entries(hubEnvironment(hub, place))) vi.stubEnv(name, value);
  const fetchElsewhere = globalThis.fetch;
  vi.stubGlobal("fetch", (...args: Parameters<typeof fetch>) => {
    const answer = services[String(args[0])];
    return answer === undefined ? fetchElsewhere(...args) : Response.json(answer);
  });
});

afterAll(async () => {
  vi.unstubAllEnvs();
  vi.unstubAllGlobals();
  await hub.stop();
  rmSync(place, { recursive: true, force: true });
});

/** Imports the block as a module, in the folder; it prints what its comments say. */
async function runTypeScript({ code, line, file }: Block): Promise<void> {
  const printed: string[] = [];
  const keep = (...values: unknown[]): boolean => printed.push(format(...values)) > 0;
  const spies = (["log", "error", "warn"] as const).map((name) => vi.spyOn(console, name).mockImplementation(keep));
  const stdout = vi.spyOn(process.stdout, "write").mockImplementation(keep);
  const cwd = process.cwd();
  const module = join(place, `${file.replaceAll("/", "-")}-${line}.ts`);
  writeFileSync(module, `${"\n".repeat(line)}${code}`); // so that errors name lines of the page
  try {
    process.chdir(place);
    const exported = (await import(/* @vite-ignore */ module)) as Record<string, unknown>;
    for (const [name, value] of Object.entries(exported)) await use(name, value);
  } finally {
    process.chdir(cwd);
    for (const spy of [...spies, stdout]) spy.mockRestore();
  }
  for (const [, said] of code.matchAll(/^console\.log\(.*\); \/\/ prints (.+)$/gm)) expect(printed).toContain(said);
}

async function runShellBlock({ code }: Block): Promise<void> {
  const { status, output } = await runShell(code, {
    cwd: place,
    env: hubEnvironment(hub, place),
    input: `${hub.token}\n`,
  });
  expect(output).not.toMatch(/\b(Warning|Error): /);
  expect(status, output).toBe(0);
}

/** A configuration that `grpo train` or, where its name ends so, `grpo sft` takes, or the line that names its schema. */
async function checkYaml({ code, line }: Block): Promise<void> {
  const [, schema] = /^# yaml-language-server: \$schema=node_modules\/grpo\/(\S+)$/m.exec(code) ?? [];
  if (schema !== undefined) {
    const { files } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { files: string[] };
    // The file itself, or a folder that it lies in, and not taken out again.
    expect(files.some((file) => `${schema}/`.startsWith(`${file}/`))).toBe(true);
    expect(files).not.toContain(`!${schema}`);
    expect(existsSync(join(root, schema))).toBe(true);
  }
  if (parse(code) === null) return expect(schema).toBeDefined();
  const file = join(place, `configuration-${line}.yaml`);
  writeFileSync(file, code);
  const { script } = /^# (?:\S+-)?sft\.yaml\n/.test(code)
    ? resolveSettings(SFT, await readGiven(SFT, file, []))
    : resolveSettings(TRAIN, await readGiven(TRAIN, file, []));
  expect(script.model_name_or_path).not.toBe("");
}

/** Python is compiled, not run: what it imports is not here. */
function checkPython({ code }: Block): void {
  const compiled = spawnSync("python3", ["-c", "import sys; compile(sys.stdin.read(), 'page', 'exec')"], {
    input: code,
  });
  expect(compiled.status, String(compiled.stderr)).toBe(0);
}

const kinds: Readonly<Record<string, (block: Block) => unknown>> = {
  ts: runTypeScript,
  sh: runShellBlock,
  yaml: checkYaml,
  json: ({ code }) => JSON.parse(code),
  py: (block) => (python ? checkPython(block) : undefined),
};

const guides = pages().filter(({ file }) => /^(README|docs\/)/.test(file));

const executed = ({ language }: Block): boolean => kinds[language] !== undefined;

describe.each(guides.filter((page) => blocksOf(page).some(executed)))("$file", (page) => {
  const programs = Object.keys(kinds).flatMap((language) => programsOf(page, language));
  it.each(programs.sort((a, b) => a.line - b.line))("line $line, $language", async (block) => {
    await kinds[block.language]?.(block);
  });
});

it("every block is of a language that is executed or checked, or is what a command printed", () => {
  const others = guides.flatMap(blocksOf).filter((block) => !executed(block) && !["", "text"].includes(block.language));
  expect(others).toEqual([]);
});

it("nothing is excused that no page has", () => {
  const met = new Set(readFileSync(join(place, "not-executed"), "utf8").trim().split("\n"));
  expect(commands.notExecuted.map(({ command }) => command).filter((command) => !met.has(command))).toEqual([]);
});
