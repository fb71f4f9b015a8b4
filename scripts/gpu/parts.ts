// The parts of the check on a machine with a GPU, in the order in which they should be looked at: each is of use without those
// that follow.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, cpus, tmpdir, totalmem } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { findLibtorch } from "../../lib/native/libtorch.js";
import { findCore, loadCore } from "../../lib/native/native-loader.js";
import { machineProbe } from "../bench/own-side.js";
import { graphChecks, parityChecks, trainingCheck } from "../bench/parity.js";
import { determinismChecks } from "./determinism.js";
import type { GpuSetting, Part, Report } from "./part.js";
import { peers, SPEED_SHAPES, speed } from "./speed.js";

export const PARTS: readonly Part[] = [
  { name: "build", limit: 300, needed: true, run: build },
  { name: "machine", limit: 60, needed: true, run: machine },
  { name: "parity", limit: 120, run: ({ device }, report) => checks(parityChecks(device), report) },
  { name: "determinism", limit: 90, run: ({ device }, report) => checks(determinismChecks(device), report) },
  { name: "graphs", limit: 60, run: ({ device }, report) => checks(graphChecks(device), report) },
  { name: "training", limit: 60, run: training },
  { name: "quickstart", limit: 180, run: quickstart },
  ...SPEED_SHAPES.map(
    (shape): Part => ({ name: `speed-${shape}`, limit: 120, run: (setting, report) => speed(shape, setting, report) }),
  ),
  ...SPEED_SHAPES.map(
    (shape): Part => ({ name: `peers-${shape}`, limit: 120, run: (setting, report) => peers(shape, setting, report) }),
  ),
];

async function checks(list: AsyncIterable<Parameters<Report["check"]>[0]>, report: Report): Promise<void> {
  for await (const check of list) report.check(check);
}

const root = fileURLToPath(new URL("../..", import.meta.url));

/** The core for the libtorch that is here, unless it is there already. */
async function build({ threads }: GpuSetting, report: Report): Promise<void> {
  const libtorch = findLibtorch();
  report.number("torch", `${libtorch.version}+${libtorch.flavour}`);
  try {
    report.check({ name: "build", ok: true, found: `${path.basename(findCore(libtorch))} is there` });
  } catch {
    const began = performance.now();
    const args = [path.join(root, "scripts/build.mjs"), "--libtorch", libtorch.dir, "--jobs", String(threads)];
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8", maxBuffer: 1 << 28 });
    if (status !== 0) throw new Error(`the build ended with status ${status}: ${(stdout + stderr).slice(-4000)}`);
    const seconds = (performance.now() - began) / 1000;
    report.number("build seconds", seconds);
    report.check({ name: "build", ok: true, found: `built in ${seconds.toFixed(0)} s by ${threads} processes` });
  }
}

async function machine({ device, threads }: GpuSetting, report: Report): Promise<void> {
  const output = (command: string, ...args: string[]) => spawnSync(command, args, { encoding: "utf8" }).stdout?.trim();
  report.number("processor", `${availableParallelism()} × ${cpus()[0]?.model}`);
  report.number("memory", `${(totalmem() / 1e9).toFixed(0)} GB`);
  const query = "name,driver_version,memory.total,clocks.max.sm,power.limit";
  report.number(
    "gpu",
    output("nvidia-smi", `--query-gpu=${query}`, "--format=csv,noheader") ?? "there is no nvidia-smi",
  );
  const type = device.split(":")[0];
  const found = loadCore().devices();
  const list = found.map((entry) => `${entry.type} (${entry.count})`).join(", ");
  const there = found.some((entry) => entry.type === type && entry.count > 0);
  const hint = "a GPU needs its driver (nvidia-smi lists it) and a CUDA build of libtorch: docs/installing.md#cuda";
  report.check({ name: "device", ok: there, found: there ? list : `${list}; ${hint}` });
  if (!there) return;
  const doctor = spawnSync(process.execPath, [path.join(root, "dist/cli.js"), "doctor"], { encoding: "utf8" });
  report.number("doctor", doctor.stdout);
  report.check({ name: "doctor", ok: doctor.status === 0, found: `exit status ${doctor.status}` });
  report.number("probe", machineProbe({ device, threads }));
}

/** Runs `work` with a folder that is gone afterwards. */
async function inFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(path.join(tmpdir(), "gpu-check-"));
  try {
    return await work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function training({ device }: GpuSetting, report: Report): Promise<void> {
  report.check(await inFolder((folder) => trainingCheck(device, folder)));
}

/** Runs with other seeds on the CPU ended at 0.787 to 0.808: docs/learning-curve.md. */
const QUICKSTART_REWARD = 0.76;

async function quickstart({ device, quick }: GpuSetting, report: Report): Promise<void> {
  await inFolder(async (folder) => {
    const size = quick ? ["--steps", "4", "--problems", "4"] : ["--problems", "50"];
    // It takes the first accelerator that it sees.
    const env = device === "cpu" ? { ...process.env, CUDA_VISIBLE_DEVICES: "" } : process.env;
    const args = [path.join(root, "dist/cli.js"), "quickstart", "--output", folder, ...size];
    const { status, stderr } = spawnSync(process.execPath, args, { encoding: "utf8", env, maxBuffer: 1 << 26 });
    if (status !== 0) throw new Error(`the quickstart ended with status ${status}: ${stderr.slice(-1000)}`);
    const steps = readFileSync(path.join(folder, "metrics.jsonl"), "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { type: string; reward: number; step_time: number })
      .filter(({ type }) => type === "step");
    const last = steps.slice(Math.floor(0.75 * steps.length)).map(({ reward }) => reward);
    const reward = last.reduce((sum, value) => sum + value, 0) / last.length;
    report.number(
      "quickstart rewards",
      steps.map((step) => step.reward),
    );
    report.number(
      "quickstart step seconds",
      steps.map((step) => step.step_time),
    );
    const ok = quick ? Number.isFinite(reward) : reward >= QUICKSTART_REWARD;
    const found = `reward ${reward.toFixed(3)} in the last quarter of ${steps.length} steps`;
    report.check({ name: "quickstart", ok, found, bound: quick ? "any" : `${QUICKSTART_REWARD}` });
  });
}
