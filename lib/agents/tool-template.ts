// Whether conversations with tools can be held in a chat template: it must tell the model of calls and of their results, something must
// read its calls, and results must have a place behind a turn. Asked of the template itself, as in TRL 1.16.

import type { ChatFormat } from "../chat/chat-format.js";
import { CHAT_FAMILIES } from "../chat/families.js";
import { GrpoError, reasonOf } from "../errors.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import type { Message } from "../types.js";
import { noContinuation } from "./conversation.js";
import { describeTool, type ReadyTool } from "./tool.js";

/** Do not occur in a template, and have nothing that one would quote. */
const NAME = "tool5c1e9a";
const KEY = "key7b2d40";
const VALUE = "value3f86e1";
const RESULT = "result9d04c7";
const CALL = { id: "call00000", type: "function", function: { name: NAME, arguments: { [KEY]: VALUE } } };
const TURN = { role: "assistant", content: "", tool_calls: [CALL] };
const ANSWER = { role: "tool", name: NAME, tool_call_id: CALL.id, content: RESULT };
const ASKED: readonly Message[] = [{ role: "user", content: "Hi" }];
const PARTS = {
  "the name of a call": NAME,
  "the arguments of a call": KEY,
  "the values of arguments": VALUE,
  results: RESULT,
};

/** Throws BAD_TEMPLATE, saying what is left out, and for which tools. */
export function checkToolTemplate(tokenizer: Tokenizer, format: ChatFormat, tools: readonly ReadyTool[]): void {
  if (tools.length === 0) return;
  const names = tools.map(({ name }) => name).join(", ");
  const left = leftOut(tokenizer, format);
  if (left !== undefined) throw unsupported(`it leaves out ${left}`, names);
  const readsCalls = CHAT_FAMILIES.get(format.family)?.openers.some(({ region }) => {
    return typeof region === "function" || region.kind === "call";
  });
  if (!readsCalls) throw unsupported("nothing is known of how its model writes calls", names);
  const definitions = tools.map(describeTool);
  const told = tokenizer.applyChatTemplate(format.prepare(ASKED).messages, {
    tools: definitions,
    addGenerationPrompt: true,
  });
  if (!tools.every(({ name }) => told.includes(name))) throw unsupported("it does not tell the model of them", names);
  const held = format.render(ASKED, { tools: definitions });
  const ended = [...held, ...format.endIds.slice(0, 1)];
  if (format.continuation(ended, [ANSWER], { tools: definitions, turn: TURN }) === undefined) throw noContinuation();
}

function leftOut(tokenizer: Tokenizer, format: ChatFormat): string | undefined {
  let text: string;
  try {
    const { messages } = format.prepare([...ASKED, TURN, ANSWER]);
    text = tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true });
  } catch (error) {
    return `everything: ${reasonOf(error)}`;
  }
  return Object.entries(PARTS).find(([, part]) => !text.includes(part))?.[0];
}

function unsupported(why: string, names: string): GrpoError {
  return new GrpoError("BAD_TEMPLATE", `the chat template does not support tools (${names}); ${why}`, {
    hint: "use a model that was trained to call tools, such as Qwen2.5, Qwen3 or Llama 3.1, with its own template",
  });
}
