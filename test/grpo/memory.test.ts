// The estimate of memory: what it depends on and how; and what the preflight makes of it.

import { expect, test } from "vitest";
import { GrpoError } from "../../lib/errors.js";
import { GRPOConfig } from "../../lib/grpo/config.js";
import { savings } from "../../lib/grpo/preflight.js";
import { estimateMemory, type MemoryEstimate, type MemoryModel, type MemoryRun } from "../../lib/model/memory.js";
import { capacityOf, describeEstimate, preflight, withChanges } from "../../lib/run/preflight.js";

/** Qwen2-0.5B in bfloat16 with LoRA of rank 8 on q and v, on a processor that computes in float32. */
const model: MemoryModel = {
  shape: {
    hiddenSize: 896,
    intermediateSize: 4864,
    numLayers: 24,
    numHeads: 14,
    numKvHeads: 2,
    headDim: 64,
    vocabSize: 151_936,
  },
  parameters: 494_032_768,
  trained: 540_672,
  adapters: 540_672,
  full: false,
  mlpTrained: 0,
  copiesReference: false,
  weightBytes: 2,
  computeBytes: 4,
  keptBytes: 2,
  device: "cpu",
};
const run: MemoryRun = {
  promptTokens: 160,
  completionTokens: 256,
  groupSize: 8,
  prompts: 4,
  completionsPerStep: 32,
  maxTokensPerMicroBatch: 2048,
  gradientCheckpointing: false,
  dropout: false,
  sortsVocabulary: false,
  repetitionPenalty: false,
  scores: false,
  reference: false,
  copiesCheckpoints: false,
  optimizer: "adamw",
};
const peak = (changes: Partial<MemoryRun> = {}, of: Partial<MemoryModel> = {}) =>
  estimateMemory({ ...model, ...of }, { ...run, ...changes }).peak;

test("what stays all the time is counted exactly", () => {
  const { resident } = estimateMemory(model, run);
  expect(resident).toMatchObject({
    weights: 494_032_768 * 2,
    adapter: 540_672 * 4,
    gradient: 540_672 * 4,
    "optimizer state": 540_672 * 8,
    reference: 0,
  });
  const full = estimateMemory(
    { ...model, full: true, trained: model.parameters, adapters: 0, copiesReference: true },
    { ...run, reference: true, optimizer: "sgd" },
  ).resident;
  expect(full).toMatchObject({
    "fp32 masters": 494_032_768 * 4,
    reference: 494_032_768 * 2,
    gradient: 494_032_768 * 4,
    "optimizer state": 0,
  });
});

test("the cache is that of all rows decoded together and of their prompts", () => {
  const { phases } = estimateMemory(model, run);
  // 2 × 24 layers × 2 heads × 64 × 2 bytes, of 4 prompts and 32 completions in blocks of 64 tokens: prompts of 160 tokens leave 32 in
  // their last block, of which each completion has a copy.
  expect(phases.rollout["KV cache"]).toBe(2 * 24 * 2 * 64 * 2 * (4 * 192 + 32 * 320));
  // More than 256 completions wait for their turn.
  const many = estimateMemory(model, { ...run, prompts: 1000 }).phases.rollout["KV cache"];
  expect(many).toBe(2 * 24 * 2 * 64 * 2 * (64 * 192 + 256 * 320));
  // On an accelerator blocks have 256; in float32, which its kernels do not take, there are none.
  const other = estimateMemory({ ...model, device: "other" }, run).phases.rollout["KV cache"];
  expect(other).toBe(2 * 24 * 2 * 64 * 2 * (4 * 256 + 32 * 512));
  const wide = estimateMemory({ ...model, device: "other", keptBytes: 4 }, run).phases.rollout["KV cache"];
  expect(wide).toBe(2 * 24 * 2 * 64 * 4 * (4 * 160 + 32 * 256));
});

test.each([
  ["a budget of half the tokens", { maxTokensPerMicroBatch: 1024 }],
  ["gradient checkpointing", { gradientCheckpointing: true }],
] as const)("%s lowers the peak", (_name, changes) => {
  expect(peak(changes)).toBeLessThan(0.8 * peak());
});

test("the budget bounds the update, however many completions a step has and however long they are", () => {
  const update = (changes: Partial<MemoryRun>) =>
    Object.values(estimateMemory(model, { ...run, ...changes }).phases.update).reduce((a, b) => a + b, 0);
  expect(update({ completionsPerStep: 320, prompts: 40 })).toBeCloseTo(update({}), -6);
  expect(update({ completionTokens: 1024 })).toBeLessThan(1.2 * update({}));
  // But a completion is never cut.
  expect(update({ completionTokens: 8192 })).toBeGreaterThan(3 * update({}));
});

