// The endpoint's engine over a CausalLM: every request enters the model's running batch (model/sample-stream.ts).

import { at } from "../at.js";
import type { CausalLM } from "../model/model.js";
import type { StreamOptions } from "../model/sample-stream.js";
import type { AdapterChoice, StopStringOptions } from "../model/sampling.js";
import type {
  GenerationEvent,
  GenerationRequest,
  Generator,
  Sampling,
  ScoredToken,
  ScoreRequest,
} from "./generator.js";
import { checkLogits, likeliestTokens } from "./likeliest.js";

/** What is asked of the model. */
type Model = Pick<CausalLM, "vocabSize" | "maxPositions" | "stream" | "logprobs" | "forward">;

export class ModelGenerator implements Generator {
  readonly #model: Model;
  readonly #tokenizer: NonNullable<StopStringOptions["tokenizer"]>;
  /** Seed of all requests that have none. */
  readonly #seed = Math.floor(Math.random() * Number.MAX_SAFE_INTEGER);
  #unseeded = 0;

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
    let knownTokens = 0;
    for await (const event of this.#model.stream(request.ids, this.#optionsOf(request))) {
      if (event.type === "opened") knownTokens = event.knownTokens;
      else if (event.type === "end") {
        yield { type: "end", index: event.sample, finishReason: event.finishReason, knownTokens };
      } else {
        const { sample: index, id, logprob, top } = event;
        yield { type: "token", index, token: { id, logprob: request.logprobs ? logprob : undefined, top } };
      }
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

  #optionsOf(request: GenerationRequest): StreamOptions {
    const { seed, stopStrings, owner } = request;
    return {
      groupSize: request.count,
      maxNewTokens: request.maxNewTokens,
      ...drawing(request.sampling),
      stopIds: request.stopIds,
      ...(stopStrings.length > 0 ? { stopStrings } : {}),
      tokenizer: this.#tokenizer,
      ...choiceOf(request.adapter),
      seed: seed ?? this.#seed,
      step: seed === undefined ? this.#unseeded++ : 0,
      topLogprobs: request.topLogprobs,
      constraint: request.constraint,
      ...(owner === undefined ? {} : { owner }),
      signal: request.signal,
    };
  }
}

function choiceOf(adapter: string | null | undefined): AdapterChoice {
  return adapter === undefined ? {} : { adapter };
}

/** Options of sample(). Greedy decoding looks at nothing that shapes a distribution. */
function drawing({ minNewTokens, repetitionPenalty, ...shape }: Sampling) {
  const rules = { repetitionPenalty, ...(minNewTokens === undefined ? {} : { minNewTokens }) };
  return shape.temperature === 0 ? { doSample: false, ...rules } : { doSample: true, ...shape, ...rules };
}
