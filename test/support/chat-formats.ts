// The models of test/fixtures/chat (scripts/golden/chat_formats.py): their chat templates over a tokenizer with one token for each byte
// and one for each mark.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { ChatDelta, ChatMessage, ChatTool, ParsedMessage } from "../../lib/chat/chat-format.js";
import { Tokenizer } from "../../lib/tokenizer/tokenizer.js";
import { readGzipJson } from "./tokenizer-golden.js";

/** What an oracle reads from a response; null where it reads none of the model's. */
export interface Reading {
  readonly content: string;
  readonly reasoning: string;
  readonly calls: readonly (readonly [name: string, values: unknown])[];
  readonly malformed?: number;
}

export interface ChatModel {
  readonly template: string;
  readonly ends: readonly string[];
  readonly tools: readonly ChatTool[];
  /** Null where the template refuses. */
  readonly renderings: readonly { readonly context: string; readonly turn: string; readonly text: string | null }[];
  readonly responses: readonly {
    /** Undefined for a response by hand. */
    readonly context?: string;
    readonly turn: string;
    readonly prompt: string;
    readonly response: string;
    readonly trl: Reading | null;
    readonly renderers: Reading | null;
  }[];
  readonly continuations: readonly {
    readonly next: string;
    readonly prompt: string;
    readonly response: string;
    readonly trl: string | null;
    readonly renderers: string | null;
    /** What the template writes behind the response, where it leaves all before that as it is. */
    readonly template: string | null;
    /** Whether the template refuses these messages in this order. */
    readonly refused: boolean;
  }[];
}

export interface Conversations {
  readonly now: string;
  readonly contexts: Readonly<Record<string, readonly ChatMessage[]>>;
  readonly turns: Readonly<Record<string, ChatMessage>>;
  readonly next: Readonly<Record<string, readonly ChatMessage[]>>;
  readonly families: Readonly<Record<string, ChatModel>>;
}

const FIXTURES = new URL("../fixtures/", import.meta.url).pathname;

export const conversations = readGzipJson(path.join(FIXTURES, "chat/conversations.json.gz")) as Conversations;

const tokenizerJson = JSON.stringify(readGzipJson(path.join(FIXTURES, "chat/tokenizer.json.gz")));
const renderings = readGzipJson(path.join(FIXTURES, "tokenizers/chat-renderings.json.gz")) as {
  readonly templates: readonly { readonly name: string; readonly template: string }[];
};

/** The text of a published chat template. */
export function publishedTemplate(name: string): string {
  const found = renderings.templates.find((entry) => entry.name === name);
  if (found === undefined) throw new Error(`no template called ${name}`);
  return found.template;
}

/** A tokenizer with one token for each byte, a chat template or none, and end tokens of which the first is its EOS. */
export async function byteTokenizer(template: string | undefined, ends: readonly string[]): Promise<Tokenizer> {
  const folder = mkdtempSync(path.join(tmpdir(), "grpo-chat-"));
  try {
    writeFileSync(path.join(folder, "tokenizer.json"), tokenizerJson);
    const config = { bos_token: "<s>", eos_token: ends[0], pad_token: "<pad>", unk_token: "<unk>" };
    writeFileSync(path.join(folder, "tokenizer_config.json"), JSON.stringify({ ...config, chat_template: template }));
    return await Tokenizer.fromPretrained(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The message that a list of pieces is. */
export function joined(
  deltas: readonly ChatDelta[],
): Omit<ParsedMessage, "malformedCalls" | "toolCalls"> & { calls: string[][] } {
  const calls: string[][] = [];
  let content = "";
  let reasoning = "";
  for (const delta of deltas) {
    if (delta.type === "content") content += delta.text;
    else if (delta.type === "reasoning") reasoning += delta.text;
    else if (delta.type === "call") calls[delta.index] = [delta.name, ""];
    else (calls[delta.index] as string[])[1] += delta.text;
  }
  return { content, reasoning, calls };
}