test("the vocabulary counts up to one chunk in the update, and by row in sampling", () => {
  const of = (vocabSize: number) => estimateMemory({ ...model, shape: { ...model.shape, vocabSize } }, run).phases;
  expect(of(300_000).update["logit chunk"]).toBe(of(150_000).update["logit chunk"]);
  expect(of(300_000).rollout.sampling).toBeGreaterThan(1.9 * (of(150_000).rollout.sampling ?? 0));
});

const machine = (total: number, available: number) => ({ total, available, of: "this machine" });

test("what fits is one line of the plan", () => {
  const [line, ...more] = preflight(model, run, machine(64e9, 60e9), "refuse", savings);
  expect(line).toMatch(
    /^memory {3}up to \d+\.\d GB \(.*weights 988 MB.*in the update activations .*; 60\.0 GB free for it$/,
  );
  expect(more).toEqual([]);
});

test("a phase, or what is held all the time, without a part worth naming is left out of the line", () => {
  const estimate = { peak: 3e8, largestPhase: "update", resident: { runtime: 3e8, weights: 1 } } as const;
  const phases = { rollout: {}, update: { activations: 100 } };
  const of = (parts: object) => describeEstimate({ ...estimate, phases, ...parts } as unknown as MemoryEstimate);
  expect(of({})).toBe("up to 300 MB (runtime 300 MB)");
  expect(of({ resident: {}, phases: { update: { activations: 3e8 } } })).toBe(
    "up to 300 MB (in the update activations 300 MB)",
  );
  expect(of({ resident: {}, phases: { update: {} } })).toBe("up to 300 MB");
});

test("what may not fit is a warning with the changes that save most", () => {
  const lines = preflight(model, run, machine(64e9, 2e9), "refuse", savings);
  expect(lines).toHaveLength(2);
  expect(lines[1]).toMatch(/^warning .*gradientCheckpointing true saves \d\.\d GB; maxTokensPerMicroBatch 1024 saves/);
});

test("what cannot fit is refused before anything is allocated, unless memoryCheck says otherwise", () => {
  const refused = () => preflight(model, run, machine(1e9, 1e9), "refuse", savings);
  expect(refused).toThrow(
    /^training would take up to .*; this machine has 1\.0 GB\n {2}→ gradientCheckpointing true saves/,
  );
  expect(refused).toThrow(expect.objectContaining({ code: "OUT_OF_MEMORY" }));
  expect(preflight(model, run, machine(1e9, 1e9), "warn", savings)).toHaveLength(2);
  expect(preflight(model, run, machine(1e9, 1e9), "off", savings)).toHaveLength(1);
});

test("a model in full is advised to take an adapter, and AdamW in 8 bits", () => {
  const full = { ...model, full: true, trained: model.parameters, adapters: 0 };
  const [, warning] = preflight(full, run, machine(64e9, 1e9), "warn", savings);
  expect(warning).toContain('optim "adamw_8bit" saves 2.9 GB');
  expect(warning).toContain("an adapter (applyLora)");
});

test("a device has its own memory, the host that of the machine or the container", () => {
  // What the process has there already is in the estimate, too.
  expect(capacityOf("cuda:0", { computeBytes: 2, keptBytes: 2, free: 5, reserved: 3, total: 9 })).toEqual({
    total: 9,
    available: 8,
    of: "cuda:0",
  });
  const host = capacityOf("cpu", { computeBytes: 4, keptBytes: 4, free: 0, reserved: 0, total: 0 });
  expect(host.of).toMatch(/^this (machine|container)$/);
  expect(host.available).toBeGreaterThan(process.memoryUsage.rss());
});

test("an unknown check is refused by name", () => {
  expect(() => new GRPOConfig({ memoryCheck: "maybe" as "warn" })).toThrow(
    "memoryCheck must be one of refuse, warn, off",
  );
});

test("a step that had no memory says what would take less", () => {
  const changes = ["gradientCheckpointing true saves 1.0 GB", "maxTokensPerMicroBatch 512 saves 300 MB"];
  const thrown = new GrpoError("OUT_OF_MEMORY", "the device is full", { hint: "use a smaller dtype" });
  expect(withChanges(thrown, changes)).toMatchObject({
    code: "OUT_OF_MEMORY",
    message: `the device is full\n  → ${changes.join("; ")}`,
    cause: thrown,
  });
  expect(withChanges(thrown, [])).toBe(thrown);
  const other = new GrpoError("DISK_FULL", "the disk is full");
  expect(withChanges(other, changes)).toBe(other);
});
