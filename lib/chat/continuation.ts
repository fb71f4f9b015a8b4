// The ids between a sampled turn and the next one. The template renders a small conversation with a stand-in for the turn, and what it
// writes behind the stand-in is what follows the real one: nothing before it is rendered or tokenized again, so that templates may
// drop or reformat what they like of earlier turns.

import type { ChatMessage } from "./chat-format.js";
import type { ChatTokenizer } from "./template-needs.js";

/** Does not occur in conversations, and has nothing that a template would quote. */
const STAND_IN = "turn5d21c8e0";
const STAND_IN_ID = "call00000";

export interface ContinuedTurn {
  readonly tokenizer: ChatTokenizer;
  /** At least one. */
  readonly newMessages: readonly ChatMessage[];
  /** The text of a conversation, with the header of the next turn. */
  readonly render: (messages: readonly ChatMessage[]) => string;
  /** Ids at which a turn ends. */
  readonly ends: ReadonlySet<number>;
}

/**
 * From the token that closes the turn on, that one included. Undefined where the template does not close its turns with a token, or
 * writes no turn as it is.
 */
export function idsBehindTurn({ tokenizer, newMessages, render, ends }: ContinuedTurn): number[] | undefined {
  for (const turn of standIns(newMessages)) {
    const text = render([{ role: "user", content: "Hi" }, turn, ...newMessages]);
    const at = text.lastIndexOf(STAND_IN);
    if (at < 0) continue;
    const { ids, offsets } = tokenizer.encodeWithOffsets(text, { addSpecialTokens: false });
    const first = ids.findIndex((id, i) => (offsets[i]?.[0] ?? 0) > at && ends.has(id));
    return first < 0 ? undefined : ids.slice(first);
  }
  return undefined;
}

/**
 * Turns of an assistant that the new messages can follow, the better ones first: results need a call of the tool that they name, and
 * some templates pass over calls.
 */
function standIns([first]: readonly ChatMessage[]): readonly ChatMessage[] {
  const said = { role: "assistant", content: STAND_IN };
  if (first?.role !== "tool") return [said];
  const { name = "tool", tool_call_id: id = STAND_IN_ID } = first;
  const call = { type: "function", id, function: { name, arguments: { a: STAND_IN } } };
  return [{ role: "assistant", content: "", tool_calls: [call] }, said];
}
