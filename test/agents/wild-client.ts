// A client that does to a conversation whatever clients were seen to do: it writes arguments anew, drops and renames reasoning, trims and
// cuts, rewrites history, sends requests again, at the same time, or not to their end. What it is answered is left to the caller.

import type { JsonObject } from "grpo";

// biome-ignore lint/suspicious/noExplicitAny: messages of all shapes.
type Message = any;

/** A number from 0 to below `below`. */
export type Lots = (below: number) => number;

export const TOOLS = [
  { type: "function", function: { name: "weather", description: "Forecast", parameters: { type: "object" } } },
  { type: "function", function: { name: "sum", description: "Adds", parameters: { type: "object" } } },
];

const WORDS = [
  "yes",
  "no.",
  "  Look",
  "at\n",
  "naïve",
  "日本",
  "🙂🙃",
  "é",
  "<b>",
  "{",
  '"quoted"',
  "\\n",
  "x = 1",
  "\t",
];

/** Some words, with anything in them. */
export function words(draw: Lots, most = 6): string {
  return Array.from({ length: 1 + draw(most) }, () => WORDS[draw(WORDS.length)]).join(draw(3) === 0 ? "" : " ");
}

/** What a model might say: text, reasoning, calls that are well written or not. */
export function turnText(draw: Lots): string {
  const think = draw(3) === 0 ? `<think>${words(draw)}</think>` : "";
  const call = () => {
    const values = ['{"city": "Paris", "days": 2.0}', '{ "a":1,\n"b": "é\\u00e9" }', "{}", '{"broken": '];
    return `\n<tool_call>\n{"name": "${draw(2) ? "weather" : "sum"}", "arguments": ${values[draw(values.length)]}}\n</tool_call>`;
  };
  const calls = Array.from({ length: draw(2) * (1 + draw(2)) }, call).join("");
  return `${think}${draw(5) === 0 && calls ? "" : words(draw)}${calls}${draw(12) === 0 ? "…" : ""}`;
}

/** A message of the model as a client sends it back. */
export function sentBack(message: Message, draw: Lots): Message {
  const { content, reasoning, tool_calls: calls } = message;
  const text = content ?? "";
  const contents = [content, text, text === "" ? null : text, [{ type: "text", text, annotations: [] }], text.trim()];
  const thoughts = [{}, { reasoning }, { reasoning_content: reasoning }];
  return {
    role: "assistant",
    content: contents[draw(contents.length)],
    ...(reasoning === undefined ? {} : thoughts[draw(thoughts.length)]),
    ...(calls === undefined ? {} : { tool_calls: calls.map((call: Message) => callBack(call, draw)) }),
  };
}

function callBack({ id, type, function: called }: Message, draw: Lots): Message {
  const again = (text: string) => {
    try {
      return JSON.stringify(JSON.parse(text));
    } catch {
      return "{}";
    }
  };
  const written = [called.arguments, again(called.arguments), '{"changed":true}'];
  return { function: { arguments: written[draw(written.length)], name: called.name }, id, type };
}

/** What follows a turn: the results of its calls in any order, or the user. */
export function replyTo(message: Message, draw: Lots): Message[] {
  const results = (message.tool_calls ?? []).map(({ id }: Message) => {
    return { role: "tool", tool_call_id: id, content: words(draw) };
  });
  if (results.length === 0) return [{ role: "user", content: words(draw) }];
  return draw(2) === 0 ? results.reverse() : results;
}

/** History as some agents rewrite it; mostly as it is. */
export function rewritten(messages: readonly Message[], draw: Lots): Message[] {
  const kind = draw(20);
  if (kind === 0) return [{ role: "user", content: `So far: ${words(draw)}` }];
  if (kind === 1) return messages.map((message, i) => (i === 0 ? { ...message, content: words(draw) } : message));
  if (kind === 2 && messages.at(-1)?.role === "user") return messages.slice(-1);
  const last = messages.findLastIndex(({ role }) => role === "assistant");
  if (kind === 3 && last >= 0 && !messages[last].tool_calls) {
    return messages.map((message, i) => (i === last ? { ...message, content: "I never said that." } : message));
  }
  return [...messages];
}

/** Fields of a request beside its messages. */
export function fieldsOf(draw: Lots): JsonObject {
  return {
    ...(draw(3) === 0 ? { stream: true } : {}),
    ...(draw(4) > 0 ? { tools: TOOLS } : {}),
    ...(draw(10) === 0 ? { n: 2 } : {}),
    ...(draw(10) === 0 ? { max_tokens: 1 + draw(8) } : {}),
    ...(draw(10) === 0 ? { stop: ["x"] } : {}),
    ...(draw(10) === 0 ? { parallel_tool_calls: false } : {}),
    ...(draw(6) === 0 ? { temperature: 0.2, top_p: 0.5, seed: draw(5) } : {}),
  };
}
