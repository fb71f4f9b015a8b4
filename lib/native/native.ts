// The typed mirror of the native addon: everything that crosses the boundary, and nothing else. Ragged data crosses as
// one flat typed array with an offsets array beside it ([n + 1] entries, offsets[0] = 0). Weights never cross, except
// gradients() and forward(), which exist for tests and small inputs. The options of the loss and of the optimizers are tables of
// their own: ../options/. In C++ each struct lists the same names in its `fields`; test/addon/boundary.test.ts compares.

import type { NativeLoss } from "../options/loss.js";
import type { NativeOptimizer, NativeOptimizerName } from "../options/optimizer.js";
import type { NativeSftLoss } from "../options/sft-loss.js";

export type { NativeLoss, NativeOptimizer, NativeOptimizerName, NativeSftLoss };

export type NativeDtype = "float32" | "bfloat16" | "float16" | "float64";

/** One rotary embedding; D_rot = 2 · invFreq.length leading dimensions of each head are rotated. */
export interface NativeRope {
  /** Inverse frequencies; scaling variants that do not depend on the length are already applied. */
  invFreq: Float32Array;
  /** Factor on cos and sin (1 unless the rope scaling asks for another). */
  scaling: number;
  /** Sequences longer than this use `longInvFreq` and `longScaling` ("longrope"); 0: never. */
  switchLength: number;
  longInvFreq: Float32Array;
  longScaling: number;
  /** "dynamic": sequences longer than `dynamicLength` raise the base `theta` by the NTK rule with this factor; 0: never. */
  dynamicFactor: number;
  dynamicLength: number;
  theta: number;
}

export interface NativeLayer {
  /** Sliding window: a token sees itself and the `window` - 1 tokens before it; 0: all. */
  window: number;
  /** Index into `ropes`; -1: no rotary embedding (NoPE). */
  rope: number;
}

export interface NativeNorm {
  name: string; // "model.norm"
  size: number;
}

/** A module of the checkpoint, whose tensors are a part of a layer's: weight [out, in], bias [out]. */
export interface NativeLinearPart {
  name: string; // "model.layers.0.self_attn.q_proj"
  out: number;
}

/** y [sum of out] = W x [in] + b. Its parts read the same input, so that one product serves them. */
export interface NativeLinear {
  parts: NativeLinearPart[];
  in: number;
  bias: boolean;
}

/** Norms that the family does not have are null: of what a branch reads and of what it gives, and of queries and keys. */
export interface NativeAttentionModules {
  before: NativeNorm | null;
  after: NativeNorm | null;
  qkv: NativeLinear; // q, k and v, in one part or in three
  /** Over each head's D, or over all heads, H·D. */
  qNorm: NativeNorm | null;
  kNorm: NativeNorm | null;
  output: NativeLinear;
}

export interface NativeFeedForwardModules {
  before: NativeNorm | null;
  after: NativeNorm | null;
  gateUp: NativeLinear; // in one part or in two
  down: NativeLinear;
}

export interface NativeLayerModules {
  attention: NativeAttentionModules;
  feedForward: NativeFeedForwardModules;
}

/** Names, parts and shapes of every module, as the checkpoint has them; made in module-table.ts. */
export interface NativeModules {
  embedding: { name: string; rows: number; size: number }; // [V, C]
  layers: NativeLayerModules[]; // [numLayers]
  norm: NativeNorm; // after the last layer
  /** lm_head, or score of a classifier; of one part. Of a tied model its weight is the embedding. */
  output: NativeLinear;
}

/** Every number that the forward pass depends on. A model family is a way to fill this in; see families.ts. */
export interface NativeModelConfig {
  hiddenSize: number; // C
  intermediateSize: number; // F
  numLayers: number;
  numHeads: number; // H
  numKvHeads: number; // K
  headDim: number; // D
  vocabSize: number; // V
  rmsNormEps: number;
  /** Longest sequence; may exceed the length the rope was made for, where its scaling allows that. */
  maxPositions: number;
  tieWordEmbeddings: boolean;
  ropes: NativeRope[];
  layers: NativeLayer[]; // [numLayers]
  modules: NativeModules;
  /** Added to every norm's weight: 1 in Gemma, which then also multiplies before rounding; 0 elsewhere. */
  normOffset: number;
  activation: "silu" | "gelu_tanh";
  /** Factor on the embeddings, rounded to the dtype of the weights; 1 but for Gemma. */
  embeddingScale: number;
  /** Factor on q·k; 1/√D unless the family has its own (query_pre_attn_scalar). */
  attentionScale: number;
  /** s · tanh(x / s) on attention scores and on logits (Gemma 2); 0: off. */
  attentionSoftcap: number;
  logitSoftcap: number;
  /** Not 0: a classifier, whose output layer is `score` [numLabels, C]; it has forward() and no verb that draws or trains. */
  numLabels: number;
}

