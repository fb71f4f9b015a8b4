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
  /** Whether the client has that message as it was answered. */
  readonly isSame: boolean;
  readonly newMessages: readonly ChatMessage[];
}

interface Held {
  readonly ids: TokenIds;
  readonly said: ChatMessage;
}

export class ConversationMemory {
  readonly #held = new LruCache<string, Held>(LIMIT_BYTES);

  /** `setting`: what else the ids depend on, such as tools. The last message is the model's, as it was answered. */
  remember(setting: unknown, messages: readonly ChatMessage[], ids: TokenIds): void {
    const [key, said] = [fingerprints(setting, messages).at(-1), messages.at(-1)];
    if (key !== undefined && said !== undefined) this.#held.set(key, { ids, said }, BYTES_PER_ID * ids.length);
  }

  /** The longest conversation that these messages begin with and that was remembered; undefined for a new one. */
  find(setting: unknown, messages: readonly ChatMessage[]): HeldConversation | undefined {
    const keys = fingerprints(setting, messages);
    for (let length = messages.length - 1; length > 0; length--) {
      const turn = at(messages, length - 1);
      if (turn.role !== "assistant") continue;
      const held = this.#held.get(at(keys, length - 1));
      if (held === undefined) continue;
      return { ids: held.ids, turn, isSame: isSame(held.said, turn), newMessages: messages.slice(length) };
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
export function traits(message: ChatMessage): unknown {
  const { role, tool_call_id: call } = message;
  const text = textOf(message.content);
  const ids = callsOf(message).map(({ id }) => id ?? null);
  return [role, role === "assistant" ? wording(text) : text, ids, call ?? null];
}

/** Some clients trim what the model said, and some cut its reasoning out of it. */
function wording(text: string): string {
  return text
    .replace(/<think>.*?<\/think>/gs, "")
    .replaceAll("\r\n", "\n")
    .trim()
    .normalize("NFC");
}

/** Whether a turn has come back as it was answered. */
function isSame(said: ChatMessage, turn: ChatMessage): boolean {
  const written = (message: ChatMessage) => [
    textOf(message.content),
    message.reasoning_content ?? message.reasoning ?? "",
    callsOf(message).map(({ function: called }) => (isJsonObject(called) ? called.arguments : null)),
  ];
  return JSON.stringify(written(said)) === JSON.stringify(written(turn));
}

function callsOf({ tool_calls: calls }: ChatMessage) {
  return Array.isArray(calls) ? calls.map((entry: unknown) => (isJsonObject(entry) ? entry : {})) : [];
}

function textOf(content: ChatMessage["content"]): string {
  if (typeof content === "string") return content;
  return (content ?? []).map((part) => (isJsonObject(part) && typeof part.text === "string" ? part.text : "")).join("");
}
