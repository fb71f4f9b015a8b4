// A Generator that hands out given turns: to each prompt the first of its turns that is left, cut where a turn may not be longer.

import type { GenerationEvent, GenerationRequest, Generator, ScoredToken } from "../../lib/endpoint/generator.js";
import type { TokenIds } from "../../lib/types.js";

/** What follows a prompt; undefined: nothing was planned. */
export type NextTurn = (request: GenerationRequest) => TokenIds | undefined | Promise<TokenIds | undefined>;

export class ScriptedGenerator implements Generator {
  readonly vocabSize = 1000;
  readonly maxPositions: number;
  readonly requests: GenerationRequest[] = [];
  readonly #next: NextTurn;
  readonly #ends: readonly number[];

  constructor(next: NextTurn, ends: readonly number[], maxPositions = 4096) {
    this.#next = next;
    this.#ends = ends;
    this.maxPositions = maxPositions;
  }

  async *generate(request: GenerationRequest): AsyncGenerator<GenerationEvent, void, undefined> {
    request.signal.throwIfAborted();
    this.requests.push(request);
    const turn = await this.#next(request);
    if (turn === undefined) throw new Error("a turn was asked for that nobody planned");
    const ids = turn.slice(0, request.maxNewTokens);
    for (const id of ids) yield { type: "token", index: 0, token: { id, logprob: -id / 100, top: [] } };
    yield { type: "end", index: 0, finishReason: this.#ends.includes(ids.at(-1) ?? -1) ? "eos" : "length" };
  }

  score(): Promise<readonly ScoredToken[]> {
    throw new Error("nothing is scored here");
  }
}

/**
 * The turns of several samples of one prompt: the first turn to the requests in their order, each other one to the sample whose ids the
 * prompt goes on from.
 */
export function turnsOfSamples(turns: readonly (readonly TokenIds[])[]): NextTurn {
  const held: TokenIds[] = [];
  const taken = turns.map(() => 0);
  return ({ ids }) => {
    const goesOn = held.findIndex((known, i) => known.length > 0 && startsWith(ids, known) && (taken[i] ?? 0) > 0);
    const sample = goesOn >= 0 ? goesOn : held.length;
    const turn = turns[sample]?.[taken[sample] ?? 0];
    taken[sample] = (taken[sample] ?? 0) + 1;
    held[sample] = [...ids, ...(turn ?? [])];
    return turn;
  };
}

function startsWith(ids: TokenIds, start: TokenIds): boolean {
  return ids.length >= start.length && start.every((id, i) => ids[i] === id);
}
