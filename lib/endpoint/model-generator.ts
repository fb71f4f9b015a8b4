// The endpoint's engine over what a CausalLM has: requests that wait are drawn in one batch where they draw alike, and batches follow
// one another. The plain way: a request that comes while a batch runs waits for its end, a row of a client that has gone is computed to
// its end unless all of its batch have gone, and tokens with log-probabilities come when their completion is whole.

import { at } from "../at.js";
import { GrpoError } from "../errors.js";
import type { CausalLM } from "../model/model.js";
import type { SampledCompletion, SampledGroup } from "../model/sampled.js";
import type { AdapterChoice, StopStringOptions } from "../model/sampling.js";
import { EventQueue } from "./event-queue.js";
import type {
  DrawnToken,
  GenerationEvent,
  GenerationRequest,
  Generator,
  Sampling,
  ScoredToken,
  ScoreRequest,
} from "./generator.js";
import { checkLogits, likeliestTokens } from "./likeliest.js";

/** What is asked of the model. */
type Model = Pick<CausalLM, "vocabSize" | "maxPositions" | "sample" | "logprobs" | "forward">;

interface Job {
  readonly request: GenerationRequest;
  /** What all requests of a batch have in common. */
  readonly drawing: string;
  readonly events: EventQueue<GenerationEvent>;
}

/** Requests that draw alike, and what ends the work once nobody waits for it. */
interface Batch {
  readonly jobs: readonly Job[];
  readonly waited: Set<Job>;
  readonly stop: AbortController;
}

export class ModelGenerator implements Generator {
  readonly #model: Model;
  readonly #tokenizer: NonNullable<StopStringOptions["tokenizer"]>;
  /** Seed of all requests that have none. */
  readonly #seed = Math.floor(Math.random() * Number.MAX_SAFE_INTEGER);
  #waiting: Job[] = [];
  #running: Batch | undefined;
  #scheduled = false;
  #batches = 0;

  /** The tokenizer spells tokens, for stop strings. */
  constructor(model: Model, tokenizer: NonNullable<StopStringOptions["tokenizer"]>) {
    this.#model = model;
    this.#tokenizer = tokenizer;
  }

  get vocabSize(): number {
    return this.#model.vocabSize;
  }

  get maxPositions(): number {
    return this.#model.maxPositions;
  }

  async *generate(request: GenerationRequest): AsyncGenerator<GenerationEvent, void, undefined> {
    if (request.constraint !== undefined) {
      throw new GrpoError("BAD_INPUT", "the form of an answer cannot be kept to: this engine draws without a mask");
    }
    const job: Job = { request, drawing: drawingOf(request), events: new EventQueue() };
    const leave = () => {
      job.events.fail(new GrpoError("CANCELLED", "the request was cancelled"));
      this.#leave(job);
    };
    if (request.signal.aborted) leave();
    else this.#enter(job);
    request.signal.addEventListener("abort", leave);
    try {
      yield* job.events;
    } finally {
      request.signal.removeEventListener("abort", leave);
      this.#leave(job);
    }
  }

  async score({ ids, top, adapter, signal }: ScoreRequest): Promise<readonly ScoredToken[]> {
    signal.throwIfAborted();
    if (top === 0) {
      const [logprobs] = await this.#model.logprobs([ids], choiceOf(adapter));
      return ids.slice(1).map((id, i) => ({ id, logprob: at(logprobs ?? [], i), top: [] }));
    }
    checkLogits(ids.length, this.vocabSize);
    const [logits] = await this.#model.forward([ids], choiceOf(adapter));
    return likeliestTokens(ids, logits ?? new Float32Array(), { from: 1, top, temperature: 1 });
  }

