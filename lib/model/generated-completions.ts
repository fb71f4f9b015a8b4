// The result of generate(): await it for all completions in the order of the prompts, or iterate it for each as it finishes.
// Leaving the loop early stops the work.

import type { SampledCompletion, SampledGroup, SampleResult } from "./sampled.js";

/** One completion of `generate`. */
export interface GeneratedCompletion extends SampledCompletion {
  /** Index of the prompt that it continues. */
  readonly prompt: number;
}

type Start = (onGroup: (group: SampledGroup) => void, signal: AbortSignal) => Promise<SampleResult>;

/** What `generate` returns: a promise of all completions, and an async iterator of each as it finishes. */
export class GeneratedCompletions implements PromiseLike<GeneratedCompletion[]>, AsyncIterable<GeneratedCompletion> {
  readonly #all: Promise<GeneratedCompletion[]>;
  readonly #finished: GeneratedCompletion[] = [];
  readonly #stop = new AbortController();
  /** Loops that wait for something new to see. */
  #waiting: (() => void)[] = [];
  #ended = false;

  /** `start` begins at once. `stopIds` are the caller's own: a completion that ends on one has finish reason "stop". */
  constructor(start: Start, stopIds: ReadonlySet<number>, signal?: AbortSignal) {
    const read = (group: SampledGroup): GeneratedCompletion[] =>
      group.completions.map((completion) => {
        const stopped = completion.finishReason === "eos" && stopIds.has(completion.ids.at(-1) ?? -1);
        return { ...completion, prompt: group.prompt, finishReason: stopped ? "stop" : completion.finishReason };
      });
    const onGroup = (group: SampledGroup) => {
      this.#finished.push(...read(group));
      this.#announce();
    };
    const either = signal ? AbortSignal.any([signal, this.#stop.signal]) : this.#stop.signal;
    this.#all = start(onGroup, either).then(({ groups }) => groups.flatMap(read));
    // Whoever awaits or iterates gets the error; here it only must not count as unhandled.
    this.#all.then(
      () => this.#end(),
      () => this.#end(),
    );
  }

  // biome-ignore lint/suspicious/noThenProperty: it is a promise of all completions on purpose.
  then<A = GeneratedCompletion[], B = never>(
    onFulfilled?: ((value: GeneratedCompletion[]) => A | PromiseLike<A>) | null,
    onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#all.then(onFulfilled, onRejected);
  }

  /** Completions as they finish, in no fixed order. */
  async *[Symbol.asyncIterator](): AsyncGenerator<GeneratedCompletion, void, undefined> {
    let whole = false;
    try {
      for (let i = 0; ; i++) {
        while (i >= this.#finished.length && !this.#ended) await this.#news();
        const completion = this.#finished[i];
        if (completion === undefined) break;
        yield completion;
      }
      whole = true;
      await this.#all;
    } finally {
      if (!whole) this.#stop.abort();
    }
  }

  #news(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #announce(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  #end(): void {
    this.#ended = true;
    this.#announce();
  }
}
