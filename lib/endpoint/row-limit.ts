// A generator with a limit on how many completions are in work or waiting at a time.

import { ApiError } from "./api-error.js";
import type { GenerationEvent, GenerationRequest, Generator, ScoredToken, ScoreRequest } from "./generator.js";

export class RowLimit implements Generator {
  readonly #inner: Generator;
  readonly #most: number;
  #rows = 0;

  constructor(inner: Generator, most: number) {
    this.#inner = inner;
    this.#most = most;
  }

  get vocabSize(): number {
    return this.#inner.vocabSize;
  }

  get maxPositions(): number {
    return this.#inner.maxPositions;
  }

  async *generate(request: GenerationRequest): AsyncGenerator<GenerationEvent, void, undefined> {
    this.#enter(request.count);
    try {
      yield* this.#inner.generate(request);
    } finally {
      this.#rows -= request.count;
    }
  }

  async score(request: ScoreRequest): Promise<readonly ScoredToken[]> {
    this.#enter(1);
    try {
      return await this.#inner.score(request);
    } finally {
      this.#rows -= 1;
    }
  }

  #enter(rows: number): void {
    if (this.#rows + rows > this.#most) {
      const message = `${this.#rows} completions are in work or waiting, of at most ${this.#most}; try again`;
      throw new ApiError(429, "too_many_rows", message, { retryAfter: 1 });
    }
    this.#rows += rows;
  }
}