/** Where one tensor lies: `files[file]`, `bytes` bytes from `offset`, row-major. Checked in TypeScript, re-checked in C++. */
export interface NativeTensorRef {
  name: string;
  file: number;
  offset: number;
  bytes: number;
  dtype: string; // safetensors names: "F32", "BF16", "F16", "F64"
  shape: number[];
}

export interface NativeTensorTable {
  files: string[];
  tensors: NativeTensorRef[];
}

export interface NativeTensorInfo {
  name: string;
  dtype: string;
  shape: number[];
}

/** How LoRA pairs begin (PEFT's init_lora_weights). */
export type NativeLoraInit =
  | "default" // A Kaiming-uniform(a = √5), B zero; of an embedding: A zero, B normal
  | "random" // both random (init_lora_weights false)
  | "gaussian" // A normal with deviation 1 / r, B zero
  | "pissa" // the leading singular triples of the weight
  | "olora" // the leading columns and rows of its QR decomposition
  | "orthogonal";

/** One LoRA pair on one module: y += scaling · dropout(x) Aᵀ Bᵀ. */
export interface NativeLoraPair {
  module: string; // "model.layers.0.self_attn.q_proj", "lm_head" or "model.embed_tokens"
  scaling: number;
}

/** Some rows of the embedding or of the output layer that are trained instead of the whole. */
export interface NativeTokenRows {
  module: string; // "model.embed_tokens" or "lm_head"
  ids: Int32Array; // [n] distinct
}

/**
 * What an adapter adds to the model or puts in place of its tensors. Its tensors are these, by name, float32 in training; whole
 * weights and biases are saved in the model's dtype:
 *   <module>.lora_A.weight [R, in]        <module>.lora_B.weight [out, R]
 *   <module>.lora_magnitude_vector [out]  (DoRA)
 *   model.embed_tokens.lora_embedding_A [R, V]   model.embed_tokens.lora_embedding_B [C, R]
 *   <module>.trainable_tokens_delta [n, C]   the rows themselves, not a difference
 *   <module>.weight, <module>.bias   trained in full, in place of the model's own
 */
export interface NativeAdapterSpec {
  tensors: { name: string; shape: number[] }[];
  pairs: NativeLoraPair[];
  dropout: number;
  /** Of "pissa" and "olora" the base keeps its weights: the pair's beginning is subtracted on the fly, also after loading. */
  init: NativeLoraInit;
  /** "pissa": iterations of the randomized decomposition; 0: the full one. */
  initIterations: number;
  /** In a tied model, rows of the embedding are the output layer's too unless that has an entry of its own. */
  tokenRows: NativeTokenRows[];
  /** For a tied model: what is trained of the embedding in full is also the output layer's (PEFT's ensure_weight_tying). */
  tieOutput: boolean;
  seed: number;
}

/** How the tokens of a completion are drawn, and what ends it. */
export interface NativeDrawing {
  maxNewTokens: number;
  doSample: boolean; // false: greedy
  temperature: number;
  topP: number; // 1 = off
  topK: number; // 0 = off
  minP: number; // 0 = off
  repetitionPenalty: number; // 1 = off
  stopIds: Int32Array;
  /** What may be drawn at all; see TokenRules. */
  minNewTokens?: number;
  noRepeatNgramSize?: number;
  badWordIds?: Int32Array; // sequences, one after the other, none of them empty
  badWordOffsets?: Int32Array; // [n + 1]
  suppressTokens?: Int32Array;
  beginSuppressTokens?: Int32Array;
  forcedEosTokens?: Int32Array;
  /** Byte strings that end a completion, each not empty; they need the bytes of every token beside them. */
  stopStrings?: Uint8Array[];
  tokenBytes?: Uint8Array;
  tokenOffsets?: Int32Array; // [V + 1]
  /** Every draw waits to be told what is allowed: allowTokens. */
  constrained?: boolean;
  seed: number;
  step: number;
}

