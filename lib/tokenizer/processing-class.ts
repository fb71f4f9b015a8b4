// What trainers ask of a tokenizer, and no more. Tokenizer is one; tests hand in small stand-ins.

import type { Message, TokenIds } from "../types.js";
import type { TokenBytes } from "./pipeline/token-bytes.js";

/** The tokenizer as the trainer sees it. */
export interface ProcessingClass {
  readonly eosTokenIds: readonly number[];
  /** Token ids of a text. */
  encode(text: string): number[];
  /** The text of token ids. */
  decode(ids: TokenIds, options?: { readonly skipSpecialTokens?: boolean }): string;
  /** The text of a conversation, or its token ids with `tokenize: true`. */
  applyChatTemplate(
    messages: readonly Message[],
    options: { readonly addGenerationPrompt: boolean; readonly tokenize: true; readonly [key: string]: unknown },
  ): number[];
  /** The bytes of each token, which a form of the completions needs. */
  tokenBytes?(): TokenBytes;
  /** Writes the tokenizer's files into a folder. */
  savePretrained(directory: string): Promise<void>;
}
