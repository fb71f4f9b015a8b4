// What the training loop asks of a model and of a tokenizer, and no more. CausalLM and Tokenizer satisfy these two
// interfaces; tests hand in small deterministic stand-ins. One array per prompt or per completion: flattening is the
// model's business.

import type { CheckpointWriter } from "./model/learner.js";
import type { LossOptions } from "./model/loss.js";
import type { MemoryModel } from "./model/memory.js";
import type {
  NativeLossResult,
  NativeMemory,
  NativeOptimizer,
  NativeSampleStats,
  NativeStepResult,
} from "./native/native.js";
import type { SampledRollout } from "./rollout/sample.js";
import type { FinishReason, Message } from "./types.js";

export type { CheckpointWriter } from "./model/learner.js";

/** Token ids, whole numbers from 0. */
export type TokenIds = readonly number[];

/** One sampled completion: ids with the log-probability of each, in float32 and nats. */
export interface SampledCompletion {
  /** The drawn tokens, the stop id included. */
  readonly ids: number[];
  /** Log-probability of each drawn token under the model at the sampling temperature. */
  readonly logprobs: Float32Array;
  readonly finishReason: FinishReason;
}

/** One attempt at a prompt, as a sampler gives it. */
export type SampledAttempt = SampledCompletion | SampledRollout;

/** The completions of one prompt, or of other samplers the attempts at it; `prompt` is its index in the call. */
export interface SampledGroup<T extends SampledAttempt = SampledCompletion> {
  readonly prompt: number;
  readonly completions: readonly T[];
}

/** How groups are sampled. */
export interface SampleOptions<T extends SampledAttempt = SampledCompletion> {
  readonly groupSize: number;
  readonly maxNewTokens: number;
  readonly doSample?: boolean;
  readonly temperature?: number;
  readonly topP?: number;
  readonly topK?: number;
  readonly minP?: number;
  readonly repetitionPenalty?: number;
  /** Stop ids beside those of the model's own generation config. */
  readonly stopIds?: readonly number[];
  /** A draw depends on (seed, step, prompt key, sample, position) and on nothing else. */
  readonly seed?: number;
  readonly step?: number;
  readonly promptKeys?: readonly number[];
  /**
   * Decode steps in few fixed shapes, recorded once as graphs and replayed where libtorch has graphs for the device: one call from the
   * host for a step in place of hundreds. The CUDA build of libtorch 2.14 offers none yet, and elsewhere such steps are only slower;
   * graphs were not run. Default false.
   */
  readonly graphCapture?: boolean;
  readonly signal?: AbortSignal;
  /** Called with each group as it finishes, while others are still being decoded. */
  readonly onGroup?: (group: SampledGroup<T>) => void;
}

/** All groups of one rollout. */
export interface SampleResult<T extends SampledAttempt = SampledCompletion> {
  /** In the order of the prompts. */
  readonly groups: readonly SampledGroup<T>[];
  readonly stats: NativeSampleStats;
}

/** Completions and the prompts they continue, one entry per completion in each list. */
export interface SequenceBatch {
  readonly promptIds: readonly TokenIds[];
  readonly completionIds: readonly TokenIds[];
  /**
   * Sequence length that rotary embeddings which depend on it are made for (rope types longrope and dynamic). Sampling takes
   * the longest prompt and maxNewTokens; absent, this is the longest sequence.
   */
  readonly contextLength?: number;
}

/** What a training step learns from. Log-probabilities of tokens that do not count in the loss are ignored. */
export interface TrainBatch extends SequenceBatch {
  readonly advantages: ArrayLike<number>;
  /** 1 for each completion token that counts in the loss, 0 for context; absent: all count. */
  readonly lossMask?: readonly Uint8Array[];
  /** Rows between two offsets are a slice, TRL's micro-batch: from 0 to the number of rows. Absent: the loss's rowsPerSlice. */
  readonly sliceOffsets?: readonly number[];
  readonly oldLogprobs?: readonly Float32Array[];
  readonly referenceLogprobs?: readonly Float32Array[];
  /** As sampling gave them; only for the metric of how far they are from those of training. */
  readonly samplingLogprobs?: readonly Float32Array[];
}

