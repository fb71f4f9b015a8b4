// The golden training fixtures (loss-*, masked-loss-*, steps-*) as the public API takes them: a model that carries the fixture's
// adapter, and batches with one entry per completion. The layouts are in scripts/golden/README.md.

import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect } from "vitest";
import { buildHeader, readTensors } from "../../lib/model/files/safetensors.js";
import { LoraConfig } from "../../lib/model/lora/lora.js";
import { CausalLM } from "../../lib/model/model.js";
import type { GradientBatch } from "../../lib/model/training-inputs.js";
import type { NativeDtype, NativeLossResult } from "../../lib/native/native.js";
import { temporaryFolder } from "../model/folders.js";
import { DEVICE } from "../support/device.js";
import { goldenPath, largestDifference, numbers, sequences, type Tensors, tinyQwen2 } from "./golden.js";

export const SETS = ["qwen2-qv", "llama-all"] as const;

export interface AdapterFixture {
  /** Folder among the fixture's models. Absent: the bundled model. */
  readonly model?: string;
  readonly targetModules: readonly string[] | string;
  readonly r: number;
  readonly loraAlpha: number;
}

/** The numbers of `name`.json and the tensors beside it. */
export async function readFixture<T>(name: string): Promise<{ json: T & AdapterFixture; tensors: Tensors }> {
  const json: T & AdapterFixture = JSON.parse(await readFile(goldenPath(`${name}.json`), "utf8"));
  return { json, tensors: await readTensors(goldenPath(`${name}.safetensors`)) };
}

/** The fixture's model with the adapter that the fixture holds under `adapter.`; `folder`: where it is not among the fixtures. */
export async function modelWithAdapter(
  fixture: AdapterFixture,
  tensors: Tensors,
  dtype: NativeDtype = "float32",
  folder: string = fixture.model === undefined ? tinyQwen2 : goldenPath(`models/${fixture.model}`),
): Promise<CausalLM> {
  const model = await CausalLM.fromPretrained(folder, {
    dtype,
    device: DEVICE,
    // How many cores there are must not decide in which order rows are summed (gradient.test.ts has them side by side).
    threads: 1,
  });
  const { r, loraAlpha, targetModules } = fixture;
  model.applyLora(new LoraConfig({ r, loraAlpha, targetModules }));
  const saved = await temporaryFolder();
  await model.savePretrained(saved);
  await writeFile(path.join(saved, "adapter_model.safetensors"), adapterFile(tensors));
  await model.loadAdapter(saved);
  return model;
}

function adapterFile(tensors: Tensors): Buffer {
  const stored = adapterNames(tensors).map((name) => ({ name, ...tensorOf(tensors, `adapter.${name}`) }));
  const data = stored.map((tensor) => Buffer.from(tensor.data.buffer));
  const infos = stored.map(({ name, dtype, shape }) => ({ name, dtype, shape: [...shape] }));
  return Buffer.concat([buildHeader(infos), ...data]);
}

function tensorOf(tensors: Tensors, name: string) {
  const tensor = tensors.get(name);
  if (tensor === undefined) throw new Error(`the fixture has no tensor named ${name}`);
  return tensor;
}

/** PEFT's names of the adapter's tensors. */
export function adapterNames(tensors: Tensors): string[] {
  return [...tensors.keys()].filter((key) => key.startsWith("adapter.")).map((key) => key.slice("adapter.".length));
}

/** The weights that the model has now, as it saves them. */
export async function adapterWeights(model: CausalLM): Promise<Tensors> {
  const folder = await temporaryFolder();
  await model.savePretrained(folder);
  return readTensors(path.join(folder, "adapter_model.safetensors"));
}

export interface RaggedBatch extends GradientBatch {
  readonly oldLogprobs?: readonly number[][];
  readonly referenceLogprobs?: readonly number[][];
  readonly lossMask?: readonly Uint8Array[];
}

/**
 * `old` and `reference` name tensors of log-probabilities; prefix is "" or "batch0.". A fixture with a loss mask gives it to its
 * batch.
 */
export function trainingBatch(
  tensors: Tensors,
  prefix: string,
  names: { readonly old?: string; readonly reference?: string },
): RaggedBatch {
  const prompts = sequences(tensors, `${prefix}promptIds`, `${prefix}promptOffsets`);
  const offsets = numbers(tensors, `${prefix}completionOffsets`);
  const perCompletion = (name: string) => {
    const flat = numbers(tensors, prefix + name);
    return offsets.slice(1).map((end, i) => flat.slice(offsets[i], end));
  };
  return {
    promptIds: numbers(tensors, `${prefix}promptOf`).map((prompt) => prompts[prompt] ?? []),
    completionIds: perCompletion("completionIds"),
    advantages: numbers(tensors, `${prefix}advantages`),
    ...(names.old === undefined ? {} : { oldLogprobs: perCompletion(names.old) }),
    ...(names.reference === undefined ? {} : { referenceLogprobs: perCompletion(names.reference) }),
    ...(tensors.has(`${prefix}lossMask`)
      ? { lossMask: perCompletion("lossMask").map((mask) => Uint8Array.from(mask)) }
      : {}),
  };
}

/** Largest difference over the largest entry of `expected`. */
export function relativeDifference(actual: ArrayLike<number> | undefined, expected: ArrayLike<number>): number {
  const scale = Array.from(expected).reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);
  return largestDifference(actual ?? [], expected) / scale;
}

/** TRL's metrics against the fields of a result. Shares of tokens are exact up to TRL's own float32. */
export function expectMetrics(result: NativeLossResult, metrics: Readonly<Record<string, number>>): void {
  const own: Record<string, number> = {
    entropy: result.entropy,
    kl: result.kl,
    policy_loss: result.policyLoss,
    "clip_ratio/low_mean": result.clipLow,
    "clip_ratio/high_mean": result.clipHigh,
    "clip_ratio/region_mean": result.clipRegion,
    "clip_ratio/low_min": result.clipLowMin,
    "clip_ratio/high_max": result.clipHighMax,
    cispo_clip_ratio: result.clipHigh,
    "vespo/phi_seq_mean": result.phi,
  };
  for (const [name, expected] of Object.entries(metrics)) {
    if (name === "entropy_coef") continue; // the option itself
    // Another minor version of libtorch rounds otherwise: 2.14 was seen to be 1.0003e-5 away in one case.
    const tolerance = Math.max(1e-6, 2e-5 * Math.abs(expected));
    expect(Math.abs((own[name] ?? Number.NaN) - expected), name).toBeLessThanOrEqual(tolerance);
  }
}
