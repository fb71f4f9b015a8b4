// What supervised fine-tuning asks of a tokenizer, and no more. Tokenizer has it; tests hand in small stand-ins.

import type { ProcessingClass } from "../tokenizer/processing-class.js";
import type { MaskedIds } from "../tokenizer/tokenizer.js";
import type { Message } from "../types.js";

/** The tokenizer as SFTTrainer sees it. */
export interface TextTokenizer extends ProcessingClass {
  /** The id of the token that begins a text, if there is one. */
  readonly bosTokenId: number | undefined;
  /** The id of the token that ends a text, if there is one. */
  readonly eosTokenId: number | undefined;
  /** The text of the end token, which plain texts get at their end. */
  eosToken: string | undefined;
  /** The chat template, which SFTConfig may replace. */
  chatTemplate: unknown;
  /** Whether the chat template marks what the assistant writes. */
  marksAssistant(): boolean;
  /** Token ids of a text, and where in it each comes from: [start, end). */
  encodeWithOffsets(
    text: string,
    options: { readonly addSpecialTokens: boolean },
  ): { readonly ids: number[]; readonly offsets: readonly (readonly [number, number])[] };
  /** The text of a conversation; its ids with `tokenize`; with `returnAssistantMask` also which the template marks as the assistant's. */
  applyChatTemplate(
    messages: readonly Message[],
    options: { readonly tokenize: true; readonly returnAssistantMask: true; readonly [key: string]: unknown },
  ): MaskedIds;
  applyChatTemplate(
    messages: readonly Message[],
    options: { readonly tokenize: true; readonly returnAssistantMask?: false; readonly [key: string]: unknown },
  ): number[];
  applyChatTemplate(
    messages: readonly Message[],
    options: { readonly tokenize?: false; readonly returnAssistantMask?: false; readonly [key: string]: unknown },
  ): string;
}
