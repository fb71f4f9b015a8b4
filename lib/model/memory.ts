// How much memory training takes at worst, by component: arithmetic on the shape of a model and on what a run asks of it, no more.
// Completions count as long as they may become. What stays all the time is added to the largest of the phases that follow each
// other. scripts/memory.ts compares with processes that were measured.
//
// Letters as in native/batch.h: N tokens of one pass, C hidden, F mlp, H heads, K kv heads, D head dim, V vocabulary; also
// W tokens of a prompt, T of a completion, G completions of a prompt.

import type { NativeModelConfig } from "../native/native.js";
import { type NativeOptimizerName, stateBytes } from "../options/optimizer.js";

export type ModelShape = Pick<
  NativeModelConfig,
  "hiddenSize" | "intermediateSize" | "numLayers" | "numHeads" | "numKvHeads" | "headDim" | "vocabSize"
>;

/** A model as it is about to be trained. */
export interface MemoryModel {
  readonly shape: ModelShape;
  /** Values of the base model; of it and the active adapter together those that are trained; of all adapters. */
  readonly parameters: number;
  readonly trained: number;
  readonly adapters: number;
  /** How many of gate, up and down carry an adapter, or are trained: their inputs are kept. */
  readonly mlpTrained: number;
  /** Whether the model itself is trained: it has no adapter. */
  readonly full: boolean;
  /** Whether a reference policy is a copy of what is trained; of a fresh adapter it is the base model. */
  readonly copiesReference: boolean;
  /** Bytes of a stored weight, of a number in a pass, and of one that is kept for the backward or in a cache. */
  readonly weightBytes: number;
  readonly computeBytes: number;
  readonly keptBytes: number;
  readonly device: "cpu" | "other";
}

/** What a run asks of it. */
export interface MemoryRun {
  readonly promptTokens: number; // W, of the longest
  readonly completionTokens: number; // T
  readonly groupSize: number; // G
  /** Prompts of one generation. */
  readonly prompts: number;
  /** Completions of one optimizer step. */
  readonly completionsPerStep: number;
  readonly maxTokensPerMicroBatch: number;
  readonly gradientCheckpointing: boolean;
  readonly dropout: boolean;
  /** Sampling sorts the vocabulary (topP) or remembers which tokens came (repetitionPenalty). */
  readonly sortsVocabulary: boolean;
  readonly repetitionPenalty: boolean;
  /** Old or reference log-probabilities are computed before the update. */
  readonly scores: boolean;
  readonly reference: boolean;
  readonly optimizer: NativeOptimizerName;
  /** Checkpoints are copied first, and written while the run goes on. */
  readonly copiesCheckpoints: boolean;
}

export type Phase = "rollout" | "scoring" | "update" | "optimizer step";
/** Bytes by part. */
export type Bytes = Readonly<Record<string, number>>;

export interface MemoryEstimate {
  /** There all the time. */
  readonly resident: Bytes;
  /** What each phase takes beside the resident parts. */
  readonly phases: Readonly<Record<Phase, Bytes>>;
  readonly largestPhase: Phase;
  readonly peak: number;
}

/** Completions decoded together, unless an option of sample() says otherwise. */
export const MAX_ROWS = 256;

/** The engine's own limits, of native/limits.h; a test compares with those of the core. */
export const ENGINE_LIMITS = {
  /** Tokens of a pass without gradient. */
  passTokens: 8192,
  /** Prompts in the cache for each full group. */
  promptsPerFullGroup: 2,
  /** Tokens of a block, in which a CPU keeps keys and values. */
  blockTokens: 64,
  /** The same in the memory of an accelerator. */
  pageTokens: 256,
  /** Rows whose logits a CPU holds at a time. */
  logitRows: 48,
  /** Logits of one chunk on a CPU, and elsewhere. */
  chunkElements: 2 ** 25,
  deviceChunkElements: 2 ** 27,
  /** Numbers of a weight widened at a time, where a pass has a wider type. */
  widenedElements: 2 ** 22,
  /** Values that the temporary of an optimizer step covers. */
  stepElements: 2 ** 26,
} as const;

