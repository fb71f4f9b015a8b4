// Before the first step: what the run will need at worst (memory.ts) beside what the machine has. What cannot fit is refused with
// what to change, each change with what it saves; what may not fit is said.

import { totalmem } from "node:os";
import { GrpoError } from "../errors.js";
import type { Optimizable } from "../model/learner.js";
import {
  type Bytes,
  checkpointCopyBytes,
  estimateMemory,
  type MemoryEstimate,
  type MemoryModel,
  type MemoryRun,
} from "../model/memory.js";
import type { NativeMemory } from "../native/native.js";
import type { RunOptions } from "./options.js";

/** The estimate may be above the truth by this factor; only what exceeds a limit even then is certain not to fit. */
const certainty = 1.4;

export interface Capacity {
  /** Bytes that there are, and those that this process can have now. */
  readonly total: number;
  readonly available: number;
  readonly of: string;
}

/** The device's memory, or the host's within the limit of a container. */
export function capacityOf(device: string, memory: NativeMemory): Capacity {
  // The estimate counts what is there already, the weights first of all, so that is no less available than what is free.
  if (memory.total > 0) return { total: memory.total, available: memory.free + memory.reserved, of: device };
  const limit = process.constrainedMemory();
  const limited = limit > 0 && limit < totalmem();
  return {
    total: limited ? limit : totalmem(),
    available: process.availableMemory() + process.memoryUsage.rss(),
    of: limited ? "this container" : "this machine",
  };
}

/** What a trainer could do with less: how it is written, and what the run would be then. */
export type Savings = (run: MemoryRun) => readonly (readonly [string, Partial<MemoryRun>])[];

/**
 * Whether checkpoints can be copied before they are written. Without a copy the run waits for the disk, which is better than
 * not to run at all.
 */
export function canCopyCheckpoints(model: MemoryModel, run: MemoryRun, capacity: Capacity): boolean {
  const { peak } = estimateMemory(model, { ...run, copiesCheckpoints: true });
  return peak <= capacity.available || checkpointCopyBytes(model, run) <= peak / 100;
}

/** What the plan says about memory, and whether there is room for copies of checkpoints. Throws OUT_OF_MEMORY. */
export async function checkMemory(
  model: Optimizable,
  runOf: (dropout: boolean) => MemoryRun,
  { check, savings }: { readonly check: RunOptions["memoryCheck"]; readonly savings: Savings },
): Promise<{ readonly lines: string[]; readonly copies: boolean; readonly changes: readonly string[] }> {
  const { model: shape, device, dropout } = await model.memory();
  const run = runOf(dropout);
  const capacity = capacityOf(model.device, device);
  const copies = canCopyCheckpoints(shape, run, capacity);
  const copying = { ...run, copiesCheckpoints: run.copiesCheckpoints && copies };
  const lines = preflight(shape, copying, capacity, check, savings);
  const waits = "note     checkpoints are written between steps: a copy of them may not fit";
  const changes = adviseOn(shape, copying, estimateMemory(shape, copying), savings);
  return { lines: copies ? lines : [...lines, waits], copies, changes };
}

/** What a step threw; where there was no memory for it, with the changes that would save most. */
export function withChanges(thrown: unknown, changes: readonly string[]): unknown {
  if (!(thrown instanceof GrpoError) || thrown.code !== "OUT_OF_MEMORY" || changes.length === 0) return thrown;
  const [message = ""] = thrown.message.split("\n  → ");
  return new GrpoError("OUT_OF_MEMORY", message, { hint: changes.join("; "), cause: thrown });
}

/** Lines for the plan. Throws OUT_OF_MEMORY for what cannot fit, unless `check` is another than "refuse". */
export function preflight(
  model: MemoryModel,
  run: MemoryRun,
  capacity: Capacity,
  check: RunOptions["memoryCheck"],
  savings: Savings,
): string[] {
  const estimate = estimateMemory(model, run);
  const line = `memory   ${describeEstimate(estimate)}; ${bytes(capacity.available)} free for it`;
  if (check === "off" || estimate.peak <= capacity.available) return [line];
  const changes = adviseOn(model, run, estimate, savings);
  if (check === "refuse" && estimate.peak / certainty > capacity.total) {
    throw new GrpoError(
      "OUT_OF_MEMORY",
      `training would take ${describeEstimate(estimate)}; ${capacity.of} has ${bytes(capacity.total)}`,
      { hint: `${changes.join("; ")}; or set memoryCheck to "warn" to try all the same` },
    );
  }
  return [
    line,
    `warning  this may not fit: ${capacity.of} has ${bytes(capacity.available)} free. ${changes.join("; ")}`,
  ];
}

/** "up to 2.1 GB (weights 0.5 GB, …; in the update activations 1.2 GB, logit chunk 200 MB)", without what is less than a hundredth */
export function describeEstimate({ resident, phases, largestPhase, peak }: MemoryEstimate): string {
  const parts = (all: Bytes) =>
    Object.entries(all)
      .filter(([, value]) => value >= peak / 100)
      .map(([name, value]) => `${name} ${bytes(value)}`)
      .join(", ");
  const ofPhase = parts(phases[largestPhase]);
  const all = [parts(resident), ofPhase && `in the ${largestPhase} ${ofPhase}`].filter((part) => part !== "");
  return `up to ${bytes(peak)}${all.length > 0 ? ` (${all.join("; ")})` : ""}`;
}

/** The three changes that save most. */
function adviseOn(model: MemoryModel, run: MemoryRun, { peak }: MemoryEstimate, savings: Savings): string[] {
  const budget = half(run.maxTokensPerMicroBatch);
  const changes: readonly (readonly [string, Partial<MemoryRun>])[] = [
    ["gradientCheckpointing true", { gradientCheckpointing: true }],
    [`maxTokensPerMicroBatch ${budget}`, { maxTokensPerMicroBatch: budget }],
    ...savings(run),
    ['optim "adamw_8bit"', run.optimizer === "adamw" ? { optimizer: "adamw_8bit" } : {}],
  ];
  const saved = changes.map(([change, other]) => {
    return { change, saved: peak - estimateMemory(model, { ...run, ...other }).peak };
  });
  const best = saved.filter(({ saved }) => saved > peak / 50).sort((a, b) => b.saved - a.saved);
  const advice = best.slice(0, 3).map(({ change, saved }) => `${change} saves ${bytes(saved)}`);
  return model.full ? [...advice, "an adapter (applyLora) needs no gradient and state for the model"] : advice;
}

/** Of a size that an option could have. */
export function half(value: number): number {
  return Math.max(1, Math.floor(value / 2));
}

function bytes(value: number): string {
  return value < 1e9 ? `${Math.round(value / 1e6)} MB` : `${(value / 1e9).toFixed(1)} GB`;
}
