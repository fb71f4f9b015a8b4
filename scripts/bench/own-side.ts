// Runs cases of this side in child processes, and sums up what they measured.

import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import type { Device } from "grpo";
import { loadCore } from "../../lib/native/native-loader.js";
import type { BenchCase } from "./cases.js";
import { type Components, componentText } from "./components.js";
import type { Measurement, MeasureRequest } from "./measure.js";
import { type ModelName, type ModelPlaces, modelFolder, SHAPES, type ShapeName } from "./models.js";

export interface Setting {
  readonly device: Device;
  readonly threads: number;
  readonly places: ModelPlaces;
  /** Random weights are made anew in each process, where that is faster than to write and read them. */
  readonly random?: boolean;
}

export interface Summary {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export interface OwnResult {
  readonly name: string;
  /** Seconds. */
  readonly step?: Summary;
  readonly rollout?: Summary;
  readonly update?: Summary;
  readonly firstToken?: Summary;
  readonly decodeStep?: Summary;
  readonly tokensPerSecond?: Summary;
  readonly loadedBytes: number;
  readonly rolloutPeakBytes?: number;
  readonly updatePeakBytes?: number;
  readonly peakBytes: number;
  readonly deviceBytes?: number;
  /** The parts of the round with the largest peak. */
  readonly components?: Components;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return ((sorted[Math.floor(middle - 0.5)] ?? Number.NaN) + (sorted[Math.floor(middle)] ?? Number.NaN)) / 2;
}

export function summary(values: readonly number[]): Summary {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}

/** A process of its own; a text says why there is no measurement. */
export async function measureApart(bench: BenchCase, setting: Setting): Promise<Measurement | string> {
  const { device, threads, places, random = false } = setting;
  const request: MeasureRequest = { bench, device, threads };
  if (!isMadeUp(bench.model, random)) {
    const folder = await modelFolder(bench.model, places);
    if (folder === undefined) return "give SmolLM2-135M-Instruct's folder with --smollm2 or GRPO_SMOLLM2";
    return JSON.parse(await lastLine({ ...request, folder }));
  }
  return JSON.parse(await lastLine(request));
}

/** Whether a model has random weights and no folder. */
export function isMadeUp(model: ModelName, random: boolean): model is ShapeName {
  return model === "135m" || model === "shallow" || (random && model in SHAPES);
}

function lastLine(request: MeasureRequest): Promise<string> {
  const tsx = createRequire(import.meta.url).resolve("tsx/cli");
  const script = fileURLToPath(new URL("../bench.ts", import.meta.url));
  return output(process.execPath, [tsx, script, "--child", JSON.stringify(request)], request.threads);
}

const LONGEST_RUN = 12 * 60_000; // ms

/** The last line that a command prints. Its errors go where this process's go. */
export function output(command: string, args: readonly string[], threads: number): Promise<string> {
  const env = { ...process.env, OMP_NUM_THREADS: String(threads) };
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"], env, timeout: LONGEST_RUN });
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk;
  });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => {
      if (code === 0) resolve(text.trim().split("\n").at(-1) ?? "");
      else reject(new Error(`${command} ended with ${signal ?? code}; the last it said: ${text.slice(-500)}`));
    });
  });
}

export function own(bench: BenchCase, rounds: readonly Measurement[]): OwnResult {
  const all = (values: (round: Measurement) => readonly number[] | undefined) => {
    const list = rounds.flatMap((round) => values(round) ?? []);
    return list.length > 0 ? summary(list) : undefined;
  };
  const largest = (key: "peakBytes" | "loadedBytes" | "rolloutPeakBytes" | "updatePeakBytes") =>
    Math.max(...rounds.map((round) => round[key] ?? 0));
  const worst = rounds.find((round) => round.peakBytes === largest("peakBytes"));
  const parts = {
    step: all((round) => round.step),
    rollout: all((round) => round.rollout),
    update: all((round) => round.update),
    firstToken: all((round) => round.firstToken),
    decodeStep: all((round) => round.decode?.map((seconds, i) => seconds / (round.decodeSteps?.[i] ?? 0))),
    tokensPerSecond: all((round) => round.rollout?.map((seconds, i) => (round.tokens[i] ?? 0) / seconds)),
  };
  return {
    name: bench.name,
    ...(Object.fromEntries(Object.entries(parts).filter(([, value]) => value)) as Partial<typeof parts> as object),
    loadedBytes: largest("loadedBytes"),
    peakBytes: largest("peakBytes"),
    ...(worst?.deviceBytes !== undefined && { deviceBytes: worst.deviceBytes }),
    ...(worst?.components && { components: worst.components }),
    ...(bench.work === "memory" && {
      rolloutPeakBytes: largest("rolloutPeakBytes"),
      updatePeakBytes: largest("updatePeakBytes"),
    }),
  };
}

/** One line of text for people. */
export function row(result: OwnResult): string {
  const time = (label: string, value: Summary | undefined) =>
    value ? [`${label} ${short(value.median)} s (${short(value.min)}–${short(value.max)})`] : [];
  const decode = result.decodeStep ? [`decode step ${(1000 * result.decodeStep.median).toFixed(1)} ms`] : [];
  const parts = [
    ...time("step", result.step),
    ...time("rollout", result.rollout),
    ...time("update", result.update),
    ...time("first token", result.firstToken),
    ...decode,
    ...(result.tokensPerSecond ? [`${result.tokensPerSecond.median.toFixed(0)} tokens/s`] : []),
    result.deviceBytes === undefined
      ? `peak ${(result.peakBytes / 1e9).toFixed(2)} GB${result.components ? ` (${componentText(result.components)})` : ""}`
      : `${(result.deviceBytes / 1e9).toFixed(2)} GB of the device`,
  ];
  return `${result.name}: ${parts.join(", ")}`;
}

export const short = (value: number) => value.toPrecision(3);

export type MachineProbe = ReturnType<ReturnType<typeof loadCore>["machineProbe"]>;

/** What the machine can do right now, at these threads. */
export function machineProbe({ device, threads }: Pick<Setting, "device" | "threads">): MachineProbe {
  return loadCore().machineProbe(device === "auto" ? "cpu" : device, threads);
}
