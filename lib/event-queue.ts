// Events from a callback to a loop that takes them in its own time.

export class EventQueue<Event> implements AsyncIterable<Event> {
  #events: Event[] = [];
  #ended = false;
  #failure: { readonly error: unknown } | undefined;
  #wake: (() => void) | undefined;

  push(event: Event): void {
    if (this.#ended) return;
    this.#events.push(event);
    this.#wake?.();
  }

  /** What was pushed is still taken. */
  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  /** Ends with an error, at once: what nobody has taken yet is dropped. */
  fail(error: unknown): void {
    if (this.#ended) return;
    this.#failure = { error };
    this.end();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Event, void, undefined> {
    for (;;) {
      this.#throwFailure();
      const events = this.#events;
      this.#events = [];
      for (const event of events) {
        yield event;
        this.#throwFailure();
      }
      if (this.#events.length > 0) continue;
      if (this.#ended) return;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }

  #throwFailure(): void {
    if (this.#failure) throw this.#failure.error;
  }
}
