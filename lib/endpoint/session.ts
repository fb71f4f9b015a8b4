// Who talks to the endpoint. A key stands for a session: one for all of `grpo serve`, one for each rollout of a trainer. What a
// session is told it may ask for again, and nobody else; ending it ends its requests.

import { createHmac, randomBytes } from "node:crypto";
import { setMaxListeners } from "node:events";
import { ApiError } from "./api-error.js";
import { ConversationMemory } from "./conversation-memory.js";
import type { GenerationEvent, GenerationRequest, Generator } from "./generator.js";
import { ResponseStore } from "./response-store.js";
import type { AskedTurn, TurnRecorder, TurnRecording } from "./turn-recorder.js";

/** A request on its way to the engine. */
export interface Drawing {
  readonly generation: GenerationRequest;
  /** Absent where nothing is recorded. */
  readonly recording?: TurnRecording | undefined;
}

export class Session {
  /** What the Responses API was asked to keep. */
  readonly responses = new ResponseStore();
  /** Ids of the conversations so far. */
  readonly conversations = new ConversationMemory();
  readonly #ended = new AbortController();

  /** `keyed`: whether a key opened it. `recorder`: who keeps what it draws. */
  constructor(
    readonly keyed = true,
    readonly recorder?: TurnRecorder,
  ) {
    // One for each of its requests.
    setMaxListeners(0, this.#ended.signal);
  }

  /** Aborted when the session ends. */
  get signal(): AbortSignal {
    return this.#ended.signal;
  }

  /** What is to be drawn for a request, with its recording where the session is recorded. */
  ask(asked: AskedTurn): Drawing {
    const recording = this.recorder?.begin(asked);
    return { generation: recording?.generation ?? asked.generation, recording };
  }

  /** Draws it, and records it. */
  async *draw(
    generator: Generator,
    { generation, recording }: Drawing,
  ): AsyncGenerator<GenerationEvent, void, undefined> {
    let failure: unknown;
    try {
      for await (const event of generator.generate(generation)) {
        if (event.type === "token") recording?.token(event.index, event.token);
        else recording?.end(event.index, event.finishReason);
        yield event;
      }
    } catch (error) {
      failure = error;
      throw error;
    } finally {
      recording?.close(failure);
    }
  }

  /** Cancels its requests. */
  end(): void {
    this.#ended.abort();
  }
}

/** The keys that are let in. Without any, everybody is, as one session. */
export class SessionKeys {
  readonly #sessions = new Map<string, Session>();
  readonly #secret = randomBytes(32);
  readonly #anyone = new Session(false);
  readonly #open: boolean;

  /** `open`: who has no key is let in too. */
  constructor(options: { readonly open: boolean }) {
    this.#open = options.open;
  }

  add(key: string, session: Session): void {
    this.#sessions.set(this.#digest(key), session);
  }

  /** Ends the key's session; the key opens nothing any more. */
  remove(key: string): void {
    const digest = this.#digest(key);
    this.#sessions.get(digest)?.end();
    this.#sessions.delete(digest);
  }

  /**
   * The session of an Authorization header; anybody's where the route is `open`. Throws 401. Clients without a key send no header, or
   * "Bearer" with nothing behind it.
   */
  sessionOf(authorization: string | undefined, open = false): Session {
    const [, key = ""] = /^Bearer(?:\s+(.*))?$/i.exec(authorization?.trim() ?? "") ?? [];
    const session = key === "" ? undefined : this.#sessions.get(this.#digest(key));
    if (session !== undefined) return session;
    if (this.#open || open) return this.#anyone;
    throw key === ""
      ? new ApiError(401, "missing_api_key", "expected the header Authorization: Bearer KEY")
      : new ApiError(401, "invalid_api_key", "the API key is not one of this endpoint");
  }

  /** Found by a digest under a secret of the process: how long a look-up takes says nothing about the keys. */
  #digest(key: string): string {
    return createHmac("sha256", this.#secret).update(key).digest("base64");
  }
}
