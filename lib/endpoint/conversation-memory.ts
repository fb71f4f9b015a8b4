// The ids of conversations so far, so that a next request which repeats one continues on them: a sampled text seldom tokenizes to the
// ids that were sampled. Clients do not repeat history as it was: they write the arguments of calls anew, drop reasoning, and make null
// of "". What all of them keep is texts and the ids of calls, and by these a conversation is known again.

import { createHash } from "node:crypto";
import { at } from "../at.js";
import type { ChatMessage } from "../chat/chat-format.js";
import { isJsonObject } from "../json.js";
import { LruCache } from "../lru-cache.js";
import type { TokenIds } from "../types.js";

const LIMIT_BYTES = 64 * 2 ** 20;
const BYTES_PER_ID = 8;

/** A conversation that was continued from here, and what is new. */
export interface HeldConversation {
  readonly ids: TokenIds;
  /** The message that the ids end in, as the client has it. */
  readonly turn: ChatMessage;
  readonly newMessages: readonly ChatMessage[];
}

export class ConversationMemory {
  readonly #held = new LruCache<string, TokenIds>(LIMIT_BYTES);

  /** `setting`: what else the ids depend on, such as tools. The last message is the model's. */
  remember(setting: unknown, messages: readonly ChatMessage[], ids: TokenIds): void {
    const key = fingerprints(setting, messages).at(-1);
    if (key !== undefined) this.#held.set(key, ids, BYTES_PER_ID * ids.length);
  }

  /** The longest conversation that these messages begin with and that was remembered; undefined for a new one. */
  find(setting: unknown, messages: readonly ChatMessage[]): HeldConversation | undefined {
    const keys = fingerprints(setting, messages);
    for (let length = messages.length - 1; length > 0; length--) {
      const turn = at(messages, length - 1);
      if (turn.role !== "assistant") continue;
      const ids = this.#held.get(at(keys, length - 1));
      if (ids !== undefined) return { ids, turn, newMessages: messages.slice(length) };
    }
    return undefined;
  }
}

/** For each message a digest of the conversation up to it. */
function fingerprints(setting: unknown, messages: readonly ChatMessage[]): string[] {
  let digest = hash(setting);
  return messages.map((message) => {
    digest = hash([digest, traits(message)]);
    return digest;
  });
}

function hash(value: unknown): string {
  return createHash("sha256").update(JSON.stringify(value)).digest("base64");
}

/** What of a message survives all clients. */
function traits({ role, content, tool_calls: calls, tool_call_id: call }: ChatMessage): unknown {
  const ids = Array.isArray(calls) ? calls.map((entry: unknown) => (isJsonObject(entry) ? entry.id : null)) : [];
  return [role, textOf(content), ids, call ?? null];
}

function textOf(content: ChatMessage["content"]): string {
  if (typeof content === "string") return content;
  return (content ?? []).map((part) => (isJsonObject(part) && typeof part.text === "string" ? part.text : "")).join("");
}