/**
 * AdamW with betas 0.9 and 0.999, epsilon 1e-8, no weight decay and clipping at 1 unless others are given; SGD and Muon with the
 * defaults of torch.optim, but matchAdamW is true. The first step decides which optimizer it is.
 */
export type OptimizerStepOptions = Pick<NativeOptimizer, "learningRate"> &
  Partial<Omit<NativeOptimizer, "optimizer">> & {
    readonly optimizer?: Exclude<NativeOptimizer["optimizer"], "sgd_momentum">;
  };

/** The model as the trainer sees it. */
export interface PolicyModel {
  /** Longest sequence the model can take, prompt and completion together. */
  readonly maxPositions: number;
  readonly device: string;
  readonly dtype: string;
  /** Attempts `groupSize` times at every prompt, and hands each group to `onGroup` as it finishes; see CausalLM.sample. */
  sample(prompts: readonly TokenIds[], options: SampleOptions<SampledAttempt>): Promise<SampleResult<SampledAttempt>>;
  /**
   * Once before the first step: decides what is trained and, with `reference`, fixes the reference policy as it is now.
   * `mixed`: mixReference will be called.
   */
  beginTraining(options: { readonly reference: boolean; readonly mixed: boolean }): Promise<void>;
  /** reference ← (1 − alpha) · reference + alpha · policy. */
  mixReference(alpha: number): Promise<void>;
  /** Log-probability of every completion token, dropout off, under the policy or the reference; one array per completion. */
  completionLogprobs(
    batch: SequenceBatch,
    options: { readonly temperature: number; readonly reference?: boolean },
  ): Promise<Float32Array[]>;
  /** Loss of the batch; its gradient is added to what is there already. */
  forwardBackward(batch: TrainBatch, loss: LossOptions): Promise<NativeLossResult>;
  /** Clips, updates, and clears the gradient. */
  optimizerStep(options: OptimizerStepOptions): Promise<NativeStepResult>;
  /** Forgets the gradient. */
  zeroGrad(): Promise<void>;
  /** What it will have in memory when it is trained, and the memory of its device. */
  memory(): Promise<{ readonly model: MemoryModel; readonly device: NativeMemory; readonly dropout: boolean }>;
  /** Seconds in which the engine had something to do, so far. */
  readonly busySeconds: number;
  /** Counts of parameters. */
  trainableParameters(): { readonly trainable: number; readonly all: number };
  /** The adapter in PEFT's format, or the model. */
  savePretrained(directory: string): Promise<void>;
  /**
   * What is trained and the optimizer's state, as they are now; the result writes them into a folder. With `copy` the model may
   * go on meanwhile; without it nothing is copied, and it must not change before they are written.
   */
  takeCheckpoint(options: { readonly copy: boolean }): Promise<CheckpointWriter>;
  /** Takes both back; later steps are those of a run that never stopped. */
  loadCheckpoint(directory: string): Promise<void>;
}

/** The tokenizer as the trainer sees it. */
export interface ProcessingClass {
  readonly eosTokenIds: readonly number[];
  /** Token ids of a text. */
  encode(text: string): number[];
  /** The text of token ids. */
  decode(ids: TokenIds, options?: { readonly skipSpecialTokens?: boolean }): string;
  /** The text of a conversation, or its token ids with `tokenize: true`. */
  applyChatTemplate(
    messages: readonly Message[],
    options: { readonly addGenerationPrompt: boolean; readonly tokenize: true; readonly [key: string]: unknown },
  ): number[];
  /** Writes the tokenizer's files into a folder. */
  savePretrained(directory: string): Promise<void>;
}
