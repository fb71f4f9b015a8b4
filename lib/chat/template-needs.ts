// What a chat template needs of a conversation, and what it writes around an assistant's turn. Asked of the template itself, by
// rendering small conversations: thousands of templates differ in small ways, and their names say nothing.

import { isJsonObject, type JsonObject } from "../json.js";
import { selectTemplate } from "../tokenizer/chat-template.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import type { Message } from "../types.js";
import type { ChatFamily } from "./families.js";
import type { TemplateNeeds } from "./prepare.js";

/** The part of a tokenizer that a chat format works with. */
export type ChatTokenizer = Pick<
  Tokenizer,
  | "applyChatTemplate"
  | "chatTemplate"
  | "decode"
  | "decodeStream"
  | "encodeWithOffsets"
  | "eosTokenIds"
  | "tokenBytes"
  | "tokenToId"
>;

/** Every template that the tokenizer has, as one text. */
export function templateSource({ chatTemplate }: Pick<ChatTokenizer, "chatTemplate">): string {
  if (typeof chatTemplate === "string") return chatTemplate;
  return isJsonObject(chatTemplate) ? Object.values(chatTemplate).join("\n") : "";
}

/** The needs of the template that renders a conversation with or without tools. */
export function needsOf(tokenizer: ChatTokenizer, { write }: ChatFamily, tools: boolean): TemplateNeeds {
  const source = selectTemplate(tokenizer.chatTemplate, { tools: tools ? [] : null });
  const idLength = /\bid\s*\|\s*length\s*!=\s*(\d+)/.exec(source)?.[1];
  const readsCalls = source.includes("tool_calls");
  return {
    argumentsAsText:
      readsCalls && !writesArguments(tokenizer, { a: PROBE }) && writesArguments(tokenizer, `{"a": "${PROBE}"}`),
    developerRole: source.includes("developer") ? "developer" : "system",
    callIdLength: idLength === undefined ? undefined : Number(idLength),
    reasoningOrContent: source.includes("Cannot pass both content and thinking"),
    callsAsContent: readsCalls ? undefined : write,
  };
}

/** Found nowhere in a template, and too short to be quoted or cut. */
const PROBE = "probe4f7a";
const USER: Message = { role: "user", content: "Hi" };

function writesArguments(tokenizer: ChatTokenizer, values: string | JsonObject): boolean {
  const call = { type: "function", id: "call00000", function: { name: "f", arguments: values } };
  const turn = { role: "assistant", content: "", tool_calls: [call] };
  return tryRender(tokenizer, [USER, turn])?.includes(PROBE) ?? false;
}

/** Undefined where the template refuses. */
function tryRender(
  tokenizer: ChatTokenizer,
  messages: readonly Message[],
  addGenerationPrompt = false,
): string | undefined {
  try {
    return tokenizer.applyChatTemplate(messages, { addGenerationPrompt });
  } catch {
    return undefined;
  }
}

/** What the template writes to open the assistant's turn, up to the first mark of the family's; undefined where that cannot be told. */
export function turnHeader(tokenizer: ChatTokenizer, family: ChatFamily): string | undefined {
  const asked = tryRender(tokenizer, [USER]);
  const opened = tryRender(tokenizer, [USER], true);
  if (asked === undefined || !opened?.startsWith(asked)) return undefined;
  const prompt = opened.slice(asked.length);
  const marks = family.openers.map(({ mark }) => mark.find(prompt)?.start ?? prompt.length);
  const header = prompt.slice(0, family.headers ? prompt.length : Math.min(...marks));
  return header === "" ? undefined : header;
}
