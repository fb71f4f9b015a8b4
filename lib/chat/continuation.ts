// The ids between a sampled turn and the next one. The template renders a small conversation with a stand-in for the turn, and what it
// writes behind the stand-in is what follows the real one: nothing before it is rendered or tokenized again, so that templates may
// drop or reformat what they like of earlier turns.

import type { JsonObject } from "../json.js";
import type { Message } from "../types.js";
import type { ChatTokenizer } from "./template-needs.js";

/** Does not occur in conversations, and has nothing that a template would quote. */
const STAND_IN = "turn5d21c8e0";
/** As long as the shortest that templates ask for. */
const STAND_IN_ID = "call00000";

export interface ContinuedTurn {
  readonly tokenizer: ChatTokenizer;
  /** Prepared; at least one. */
  readonly newMessages: readonly Message[];
  readonly options: { readonly tools: readonly JsonObject[] | undefined; readonly variables: JsonObject };
  /** Ids at which a turn ends. */
  readonly ends: ReadonlySet<number>;
}

/**
 * From the token that closes the turn on, that one included. Undefined where the template does not close its turns with a token, or
 * writes the stand-in otherwise than it is.
 */
export function idsBehindTurn({ tokenizer, newMessages, options, ends }: ContinuedTurn): number[] | undefined {
  const text = tokenizer.applyChatTemplate([{ role: "user", content: "Hi" }, standIn(newMessages), ...newMessages], {
    ...options.variables,
    tools: options.tools ?? null,
    addGenerationPrompt: true,
  });
  const at = text.lastIndexOf(STAND_IN);
  if (at < 0) return undefined;
  const { ids, offsets } = tokenizer.encodeWithOffsets(text, { addSpecialTokens: false });
  const first = ids.findIndex((id, i) => (offsets[i]?.[0] ?? 0) > at && ends.has(id));
  return first < 0 ? undefined : ids.slice(first);
}

/** An assistant's turn that the new messages can follow: results need a call, of the tool that they name. */
function standIn(newMessages: readonly Message[]): Message {
  const [result] = newMessages;
  if (result?.role !== "tool") return { role: "assistant", content: STAND_IN };
  const { name = "tool", tool_call_id: id = STAND_IN_ID } = result;
  const call = { type: "function", id, function: { name, arguments: { a: STAND_IN } } };
  return { role: "assistant", content: "", tool_calls: [call] };
}
