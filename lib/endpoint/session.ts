// Who talks to the endpoint. A key stands for a session: one for all of `grpo serve`, one for each rollout of a trainer. What a
// session is told it may ask for again, and nobody else; ending it ends its requests.

import { createHmac, randomBytes } from "node:crypto";
import { setMaxListeners } from "node:events";
import { ApiError } from "./api-error.js";
import { ConversationMemory } from "./conversation-memory.js";
import { ResponseStore } from "./response-store.js";

export class Session {
  /** What the Responses API was asked to keep. */
  readonly responses = new ResponseStore();
  /** Ids of the conversations so far. */
  readonly conversations = new ConversationMemory();
  readonly #ended = new AbortController();

  /** `keyed`: whether a key opened it. */
  constructor(readonly keyed = true) {
    // One for each of its requests.
    setMaxListeners(0, this.#ended.signal);
  }

  /** Aborted when the session ends. */
  get signal(): AbortSignal {
    return this.#ended.signal;
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