/** How the engine uses memory; each number belongs to the place that is named. */
const ENGINE_MEMORY = {
  /** Node and libtorch without a model. */
  runtime: 300e6,
  /** How many tensors of the size of a chunk's logits live together: logprobs.cc. */
  chunkTensors: { cpu: 1, other: 4 },
  /** Bytes for each logit on a CPU: row_sampler.cc. */
  cpuDrawBytes: 4,
  /** Elsewhere bytes for each logit of a draw, and what sorting adds: sampler.cc. */
  drawBytes: 24,
  sortBytes: 26,
  /** Copies of the scores of decode attention, in fp32, where ATen computes it: decode_attention.cc. */
  decodeScores: 4,
  /** Numbers that a layer keeps for its backward, for each token in units of C, H·D, K·D and F: fused_linear.cc, segment_attention.cc. */
  saved: { C: 2, HD: 2, KD: 2, F: 2, key: 0 },
  /** What a layer keeps where operators of ATen compute it, with `key` for each key in units of H·D: linear.cc, attention.cc. */
  savedPlain: { C: 6, HD: 4, KD: 0, F: 3, perMlpTrained: 1, key: 2.5 },
  /** What a layer has at a time in a pass that keeps nothing, in the same units. */
  passing: { C: 4, HD: 3, KD: 0, F: 4, key: 3 },
} as const;

const sum = (bytes: Bytes) => Object.values(bytes).reduce((a, b) => a + b, 0);

export function estimateMemory(model: MemoryModel, run: MemoryRun): MemoryEstimate {
  const resident = residentBytes(model, run);
  const phases: Record<Phase, Bytes> = {
    rollout: rolloutBytes(model, run),
    scoring: run.scores ? scoringBytes(model, run) : {},
    update: updateBytes(model, run),
    "optimizer step": { temporary: Math.min(model.trained, ENGINE_LIMITS.stepElements) * 4 },
  };
  const order = Object.keys(phases) as Phase[];
  const largestPhase = order.reduce((a, b) => (sum(phases[b]) > sum(phases[a]) ? b : a));
  return { resident, phases, largestPhase, peak: sum(resident) + sum(phases[largestPhase]) };
}

function residentBytes(model: MemoryModel, run: MemoryRun): Bytes {
  const { parameters, trained, adapters, full, weightBytes, copiesReference } = model;
  // A model that is trained in full has its fp32 masters beside the weights, unless these are fp32 themselves.
  const masters = full ? (weightBytes === 4 ? 0 : trained * 4) : adapters * 4;
  const copy = full ? parameters * weightBytes : trained * 4;
  return {
    // What the host's side takes of a device's memory before the first tensor is not free any more.
    runtime: model.device === "cpu" ? ENGINE_MEMORY.runtime : 0,
    weights: parameters * weightBytes,
    [full ? "fp32 masters" : "adapter"]: masters,
    reference: run.reference && copiesReference ? copy : 0,
    gradient: trained * 4,
    "optimizer state": trained * stateBytes[run.optimizer],
    "checkpoint copy": run.copiesCheckpoints ? checkpointCopyBytes(model, run) : 0,
  };
}

/** What the copy of a checkpoint on its way to the disk takes of the device's memory. It is in the host's, which only the CPU shares. */
export function checkpointCopyBytes({ trained, device }: MemoryModel, { optimizer }: MemoryRun): number {
  return device === "cpu" ? trained * (4 + stateBytes[optimizer]) : 0;
}

function rolloutBytes(model: MemoryModel, run: MemoryRun): Bytes {
  const { shape, keptBytes } = model;
  const { promptTokens: W, completionTokens: T, groupSize } = run;
  const groups = Math.min(Math.max(1, Math.floor(MAX_ROWS / groupSize)), run.prompts);
  const rows = groups * groupSize;
  const prompts = Math.min(ENGINE_LIMITS.promptsPerFullGroup * groups, run.prompts);
  const perToken = 2 * shape.numLayers * shape.numKvHeads * shape.headDim * keptBytes;
  const seen = run.repetitionPenalty ? rows * shape.vocabSize : 0;
  const decode = seen + (model.device === "cpu" ? cpuDecodeBytes(model, rows) : decodeBytes(model, run, rows));
  return {
    "KV cache": perToken * cachedTokens(model, prompts, W, rows, T),
    sampling: decode,
    prefill: Math.max(0, passBytes(model, Math.min(prompts * W, Math.max(W, ENGINE_LIMITS.passTokens))) - decode),
  };
}

/**
 * Tokens that whole blocks have: a row has a copy of the block that its prompt does not fill. Beside numbers of four bytes an
 * accelerator has no kernels that read blocks.
 */
function cachedTokens(
  { device, keptBytes }: MemoryModel,
  prompts: number,
  promptTokens: number,
  rows: number,
  completionTokens: number,
): number {
  if (device !== "cpu" && keptBytes > 2) return prompts * promptTokens + rows * completionTokens;
  const size = device === "cpu" ? ENGINE_LIMITS.blockTokens : ENGINE_LIMITS.pageTokens;
  const whole = (tokens: number) => Math.ceil(tokens / size) * size;
  return prompts * whole(promptTokens) + rows * whole((promptTokens % size) + completionTokens);
}

