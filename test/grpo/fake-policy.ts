// A stand-in for the model: a handful of weights, tokens drawn from a hash of (seed, step, prompt key, sample, position)
// and the weights, a gradient that depends on every advantage and token. Deterministic, and sensitive to any change of
// order, so that two runs with equal weights have done the same things.

import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { GrpoError } from "../../lib/errors.js";
import type { PolicyModel } from "../../lib/grpo/setup.js";
import type { CheckpointWriter, SequenceBatch, TrainBatch } from "../../lib/model/learner.js";
import type { SampledCompletion, SampledGroup, SampleOptions, SampleResult } from "../../lib/model/sampled.js";
import type { NativeLossResult, NativeStepResult } from "../../lib/native/native.js";
import type { LossOptions } from "../../lib/options/loss.js";
import type { OptimizerStepOptions } from "../../lib/options/optimizer.js";
import { mixSeed } from "../../lib/rollout/prompt-sampler.js";
import type { SampledAttempt } from "../../lib/rollout/sampler.js";
import type { ProcessingClass } from "../../lib/tokenizer/processing-class.js";
import type { Message, TokenIds } from "../../lib/types.js";

export class FakePolicy implements PolicyModel {
  readonly maxPositions: number = 256;
  readonly device = "cpu";
  readonly dtype = "float32";
  readonly busySeconds = 0;
  weights = [0, 0, 0, 0];
  momentum = [0, 0, 0, 0];
  gradient = [0, 0, 0, 0];
  /** What was called, in order. */
  readonly calls: string[] = [];
  readonly begun: { readonly reference: boolean; readonly mixed: boolean }[] = [];
  readonly losses: LossOptions[] = [];
  readonly batches: TrainBatch[] = [];
  /** What log-probabilities were asked of. */
  readonly scored: SequenceBatch[] = [];
  readonly samples: { prompts: readonly TokenIds[]; options: SampleOptions<SampledAttempt> }[] = [];
  readonly optimizerSteps: OptimizerStepOptions[] = [];
  /** Loss to report at a given call of forwardBackward (0 is the first). */
  lossAt: (call: number) => number = () => 0;
  /** Order in which groups finish. */
  finishOrder: (prompts: number) => number[] = (prompts) => Array.from({ length: prompts }, (_, i) => prompts - 1 - i);
  /** What becomes of the completion with index `sample` of its prompt. */
  attempt: (completion: SampledCompletion, promptIds: TokenIds, sample: number) => SampledAttempt = (completion) =>
    completion;
  /** Called between groups, so that a test can act in the middle of a rollout. */
  betweenGroups: () => Promise<void> = () => new Promise((resolve) => setImmediate(resolve));

  async sample(
    prompts: readonly TokenIds[],
    options: SampleOptions<SampledAttempt>,
  ): Promise<SampleResult<SampledAttempt>> {
    this.calls.push("sample");
    this.samples.push({ prompts, options });
    const groups: SampledGroup<SampledAttempt>[] = [];
    for (const prompt of this.finishOrder(prompts.length)) {
      await this.betweenGroups();
      if (options.signal?.aborted) throw new GrpoError("CANCELLED", "sampling was cancelled");
      const group = this.#group(prompt, prompts[prompt] ?? [], options);
      groups[prompt] = group;
      options.onGroup?.(group);
    }
    const stats = { decodeSteps: 1, tokens: 1, prefillTokens: 1, knownTokens: 0, prefillSeconds: 0, decodeSeconds: 0 };
    return { groups, stats };
  }

