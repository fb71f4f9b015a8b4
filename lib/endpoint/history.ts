// The history that a client sends, where a chat template could not read it.

import type { ChatMessage } from "../chat/chat-format.js";
import { isJsonObject } from "../json.js";

/**
 * Arguments of calls that are no JSON become {}: some clients send back what a model wrote however broken it is, others {} in its
 * place, and templates write objects.
 */
export function readableHistory(messages: readonly ChatMessage[]): readonly ChatMessage[] {
  return messages.map((message) => {
    const { tool_calls: calls } = message;
    return Array.isArray(calls) ? { ...message, tool_calls: calls.map(readableCall) } : message;
  });
}

function readableCall(call: unknown): unknown {
  if (!isJsonObject(call) || !isJsonObject(call.function)) return call;
  const { arguments: text } = call.function;
  return typeof text !== "string" || isObjectText(text)
    ? call
    : { ...call, function: { ...call.function, arguments: "{}" } };
}

function isObjectText(text: string): boolean {
  try {
    return isJsonObject(JSON.parse(text));
  } catch {
    return false;
  }
}
