// Everything that should be looked at first on a machine with a GPU, in one command: whether the core builds, whether the device
// computes what the CPU computes and the same twice, whether a run learns, how fast it is, and beside it transformers, PEFT and
// TRL. Each part runs in a process of its own, under a limit of its own, and what it found is in one JSON file as soon as it
// ends. Exit status 1 where something is wrong.
//
//   npm run gpu:check                                   the first CUDA device
//   npm run gpu:check -- --only parity,speed            some parts; "speed" is all whose names begin so
//   npm run gpu:check -- --device cpu --quick           the check itself, on the CPU

import { spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { Device } from "grpo";
import { findings, type GpuSetting, type Part, type PartResult, printed } from "./gpu/part.js";
import { PARTS } from "./gpu/parts.js";

const { values: flags } = parseArgs({
  options: {
    device: { type: "string", default: "cuda" },
    /** Parts by the beginnings of their names, with commas between. */
    only: { type: "string" },
    json: { type: "string", default: "build/gpu-check.json" },
    /** Seconds for all parts together; what does not fit is left out. */
    within: { type: "string", default: "480" },
    /** How many times as long a part may take: the limits are those for 16 cores. */
    slower: { type: "string", default: "1" },
    /** The bundled model in place of the large shapes. */
    quick: { type: "boolean", default: false },
    threads: { type: "string", default: String(availableParallelism()) },
    python: { type: "string", default: "python3" },
    /** The part that this process runs. */
    part: { type: "string" },
  },
});
const setting: GpuSetting = {
  device: flags.device as Device,
  quick: flags.quick,
  threads: Number(flags.threads),
  python: flags.python,
};

if (flags.part === undefined) await main();
else await PARTS.find(({ name }) => name === flags.part)?.run(setting, printed);

async function main(): Promise<void> {
  const began = Date.now();
  const elapsed = () => (Date.now() - began) / 1000;
  const results: PartResult[] = [];
  let missing: string | undefined;
  for (const part of chosen()) {
    const left = Number(flags.within) - elapsed();
    const reason = missing ?? (left < 1 ? `the ${flags.within} seconds of --within are over` : undefined);
    const result =
      reason === undefined
        ? await apart(part, Math.min(Number(flags.slower) * part.limit, left))
        : leftOut(part, reason);
    if (part.needed && !result.ok) missing = `"${part.name}" failed`;
    results.push(result);
    tell(result);
    write(results, began, elapsed());
  }
  process.exitCode = results.every(({ ok }) => ok) ? 0 : 1;
  console.log(
    `${flags.json}: ${elapsed().toFixed(0)} s in all, ${process.exitCode === 0 ? "all well" : "something is wrong"}`,
  );
}

function chosen(): readonly Part[] {
  const wanted = flags.only?.split(",");
  if (!wanted) return PARTS;
  const fits = (name: string, beginning: string) => name === beginning || name.startsWith(`${beginning}-`);
  const unknown = wanted.find((beginning) => !PARTS.some(({ name }) => fits(name, beginning)));
  if (unknown !== undefined) {
    throw new Error(`--only: there is no part "${unknown}"; parts are ${PARTS.map(({ name }) => name).join(", ")}`);
  }
  return PARTS.filter(({ name }) => wanted.some((beginning) => fits(name, beginning)));
}

/** Runs a part in a process of its own, which is ended with all that it started when its time is over. */
async function apart(part: Part, limit: number): Promise<PartResult> {
  const began = Date.now();
  const script = fileURLToPath(import.meta.url);
  const args = [...process.execArgv, script, ...process.argv.slice(2), "--part", part.name];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"], detached: true });
  let [text, errors, late] = ["", "", false];
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk;
  });
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
    errors = (errors + chunk).slice(-4000);
  });
  const timer = setTimeout(() => {
    late = true;
    // The group: measurements and Python are processes of its own.
    if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
  }, 1000 * limit);
  const status = await new Promise<number | NodeJS.Signals | null>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => resolve(code ?? signal));
  });
  clearTimeout(timer);
  const { checks, numbers, rest } = findings(text);
  const ended = late ? "out of time" : status === 0 ? "done" : "failed";
  return {
    name: part.name,
    ok: ended === "done" && checks.every(({ ok }) => ok),
    ended,
    seconds: (Date.now() - began) / 1000,
    ...(ended !== "done" && {
      reason: `after at most ${limit.toFixed(0)} s with ${status}: ${rest.slice(-2000)}${errors}`,
    }),
    checks,
    numbers,
  };
}

function leftOut({ name }: Part, reason: string): PartResult {
  return { name, ok: false, ended: "left out", seconds: 0, reason, checks: [], numbers: {} };
}

function tell({ name, ended, seconds, checks, reason }: PartResult): void {
  console.log(`${name}: ${ended}, ${seconds.toFixed(0)} s`);
  for (const check of checks) console.log(`  ${check.ok ? "ok    " : "WRONG "} ${check.name}: ${check.found}`);
  if (reason !== undefined) console.log(`  ${reason.trim().replaceAll("\n", "\n  ")}`);
}

/** After every part, so that a machine which goes away has left what was found. */
function write(parts: readonly PartResult[], began: number, seconds: number): void {
  const ok = parts.every((part) => part.ok);
  const content = { began: new Date(began).toISOString(), node: process.version, setting, seconds, ok, parts };
  mkdirSync(path.dirname(flags.json), { recursive: true });
  writeFileSync(flags.json, `${JSON.stringify(content, null, 2)}\n`);
}
