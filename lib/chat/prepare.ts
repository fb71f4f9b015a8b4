// Conversations of OpenAI's clients in the form that chat templates take. Clients change what they send back: content is null, absent
// or a list of parts, reasoning has several names, arguments are JSON text, results come in any order.

import { at } from "../at.js";
import { GrpoError } from "../errors.js";
import { isJsonObject, type JsonObject } from "../json.js";
import type { Message } from "../types.js";
import type { ChatMessage, ChatTool, PreparedChat } from "./chat-format.js";
import { type LiteralObject, literalJson, readJson } from "./literals.js";

/** What a chat template cannot do by itself. */
export interface TemplateNeeds {
  /** Arguments as JSON text: the template joins them to its own. */
  readonly argumentsAsText: boolean;
  /** The role of instructions, where it does not know developers. */
  readonly developerRole: "developer" | "system";
  /** Ids of calls with this many letters and digits. */
  readonly callIdLength: number | undefined;
  /** Reasoning of a message that calls tools takes the place of its content. */
  readonly reasoningOrContent: boolean;
  /** Writes calls into the content, where the template passes over them. */
  readonly callsAsContent: ((calls: readonly PreparedCall[]) => string) | undefined;
}

export interface PreparedCall {
  readonly name: string;
  readonly values: LiteralObject;
}

/** A call as templates read it. */
interface TemplateCall {
  readonly type: "function";
  readonly id?: string;
  readonly function: { readonly name: string; readonly arguments: LiteralObject | string };
}

export function prepareChat(
  messages: readonly ChatMessage[],
  tools: readonly ChatTool[] | undefined,
  needs: TemplateNeeds,
): PreparedChat {
  return {
    messages: withResults(messages).map((message, index) => prepareMessage(message, index, needs)),
    tools: tools === undefined || tools.length === 0 ? undefined : tools.map(prepareTool),
  };
}

/** Messages with the results of tools in the order of their calls, and with the names of their tools. */
export function withResults(messages: readonly ChatMessage[]): readonly ChatMessage[] {
  messages.forEach((message: unknown, index) => {
    if (isJsonObject(message) && typeof message.role === "string") return;
    throw new GrpoError("BAD_INPUT", `message ${index} has no role, found ${show(message)}`, {
      hint: 'give every message "role" and "content"',
    });
  });
  return namesOfResults(inCallOrder(messages));
}

function prepareMessage(message: ChatMessage, index: number, needs: TemplateNeeds): Message {
  const { role, tool_call_id: callId, name } = message;
  const where = `message ${index}`;
  const parts = contentOf(message.content, where);
  const reasoning = [message.reasoning_content, message.reasoning, message.thinking, parts.reasoning].find(
    (text): text is string => typeof text === "string" && text !== "",
  );
  const calls = role === "assistant" ? callsOf(message.tool_calls, where, needs) : [];
  const written =
    calls.length > 0 ? needs.callsAsContent?.(calls.map(({ name, values }) => ({ name, values }))) : undefined;
  const merged = needs.reasoningOrContent && calls.length > 0 && reasoning !== undefined;
  return {
    role: role === "developer" ? needs.developerRole : role,
    content: merged ? "" : [parts.text, written].filter(Boolean).join("\n"),
    ...(reasoning === undefined ? {} : { reasoning_content: merged ? joined(reasoning, parts.text) : reasoning }),
    ...(calls.length === 0 || written !== undefined ? {} : { tool_calls: calls.map(({ call }) => call) }),
    ...(typeof callId === "string" ? { tool_call_id: shortened(callId, needs) } : {}),
    ...(typeof name === "string" ? { name } : {}),
  };
}

function joined(reasoning: string, text: string): string {
  return text === "" ? reasoning : `${reasoning}\n${text}`;
}

/** Text, and reasoning that stands among the parts. */
function contentOf(content: unknown, where: string): { readonly text: string; readonly reasoning: string } {
  if (content === null || content === undefined) return { text: "", reasoning: "" };
  if (typeof content === "string") return { text: content, reasoning: "" };
  if (!Array.isArray(content)) {
    throw new GrpoError("BAD_INPUT", `${where}: content must be a text or a list of parts, found a ${typeof content}`);
  }
  let text = "";
  let reasoning = "";
  for (const part of content) {
    const piece = textOf(part, where);
    if (isJsonObject(part) && (part.type === "reasoning" || part.type === "thinking")) reasoning += piece;
    else text += piece;
  }
  return { text, reasoning };
}

