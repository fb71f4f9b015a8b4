// The Responses API writes a conversation as items (messages, reasoning, calls, their results), where a chat template knows messages:
// a turn of the model is several items and one message. References to items that are stored here are followed.

import type { ChatMessage, ChatTool } from "../chat/chat-format.js";
import { isJsonObject, type JsonObject } from "../json.js";
import { ApiError, badField, unsupportedField } from "./api-error.js";
import type { ChatTurn } from "./chat-run.js";
import { newId } from "./ids.js";
import type { ResponseStore } from "./response-store.js";

/** Marks reasoning that is given to a client to keep, in a form that comes back as it was. It is no secret. */
const KEPT = "grpo1:";

/** Items with their references followed. Throws 404 for one that is not stored. */
export function followReferences(items: readonly JsonObject[], store: ResponseStore): JsonObject[] {
  return items.map((item) => {
    if (item.type !== "item_reference") return item;
    const found = store.item(String(item.id));
    if (found !== undefined) return found;
    throw new ApiError(404, "item_not_found", `there is no item ${JSON.stringify(item.id)} here; send it whole`, {
      param: "input",
    });
  });
}

/** A turn of the model, while its items come in. */
interface OpenTurn {
  content: unknown;
  reasoning: string;
  readonly calls: JsonObject[];
}

/** The messages that items are. Throws 400 for items and parts that have no such form. */
export function toMessages(items: readonly JsonObject[]): ChatMessage[] {
  const messages: ChatMessage[] = [];
  let turn: OpenTurn | undefined;
  const close = () => {
    if (turn) messages.push(turnMessage(turn));
    turn = undefined;
  };
  const open = (startsNew: boolean): OpenTurn => {
    if (startsNew) close();
    turn ??= { content: undefined, reasoning: "", calls: [] };
    return turn;
  };
  for (const [i, item] of items.entries()) {
    const where = `input.${i}`;
    const said = turn !== undefined && (turn.content !== undefined || turn.calls.length > 0);
    if (item.type === "reasoning") open(said).reasoning += reasoningText(item);
    else if (item.type === "function_call") open(false).calls.push(callOf(item, where));
    else if (isMessage(item) && item.role === "assistant") open(said).content = contentOf(item.content, where);
    else {
      close();
      if (isMessage(item)) messages.push({ role: roleOf(item, where), content: contentOf(item.content, where) });
      else if (item.type === "function_call_output") messages.push(resultOf(item, where));
      else throw unsupportedField(`${where}.type`, `items are messages, calls and their results, found ${item.type}`);
    }
  }
  close();
  return messages;
}

function isMessage({ type, role }: JsonObject): boolean {
  return type === "message" || ((type === undefined || type === null) && role !== undefined);
}

function roleOf({ role }: JsonObject, where: string): string {
  if (role === "user" || role === "system" || role === "developer") return role;
  throw badField(`${where}.role`, `it must be user, system, developer or assistant, found ${JSON.stringify(role)}`);
}

function turnMessage({ content, reasoning, calls }: OpenTurn): ChatMessage {
  return {
    role: "assistant",
    content: (content ?? "") as ChatMessage["content"],
    ...(reasoning === "" ? {} : { reasoning_content: reasoning }),
    ...(calls.length > 0 ? { tool_calls: calls } : {}),
  } as ChatMessage;
}

/** Parts that have a text, as parts of a chat; what a client or this server has put beside it is left out. */
function contentOf(content: unknown, where: string): string | readonly unknown[] {
  if (typeof content === "string") return content;
  if (content === null || content === undefined) return "";
  if (!Array.isArray(content)) throw badField(`${where}.content`, "it must be a text or a list of parts");
  return content.map((part: unknown, i) => {
    if (isJsonObject(part) && typeof part.text === "string") return { type: "text", text: part.text };
    if (isJsonObject(part) && typeof part.refusal === "string") return { type: "text", text: part.refusal };
    const type = isJsonObject(part) ? part.type : typeof part;
    throw unsupportedField(`${where}.content.${i}.type`, `content is text, found ${JSON.stringify(type)}`);
  });
}

function callOf({ call_id: id, name, arguments: text }: JsonObject, where: string): JsonObject {
  if (typeof id !== "string" || typeof name !== "string" || typeof text !== "string") {
    throw badField(where, "a function_call has call_id, name and arguments, as texts");
  }
  return { id, type: "function", function: { name, arguments: text } };
}

function resultOf({ call_id: id, output }: JsonObject, where: string): ChatMessage {
  if (typeof id !== "string") throw badField(`${where}.call_id`, "it must be a text");
  return { role: "tool", tool_call_id: id, content: contentOf(output, where) };
}

function reasoningText({ content, summary, encrypted_content: kept }: JsonObject): string {
  if (typeof kept === "string" && kept.startsWith(KEPT))
    return Buffer.from(kept.slice(KEPT.length), "base64").toString();
  const texts = (parts: unknown) =>
    Array.isArray(parts) ? parts.map((part: unknown) => (isJsonObject(part) ? String(part.text ?? "") : "")) : [];
  const own = texts(content);
  return (own.length > 0 ? own : texts(summary)).join("\n");
}

/** Tools as chat has them. */
export function toChatTools(tools: readonly JsonObject[]): ChatTool[] {
  return tools.map(({ type, name, description, parameters }, i) => {
    if (type !== "function")
      throw unsupportedField(`tools.${i}.type`, `tools are functions, found ${JSON.stringify(type)}`);
    const known = Object.entries({ name, description, parameters }).filter(([, value]) => value != null);
    return { type, function: Object.fromEntries(known) };
  });
}

/** What a reasoning item has beside its text. */
export interface ReasoningForm {
  /** The text as its own summary, for clients that show no other. */
  readonly summary: boolean;
  /** The text in a form that a client which stores conversations itself sends back. */
  readonly keep: boolean;
}

/** The items of a turn: whole, or as they begin. Their ids are of their own; a call's `call_id` is what its result names. */
export const turnItems = {
  reasoning: (id: string, text: string, form: ReasoningForm): JsonObject => ({
    id,
    type: "reasoning",
    summary: form.summary ? [{ type: "summary_text", text }] : [],
    content: [{ type: "reasoning_text", text }],
    ...(form.keep ? { encrypted_content: KEPT + Buffer.from(text).toString("base64") } : {}),
  }),
  message: (id: string, text: string, logprobs: readonly unknown[]): JsonObject => ({
    id,
    type: "message",
    status: "completed",
    role: "assistant",
    content: [{ type: "output_text", text, annotations: [], logprobs }],
  }),
  call: (id: string, callId: string, name: string, text: string): JsonObject => ({
    id,
    type: "function_call",
    status: "completed",
    call_id: callId,
    name,
    arguments: text,
  }),
};

/** All items of a turn that has ended. One that says nothing and calls nothing has a message, or agents would ask again. */
export function itemsOf(turn: ChatTurn, form: ReasoningForm, logprobs: readonly unknown[]): JsonObject[] {
  const { content, reasoning, toolCalls } = turn.message;
  const calls = toolCalls.map(({ name, argumentsText }, i) =>
    turnItems.call(newId("fc"), String(turn.callIds[i]), name, argumentsText),
  );
  return [
    ...(reasoning === "" ? [] : [turnItems.reasoning(newId("rs"), reasoning, form)]),
    ...(content === "" && calls.length > 0 ? [] : [turnItems.message(newId("msg"), content, logprobs)]),
    ...calls,
  ];
}