  #enter(job: Job): void {
    const { request } = job;
    if (request.topLogprobs > 0) checkLogits(request.ids.length + 1, this.vocabSize);
    this.#waiting.push(job);
    this.#schedule();
  }

  #leave(job: Job): void {
    this.#waiting = this.#waiting.filter((other) => other !== job);
    if (!this.#running?.waited.delete(job)) return;
    if (this.#running.waited.size === 0) this.#running.stop.abort();
  }

  /** Requests that come in at the same moment are seen before the first of them begins. */
  #schedule(): void {
    if (this.#scheduled || this.#running || this.#waiting.length === 0) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      const batch = this.#nextBatch();
      if (batch === undefined) return;
      this.#running = batch;
      this.#run(batch).finally(() => {
        this.#running = undefined;
        this.#schedule();
      });
    });
  }

  /** The request that has waited longest, and all that draw like it. */
  #nextBatch(): Batch | undefined {
    const [first] = this.#waiting;
    if (first === undefined) return undefined;
    const isAlike = ({ drawing }: Job) => drawing === first.drawing;
    const jobs = this.#waiting.filter(isAlike);
    this.#waiting = this.#waiting.filter((job) => !isAlike(job));
    return { jobs, waited: new Set(jobs), stop: new AbortController() };
  }

  /** Never rejects: each request is told. */
  async #run({ jobs, stop }: Batch): Promise<void> {
    try {
      const groups = await this.#sample(jobs, stop.signal);
      for (const [i, job] of jobs.entries()) {
        if (job.request.topLogprobs === 0) continue;
        await this.#tellWithTop(job, at(groups, i)).catch((error: unknown) => job.events.fail(error));
      }
    } catch (error) {
      for (const { events } of jobs) events.fail(error);
    }
  }

  async #sample(jobs: readonly Job[], signal: AbortSignal): Promise<readonly SampledGroup[]> {
    const [{ request }] = jobs as [Job];
    const { seed, sampling } = request;
    const { groups } = await this.#model.sample(
      jobs.map((job) => job.request.ids),
      {
        groupSize: request.count,
        maxNewTokens: request.maxNewTokens,
        ...drawing(sampling),
        stopIds: request.stopIds,
        ...(request.stopStrings.length > 0 ? { stopStrings: request.stopStrings } : {}),
        tokenizer: this.#tokenizer,
        ...choiceOf(request.adapter),
        seed: seed ?? this.#seed,
        step: seed === undefined ? this.#batches++ : 0,
        promptKeys: jobs.map((_, i) => (seed === undefined ? i : 0)),
        onToken: ({ prompt, sample, id }) => tellToken(at(jobs, prompt), sample, id),
        onGroup: (group) => tellGroup(at(jobs, group.prompt), group),
        signal,
      },
    );
    return groups;
  }

  /** Each completion with the likeliest tokens beside those that were drawn. */
  async #tellWithTop({ request, events }: Job, { completions }: SampledGroup): Promise<void> {
    const temperature = request.sampling.temperature || 1;
    for (const [index, completion] of completions.entries()) {
      const ids = [...request.ids, ...completion.ids];
      checkLogits(ids.length, this.vocabSize);
      const [logits] = await this.#model.forward([ids], choiceOf(request.adapter));
      const options = { from: request.ids.length, top: request.topLogprobs, temperature };
      const scored = await likeliestTokens(ids, logits ?? new Float32Array(), options);
      tellCompletion(events, index, completion, (i) => {
        // The decode step that drew a token and the forward here round apart; what was drawn has one number.
        const drawn = { id: at(completion.ids, i), logprob: at(completion.logprobs, i) };
        return at(scored, i).top.map((other) => (other.id === drawn.id ? drawn : other));
      });
    }
    events.end();
  }
}

function choiceOf(adapter: string | null | undefined): AdapterChoice {
  return adapter === undefined ? {} : { adapter };
}

/** Options of sample(). Greedy decoding looks at nothing that shapes a distribution. */
function drawing({ minNewTokens, badWords, repetitionPenalty, ...shape }: Sampling) {
  const rules = {
    repetitionPenalty,
    ...(minNewTokens === undefined ? {} : { minNewTokens }),
    ...(badWords === undefined ? {} : { badWordsIds: badWords }),
  };
  return shape.temperature === 0 ? { doSample: false, ...rules } : { doSample: true, ...shape, ...rules };
}

function drawingOf({ count, maxNewTokens, sampling, stopIds, stopStrings, seed, adapter }: GenerationRequest): string {
  return JSON.stringify([
    count,
    maxNewTokens,
    sampling,
    stopIds,
    stopStrings,
    seed ?? "any",
    // JSON has no undefined.
    adapter === undefined ? [] : adapter,
  ]);
}

function tellToken({ request, events }: Job, index: number, id: number): void {
  if (!request.logprobs) events.push({ type: "token", index, token: { id, logprob: undefined, top: [] } });
}

function tellGroup({ request, events }: Job, { completions }: SampledGroup): void {
  if (request.topLogprobs > 0) return;
  for (const [index, completion] of completions.entries()) {
    if (request.logprobs) tellCompletion(events, index, completion, () => []);
    else events.push({ type: "end", index, finishReason: completion.finishReason });
  }
  events.end();
}

/** A completion that nothing was told of yet. */
function tellCompletion(
  events: EventQueue<GenerationEvent>,
  index: number,
  { ids, logprobs, finishReason }: SampledCompletion,
  topOf: (i: number) => DrawnToken["top"],
): void {
  for (const [i, id] of ids.entries()) {
    events.push({ type: "token", index, token: { id, logprob: at(logprobs, i), top: topOf(i) } });
  }
  events.push({ type: "end", index, finishReason });
}
