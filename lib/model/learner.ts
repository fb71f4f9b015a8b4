// Who is trained, as trainers see it. A run of any kind needs a Trainable: weights that it saves, takes back and counts, and that an
// optimizer moves. A policy trainer needs a Learner: log-probabilities, a reference, the gradient of a policy's loss; supervised
// fine-tuning a SupervisedLearner: the gradient of what is to be said. CausalLM is all; tests hand in small deterministic stand-ins. One array per prompt or per completion: flattening is the model's business.

import type { NativeLossResult, NativeMemory, NativeSftResult, NativeStepResult } from "../native/native.js";
import type { LossOptions } from "../options/loss.js";
import type { OptimizerStepOptions } from "../options/optimizer.js";
import type { SftLossOptions } from "../options/sft-loss.js";
import type { TokenIds } from "../types.js";
import type { MemoryModel } from "./memory.js";

/** Whatever writes its files into a folder: a model, a tokenizer. */
export interface Savable {
  savePretrained(directory: string): Promise<void>;
}

/** Writes what it holds into a folder; once only. */
export type CheckpointWriter = (directory: string) => Promise<void>;

/** Weights with an optimizer: what a run asks of a model, whatever its loss is. */
export interface Trainable extends Savable {
  readonly device: string;
  readonly dtype: string;
  /** Seconds in which the engine had something to do, so far. */
  readonly busySeconds: number;
  /** Bytes in use on a device with memory of its own, whoever uses them; undefined, or no such method, where it has the host's. */
  deviceBytes?(): Promise<number | undefined>;
  /** Counts of parameters. */
  trainableParameters(): { readonly trainable: number; readonly all: number };
  /** Forgets the gradient. */
  zeroGrad(): Promise<void>;
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

/** A Trainable that a training loop moves step by step. */
export interface Optimizable extends Trainable {
  /** Longest sequence the model can take, prompt and completion together. */
  readonly maxPositions: number;
  /**
   * Once before a trainer's first step: decides what is trained, with an optimizer that remembers nothing of a trainer before, and,
   * with `reference`, fixes the reference policy as it is now. `mixed`: mixReference will be called.
   */
  beginTraining(options: { readonly reference: boolean; readonly mixed: boolean }): Promise<void>;
  /** Clips, updates, and clears the gradient. */
  optimizerStep(options: OptimizerStepOptions): Promise<NativeStepResult>;
  /** What it will have in memory when it is trained, and the memory of its device. */
  memory(): Promise<{ readonly model: MemoryModel; readonly device: NativeMemory; readonly dropout: boolean }>;
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

/** What a training step learns from. Numbers of tokens that do not count in the loss are ignored. */
export interface TrainBatch extends SequenceBatch {
  readonly advantages: ArrayLike<number>;
  /** What takes the place of their completion's advantage for its tokens. Absent: every token has its completion's. */
  readonly tokenAdvantages?: readonly Float32Array[];
  /** 1 for each completion token that counts in the loss, 0 for context; absent: all count. */
  readonly lossMask?: readonly Uint8Array[];
  /** Rows between two offsets are a slice, TRL's micro-batch: from 0 to the number of rows. Absent: the loss's rowsPerSlice. */
  readonly sliceOffsets?: readonly number[];
  readonly oldLogprobs?: readonly Float32Array[];
  readonly referenceLogprobs?: readonly Float32Array[];
  /** As sampling gave them: for the metric of how far they are from those of training, and the loss's sampledElsewhere. */
  readonly samplingLogprobs?: readonly Float32Array[];
  /** What multiplies the policy term of each token where another engine drew it. Absent: 1. */
  readonly importanceRatios?: readonly Float32Array[];
}

/** What supervised fine-tuning learns from: completions, and which of their tokens count. */
export interface SupervisedBatch extends SequenceBatch {
  /** 1 for each completion token that counts in the loss, 0 for context; absent: all count. */
  readonly lossMask?: readonly ArrayLike<number>[];
}

/** A model in supervised fine-tuning. */
export interface SupervisedLearner extends Optimizable {
  /** Sums over the tokens of each completion; the gradient of the loss is added to what is there already. */
  sftForwardBackward(batch: SupervisedBatch, loss: SftLossOptions): Promise<NativeSftResult>;
  /** The same numbers, without gradient and dropout. */
  sftEvaluate(batch: SupervisedBatch, loss: SftLossOptions): Promise<NativeSftResult>;
}

/** A policy in training. */
export interface Learner extends Optimizable {
  /** reference ← (1 − alpha) · reference + alpha · policy. */
  mixReference(alpha: number): Promise<void>;
  /** Log-probability of every completion token, dropout off, under the policy or the reference; one array per completion. */
  completionLogprobs(
    batch: SequenceBatch,
    options: { readonly temperature: number; readonly reference?: boolean },
  ): Promise<Float32Array[]>;
  /** Loss of the batch; its gradient is added to what is there already. */
  forwardBackward(batch: TrainBatch, loss: LossOptions): Promise<NativeLossResult>;
}
