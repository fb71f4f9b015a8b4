// The running batch of a model: prompts enter it at any time, each with its own way of drawing, and their tokens come as they are
// drawn. A batch computes under one adapter; it ends when its last completion does. Who needs another adapter, or another job of the
// engine, lets nobody in any more until it had its turn.

import { at } from "../at.js";
import { checkNumber } from "../checks.js";
import { GrpoError } from "../errors.js";
import { EventQueue } from "../event-queue.js";
import type { NativeEngine, NativeModelConfig, NativeStepTokens, NativeStreamOptions } from "../native/native.js";
import type { FinishReason, TokenIds } from "../types.js";
import { ConstraintFeed } from "./constraint-feed.js";
import type { EngineQueue } from "./engine-queue.js";
import { FINISH_REASONS, type ModelSampleOptions, type SamplingModel, sampleRequest } from "./sampling.js";
import type { TokenConstraint } from "./token-constraint.js";

/** How the completions of one prompt are drawn. */
export interface StreamOptions
  extends Omit<
    ModelSampleOptions,
    "onGroup" | "onToken" | "promptKeys" | "maxRows" | "graphCapture" | "groupSize" | "constraint"
  > {
  /** Completions. Default 1. */
  readonly groupSize?: number;
  /** See SampleOptions.seed. Default 0. */
  readonly promptKey?: number;
  /** So many of the likeliest tokens beside each drawn one. Default 0. */
  readonly topLogprobs?: number;
  /** What a completion may be; made anew for each. Default: anything. */
  readonly constraint?: (() => TokenConstraint) | undefined;
  /** Owners, of whatever identity, share the batch fairly. Default: one for all. */
  readonly owner?: object;
  /**
   * Bytes of keys and values that are remembered of sequences which have ended. The first request of a batch says it, and to say it
   * otherwise forgets them. Default 1 GiB.
   */
  readonly cacheBytes?: number;
}

/** A token and its log-probability in nats. */
export interface TokenLogprob {
  readonly id: number;
  readonly logprob: number;
}

export type StreamEvent =
  /** The prompt begins to be computed; its first `knownTokens` were computed with an earlier one. */
  | { readonly type: "opened"; readonly knownTokens: number }
  /** A token as it is drawn, with its log-probability as of SampledCompletion. `sample` counts completions from 0. */
  | ({ readonly type: "token"; readonly sample: number; readonly top: readonly TokenLogprob[] } & TokenLogprob)
  | { readonly type: "end"; readonly sample: number; readonly finishReason: FinishReason };

/** Rows decoded together at most. */
const MAX_ROWS = 256;
/** Tokens of prompts that are computed between two decode steps: as many as compute at full speed. */
const PART_TOKENS = 512;
const CACHE_BYTES = 2 ** 30;

/** One prompt on its way. */
interface Entry {
  readonly ticket: number;
  /** What a batch has in common: the adapter, and the length that ropes are made for. */
  readonly adapter: string | null | undefined;
  readonly contextLength: number;
  readonly cacheBytes: number;
  readonly request: Parameters<NativeEngine["enterStream"]>[0];
  readonly constraints: readonly TokenConstraint[];
  readonly events: EventQueue<StreamEvent>;
  unfinished: number;
}

interface Batch {
  readonly first: Entry;
  readonly entries: Map<number, Entry>;
  /** From when it runs on. */
  feed: ConstraintFeed | undefined;
  /** Nobody enters any more. */
  closed: boolean;
}

/** Runs a job with the adapter that is asked for. */
type Within = (
  engine: NativeEngine,
  adapter: string | null | undefined,
  job: () => Promise<unknown>,
) => Promise<unknown>;

export class SampleStream {
  readonly #queue: EngineQueue;
  readonly #model: SamplingModel;
  readonly #ropes: NativeModelConfig["ropes"];
  readonly #within: Within;
  #engine: NativeEngine | undefined;
  #waiting: Entry[] = [];
  #batch: Batch | undefined;
  #tickets = 0;
  readonly #owners = new WeakMap<object, number>();
  #nextOwner = 1;

  constructor(queue: EngineQueue, model: SamplingModel, ropes: NativeModelConfig["ropes"], within: Within) {
    this.#queue = queue;
    this.#model = model;
    this.#ropes = ropes;
    this.#within = within;
  }

  /** Throws what is wrong with the options; leaving the loop ends the work, as the signal does. */
  async *sample(prompt: TokenIds, options: StreamOptions): AsyncGenerator<StreamEvent, void, undefined> {
    const entry = this.#entryOf(prompt, options);
    const { signal } = options;
    const leave = () => {
      entry.events.fail(new GrpoError("CANCELLED", "cancelled by the given signal", { cause: signal?.reason }));
      this.#leave(entry);
    };
    if (signal?.aborted) leave();
    else this.#enter(entry);
    signal?.addEventListener("abort", leave);
    try {
      yield* entry.events;
    } finally {
      signal?.removeEventListener("abort", leave);
      this.#leave(entry);
    }
  }

  #entryOf(prompt: TokenIds, options: StreamOptions): Entry {
    this.#queue.checkAlive();
    const { promptKey = 0, topLogprobs = 0, owner, constraint, groupSize = 1, cacheBytes, ...rest } = options;
    checkNumber("stream", "groupSize", groupSize, { min: 1, max: MAX_ROWS, integer: true });
    checkNumber("stream", "topLogprobs", topLogprobs, { min: 0, integer: true });
    const asked = sampleRequest([prompt], { ...rest, groupSize, promptKeys: [promptKey] }, this.#model);
    const { promptOffsets, promptKeys, maxRows, graphCapture, plain, contextLength, ...request } = asked;
    const constraints = constraint ? Array.from({ length: groupSize }, constraint) : [];
    const ticket = this.#tickets++;
    return {
      ticket,
      adapter: options.adapter,
      contextLength: this.#contextLength(prompt.length + request.maxNewTokens),
      cacheBytes: checkNumber("stream", "cacheBytes", cacheBytes ?? CACHE_BYTES, { min: 0, integer: true }),
      request: {
        ...request,
        ticket,
        owner: this.#ownerOf(owner),
        promptKey,
        topLogprobs,
        ...(constraint === undefined ? {} : { constrained: true }),
      },
      constraints,
      events: new EventQueue(),
      unfinished: groupSize,
    };
  }

