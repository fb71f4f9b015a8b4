// How fast a GPU decodes and updates models of three sizes with random weights, what of its memory they take, and how long
// transformers, PEFT and TRL take for the same on the same machine.

import { spawnSync } from "node:child_process";
import { tmpdir } from "node:os";
import path from "node:path";
import { ALL, type BenchCase } from "../bench/cases.js";
import type { ModelName } from "../bench/models.js";
import { measureApart, own, row, type Setting } from "../bench/own-side.js";
import { measureTrl } from "../bench/peers.js";
import type { GpuSetting, Report } from "./part.js";

export const SPEED_SHAPES = ["0.5b", "1.5b", "7b"] as const;
export type SpeedShape = (typeof SPEED_SHAPES)[number];

const MODELS: Readonly<Record<SpeedShape, ModelName>> = {
  "0.5b": "qwen2-0.5b",
  "1.5b": "qwen2.5-1.5b",
  "7b": "qwen2.5-7b",
};

/** 64 rows are decoded, by steps as they are and recorded; 16 completions are trained on; and whole steps of the smallest. */
export function speedCases(shape: SpeedShape, quick: boolean): BenchCase[] {
  const full = {
    model: MODELS[shape],
    dtype: "bfloat16",
    prompts: 8,
    groupSize: 8,
    promptTokens: 256,
    maxNewTokens: 128,
    lengths: "equal",
    topP: 1,
    warmup: 1,
    repeats: 2,
  } as const;
  const small = { ...full, model: "tiny", prompts: 2, groupSize: 2, maxNewTokens: 8, lengths: "natural" } as const;
  const common = quick ? small : full;
  // Of one prompt where prompts have their own lengths: the other side does not pad what it trains on.
  const trains = { ...common, prompts: quick ? 1 : 2, lora: ALL } as const;
  const cases: BenchCase[] = [
    { ...common, name: `${shape} decode`, work: "rollout" },
    { ...common, name: `${shape} decode, recorded steps`, work: "rollout", graphCapture: true },
    { ...common, name: `${shape} decode with LoRA`, work: "rollout", lora: ALL },
    { ...trains, name: `${shape} update with LoRA`, work: "update" },
  ];
  return shape === "0.5b" ? [...cases, { ...trains, name: `${shape} step with LoRA`, work: "step" }] : cases;
}

function settingOf({ device, threads }: GpuSetting): Setting {
  return {
    device,
    threads,
    random: true,
    places: { cache: path.join(tmpdir(), "gpu-check-peers"), smollm2: undefined },
  };
}

export async function speed(shape: SpeedShape, setting: GpuSetting, report: Report): Promise<void> {
  for (const bench of speedCases(shape, setting.quick)) {
    await tried(bench, report, async () => {
      const measured = await measureApart(bench, settingOf(setting));
      if (typeof measured === "string") throw new Error(measured);
      report.number(bench.name, measured);
      return row(own(bench, [measured]));
    });
  }
}

/** The same cases by Python's packages, as far as they are installed. */
export async function peers(shape: SpeedShape, setting: GpuSetting, report: Report): Promise<void> {
  const { python } = setting;
  for (const bench of speedCases(shape, setting.quick).filter(({ graphCapture }) => !graphCapture)) {
    const missing = needs(bench).find((name) => spawnSync(python, ["-c", `import ${name}`]).status !== 0);
    if (missing !== undefined) {
      report.number(bench.name, `not measured: ${python} has no ${missing}`);
      continue;
    }
    await tried(bench, report, async () => {
      const options = { python, dtype: bench.dtype, lengths: undefined };
      const measured = await measureTrl(bench, options, settingOf(setting));
      if (typeof measured === "string") throw new Error(measured);
      report.number(bench.name, measured);
      const seconds = measured.step ?? measured.update ?? measured.rollout ?? [];
      return `${Math.min(...seconds).toPrecision(3)} s`;
    });
  }
}

function needs({ work, lora }: BenchCase): string[] {
  return ["transformers", ...(lora ? ["peft"] : []), ...(work === "rollout" ? [] : ["trl"])];
}

/** A case that fails is recorded, and the others go on. */
async function tried(bench: BenchCase, report: Report, work: () => Promise<string>): Promise<void> {
  try {
    report.check({ name: bench.name, ok: true, found: await work() });
  } catch (error) {
    report.check({ name: bench.name, ok: false, found: error instanceof Error ? error.message : String(error) });
  }
}
