// Who is asked: the engine of this process, or a server elsewhere. Prompts in, answers out; how a prompt becomes tokens and tokens become
// text is its own business.

import type { JsonObject } from "../json.js";
import type { Prompt } from "../types.js";
import type { Answer } from "./task.js";

/** How answers are drawn. */
export interface Drawing {
  /** 0: greedy. */
  readonly temperature: number;
  readonly topP: number;
  readonly maxNewTokens: number;
  readonly stopStrings: readonly string[];
}

/** So many answers to one prompt. */
export interface Question {
  readonly prompt: Prompt;
  readonly count: number;
  readonly drawing: Drawing;
  /** The same seed draws the same where the respondent can promise that; undefined for greedy answers. */
  readonly seed: number | undefined;
  readonly signal: AbortSignal;
}

export interface Respondent {
  /**
   * What is recorded of it: the model, its weights, its chat template. Two with the same facts answer alike. `prompt` is any of those that
   * will be asked.
   */
  facts(prompt: Prompt): Promise<JsonObject>;
  /** Answers that may be under way at a time. */
  readonly concurrency: number;
  /** Whether it wraps a conversation in the model's chat template. */
  readonly hasChatTemplate: boolean;
  /** Rejects with a GrpoError: CANCELLED after an abort. */
  ask(question: Question): Promise<readonly Answer[]>;
}

/** A seed for one of many draws: as good as drawn at random, and the same in every run. */
export function seedFor(seed: number, ...place: readonly number[]): number {
  let hash = 0x811c9dc5;
  for (const value of [seed, Math.floor(seed / 2 ** 32), ...place]) {
    hash = Math.imul(hash ^ (value >>> 0), 0x9e3779b1);
    hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b);
    hash ^= hash >>> 13;
  }
  return hash >>> 0;
}
