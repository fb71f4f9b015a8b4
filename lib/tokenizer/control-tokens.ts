// Chats in which the control tokens of users stay text, as with transformers' `sanitize_control_tokens`: what users wrote is marked
// before the template is rendered, and marked tokens are encoded without a look at the tokens on top of the vocabulary.

import { GrpoError } from "../errors.js";
import { isPythonSpace, trimText } from "../text.js";
import type { Message } from "../types.js";
import type { ChatTemplateOptions } from "./chat-template.js";
import { literalTexts } from "./jinja/template.js";
import type { AddedTokenUse } from "./pipeline/added-tokens.js";
import { wellFormed } from "./pipeline/aligned-text.js";
import type { AddedToken } from "./pipeline/config.js";
import { longestMatch } from "./pipeline/longest-match.js";

// Two characters of private use, transformers' own.
const START = "\u{f0000}";
const END = "\u{f0001}";
const MARK = /(\u{f0000}|\u{f0001})/u;

/**
 * The tokens that are text where users write them: special ones, and of the others those that tokenizer_config.json lists as
 * `chat_control_tokens`; without a list those that the template writes itself, white space aside.
 */
export function controlTokens(tokens: Iterable<AddedToken>, template: string, listed: unknown): string[] {
  const written = Array.isArray(listed) ? undefined : literalTexts(template);
  const isWritten = (content: string): boolean =>
    written === undefined
      ? (listed as unknown[]).includes(content)
      : trimText(content, isPythonSpace) !== "" && written.some((text) => text.includes(content));
  return [...tokens].filter(({ content, special }) => special || isWritten(content)).map(({ content }) => content);
}

/** Options that are no text of a user's. */
const SETTINGS = new Set(["addGenerationPrompt", "continueFinalMessage", "chatTemplate"]);

/** A conversation and the options of its template, with marks around the given tokens in all texts; keys of objects have none. */
export function markControlTokens(
  messages: readonly Message[],
  options: ChatTemplateOptions,
  tokens: readonly string[],
): { readonly messages: readonly Message[]; readonly options: ChatTemplateOptions } {
  const match = longestMatch(tokens.map((token) => [token, token]));
  const mark = (value: unknown): unknown => {
    if (typeof value === "string") return markText(value, match);
    if (Array.isArray(value)) return value.map(mark);
    if (typeof value !== "object" || value === null || value instanceof Date) return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, mark(item)]));
  };
  const entries = Object.entries(options).map(
    ([key, value]) => [key, SETTINGS.has(key) ? value : mark(value)] as const,
  );
  return { messages: mark(messages) as readonly Message[], options: Object.fromEntries(entries) };
}

/** Marks that are there already would forge others; half a pair of surrogates could become one. */
function markText(text: string, match: ReturnType<typeof longestMatch<string>>): string {
  const clean = wellFormed(text).replaceAll(START, "").replaceAll(END, "");
  let marked = "";
  let done = 0;
  for (let at = 0; at < clean.length; ) {
    const found = match(clean, at);
    if (found === undefined) {
      at++;
      continue;
    }
    marked += `${clean.slice(done, at)}${START}${found.value}${END}`;
    at += found.length;
    done = at;
  }
  return marked + clean.slice(done);
}

/** What encoding a marked chat needs of a tokenizer. */
export interface ChatEncoder {
  /** Without the tokens of the post-processor. */
  encode(text: string, use?: AddedTokenUse): number[];
  tokenToId(token: string): number | undefined;
}

/**
 * Ids of a rendered chat with marks. A template may have torn the two marks of a token apart; one alone is left out, and no token
 * is found across it.
 */
export function encodeMarkedChat(chat: string, encoder: ChatEncoder): number[] {
  // Texts and marks by turns.
  const parts = chat.split(MARK);
  const newline = encoder.encode("\n");
  const ids: number[] = [];
  for (let i = 0; i < parts.length; i += 2) {
    const text = parts[i] as string;
    if (text === "") continue;
    const marked = parts[i - 1] === START && parts[i + 1] === END && encoder.tokenToId(text) !== undefined;
    const piece = i === 0 ? encoder.encode(text) : encodeInside(text, marked ? "none" : undefined, newline, encoder);
    if (marked && piece.includes(encoder.tokenToId(text) as number)) {
      throw new GrpoError(
        "BAD_INPUT",
        `${JSON.stringify(text)} cannot be encoded as text: plain text gives that token too`,
        {
          hint: "take it out of the conversation, or leave sanitizeControlTokens out",
        },
      );
    }
    for (const id of piece) ids.push(id);
  }
  return ids;
}

/** Behind a line end, which is taken away again: at the start of a text some tokenizers add a space. */
function encodeInside(
  text: string,
  use: AddedTokenUse | undefined,
  newline: readonly number[],
  encoder: ChatEncoder,
): number[] {
  const ids = encoder.encode(`\n${text}`, use);
  return newline.every((id, i) => ids[i] === id) ? ids.slice(newline.length) : encoder.encode(text, use);
}