/** Whatever else a part holds is passed over: some clients put whole messages into parts. */
function textOf(part: unknown, where: string): string {
  if (typeof part === "string") return part;
  if (isJsonObject(part)) {
    const text = [part.text, part.refusal, part.thinking].find((value) => typeof value === "string");
    if (typeof text === "string") return text;
  }
  const kind = isJsonObject(part) && typeof part.type === "string" ? part.type : "unknown";
  throw new GrpoError("BAD_INPUT", `${where}: this model reads text, found a part of type "${kind}"`, {
    hint: "send parts with a text alone",
  });
}

interface Call extends PreparedCall {
  readonly call: TemplateCall;
}

function callsOf(calls: unknown, where: string, needs: TemplateNeeds): Call[] {
  if (calls === null || calls === undefined) return [];
  if (!Array.isArray(calls)) throw new GrpoError("BAD_INPUT", `${where}: tool_calls must be a list`);
  return calls.map((given: unknown, i) => {
    const call = isJsonObject(given) ? given : {};
    const { name, arguments: values } = isJsonObject(call.function) ? call.function : call;
    if (typeof name !== "string") throw new GrpoError("BAD_INPUT", `${where}: call ${i} has no name of a function`);
    const read = argumentsOf(values, `${where}: call ${i} (${name})`);
    return {
      name,
      values: read,
      call: {
        type: "function",
        ...(typeof call.id === "string" ? { id: shortened(call.id, needs) } : {}),
        function: { name, arguments: needs.argumentsAsText ? textOfArguments(values, read) : read },
      },
    };
  });
}

function argumentsOf(given: unknown, where: string): LiteralObject {
  if (given === null || given === undefined || given === "") return {};
  const values = typeof given === "string" ? readJson(given) : given;
  if (isJsonObject(values)) return values as LiteralObject;
  throw new GrpoError(
    "BAD_INPUT",
    `${where}: arguments must be a JSON object, or the text of one; found ${show(given)}`,
  );
}

function show(value: unknown): string {
  return JSON.stringify(value)?.slice(0, 80) ?? String(value);
}

function textOfArguments(given: unknown, values: LiteralObject): string {
  return typeof given === "string" && given !== "" ? given : literalJson(values);
}

/** The last letters and digits of an id: templates that ask for a length check nothing else, and the ends of ids differ. */
function shortened(id: string, { callIdLength }: TemplateNeeds): string {
  if (callIdLength === undefined) return id;
  return id
    .replace(/[^A-Za-z0-9]/g, "")
    .slice(-callIdLength)
    .padStart(callIdLength, "0");
}

/** Results of parallel calls in the order of their calls: most templates write no ids, and the order is all that tells them apart. */
function inCallOrder(messages: readonly ChatMessage[]): readonly ChatMessage[] {
  const ordered: ChatMessage[] = [];
  for (let i = 0; i < messages.length; ) {
    const ids = idsOfCalls(at(messages, i));
    ordered.push(at(messages, i++));
    let end = i;
    while (messages[end]?.role === "tool") end++;
    const place = ({ tool_call_id: id }: ChatMessage) => ids.indexOf(String(id));
    const results = messages.slice(i, end);
    // Results whose call is not known stay where they are, and with them the rest.
    const known = results.every((result) => place(result) >= 0);
    ordered.push(...(known ? results.toSorted((a, b) => place(a) - place(b)) : results));
    i = end;
  }
  return ordered;
}

function idsOfCalls({ tool_calls: calls }: ChatMessage): string[] {
  return Array.isArray(calls) ? calls.map((call: unknown) => String(isJsonObject(call) ? call.id : undefined)) : [];
}

/** Results with the names of their tools: OpenAI's have only ids, and some templates write the name. */
function namesOfResults(messages: readonly ChatMessage[]): readonly ChatMessage[] {
  const names = new Map<unknown, unknown>();
  return messages.map((message) => {
    for (const call of Array.isArray(message.tool_calls) ? message.tool_calls : []) {
      if (isJsonObject(call)) names.set(call.id, isJsonObject(call.function) ? call.function.name : call.name);
    }
    if (message.role !== "tool" || typeof message.name === "string") return message;
    const name = names.get(message.tool_call_id);
    return name === undefined ? message : { ...message, name };
  });
}

/** A function of OpenAI's, in its envelope; what speaks to the server and not to the model is left out. */
function prepareTool(tool: ChatTool): JsonObject {
  const { type, ...flat } = tool;
  const inner = isJsonObject(tool.function) ? tool.function : flat;
  if (typeof inner.name !== "string") {
    throw new GrpoError("BAD_INPUT", `a tool must be a function with a name, found ${show(tool)}`, {
      hint: 'write { type: "function", function: { name, description, parameters } }',
    });
  }
  if (!("strict" in inner) && inner === tool.function) return tool;
  const { strict: _, ...described } = inner;
  return { type: "function", function: described };
}
