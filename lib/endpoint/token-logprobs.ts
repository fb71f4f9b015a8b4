// Log-probabilities of tokens in OpenAI's two forms: a list of objects for chat, parallel lists for completions. Tokens are
// written as their text, or as "token_id:ID" for clients that want ids.

import type { Tokenizer } from "../tokenizer/tokenizer.js";
import type { DrawnToken, TokenLogprob } from "./generator.js";

export interface ChatTokenLogprob {
  readonly token: string;
  readonly logprob: number;
  readonly bytes: readonly number[] | null;
  readonly top_logprobs: readonly Omit<ChatTokenLogprob, "top_logprobs">[];
}

/** The lists of the completions API; the entries of a first token without context are null. */
export interface CompletionLogprobs {
  readonly tokens: string[];
  readonly token_logprobs: (number | null)[];
  readonly top_logprobs: (Record<string, number> | null)[];
  readonly text_offset: number[];
}

/** How tokens are written. */
export class TokenNames {
  readonly #tokenizer: Tokenizer;
  readonly #asIds: boolean;

  constructor(tokenizer: Tokenizer, asIds: boolean) {
    this.#tokenizer = tokenizer;
    this.#asIds = asIds;
  }

  nameOf(id: number): string {
    return this.#asIds ? `token_id:${id}` : this.#tokenizer.decode([id]);
  }

  /** The bytes of a token's text; where it ends in the middle of a character, those that it has. */
  bytesOf(id: number): number[] | null {
    if (this.#asIds) return null;
    const { bytes, offsets } = this.#tokenizer.tokenBytes();
    const own = bytes.subarray(offsets[id], offsets[id + 1]);
    return own.length > 0 ? [...own] : [...Buffer.from(this.#tokenizer.decode([id]))];
  }
}

/** Tokens of a chat; each has its log-probability. */
export function chatLogprobs(tokens: readonly DrawnToken[], names: TokenNames): ChatTokenLogprob[] {
  const entry = ({ id, logprob }: TokenLogprob) => ({ token: names.nameOf(id), logprob, bytes: names.bytesOf(id) });
  return tokens.map(({ id, logprob, top }) => ({
    ...entry({ id, logprob: finite(logprob) }),
    top_logprobs: top.map((other) => entry({ ...other, logprob: finite(other.logprob) })),
  }));
}

/** Tokens of a completion, with the prompt's before them where it is echoed; `top`: whether alternatives were asked for. */
export function completionLogprobs(
  tokens: readonly {
    readonly id: number;
    readonly logprob: number | undefined;
    readonly top: readonly TokenLogprob[];
  }[],
  names: TokenNames,
): CompletionLogprobs {
  const result: CompletionLogprobs = { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] };
  let offset = 0;
  for (const { id, logprob, top } of tokens) {
    const name = names.nameOf(id);
    result.tokens.push(name);
    result.text_offset.push(offset);
    offset += name.length;
    result.token_logprobs.push(logprob === undefined ? null : finite(logprob));
    result.top_logprobs.push(logprob === undefined ? null : topOf([{ id, logprob: finite(logprob) }, ...top], names));
  }
  return result;
}

/** By name; of two tokens with one name the likelier. */
function topOf(entries: readonly TokenLogprob[], names: TokenNames): Record<string, number> {
  const result: Record<string, number> = {};
  for (const { id, logprob } of entries) {
    const name = names.nameOf(id);
    result[name] = Math.max(result[name] ?? Number.NEGATIVE_INFINITY, finite(logprob));
  }
  return result;
}

/** JSON has no infinity; vLLM writes this number. */
function finite(logprob: number | undefined): number {
  return Math.max(logprob ?? Number.NEGATIVE_INFINITY, -9999);
}