export interface NativeSampleRequest extends NativeDrawing {
  promptIds: Int32Array;
  promptOffsets: Int32Array; // [P + 1]
  /** [P] identity of each prompt in the random streams, so that a draw does not depend on the batch around it. */
  promptKeys: Int32Array;
  groupSize: number; // G completions a prompt
  /** Rows decoded together at most; waiting prompts enter as rows finish. */
  maxRows: number;
  /** Sequence length that length-dependent ropes are made for; absent: the longest prompt and maxNewTokens. */
  contextLength?: number;
  /** On a CPU, without the kernels made for it: what those are tested against. */
  plain?: boolean;
  /** Decode steps in few fixed shapes, by operators, recorded as graphs where the device has graphs. */
  graphCapture?: boolean;
}

/** A prompt that enters a running batch. */
export interface NativeStreamRequest extends NativeDrawing {
  /** What events call it; no other request has it. */
  ticket: number;
  /** Owners share the batch fairly. */
  owner: number;
  promptIds: Int32Array;
  promptKey: number; // as of NativeSampleRequest
  groupSize: number;
  /** So many of the likeliest tokens beside each drawn one. */
  topLogprobs: number;
}

/** How a running batch is run. */
export interface NativeStreamOptions {
  maxRows: number;
  /** Tokens of prompts that are computed between two decode steps. */
  partTokens: number;
  /** Of what is remembered of sequences that have ended. */
  cacheBytes: number;
  contextLength: number; // as of NativeSampleRequest
}

export interface NativeGroup {
  prompt: number; // index into the request's prompts
  ids: Int32Array; // the stop id included
  offsets: Int32Array; // [G + 1]
  logprobs: Float32Array; // log softmax(logits / temperature) of each drawn token, before top-p, top-k, min-p, penalty
  finish: Uint8Array; // [G] 0 = eos, 1 = length, 2 = stop string
}

/** The tokens of one decode step, one for each completion that was not finished. */
export interface NativeStepTokens {
  prompts: Int32Array; // index of the prompt, or ticket
  samples: Int32Array;
  ids: Int32Array;
  logprobs: Float32Array; // as of NativeGroup
  finish: Uint8Array; // as of NativeGroup; 255: it goes on
  /** The likeliest tokens beside each, where they were asked for, likeliest first. */
  topOffsets: Int32Array; // [n + 1]
  topIds: Int32Array;
  topLogprobs: Float32Array;
}

/** A prompt begins to be computed. */
export interface NativePromptOpened {
  prompt: number; // as of NativeStepTokens
  /** First tokens that an earlier sequence has computed. */
  known: number;
}

export interface NativeSampleStats {
  decodeSteps: number;
  tokens: number;
  prefillTokens: number; // that were computed
  knownTokens: number; // of prompts, that were known
  prefillSeconds: number;
  decodeSeconds: number;
}

/** Prompts and the completions that continue them; completion b continues prompt promptOf[b]. */
export interface NativeBatch {
  promptIds: Int32Array;
  promptOffsets: Int32Array; // [P + 1]
  completionIds: Int32Array;
  completionOffsets: Int32Array; // [B + 1]
  promptOf: Int32Array; // [B], ascending
  /** As of NativeSampleRequest; absent: the longest sequence of the batch. */
  contextLength?: number;
}

/** Numbers of tokens that do not count are ignored. */
export interface NativeTrainBatch extends NativeBatch {
  lossMask?: Uint8Array; // [tokens] 1: the token counts in the loss; absent: all do
  sliceOffsets?: Int32Array; // [S + 1] rows: TRL's micro-batches, for normalizers and metrics; absent: one slice of all
  advantages: Float32Array; // [B]
  tokenAdvantages?: Float32Array; // [tokens]; absent: those of the completions
  oldLogprobs?: Float32Array; // [tokens]; absent: the current ones, detached
  referenceLogprobs?: Float32Array; // [tokens]; required when beta > 0
  samplingLogprobs?: Float32Array; // [tokens]; for logpDifference…, and sampledElsewhere
  importanceRatios?: Float32Array; // [tokens] on the policy term; absent: 1
}

