// The built-in engine as the respondent: prompts through the chat format of the model, as `grpo serve` renders and reads them, so that
// both ways of asking give the same answers.

import { createHash } from "node:crypto";
import type { ChatFormat } from "../chat/chat-format.js";
import { chatFormat } from "../chat/create-chat-format.js";
import type { Generator } from "../endpoint/generator.js";
import type { SamplingDefaults } from "../endpoint/served.js";
import { GrpoError } from "../errors.js";
import type { JsonObject } from "../json.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import type { FinishReason, Prompt, TokenIds } from "../types.js";
import type { Question, Respondent } from "./respondent.js";
import type { Answer } from "./task.js";

export interface EngineParts {
  readonly generator: Generator;
  readonly tokenizer: Tokenizer;
  /** What the model's own file says of drawing, for all that an evaluation leaves open. */
  readonly defaults: SamplingDefaults;
  /** What the model is called in the result. */
  readonly name: string;
}

/** Completions that are decoded together. */
const ROWS = 256;
/** Tokens of a prompt that tell weights apart. */
const PROBED_TOKENS = 128;

export class EngineRespondent implements Respondent {
  readonly concurrency = ROWS;
  readonly hasChatTemplate: boolean;
  readonly #parts: EngineParts;
  readonly #format: ChatFormat;

  constructor(parts: EngineParts) {
    this.#parts = parts;
    this.#format = chatFormat(parts.tokenizer);
    this.hasChatTemplate = parts.tokenizer.chatTemplate !== undefined;
  }

  /**
   * A model that was trained further has the same name, and must not be given the answers of the one before: its weights are known by what
   * they make of a prompt.
   */
  async facts(prompt: Prompt): Promise<JsonObject> {
    const { generator, tokenizer, name } = this.#parts;
    const ids = this.#idsOf(prompt).slice(0, PROBED_TOKENS);
    const probe = await generator.score({ ids, top: 0, adapter: undefined, signal: new AbortController().signal });
    const weights = digestOf(probe.map(({ logprob }) => logprob));
    const template = tokenizer.chatTemplate;
    return { model: name, engine: "grpo", weights, chat_template: template === undefined ? null : digestOf(template) };
  }

  async ask({ prompt, count, drawing, seed, signal }: Question): Promise<readonly Answer[]> {
    const ids = this.#idsOf(prompt);
    const { generator, defaults } = this.#parts;
    const room = generator.maxPositions - ids.length;
    if (room < 1) throw tooLong(ids.length, generator.maxPositions);
    const { temperature, topP, maxNewTokens, stopStrings } = drawing;
    const events = generator.generate({
      ids,
      count,
      maxNewTokens: Math.min(maxNewTokens, room),
      sampling: { ...defaultsOf(defaults), temperature, topP },
      stopIds: typeof prompt === "string" ? [] : this.#format.endIds,
      stopStrings,
      seed,
      logprobs: false,
      topLogprobs: 0,
      adapter: undefined,
      signal,
    });
    const sampled = Array.from({ length: count }, (): number[] => []);
    const reasons = new Array<FinishReason>(count).fill("length");
    for await (const event of events) {
      if (event.type === "end") reasons[event.index] = event.finishReason;
      else sampled[event.index]?.push(event.token.id);
    }
    return sampled.map((own, i) => this.#read(prompt, ids, own, reasons[i] ?? "length", stopStrings));
  }

  #idsOf(prompt: Prompt): TokenIds {
    if (typeof prompt !== "string") return this.#format.render(prompt);
    return this.#parts.tokenizer.encode(prompt);
  }

  #read(
    prompt: Prompt,
    promptIds: TokenIds,
    ids: TokenIds,
    finishReason: FinishReason,
    stopStrings: readonly string[],
  ): Answer {
    const all = this.#parts.tokenizer.decode(ids, { skipSpecialTokens: true });
    const text = finishReason === "stop" ? cutAt(all, stopStrings) : all;
    const rest = { finishReason, tokens: ids.length, ids };
    if (typeof prompt === "string") return { text, final: text, ...rest };
    const { content } = this.#format.parse(ids, { prompt: promptIds, readCalls: false, keepSpace: true });
    return { text, final: finishReason === "stop" ? cutAt(content, stopStrings) : content, ...rest };
  }
}

function digestOf(value: unknown): string {
  return createHash("sha256").update(JSON.stringify(value)).digest("hex").slice(0, 16);
}

function defaultsOf({ topK, minP, repetitionPenalty }: SamplingDefaults) {
  return { topK, minP, repetitionPenalty, minNewTokens: undefined };
}

/** A stop string is no part of the answer that it ends. */
function cutAt(text: string, stopStrings: readonly string[]): string {
  const starts = stopStrings.map((stop) => text.indexOf(stop)).filter((start) => start >= 0);
  return starts.length === 0 ? text : text.slice(0, Math.min(...starts));
}

function tooLong(length: number, maxPositions: number): GrpoError {
  return new GrpoError("BAD_DATASET", `a prompt has ${length} tokens, and the model's context is of ${maxPositions}`, {
    hint: "leave the problem out, or evaluate a model with a longer context",
  });
}
