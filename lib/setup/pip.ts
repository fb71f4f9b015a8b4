// Wheels through `python3 -m pip download`. One package a call and without dependencies: of torch's, setup wants NVIDIA's only.
// A wheel that lies in the folder already is checked by pip and not fetched again.
import { spawn } from "node:child_process";
import { mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { GrpoError, reasonOf } from "../errors.js";
import { noRoom } from "./disk-space.js";
import {
  ANY_PYTHON_VERSION,
  describeRequest,
  type Environment,
  type TransferProgress,
  type WheelRequest,
  type WheelSource,
} from "./wheel-source.js";

/** undefined: there is no python3, or it has no pip. */
export async function findPip(env: Environment, progress: TransferProgress): Promise<WheelSource | undefined> {
  const { status, output } = await runPython(["-m", "pip", "--version"], env);
  const version = /^pip (\d+)\.(\d+)/m.exec(output);
  if (status !== 0 || !version) return undefined;
  // Since 25.1 pip goes on with a broken transfer where it stopped.
  const resumes = Number(version[1]) * 100 + Number(version[2]) >= 2501;
  return {
    name: version[0],
    fetch: (request, folder) => download(request, folder, resumes, env, progress),
  };
}

async function download(
  request: WheelRequest,
  folder: string,
  resumes: boolean,
  env: Environment,
  progress: TransferProgress,
): Promise<string> {
  // pip collects a file here before it moves it to the folder; its size is the progress.
  const temporary = join(folder, ".pip");
  mkdirSync(temporary, { recursive: true });
  const args = ["-m", "pip", "download", "--no-deps", "--retries", "0", ...(resumes ? ["--resume-retries", "5"] : [])];
  args.push("--only-binary", ":all:", "--progress-bar", "off", "--dest", folder);
  if (request.index) args.push("--index-url", request.index);
  if (request.anyPython) args.push("--python-version", ANY_PYTHON_VERSION);
  const name = request.requirement.split(/[<>=!~ ]/)[0] ?? "";
  const timer = setInterval(() => progress.bytes(name, sizeBelow(temporary)), 500);
  try {
    const { status, output } = await runPython([...args, request.requirement], { ...env, TMPDIR: temporary });
    if (status === 0) return savedFile(output, folder);
    throw failure(request, output, folder);
  } finally {
    clearInterval(timer);
    rmSync(temporary, { recursive: true, force: true });
  }
}

function savedFile(output: string, folder: string): string {
  const file = /^[ \t]*(?:Saved|File was already downloaded) (.+\.whl)\s*$/m.exec(output)?.[1];
  if (!file) throw new GrpoError("DOWNLOAD_FAILED", `pip named no file that it saved:\n${lastLines(output)}`);
  // pip names it relative to where it runs.
  return join(folder, basename(file));
}

function failure(request: WheelRequest, output: string, folder: string): GrpoError {
  if (/No space left on device/i.test(output)) return noRoom(folder);
  return new GrpoError("DOWNLOAD_FAILED", `pip could not download ${describeRequest(request)}:\n${lastLines(output)}`, {
    hint:
      "check the network and pip's settings (`python3 -m pip config list`) and run it again: wheels that are complete are " +
      "kept; or fetch the wheels elsewhere and run `npx grpo setup --from <file or folder>`",
  });
}

function sizeBelow(folder: string): number {
  try {
    const entries = readdirSync(folder, { recursive: true, encoding: "utf8" });
    return entries.reduce((sum, entry) => sum + fileSize(join(folder, entry)), 0);
  } catch {
    return 0; // pip removes folders while they are read
  }
}

function fileSize(path: string): number {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat?.isFile() ? stat.size : 0;
}

function runPython(args: string[], env: Environment): Promise<{ status: number | null; output: string }> {
  return new Promise((settle) => {
    let output = "";
    const child = spawn("python3", args, { env: { ...env }, stdio: ["ignore", "pipe", "pipe"] });
    child.stdout.on("data", (chunk) => (output += chunk));
    child.stderr.on("data", (chunk) => (output += chunk));
    child.on("error", (error) => settle({ status: null, output: reasonOf(error) }));
    child.on("close", (status) => settle({ status, output }));
  });
}

function lastLines(text: string): string {
  const lines = text.trim().split("\n").slice(-4);
  return lines.map((line) => `    ${line}`).join("\n");
}