/** Means over the slices as TRL has them; NaN where nothing defines one. */
export interface NativeLossResult {
  loss: number;
  /** Without the entropy bonus. */
  policyLoss: number;
  /** Mean over the rows that were not left out, like kl and the differences. */
  entropy: number;
  kl: number;
  clipLow: number;
  clipHigh: number;
  clipRegion: number;
  /** Smallest and largest clipped share of one completion. */
  clipLowMin: number;
  clipHighMax: number;
  /** vespo's weight. */
  phi: number;
  /** Mean and largest |sampling - current| log-probability difference; without samplingLogprobs |old - current|. */
  logpDifferenceMean: number;
  logpDifferenceMax: number;
  /** Mean entropy and number of the tokens that topEntropyQuantile leaves, over all slices together. */
  activeEntropy: number;
  activeTokens: number;
  /** That count in the loss. */
  tokens: number;
  /** Rows that were left out. */
  idleRows: number;
  microBatches: number;
}

/** What a model is to say. */
export interface NativeSftBatch extends NativeBatch {
  lossMask?: Uint8Array; // [tokens] 1: the token counts in the loss; absent: all do
}

/** Sums over the tokens of each row that count, [B] each. */
export interface NativeSftResult {
  /** Divided by the loss's tokens. */
  loss: Float32Array;
  /** In nats. */
  entropy: Float32Array;
  /** Tokens that were the likeliest. */
  correct: Float32Array;
  microBatches: number;
}

/** Bytes. */
export interface NativeMemory {
  /** Size of a number in a pass: bfloat16 models compute in float32 on processors without its arithmetic. */
  computeBytes: number;
  /** Of a number that is kept for the backward, or in a cache. */
  keptBytes: number;
  /** Free memory of the device, and what this process has of it, in use or kept for what comes; 0 where it has the host's memory. */
  free: number;
  reserved: number;
  total: number;
}

/** What the operators of some jobs amount to. */
export interface NativeOperatorCounts {
  /** Dispatched by libtorch, views and those that operators are made of included. */
  operators: number;
  /** Those that compute or copy, by name: what a device would have to run. */
  kernels: Record<string, number>;
  /** Operations of matrix products: two for each multiplication. */
  flops: number;
  /** Held at most, beside what was there before. 0 on the meta device. */
  peakBytes: number;
}

export interface NativeStepResult {
  gradNorm: number;
  /** False: the gradient was not finite and nothing was changed. */
  applied: boolean;
}

/**
 * A tensor set that can be listed, saved and loaded. "model": as it is now, trained in full or not; "merged" and
 * "safelyMerged": the model with the active adapter merged into it, computed tensor by tensor; "reference": the frozen copy.
 */
export type NativeTensorSet = "model" | "adapter" | "optimizer" | "merged" | "safelyMerged" | "reference";

/** Copies of tensors in host memory. */
export interface NativeSnapshot {
  bytes: number;
  /** As saveSet does, but not on the engine's thread; frees the copies. Once only. */
  write(file: string, header: Uint8Array): Promise<void>;
}

/** How a process joins a group of ranks. */
export interface NativeRankOptions {
  host: string; // of the store
  port: number; // of the store
  serves: boolean; // this process holds the store
  rank: number;
  size: number;
  /** Of the group: the same on all ranks, another for each group. */
  name: string;
  /** Of this host, which the other ranks connect to. */
  address: string;
  network: string; // interface in place of the address; "": the address
  timeout: number; // seconds that a rank waits for the others
}

export interface NativeMergeOptions {
  /** Round the update to the model's dtype before adding it, and refuse results that are not finite (PEFT's safe_merge). */
  safe: boolean;
}