  #ownerOf(owner: object | undefined): number {
    if (owner === undefined) return 0;
    const known = this.#owners.get(owner);
    if (known !== undefined) return known;
    this.#owners.set(owner, this.#nextOwner);
    return this.#nextOwner++;
  }

  /** The length where a rope depends on it, else 0: sequences of other lengths would not be in one batch. */
  #contextLength(length: number): number {
    const depends = this.#ropes.some(({ switchLength, dynamicFactor, dynamicLength }) => {
      return (switchLength > 0 && length > switchLength) || (dynamicFactor > 0 && length > dynamicLength);
    });
    return depends ? length : 0;
  }

  #enter(entry: Entry): void {
    this.#waiting.push(entry);
    this.#admit();
  }

  #leave(entry: Entry): void {
    this.#waiting = this.#waiting.filter((other) => other !== entry);
    if (!this.#batch?.entries.delete(entry.ticket)) return;
    this.#batch.feed?.forget(entry.ticket);
    this.#engine?.leaveStream(entry.ticket);
  }

  /** Into the running batch, in their order; who does not fit into it is waited for. */
  #admit(): void {
    if (this.#waiting.length === 0) return;
    if (this.#batch === undefined) {
      this.#begin();
      return;
    }
    const { closed, first, entries } = this.#batch;
    while (!closed && this.#engine !== undefined) {
      const [next] = this.#waiting;
      if (next === undefined || !isAlike(next, first)) return;
      this.#waiting.shift();
      entries.set(next.ticket, next);
      this.#hand(this.#engine, this.#batch, next);
    }
  }

  #hand(engine: NativeEngine, { feed }: Batch, entry: Entry): void {
    try {
      engine.enterStream(entry.request);
      feed?.begin(entry.ticket, entry.constraints);
    } catch (error) {
      entry.events.fail(error);
      this.#leave(entry);
    }
  }

  #begin(): void {
    const [first] = this.#waiting as [Entry];
    const batch: Batch = { first, entries: new Map(), feed: undefined, closed: false };
    this.#batch = batch;
    this.#queue
      .run(
        async (engine) => {
          this.#engine = engine;
          batch.feed = new ConstraintFeed(engine, this.#model.vocabSize);
          this.#admit();
          if (batch.entries.size === 0) return;
          await this.#within(engine, first.adapter, () => this.#run(engine, batch));
        },
        undefined,
        () => {
          batch.closed = true;
        },
      )
      .catch((error: unknown) => {
        for (const entry of batch.entries.values()) {
          entry.events.fail(error);
          this.#engine?.leaveStream(entry.ticket);
        }
        batch.entries.clear();
      })
      .finally(() => {
        // Who came in the moment in which the batch ended is the first of the next.
        for (const { ticket } of batch.entries.values()) this.#engine?.leaveStream(ticket);
        this.#waiting.unshift(...batch.entries.values());
        this.#engine = undefined;
        this.#batch = undefined;
        this.#admit();
      });
  }

  #run(engine: NativeEngine, batch: Batch): Promise<unknown> {
    const { cacheBytes, contextLength } = batch.first;
    const options: NativeStreamOptions = { maxRows: MAX_ROWS, partTokens: PART_TOKENS, cacheBytes, contextLength };
    return engine.stream(
      options,
      (tokens) => this.#take(batch, tokens),
      ({ prompt, known }) => batch.entries.get(prompt)?.events.push({ type: "opened", knownTokens: known }),
    );
  }

  #take(batch: Batch, tokens: NativeStepTokens): void {
    for (const [i, ticket] of tokens.prompts.entries()) {
      const entry = batch.entries.get(ticket);
      if (entry === undefined) continue;
      try {
        takeToken(batch, entry, tokens, i);
      } catch (error) {
        entry.events.fail(error);
        this.#leave(entry);
      }
    }
  }
}

function takeToken({ entries, feed }: Batch, entry: Entry, tokens: NativeStepTokens, i: number): void {
  const { ticket, events } = entry;
  const [sample, id] = [at(tokens.samples, i), at(tokens.ids, i)];
  const finishReason = FINISH_REASONS[at(tokens.finish, i)];
  events.push({ type: "token", sample, id, logprob: at(tokens.logprobs, i), top: topOf(tokens, i) });
  feed?.take(ticket, sample, id, finishReason !== undefined);
  if (finishReason === undefined) return;
  events.push({ type: "end", sample, finishReason });
  if (--entry.unfinished > 0) return;
  entries.delete(ticket);
  feed?.forget(ticket);
  events.end();
}

function isAlike(a: Entry, b: Entry): boolean {
  return a.adapter === b.adapter && a.contextLength === b.contextLength;
}

function topOf({ topOffsets, topIds, topLogprobs }: NativeStepTokens, i: number): TokenLogprob[] {
  const [begin, end] = [at(topOffsets, i), at(topOffsets, i + 1)];
  return Array.from(topIds.subarray(begin, end), (id, j) => ({ id, logprob: at(topLogprobs, begin + j) }));
}
