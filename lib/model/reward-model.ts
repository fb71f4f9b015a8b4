// A reward model on the native engine: a decoder with a score head in place of the language-model head (transformers'
// …ForSequenceClassification with one label). Sequences of token ids in, one number each out; knows nothing of text.

import { at } from "../at.js";
import { GrpoError } from "../errors.js";
import type { NativeDtype, NativeEngine, NativeModelConfig } from "../native/native.js";
import type { TokenIds } from "../types.js";
import { EngineQueue } from "./engine-queue.js";
import { createEngine, type FromPretrainedOptions, storedDtype } from "./model-options.js";
import { flattenIds } from "./ragged.js";
import { readModel } from "./read-model.js";

/** Tokens of one pass: bounds the memory, and how long a cancelled call goes on. */
const MAX_TOKENS = 8192;

export class RewardModel {
  readonly device: string;
  readonly dtype: NativeDtype;
  readonly #queue: EngineQueue;
  readonly #config: NativeModelConfig;

  private constructor(config: NativeModelConfig, parts: { engine: NativeEngine; device: string; dtype: NativeDtype }) {
    this.#config = config;
    this.device = parts.device;
    this.dtype = parts.dtype;
    this.#queue = new EngineQueue(parts.engine);
  }

  /** Throws BAD_CHECKPOINT where the weights have no score head, or one with several labels. */
  static async fromPretrained(
    idOrPath: string,
    options: Omit<FromPretrainedOptions, "adapter"> = {},
  ): Promise<RewardModel> {
    const { description, table } = await readModel(idOrPath, options, "score");
    const dtype = description.dtype ?? storedDtype(table);
    const model = new RewardModel(description.native, createEngine(description, dtype, options));
    try {
      await model.#queue.run((engine) => engine.loadModel(table));
      return model;
    } catch (error) {
      model.dispose();
      throw error;
    }
  }

  /** The score at the last token of each sequence. */
  async score(sequences: readonly TokenIds[], signal?: AbortSignal): Promise<number[]> {
    const empty = sequences.findIndex((ids) => ids.length === 0);
    if (empty >= 0) throw new GrpoError("BAD_INPUT", `sequence ${empty} has no token to score`);
    const scores: number[] = [];
    for (const pass of this.#passes(sequences)) {
      const { ids, offsets } = flattenIds("sequence", pass, this.#config.vocabSize);
      const all = await this.#queue.run((engine) => engine.forward(ids, offsets), signal); // [tokens]
      for (const end of offsets.subarray(1)) scores.push(at(all, end - 1));
    }
    return scores;
  }

  /** Frees the weights. May be called twice. */
  dispose(): void {
    this.#queue.dispose();
  }

  /** Consecutive sequences of at most MAX_TOKENS together, at least one. */
  *#passes(sequences: readonly TokenIds[]): Generator<readonly TokenIds[]> {
    // A rope that depends on the longest sequence of a pass must not let one sequence change the score of another.
    const alone = this.#config.ropes.some(({ switchLength, dynamicFactor }) => switchLength > 0 || dynamicFactor > 0);
    let pass: TokenIds[] = [];
    let tokens = 0;
    for (const ids of sequences) {
      if (pass.length > 0 && (alone || tokens + ids.length > MAX_TOKENS)) {
        yield pass;
        [pass, tokens] = [[], 0];
      }
      pass.push(ids);
      tokens += ids.length;
    }
    if (pass.length > 0) yield pass;
  }
}