/** One step of plain loops: all logits of some rows. */
function cpuDecodeBytes({ shape }: MemoryModel, rows: number): number {
  return Math.min(rows, ENGINE_LIMITS.logitRows) * shape.vocabSize * ENGINE_MEMORY.cpuDrawBytes;
}

function decodeBytes({ shape }: MemoryModel, run: MemoryRun, rows: number): number {
  const draw = ENGINE_MEMORY.drawBytes + (run.sortsVocabulary ? ENGINE_MEMORY.sortBytes : 0);
  const keys = run.promptTokens + run.completionTokens;
  return rows * (shape.vocabSize * draw + shape.numHeads * keys * 4 * ENGINE_MEMORY.decodeScores);
}

function scoringBytes(model: MemoryModel, run: MemoryRun): Bytes {
  const { tokens, keys } = microBatch(run, ENGINE_LIMITS.passTokens);
  return { activations: passBytes(model, tokens, keys), "logit chunk": chunkBytes(model, tokens) };
}

function updateBytes(model: MemoryModel, run: MemoryRun): Bytes {
  const { tokens, keys } = microBatch(run, run.maxTokensPerMicroBatch);
  const { numLayers, hiddenSize } = model.shape;
  const layer = layerBytes(model.shape, model.keptBytes, savedUnits(model, run), tokens, keys);
  const kept = run.gradientCheckpointing
    ? numLayers * tokens * hiddenSize * model.computeBytes + layer
    : numLayers * layer;
  return {
    activations: kept + passBytes(model, tokens, keys),
    "logit chunk": chunkBytes(model, tokens),
  };
}

/** The layers of an accelerator are counted as operators of ATen. Dropout keeps a mask of bytes for the input of every pair. */
function savedUnits({ device, mlpTrained, keptBytes }: MemoryModel, run: MemoryRun): Units {
  const { saved, savedPlain } = ENGINE_MEMORY;
  const units = device === "cpu" ? saved : { ...savedPlain, F: savedPlain.F + mlpTrained * savedPlain.perMlpTrained };
  const mask = run.dropout ? 1 / keptBytes : 0;
  return {
    ...units,
    C: units.C + mask * (3 + Math.min(2, mlpTrained)),
    HD: units.HD + mask,
    F: units.F + (mlpTrained === 3 ? mask : 0),
  };
}

/** The largest piece that a step is cut into: whole completions, each prompt once; every completion sees the keys of its prompt. */
function microBatch(run: MemoryRun, budget: number): { readonly tokens: number; readonly keys: number } {
  const { promptTokens: W, completionTokens: T, groupSize: G } = run;
  const prompts = run.completionsPerStep / G;
  const all = prompts * W + run.completionsPerStep * T;
  const tokens = Math.min(Math.max(budget, W + T), all);
  const completions = Math.max(1, Math.min((tokens * G) / (W + G * T), (tokens - W) / T));
  return { tokens, keys: completions * (W + T) + Math.max(1, completions / G) * W };
}

type Units = Readonly<Record<"C" | "HD" | "KD" | "F" | "key", number>>;

function layerBytes(shape: ModelShape, bytes: number, units: Units, tokens: number, keys: number): number {
  const HD = shape.numHeads * shape.headDim;
  const KD = shape.numKvHeads * shape.headDim;
  const perToken = units.C * shape.hiddenSize + units.HD * HD + units.KD * KD + units.F * shape.intermediateSize;
  return (tokens * perToken + keys * units.key * HD) * bytes;
}

/** What one layer takes while it is passed, whatever is kept: its activations, and a slice of its weights in the type of the pass. */
function passBytes(model: MemoryModel, tokens: number, keys: number = tokens): number {
  const widened = model.computeBytes > model.weightBytes ? ENGINE_LIMITS.widenedElements * model.computeBytes : 0;
  return layerBytes(model.shape, model.computeBytes, ENGINE_MEMORY.passing, tokens, keys) + widened;
}

function chunkBytes({ shape, device }: MemoryModel, tokens: number): number {
  const { chunkElements, deviceChunkElements } = ENGINE_LIMITS;
  const most = Math.max(device === "cpu" ? chunkElements : deviceChunkElements, shape.vocabSize);
  const elements = Math.min(tokens * shape.vocabSize, most);
  return elements * 4 * ENGINE_MEMORY.chunkTensors[device === "cpu" ? "cpu" : "other"];
}