  #group(prompt: number, promptIds: TokenIds, options: SampleOptions<SampledAttempt>): SampledGroup<SampledAttempt> {
    const key = options.promptKeys?.[prompt] ?? prompt;
    const weight = Math.round((this.weights[key % 4] ?? 0) * 1e6);
    const stream = mixSeed(mixSeed(options.seed ?? 0, (options.step ?? 0) + weight), key);
    const completions = Array.from({ length: options.groupSize }, (_, sample) => {
      const length = 1 + (mixSeed(stream, sample) % options.maxNewTokens);
      const ids = Array.from({ length }, (_, t) => 97 + (mixSeed(stream + sample, t + 7) % 26));
      const finishReason = length === options.maxNewTokens ? ("length" as const) : ("eos" as const);
      return this.attempt({ ids, logprobs: new Float32Array(length), finishReason }, promptIds, sample);
    });
    return { prompt, completions };
  }

  async beginTraining(options: { readonly reference: boolean; readonly mixed: boolean }): Promise<void> {
    this.begun.push(options);
  }

  async mixReference(alpha: number): Promise<void> {
    this.calls.push(`mixReference ${alpha}`);
  }

  async completionLogprobs(batch: SequenceBatch, options: { readonly reference?: boolean }): Promise<Float32Array[]> {
    this.calls.push(options.reference ? "reference" : "logprobs");
    this.scored.push(batch);
    return batch.completionIds.map((ids) => new Float32Array(ids.length).fill(-1));
  }

  async forwardBackward(batch: TrainBatch, loss: LossOptions): Promise<NativeLossResult> {
    this.calls.push("forwardBackward");
    this.batches.push(batch);
    this.losses.push(loss);
    batch.completionIds.forEach((ids, i) => {
      const advantage = batch.advantages[i] ?? 0;
      ids.forEach((id, t) => {
        if (batch.lossMask?.[i]?.[t] === 0) return;
        const dropout = 1 + (mixSeed(loss.dropoutSeed ?? 0, t) % 3);
        this.gradient[id % 4] = (this.gradient[id % 4] ?? 0) + (advantage * dropout) / (1 + t);
      });
    });
    const value = this.lossAt(this.losses.length - 1);
    const zeros = {
      clipLowMin: 0,
      clipHighMax: 0,
      clipLow: 0,
      clipHigh: 0,
      clipRegion: 0,
      logpDifferenceMean: 0,
      logpDifferenceMax: 0,
    };
    const counts = { activeEntropy: 1.5, activeTokens: 1, tokens: 1, idleRows: 0, microBatches: 1 };
    return { loss: value, policyLoss: value, entropy: 1.5, kl: 0.25, phi: 1, ...zeros, ...counts };
  }

  async optimizerStep(options: OptimizerStepOptions): Promise<NativeStepResult> {
    this.calls.push("optimizerStep");
    this.optimizerSteps.push(options);
    const { learningRate } = options;
    const gradNorm = Math.hypot(...this.gradient);
    this.gradient.forEach((g, i) => {
      this.momentum[i] = 0.9 * (this.momentum[i] ?? 0) + g;
      this.weights[i] = (this.weights[i] ?? 0) - learningRate * (this.momentum[i] ?? 0);
    });
    this.gradient.fill(0);
    return { gradNorm, applied: true };
  }

  async zeroGrad(): Promise<void> {
    this.calls.push("zeroGrad");
    this.gradient.fill(0);
  }

  async memory(): ReturnType<PolicyModel["memory"]> {
    const heads = { numHeads: 1, numKvHeads: 1, headDim: 4, numLayers: 1 };
    const shape = { hiddenSize: 4, intermediateSize: 4, vocabSize: 128, ...heads };
    const counts = { parameters: 1000, trained: 4, adapters: 4, full: false, mlpTrained: 0, copiesReference: false };
    return {
      model: { shape, ...counts, weightBytes: 4, computeBytes: 4, keptBytes: 4, device: "cpu" },
      device: { computeBytes: 4, keptBytes: 4, free: 0, reserved: 0, total: 0 },
      dropout: false,
    };
  }

  trainableParameters(): { trainable: number; all: number } {
    return { trainable: 4, all: 1000 };
  }

  async savePretrained(directory: string): Promise<void> {
    await mkdir(directory, { recursive: true });
    await writeFile(path.join(directory, "adapter_model.json"), JSON.stringify(this.weights));
  }

  async takeCheckpoint(_options?: { readonly copy: boolean }): Promise<CheckpointWriter> {
    const [weights, momentum] = [JSON.stringify(this.weights), JSON.stringify(this.momentum)];
    return async (directory) => {
      await mkdir(directory, { recursive: true });
      await writeFile(path.join(directory, "adapter_model.json"), weights);
      await writeFile(path.join(directory, "optimizer.json"), momentum);
    };
  }

  async loadCheckpoint(directory: string): Promise<void> {
    this.weights = JSON.parse(await readFile(path.join(directory, "adapter_model.json"), "utf8"));
    this.momentum = JSON.parse(await readFile(path.join(directory, "optimizer.json"), "utf8"));
  }
}

/** One token per character. */
export class FakeTokenizer implements ProcessingClass {
  readonly eosTokenIds = [3];

  encode(text: string): number[] {
    return Array.from(text, (character) => character.charCodeAt(0));
  }

  decode(ids: TokenIds): string {
    return String.fromCharCode(...ids);
  }

  applyChatTemplate(messages: readonly Message[]): number[] {
    return this.encode(messages.map(({ role, content }) => `${role}:${content}`).join("|"));
  }

  async savePretrained(directory: string): Promise<void> {
    await mkdir(directory, { recursive: true });
    await writeFile(path.join(directory, "tokenizer.json"), "{}");
  }
}

export interface FakeRow {
  readonly prompt: string;
  readonly answer: number;
}

export function fakeRows(count: number): FakeRow[] {
  return Array.from({ length: count }, (_, i) => ({ prompt: `question ${i}`, answer: i }));
}