export interface NativeEngine {
  /** Throws BAD_CHECKPOINT, naming the tensor, also where a value is not finite. */
  loadModel(table: NativeTensorTable): Promise<void>;
  initModel(seed: number): Promise<void>;
  /**
   * Adapters have names; one at most is active, and only the active one computes, trains, and is meant by the sets "adapter",
   * "optimizer" and the merged ones, by optimizerSteps and by gradients. A new one becomes active where none is.
   */
  addAdapter(name: string, spec: NativeAdapterSpec): Promise<void>;
  deleteAdapter(name: string): Promise<void>;
  /** "": none. */
  setAdapter(name: string): Promise<void>;
  /** False: the base model answers until it is true again; which adapter is active stays. */
  setAdapterEnabled(enabled: boolean): Promise<void>;
  /** Every tensor of the model is trained from now on, under its own name. Needs a model without adapters. */
  trainAll(): Promise<void>;
  /**
   * Freezes a copy of the policy as the reference: of all weights after trainAll(), else of the active adapter. Without this
   * call the reference is the base model.
   */
  makeReference(): Promise<void>;
  /** reference <- (1 - alpha) · reference + alpha · policy, of all weights. Needs trainAll() and makeReference(). */
  mixReference(alpha: number): Promise<void>;
  /** Merges the named adapters into the weights, in this order; unmergeAdapters restores them bit for bit. */
  mergeAdapters(names: string[], options: NativeMergeOptions): Promise<void>;
  unmergeAdapters(): Promise<void>;
  /** Drops every adapter and keeps the weights as they are, merged or not. True: the output layer is no longer tied. */
  dropAdapters(): Promise<boolean>;
  loadSet(set: NativeTensorSet, table: NativeTensorTable, step: number): Promise<void>;
  /** Writes a safetensors file: the given header bytes (8-byte length included), then the named tensors in order. */
  saveSet(set: NativeTensorSet, file: string, header: Uint8Array, names: string[]): Promise<void>;
  /** The named tensors as they are now, to be written while other jobs run. */
  copySet(set: NativeTensorSet, names: string[]): Promise<NativeSnapshot>;
  tensors(set: NativeTensorSet): Promise<NativeTensorInfo[]>;
  optimizerSteps(): Promise<number>;
  /** "" before the first step. */
  optimizer(): Promise<NativeOptimizerName | "">;
  /** Forgets the optimizer and its steps. With a name: fresh memory of that one, for a set "optimizer" that is loaded next. */
  setOptimizer(name: NativeOptimizerName | ""): Promise<void>;
  memory(): Promise<NativeMemory>;

  sample(
    request: NativeSampleRequest,
    onGroup: (group: NativeGroup) => void,
    onTokens?: (tokens: NativeStepTokens) => void,
  ): Promise<NativeSampleStats>;
  /** Runs a batch that prompts enter and leave, until there is none. */
  stream(
    options: NativeStreamOptions,
    onTokens: (tokens: NativeStepTokens) => void,
    onOpened: (opened: NativePromptOpened) => void,
  ): Promise<NativeSampleStats>;
  /** Into the batch that runs, or the next. Throws BAD_INPUT. */
  enterStream(request: NativeStreamRequest): void;
  /** Its completions end without an event. */
  leaveStream(ticket: number): void;
  /** What the next draw of a completion may be: a bit for every id from the lowest on, or nothing for any. Of sample(): by the prompt's index. */
  allowTokens(ticket: number, sample: number, allowed: Int32Array): void;
  /** Under the policy, or under the reference. */
  logprobs(batch: NativeBatch, temperature: number, reference?: boolean): Promise<Float32Array>; // [tokens]
  forward(ids: Int32Array, offsets: Int32Array): Promise<Float32Array>; // [tokens, V], of a classifier [tokens, numLabels]
  forwardBackward(batch: NativeTrainBatch, loss: NativeLoss): Promise<NativeLossResult>;
  sftForwardBackward(batch: NativeSftBatch, loss: NativeSftLoss): Promise<NativeSftResult>;
  /** The same numbers, without gradient and dropout. */
  sftEvaluate(batch: NativeSftBatch, loss: NativeSftLoss): Promise<NativeSftResult>;
  /** Among ranks of the sum of their gradients. */
  optimizerStep(options: NativeOptimizer): Promise<NativeStepResult>;
  zeroGrad(): Promise<void>;
  gradients(): Promise<Record<string, Float32Array>>;

  /** From here on this engine trains together with those of the other ranks; waits until all are there. Throws RANK_FAILED. */
  joinRanks(options: NativeRankOptions): Promise<void>;
  /** What each rank gives, by rank. Every rank calls what waits for the others in the same order. Throws RANK_FAILED. */
  gatherBytes(own: Uint8Array): Promise<Uint8Array[]>;
  /** What is trained is as rank 0 has it. Throws RANK_FAILED. */
  shareValues(): Promise<void>;
  /** `reason`: told to the other ranks; "": the run is over. */
  leaveRanks(reason: string): Promise<void>;

  /** Every job asked for so far ends at its next check with code CANCELLED; later ones run. A cancelled forwardBackward leaves
   *  a part of the gradient behind. */
  cancel(): void;
  /** Counts operators from here on, or no more; what was counted up to here. Slows the engine down while it counts. */
  countOperators(count: boolean): Promise<NativeOperatorCounts>;
  /** Read-backs from the device so far. */
  syncs(): number;
  dispose(): void;
}

