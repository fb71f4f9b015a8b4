// An engine that writes down what it draws: texts cut into tokens at random, as a policy may draw them, with log-probabilities that no two
// tokens share. What is recorded is held against its log.

import type { Tokenizer } from "grpo";
import type {
  DrawnToken,
  GenerationEvent,
  GenerationRequest,
  Generator,
  ScoredToken,
} from "../../lib/endpoint/generator.js";
import { GrpoError } from "../../lib/errors.js";
import type { FinishReason } from "../../lib/types.js";

/** One turn that was drawn, whole or not. */
export interface Draw {
  readonly request: GenerationRequest;
  readonly index: number;
  readonly tokens: DrawnToken[];
  finishReason: FinishReason | undefined;
}

/** Numbers that depend on a seed: each from 0 to below `below`. */
export function lots(seed: number): (below: number) => number {
  let state = seed >>> 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state % below;
  };
}

export class LoggingGenerator implements Generator {
  readonly vocabSize: number;
  readonly maxPositions: number;
  readonly #log = new Map<GenerationRequest, Draw[]>();
  /** The text of a turn; "…" at its end: the limit cuts it there. */
  say: (request: GenerationRequest, draw: (below: number) => number) => string;
  /** Waited for before each token. */
  beforeToken: (request: GenerationRequest) => Promise<void> | void = () => {};
  readonly #tokenizer: Tokenizer;
  #drawn = 0;

  constructor(tokenizer: Tokenizer, say: LoggingGenerator["say"], maxPositions = 1 << 20) {
    this.#tokenizer = tokenizer;
    this.vocabSize = 512;
    this.maxPositions = maxPositions;
    this.say = say;
  }

  async *generate(request: GenerationRequest): AsyncGenerator<GenerationEvent, void, undefined> {
    for (let index = 0; index < request.count; index++) {
      const draw = lots((request.seed ?? 7) + 31 * index);
      const said = this.say(request, draw);
      const cut = said.endsWith("…");
      const ids = this.#pieces(cut ? said.slice(0, -1) : said, draw);
      if (!cut) ids.push(this.#tokenizer.eosTokenId as number);
      const within = ids.slice(0, request.maxNewTokens);
      const one: Draw = { request, index, tokens: [], finishReason: undefined };
      this.#log.set(request, [...(this.#log.get(request) ?? []), one]);
      for (const id of within) {
        await this.beforeToken(request);
        if (request.signal.aborted) throw new GrpoError("CANCELLED", "the request was cancelled");
        const token = { id, logprob: -++this.#drawn / 2 ** 20, top: [] };
        one.tokens.push(token);
        yield { type: "token", index, token };
      }
      const stopped = request.stopStrings.some((stop) => said.includes(stop));
      one.finishReason = cut || within.length < ids.length ? "length" : stopped ? "stop" : "eos";
      yield { type: "end", index, finishReason: one.finishReason };
    }
  }

  /** What was drawn for a request, which is then forgotten. */
  take(request: GenerationRequest): readonly Draw[] {
    const draws = this.#log.get(request) ?? [];
    this.#log.delete(request);
    return draws;
  }

  async score(): Promise<readonly ScoredToken[]> {
    throw new Error("nothing is scored");
  }

  /** Not as the tokenizer would cut the text; the marks of calls and reasoning stay whole where they are tokens. */
  #pieces(text: string, draw: (below: number) => number): number[] {
    const ids: number[] = [];
    const characters = Array.from(text);
    for (let at = 0; at < characters.length; ) {
      const length = 1 + draw(4);
      ids.push(...this.#tokenizer.encode(characters.slice(at, at + length).join(""), { addSpecialTokens: false }));
      at += length;
    }
    return ids;
  }
}
