// Everything that should be looked at first on a machine with a GPU, in one command: what is found, whether the device
// computes what the CPU computes, whether a run trains, and how fast. Prints a table and one JSON line; exit status 1 where
// something is wrong. Nobody has run it on a GPU yet.
//
//   npm run gpu:check                        the first CUDA device
//   npm run gpu:check -- --device cpu --quick   the script itself, on the CPU

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { type Device, GrpoError } from "grpo";
import { loadCore } from "../lib/native/native-loader.js";
import { type BenchCase, CASES, OWN_CASES } from "./bench/cases.js";
import { machineProbe, measureApart, own, row } from "./bench/own-side.js";
import { type Check, parityChecks, trainingCheck } from "./bench/parity.js";

const { values: flags } = parseArgs({
  options: {
    device: { type: "string", default: "cuda" },
    cache: { type: "string", default: "build/bench" },
    smollm2: { type: "string", default: process.env.GRPO_SMOLLM2 ?? "" },
    /** Leaves out what takes minutes on a CPU. */
    quick: { type: "boolean", default: false },
  },
});
const device = flags.device as Device;
const checks: Check[] = [];
const record = (check: Check) => {
  checks.push(check);
  console.log(`${check.ok ? "ok    " : "WRONG "} ${check.name}: ${check.found}`);
};

function doctor(): Check {
  const cli = fileURLToPath(new URL("../dist/cli.js", import.meta.url));
  const { status, stdout } = spawnSync(process.execPath, [cli, "doctor"], { encoding: "utf8" });
  console.log(stdout);
  return { name: "doctor", ok: status === 0, found: `exit status ${status}` };
}

/** What to do where the device is not there; undefined where it is. */
function missing(): string | undefined {
  const type = device.split(":")[0] ?? "";
  const found = loadCore().devices();
  if (found.some((entry) => entry.type === type && entry.count > 0)) return undefined;
  const list = found.map((entry) => `${entry.type} (${entry.count})`).join(", ");
  return [
    `No ${type} device can be used here; libtorch ${loadCore().torchVersion()} offers ${list}.`,
    "A GPU needs its driver (nvidia-smi lists it) and a CUDA build of libtorch: `npm run setup -- --cuda`, see docs/installing.md#cuda.",
    "To try the script itself: npm run gpu:check -- --device cpu --quick",
  ].join("\n");
}

async function speed(): Promise<string[]> {
  const names = flags.quick ? ["tiny step"] : [...CASES, ...OWN_CASES].map(({ name }) => name);
  const places = { cache: flags.cache, smollm2: flags.smollm2 || undefined };
  const setting = { device, threads: availableParallelism(), places };
  const probe = machineProbe(setting);
  const lines = [
    `reading ${probe.readGBPerSecond.toFixed(0)} GB/s, products ${probe.gemmGflopsFloat32.toFixed(0)} GFLOP/s in float32, ` +
      `${probe.gemmGflopsBfloat16.toFixed(0)} in bfloat16`,
  ];
  for (const bench of [...CASES, ...OWN_CASES].filter(({ name }) => names.includes(name))) {
    lines.push(await speedOf(bench, setting));
    console.log(lines.at(-1));
  }
  return lines;
}

async function speedOf(bench: BenchCase, setting: Parameters<typeof measureApart>[1]): Promise<string> {
  try {
    // The first steps choose kernels and fill the allocator; on a GPU one warm-up costs little.
    const warm = { ...bench, warmup: Math.max(1, bench.warmup), repeats: Math.max(2, bench.repeats) };
    const measured = await measureApart(flags.quick ? bench : warm, setting);
    if (typeof measured === "string") return `${bench.name}: not measured: ${measured}`;
    return row(own(bench, [measured]));
  } catch (error) {
    record({ name: bench.name, ok: false, found: error instanceof Error ? error.message : String(error) });
    return `${bench.name}: failed`;
  }
}

async function run(): Promise<void> {
  record(doctor());
  const reason = missing();
  if (reason !== undefined) {
    console.log(reason);
    console.log(JSON.stringify({ device, ok: false, reason: "no device", checks }));
    process.exitCode = 1;
    return;
  }
  const work = mkdtempSync(path.join(tmpdir(), "gpu-check-"));
  try {
    for await (const check of parityChecks(device)) record(check);
    record(await trainingCheck(device, work));
  } catch (error) {
    if (!(error instanceof GrpoError)) throw error;
    record({ name: error.code, ok: false, found: error.message });
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  const speeds = await speed();
  console.table(checks.map(({ name, ok, found, bound }) => ({ check: name, ok, found, bound: bound ?? "" })));
  const ok = checks.every((check) => check.ok);
  console.log(JSON.stringify({ device, ok, torch: loadCore().torchVersion(), checks, speeds }));
  process.exitCode = ok ? 0 : 1;
}

await run();
