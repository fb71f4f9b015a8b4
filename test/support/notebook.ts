// The notebook of the guide, run as it stands in a process of its own, against a Hub that serves a small Qwen2 model and a
// small data set under the names that the notebook uses.

import { spawn } from "node:child_process";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { HubServer } from "./hub-server.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
export const MODEL = "Qwen/Qwen2-0.5B-Instruct";
export const DATA = "AI-MO/NuminaMath-TIR";
export const PUSHED = "your-username/qwen2-0.5b-grpo-math";

const SYSTEM_PROMPT =
  "The User asks a question, and the Assistant solves it. The Assistant first thinks about the reasoning process, then " +
  "answers: <think> reasoning </think><answer> answer </answer>";

export async function serveNotebook(hub: HubServer): Promise<void> {
  const assets = path.join(root, "scripts/assets/tiny-qwen2");
  const files: Record<string, Buffer> = {};
  for (const name of await readdir(assets)) {
    if (!/\.(jsonl|txt)$/.test(name)) files[name] = await readFile(path.join(assets, name));
  }
  hub.add(MODEL, { files, large: ["model.safetensors"] });
  const part = (name: string) => readFile(path.join(root, `test/fixtures/hub/numina-${name}.parquet`));
  const data = {
    "README.md": "---\nlicense: apache-2.0\n---\n",
    "data/test-00000-of-00001.parquet": await part("test"),
    "data/train-00000-of-00001.parquet": await part("train"),
  };
  hub.add(DATA, { type: "dataset", files: data, large: Object.keys(data).slice(1) });
}

export interface NotebookRun {
  readonly stdout: string;
  /** The folder it ran in. */
  readonly folder: string;
}

/** Runs the notebook, and `more` after it, logged in to the Hub with an empty cache. */
export async function runNotebook(hub: HubServer, folder: string, more = ""): Promise<NotebookRun> {
  const notebook = await readFile(path.join(root, "test/fixtures/hub/notebook.ts.txt"), "utf8");
  // Below the root, where "grpo" means the sources.
  const script = path.join(root, "build", `notebook-${process.pid}.ts`);
  await mkdir(path.dirname(script), { recursive: true });
  await mkdir(folder, { recursive: true });
  await writeFile(script, `const SYSTEM_PROMPT = ${JSON.stringify(SYSTEM_PROMPT)};\n${notebook}\n${more}`);
  const environment = { HF_ENDPOINT: hub.url, HF_HOME: path.join(folder, "home"), HF_TOKEN: hub.token };
  const child = spawn(process.execPath, ["--import", import.meta.resolve("tsx"), script], {
    cwd: folder,
    env: { ...process.env, ...environment, TSX_TSCONFIG_PATH: path.join(root, "tsconfig.json") },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const output = { stdout: "", stderr: "" };
  child.stdout.on("data", (text) => (output.stdout += text));
  child.stderr.on("data", (text) => (output.stderr += text));
  const code = await new Promise((done) => child.on("exit", done));
  await rm(script, { force: true });
  if (code !== 0) throw new Error(`the notebook ended with ${code}\n${output.stderr}\n${output.stdout}`);
  return { stdout: output.stdout, folder };
}
