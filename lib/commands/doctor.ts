// `grpo doctor`: what was found and whether it works, as text or JSON. The engine is loaded and runs a small step on every
// device in a child process, so that a libtorch that crashes ends the child and is reported here. Ends with the one thing to do.
import { spawnSync } from "node:child_process";
import { availableParallelism, freemem, totalmem } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { GrpoError } from "../errors.js";
import type { EngineProbe } from "../model/probe.js";
import { cLibrary, type Host, readHost, requireSupportedHost } from "../native/host.js";
import { findLibtorch, type Libtorch, type LibtorchCandidate, libtorchCandidates } from "../native/libtorch.js";
import { findCore } from "../native/native-loader.js";
import { isCheckout, packageRoot } from "../package-files.js";
import type { Command } from "./command.js";

interface Gpu {
  readonly name: string;
  readonly driver: string;
  readonly memory: string;
}

/** What --json prints. */
export interface Diagnosis {
  readonly ok: boolean;
  readonly node: string;
  readonly host: Host & { readonly processors: number; readonly memoryFree: number; readonly memoryTotal: number };
  readonly gpus: readonly Gpu[];
  readonly looked: readonly LibtorchCandidate[];
  readonly libtorch?: Libtorch;
  readonly core?: string;
  readonly engine?: EngineProbe;
  readonly problem?: { readonly code: string; readonly message: string };
  /** The one thing to do next. */
  readonly next: string;
}

export const doctorCommand: Command = {
  usage: `[--json] [--server URL]…

  --json         the same for programs; the exit status is 0 where everything works
  --server URL   a server of vLLM or SGLang in place of this machine: whether it can sample for a trainer`,

  async run(args) {
    const options = {
      probe: { type: "boolean" },
      json: { type: "boolean" },
      server: { type: "string", multiple: true },
    } as const;
    const { values } = parseArgs({ args: [...args], options });
    if (values.probe) {
      const { probeEngine } = await import("../model/probe.js");
      console.log(JSON.stringify(await probeEngine()));
      return 0;
    }
    if (values.server) {
      const { diagnoseServers } = await import("./doctor-server.js");
      return diagnoseServers(values.server, values.json === true);
    }
    const diagnosis = diagnose();
    if (values.json) console.log(JSON.stringify(diagnosis, null, 2));
    else print(diagnosis);
    return diagnosis.ok ? 0 : 1;
  },
};

type Findings = { -readonly [K in "libtorch" | "core" | "engine"]?: Diagnosis[K] };

function diagnose(): Diagnosis {
  const found: Findings = {};
  const problem = examine(found);
  const memory = { memoryFree: freemem(), memoryTotal: totalmem() };
  const gpus = listGpus();
  return {
    ok: problem === undefined,
    node: process.version,
    host: { ...readHost(), processors: availableParallelism(), ...memory },
    gpus,
    looked: [...libtorchCandidates()],
    ...found,
    ...(problem ? { problem: { code: problem.code, message: withoutHint(problem) } } : {}),
    next: problem ? (problem.hint ?? withoutHint(problem)) : nextStep(found, gpus),
  };
}

/** Fills `found` as far as it gets; returns the first problem. */
function examine(found: Findings): GrpoError | undefined {
  try {
    requireSupportedHost();
    found.libtorch = findLibtorch();
    found.core = findCore(found.libtorch);
    found.engine = probeInChild();
  } catch (error) {
    if (error instanceof GrpoError) return error;
    throw error;
  }
  const broken = found.engine.devices.find(({ error }) => error !== undefined);
  if (!broken) return undefined;
  return new GrpoError("DEVICE_UNAVAILABLE", `a training step on ${broken.device} failed: ${broken.error}`, {
    hint:
      broken.device === "cpu" ? "run `npx grpo setup --force`" : 'update the driver, or use device: "cpu" meanwhile',
  });
}

function probeInChild(): EngineProbe {
  const cli = path.join(packageRoot, "dist/cli.js");
  const child = spawnSync(process.execPath, [cli, "doctor", "--probe"], { encoding: "utf8" });
  if (child.status === 0) return JSON.parse(child.stdout);
  // "grpo doctor: <message>\n  → <hint> [CODE]"
  const [, message, hint, code] =
    /^grpo doctor: ([\s\S]*?)(?:\n {2}→ ([\s\S]*?))? \[([A-Z_]+)\]\s*$/.exec(child.stderr) ?? [];
  const ended = `loading the engine ended with ${child.signal ?? `status ${child.status}`}`;
  const fallback = [ended, child.stderr.trim()].join("\n").trim();
  throw new GrpoError(code === "BAD_OPTION" ? code : "LIBTORCH_LOAD_FAILED", message ?? fallback, {
    hint: hint ?? "run `npx grpo setup --force` to fetch libtorch again, and unset LIBTORCH if it is set",
  });
}

/** Through nvidia-smi, which comes with the driver. */
function listGpus(): Gpu[] {
  const query = ["--query-gpu=name,driver_version,memory.free,memory.total", "--format=csv,noheader"];
  const { status, stdout } = spawnSync("nvidia-smi", query, { encoding: "utf8", timeout: 10_000 });
  if (status !== 0) return [];
  return stdout
    .trim()
    .split("\n")
    .map((line) => {
      const [name = "", driver = "", free = "", total = ""] = line.split(",").map((part) => part.trim());
      return { name, driver, memory: `${free} of ${total} free` };
    });
}

function nextStep({ libtorch, engine }: Findings, gpus: readonly Gpu[]): string {
  const usesGpu = engine?.devices.some(({ device }) => device !== "cpu");
  if (gpus.length > 0 && !usesGpu) {
    return libtorch?.flavour === "cpu"
      ? "there is a GPU: run `npx grpo setup --cuda` for a libtorch that can use it"
      : "libtorch sees no GPU: compare the driver above with the CUDA version of libtorch, and update it";
  }
  return isCheckout ? "everything works: `npm run quickstart`" : "everything works: `npx grpo quickstart`";
}

function withoutHint({ message, hint }: GrpoError): string {
  return message.replace(`\n  → ${hint}`, "");
}

function print({ node, host, gpus, looked, libtorch, core, engine, problem, next }: Diagnosis): void {
  row("node", node);
  row("system", `${host.platform}-${host.arch} ${cLibrary(host)}`.trim());
  row("processors", String(host.processors));
  row("memory", `${gigabytes(host.memoryFree)} of ${gigabytes(host.memoryTotal)} GB free`);
  for (const { name, driver, memory } of gpus) row("gpu", `${name}, driver ${driver}, ${memory}`);
  if (gpus.length === 0) row("gpu", "no NVIDIA driver was found");
  for (const candidate of looked) row(candidate.source, describe(candidate));
  if (libtorch) row("libtorch", `${libtorch.version}+${libtorch.flavour} in ${libtorch.dir}`);
  if (core) row("core", core);
  if (engine) row("instructions", `${engine.instructionSet} of ${engine.instructionSets.join(", ")}`);
  for (const { device, stepMs, error } of engine?.devices ?? []) {
    row(device, error ?? `a training step works (${stepMs} ms)`);
  }
  if (problem) console.log(`\n${problem.message} [${problem.code}]`);
  console.log(`\n→ ${next}`);
}

function describe({ dir, found, problem }: LibtorchCandidate): string {
  return found ? `${dir}: torch ${found.version}+${found.flavour}` : `${dir}: ${problem}`;
}

function row(name: string, value: string): void {
  console.log(`${name.padEnd(12)} ${value}`);
}

function gigabytes(bytes: number): string {
  return (bytes / 1e9).toFixed(1);
}