export interface NativeMachineProbe {
  /** One pass over memory that no cache holds. */
  readGBPerSecond: number;
  /** Products of square matrices, two operations for each multiplication. */
  gemmGflopsFloat32: number;
  gemmGflopsBfloat16: number;
}

/** c [m, n] = scale · a b, or += with `add`; element (i, j) stands at i · strides[0] + j · strides[1]. */
export interface NativeProduct {
  m: number;
  n: number;
  k: number;
  a: Float32Array;
  aStrides: Int32Array; // [2]
  b: Float32Array;
  bStrides: Int32Array; // [2]
  /** b in bfloat16. */
  narrow: boolean;
  c: Float32Array;
  cStride: number; // between rows
  scale: number;
  add: boolean;
  /** By the kernels that every processor can run. */
  generic: boolean;
  /** How b is given: as numbers, or packed as a weight, for its product and for that of its transpose. */
  form: "matrix" | "panels" | "turned";
}

export interface NativeCore {
  Engine: new (options: {
    config: NativeModelConfig;
    device: string;
    dtype: NativeDtype;
    threads: number; // 0: libtorch's own choice
  }) => NativeEngine;
  /** What the boundary was when the core was compiled: a hash that CMakeLists.txt takes. */
  readonly bindingRevision: string;
  torchVersion(): string;
  /**
   * What the CPU's kernels use: "generic", "avx2", "avx512" or "avx512bf16". The last that the processor has, unless
   * GRPO_INSTRUCTION_SET, which is read while the core is loaded, names another.
   */
  instructionSet(): string;
  /** Those that this processor has, the least first. */
  instructionSets(): string[];
  /** "cpu", and "cuda" / "mps" with their device counts, where they can be used now. */
  devices(): { type: string; count: number }[];
  /** Computes something there. Throws DEVICE_UNAVAILABLE, with what the device says, where it cannot. */
  tryDevice(device: string): void;
  /** What the device can do right now, for benchmarks: blocks for about a second. `threads` 0: libtorch's own choice. */
  machineProbe(device: string, threads: number): NativeMachineProbe;
  /** The production loss on given scores in float64, for finite-difference tests: loss, dloss/dlogprob, dloss/dentropy, [tokens]. */
  lossAndGradient(
    batch: {
      logprobs: Float64Array;
      entropy: Float64Array;
      old: Float64Array; // may be empty
      reference: Float64Array; // may be empty
      sampling?: Float64Array; // [tokens], as samplingLogprobs of NativeTrainBatch
      importanceRatios?: Float64Array; // [tokens], as of NativeTrainBatch
      advantages: Float64Array; // [B]
      tokenAdvantages?: Float64Array; // [tokens], as of NativeTrainBatch
      offsets: Int32Array; // [B + 1]
      lossMask?: Uint8Array; // [tokens], as of NativeTrainBatch
      sliceOffsets?: Int32Array; // [S + 1]
    },
    loss: NativeLoss,
  ): { loss: number; logprobs: Float64Array; entropy: Float64Array };
  /** How much the engine holds at a time, in tokens, rows and numbers: what the estimate of memory must go by. */
  readonly limits: Readonly<Record<string, number>>;
  /** Each reads an object into the engine's struct and writes that back, for tests: what arrives of it, field by field. */
  readonly echo: {
    modelConfig(config: NativeModelConfig): NativeModelConfig;
    adapterSpec(spec: NativeAdapterSpec): NativeAdapterSpec;
    tensorTable(table: NativeTensorTable): NativeTensorTable;
    sampleRequest(request: NativeSampleRequest): Required<NativeSampleRequest>;
    trainBatch(batch: NativeTrainBatch): Required<NativeTrainBatch>;
    lossOptions(loss: NativeLoss): NativeLoss;
    sftBatch(batch: NativeSftBatch): Required<NativeSftBatch>;
    sftOptions(loss: NativeSftLoss): NativeSftLoss;
    optimizerOptions(options: NativeOptimizer): Required<NativeOptimizer>;
  };
  /** c as the CPU's kernels compute it, for tests. */
  multiplyMatrices(product: NativeProduct): Float32Array;
  /** The distribution that one draw uses, for tests: logits and result [rows, V]; seen [rows, V] marks earlier tokens. */
  samplingProbabilities(
    logits: Float32Array,
    seen: Uint8Array,
    rows: number,
    request: Pick<NativeSampleRequest, "temperature" | "topP" | "topK" | "minP" | "repetitionPenalty" | "plain">,
  ): Float32Array;
}
